"""A small transformer that looks both ways."""

import torch
from torch import nn
from torch.nn import functional as F

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Tensor
from hierlib.nets.parameters import initialise, standardise

__all__ = ["Transformer"]


class _Block(nn.Module):
    """Attention and a network of one hidden layer, each added to what it reads after a LayerNorm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def extra_repr(self) -> str:
        return f"heads={self.heads}"

    def forward(self, x: Float[Tensor, "n d width"]) -> Float[Tensor, "n d width"]:
        n, d, width = x.shape
        heads = self.query_key_value(self.attention_norm(x)).view(n, d, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)                             # (n, heads, d, width / heads)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, d, width)
        x = x + self.mix(seen)
        return x + self.narrow(F.gelu(self.widen(self.mlp_norm(x))))


class Transformer(nn.Module):
    """Denoiser by attention: `layers` blocks with the norm first, learned positions, no causal mask.

    Every position may look at every other, but which ones belong together has to be learned. The read-out starts
    at zero. It has about 12·layers·width² + (2v + d)·width parameters.

    Explained in the chapter *Hierarchical clustering*; source: Vaswani et al. 2017, and Xiong et al. 2020 for the
    norms before the blocks.

    Parameters
    ----------
    v, d
        Number of symbols, and the longest string.
    width, heads, layers
        Channels, attention heads (a divisor of the width), and blocks.
    seed
        Of the initial weights.

    Raises
    ------
    ValueError
        For parameters out of range; when called, for a likelihood that is not (n, at most d, v).
    """

    def __init__(
        self, v: int, d: int, width: int = 64, heads: int = 4, layers: int = 2, seed: Seed = 0,
    ) -> None:
        super().__init__()
        self.v, self.d = v, d = checks.integer("v", v, low=2), checks.integer("d", d, low=1)
        width, heads = checks.integer("width", width, low=1), checks.integer("heads", heads, low=1)
        layers = checks.integer("layers", layers, low=1)
        checks.require(width % heads == 0, "width", width, f"a multiple of heads = {heads}")
        with torch.random.fork_rng(devices=()):
            self.embed = nn.Linear(v, width)
            self.position = nn.Parameter(torch.empty(d, width))
            self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
            self.norm = nn.LayerNorm(width)
            self.readout = nn.Linear(width, v)
        gen = generator(seed, "Transformer")
        initialise(self, gen)
        with torch.no_grad():
            self.embed.bias.normal_(generator=gen)      # what a masked token is embedded as
            self.position.normal_(generator=gen)
            self.readout.weight.zero_()

    def forward(self, likelihood: Float[Tensor, "n d v"]) -> Float[Tensor, "n d v"]:
        """Return logits, ``(n, d, v)``."""
        checks.require(
            likelihood.ndim == 3 and likelihood.shape[1] <= self.d and likelihood.shape[2] == self.v, "likelihood",
            tuple(likelihood.shape), f"of shape (n, at most {self.d}, {self.v})")
        x = self.embed(standardise(likelihood, self.embed.weight.dtype)) + self.position[:likelihood.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.readout(self.norm(x))
