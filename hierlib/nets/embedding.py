"""How a network is told the noise level."""

import math

import torch
from torch import nn

from hierlib.lab.types import Float, Tensor

__all__ = ["NoiseLevel"]

# angular frequencies: from one that is monotonic where learning takes place, to one that tells levels apart
SLOWEST_FASTEST = {"log_snr": (0.05, 1.5), "time": (1.0, 50.0)}
PAIRS = 8                       # so many of them
LARGEST = 20.0                  # |log-SNR| is cut here, so that ᾱ = 0 and 1 may be asked for


class NoiseLevel(nn.Module):
    """The noise level ᾱ as a vector of 16 numbers: sine and cosine of a clock at 8 frequencies, from slow to fast.

    The clock is "log_snr", log ᾱ/(1−ᾱ), or "time", that of the cosine schedule, (2/π) arccos √ᾱ; KeyError for another
    one. Nothing in it is trained. Source: Vaswani et al. 2017, section 3.5; Kingma et al. 2021 (log-SNR).
    """

    features = 2 * PAIRS        # length of the vector

    def __init__(self, clock: str = "log_snr") -> None:
        super().__init__()
        self.clock, (slowest, fastest) = clock, map(math.log10, SLOWEST_FASTEST[clock])
        self.register_buffer("frequency", torch.logspace(slowest, fastest, PAIRS))

    def extra_repr(self) -> str:
        """Return the clock, for print."""
        return f"clock={self.clock!r}"

    def forward(self, alpha_bar: Float[Tensor, "n"]) -> Float[Tensor, "n features"]:
        """Return the sines, then the cosines, ``(n, 16)``."""
        if self.clock == "time":
            clock = (2 / math.pi) * alpha_bar.clamp(0, 1).sqrt().arccos()
        else:
            clock = (alpha_bar.log() - (-alpha_bar).log1p()).clamp(-LARGEST, LARGEST)
        phase = clock[:, None] * self.frequency
        return torch.cat([phase.sin(), phase.cos()], 1)
