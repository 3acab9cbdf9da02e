"""Residual network of dilated convolutions: for strings without a tree, where every position is like any other."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Tensor
from hierlib.nets.parameters import initialise, standardise

__all__ = ["ConvNet"]


class ConvNet(nn.Module):
    """Denoiser that sees each token's neighbourhood, the wider the deeper: x ← x + W [x_{i−r}, x_i, x_{i+r}].

    Explained in the chapter *Hierarchical clustering*; source: van den Oord et al. 2016 (dilated convolutions).

    Parameters
    ----------
    v
        Number of symbols.
    width
        Channels.
    dilations
        Reach r of each block; a token sees its surroundings up to the sum of them. Beyond the ends stand zeros.
    seed
        Integer or CPU ``torch.Generator``.

    Raises
    ------
    ValueError
        For sizes below 1, no dilation, or input with another number of symbols.
    """

    def __init__(self, v: int, width: int = 64, dilations: Sequence[int] = (1, 2, 4, 8, 1), seed: Seed = 0) -> None:
        super().__init__()
        self.v = v = checks.integer("v", v, low=2)
        width = checks.integer("width", width, low=1)
        checks.require(len(dilations) > 0, "dilations", dilations, "at least one")
        self.dilations = tuple(checks.integer("dilations", r, low=1) for r in dilations)
        with torch.random.fork_rng(devices=()):     # torch's layers draw weights of their own, replaced below
            self.embed = nn.Linear(v, width)
            self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.dilations)
            self.mixes = nn.ModuleList(nn.Linear(3 * width, width) for _ in self.dilations)
            self.norm = nn.LayerNorm(width)
            self.readout = nn.Linear(width, v)
        gen = generator(seed, "ConvNet")
        initialise(self, gen)
        with torch.no_grad():
            self.embed.bias.normal_(generator=gen)      # what a masked token is embedded as
            self.readout.weight.zero_()

    def forward(self, likelihood: Float[Tensor, "n d v"]) -> Float[Tensor, "n d v"]:
        """Return logits, ``(n, d, v)``."""
        checks.require(likelihood.shape[-1] == self.v, "likelihood", tuple(likelihood.shape), f"(n, d, {self.v})")
        d = likelihood.shape[-2]
        x = self.embed(standardise(likelihood, self.embed.weight.dtype))
        for norm, mix, r in zip(self.norms, self.mixes, self.dilations, strict=True):
            padded = F.pad(F.gelu(norm(x)), (0, 0, r, r))                              # (n, r + d + r, width)
            x = x + mix(torch.cat([padded[:, :d], padded[:, r:r + d], padded[:, 2 * r:]], -1))
        return self.readout(self.norm(x))
