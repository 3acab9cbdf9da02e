"""U-Net whose strides follow the tree: block l of the way down sees the s children of a node of level l at once."""

import torch
from torch import nn
from torch.nn import functional as F

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Tensor
from hierlib.nets.parameters import initialise, standardise

__all__ = ["TreeUNet"]


class TreeUNet(nn.Module):
    """Denoiser with the geometry of the tree, weights shared within each level.

    Leaf likelihoods are standardised and embedded. On the way down, L blocks join s neighbours into one (the
    channels of s positions side by side, linear map, LayerNorm, GELU); on the way up, L blocks write s positions
    from one, given the output of the block below and the skip of the same level. Exact inference has the same
    geometry: messages up, and messages down given those that came up. The read-out starts at zero, so that an
    untrained network says 1/v everywhere.

    The weights are L convolutions with kernel and stride s and L transposed ones, written as matrix products. There
    are (v+1)C + (3L−1)sC² + 4LC + (2C+1)v of them at width C. Linear maps before a norm have no bias, for the norm
    has one.

    Explained in the chapter *Hierarchical clustering*; source: Favero et al. 2025 (official code: the same blocks,
    without biases, at width 1024).

    Parameters
    ----------
    v, s, L
        Number of symbols, children per node and levels, as of the grammar.
    width
        Channels C.
    seed
        Of the initial weights.

    Raises
    ------
    ValueError
        For parameters out of range; when called, for a likelihood that is not (n, d, v) with d a multiple of s**L.
    """

    def __init__(self, v: int, s: int, L: int, width: int = 96, seed: Seed = 0) -> None:
        super().__init__()
        self.v = v = checks.integer("v", v, low=2)
        self.s = s = checks.integer("s", s, low=1)
        self.L = L = checks.integer("L", L, low=1)
        self.width = C = checks.integer("width", width, low=1)
        with torch.random.fork_rng(devices=()):     # torch's layers draw weights of their own, replaced below
            self.embed = nn.Linear(v, C)
            self.down = nn.ModuleList(nn.Linear(s * C, C, bias=False) for _ in range(L))
            self.down_norm = nn.ModuleList(nn.LayerNorm(C) for _ in range(L))
            self.up = nn.ModuleList(nn.Linear((1 if level == L - 1 else 2) * C, s * C, bias=False)
                                    for level in reversed(range(L)))
            self.up_norm = nn.ModuleList(nn.LayerNorm(C) for _ in range(L))
            self.readout = nn.Linear(2 * C, v)
        gen = generator(seed, "TreeUNet")
        initialise(self, gen)
        with torch.no_grad():
            self.embed.bias.normal_(generator=gen)  # what a masked token is embedded as
            self.readout.weight.zero_()

    def extra_repr(self) -> str:
        """Return the geometry, for print."""
        return f"v={self.v}, s={self.s}, L={self.L}, width={self.width}"

    def forward(self, likelihood: Float[Tensor, "n d v"]) -> Float[Tensor, "n d v"]:
        """Return logits, ``(n, d, v)``."""
        checks.require(likelihood.ndim == 3 and likelihood.shape[-1] == self.v, "likelihood",
                       tuple(likelihood.shape), f"of shape (n, d, {self.v})")
        d = likelihood.shape[1]
        checks.require(d % self.s**self.L == 0, "d", d, f"a multiple of s**L = {self.s**self.L}")
        x = F.gelu(self.embed(standardise(likelihood, self.embed.weight.dtype)))     # (n, d, C)
        skips = []
        for linear, norm in zip(self.down, self.down_norm, strict=True):
            skips.append(x)
            x = F.gelu(norm(linear(x.unflatten(1, (-1, self.s)).flatten(2))))        # (n, d / s^(l+1), C)
        for linear, norm in zip(self.up, self.up_norm, strict=True):
            x = F.gelu(norm(linear(x).unflatten(2, (self.s, -1)).flatten(1, 2)))     # (n, d / s^l, C)
            x = torch.cat([x, skips.pop()], -1)
        return self.readout(x)
