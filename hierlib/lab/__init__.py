"""What every chapter uses: scale and device, seeds, training, sweeps, claims, curves, figure style, checks of input."""

from hierlib.lab import checks, curves, figure, sweeping, training
from hierlib.lab.claims import Claim, ClaimError, Claims, ClaimWarning
from hierlib.lab.device import by_scale, device, scale
from hierlib.lab.keep import Keep, forecast
from hierlib.lab.seeds import generator, spawn
from hierlib.lab.sweeping import SweepError, sweep, workers
from hierlib.lab.tables import table
from hierlib.lab.training import Report, log_steps, train, warmup_decay

__all__ = [
    "Claim", "ClaimError", "ClaimWarning", "Claims", "Keep", "Report", "SweepError", "by_scale", "checks", "curves",
    "device", "figure", "forecast", "generator", "log_steps", "scale", "spawn", "sweep", "sweeping", "table",
    "train", "training", "warmup_decay", "workers",
]
