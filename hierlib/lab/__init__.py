"""What every chapter uses: scale and device, seeds, training, sweeps, claims, figure style, checks of input."""

from hierlib.lab import checks, correlation, figure
from hierlib.lab.claims import Claim, ClaimError, ClaimWarning, claim
from hierlib.lab.device import by_scale, device, scale
from hierlib.lab.keep import Keep, forecast
from hierlib.lab.report import Report, log_steps, warmup_decay
from hierlib.lab.seeds import generator, spawn
from hierlib.lab.sweep import SweepError, sweep
from hierlib.lab.train import train
from hierlib.lab.workers import workers

__all__ = [
    "Claim", "ClaimError", "ClaimWarning", "Keep", "Report", "SweepError", "by_scale", "checks", "claim", "correlation",
    "device", "figure", "forecast", "generator", "log_steps", "scale", "spawn", "sweep", "train", "warmup_decay",
    "workers",
]
