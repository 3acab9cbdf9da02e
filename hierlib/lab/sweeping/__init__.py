"""One function over a grid of configurations, on any executor, with a store of what is finished."""

from hierlib.lab.sweeping.sweep import SweepError, sweep
from hierlib.lab.sweeping.workers import workers

__all__ = ["SweepError", "sweep", "workers"]
