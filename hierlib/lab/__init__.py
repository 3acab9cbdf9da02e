"""What every chapter uses: scale and device, seeds, claims, figure style, checks of input."""

from hierlib.lab import checks, figure
from hierlib.lab.claims import Claim, ClaimError, claim
from hierlib.lab.device import by_scale, device, scale
from hierlib.lab.seeds import generator, spawn

__all__ = [
    "Claim", "ClaimError", "by_scale", "checks", "claim", "device", "figure", "generator", "scale", "spawn",
]
