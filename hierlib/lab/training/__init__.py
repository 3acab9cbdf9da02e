"""Training as a generator with reports, averages, early stopping and exact resume."""

from hierlib.lab.training.report import Report, log_steps, warmup_decay
from hierlib.lab.training.train import train

__all__ = ["Report", "log_steps", "train", "warmup_decay"]
