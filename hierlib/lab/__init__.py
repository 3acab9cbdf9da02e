"""What every chapter uses: scale and device, seeds, training, sweeps, claims, figure style, checks of input."""

from hierlib.lab import checks, correlation, figure
from hierlib.lab.claims import Claim, ClaimError, claim
from hierlib.lab.device import by_scale, device, scale
from hierlib.lab.report import Report, log_steps, warmup_decay
from hierlib.lab.seeds import generator, spawn
from hierlib.lab.sweep import SweepError, sweep
from hierlib.lab.train import train

__all__ = [
    "Claim", "ClaimError", "Report", "SweepError", "by_scale", "checks", "claim", "correlation", "device", "figure",
    "generator", "log_steps", "scale", "spawn", "sweep", "train", "warmup_decay",
]
