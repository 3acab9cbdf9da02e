"""Denoisers of strings: an MLP, dilated convolutions, a small transformer that looks both ways, a U-Net on the tree."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Tensor
from hierlib.nets.mlp import MLP
from hierlib.nets.parameters import by_blocks, initialise

__all__ = ["ConvNet", "TokenMLP", "TokenNet", "Transformer", "TreeUNet", "activations", "standardise"]


def standardise(likelihood: Float[Tensor, "*batch v"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch v"]:
    """Return (q − 1/v) v/√(v−1): mean 0 and variance 1 over the symbols for a seen token, exactly 0 for a masked one.

    Source: Favero et al. 2025 (official code), where mean and variance are those of noisy tokens at each time; here
    those of a one-hot vector at all times.

    Parameters
    ----------
    likelihood
        Leaf likelihoods, each summing to 1 over the symbols: one-hot for a seen token, 1/v for a masked one.
    dtype
        Of the result, that of the weights which it is multiplied by; None: of the likelihoods.
    """
    v = likelihood.shape[-1]
    return ((likelihood - 1 / v) * (v / max(v - 1, 1) ** 0.5)).to(dtype or likelihood.dtype)


@torch.no_grad()
def activations(net: nn.Module, x: Tensor, *names: str) -> list[Tensor]:
    """Return what the submodules of these names, as in ``net.named_modules()``, put out when the network reads `x`.

    AttributeError for a name that there is not.
    """
    seen, modules = {}, [net.get_submodule(name) for name in names]
    hooks = [module.register_forward_hook(lambda _, __, y, k=k: seen.setdefault(k, []).append(y))
             for k, module in enumerate(modules)]
    try:
        net(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [torch.cat(seen[k]) for k in range(len(names))]       # networks read many rows in blocks


class TokenNet(nn.Module):
    """A denoiser of strings: likelihoods ``(n, d, v)`` in, logits of this shape out; untrained, it says 1/v everywhere.

    Base of the networks that embed each token by a linear map `embed` and end in another one, `readout`. ValueError for
    fewer than two symbols; when called, for likelihoods of another shape.
    """

    shortest, longest, lengths = 0, math.inf, "d"       # strings that are taken, and what a message says of them

    def __init__(self, v: int) -> None:
        super().__init__()
        self.v = checks.integer("v", v, low=2)

    @torch.no_grad()
    def begin(self, seed: Seed, *drawn: nn.Parameter) -> None:
        """Draw the first weights, `drawn` from N(0, 1) after all others, by the stream of the class; `readout` is 0."""
        gen = generator(seed, type(self).__name__)
        initialise(self, gen)
        for parameter in drawn:
            parameter.normal_(generator=gen)
        self.readout.weight.zero_()

    def tokens(self, likelihood: Float[Tensor, "n d v"]) -> Float[Tensor, "n d v"]:
        """Return the tokens standardised, in the dtype of the weights."""
        good = (likelihood.ndim == 3 and likelihood.shape[2] == self.v
                and self.shortest <= likelihood.shape[1] <= self.longest)
        checks.require(good, "likelihood", tuple(likelihood.shape), f"of shape (n, {self.lengths}, {self.v})")
        return standardise(likelihood, next(self.parameters()).dtype)

    def hidden(self, x: Float[Tensor, "n d width"]) -> Float[Tensor, "n d features"]:
        """Return what is read out, given the embedded tokens."""
        raise NotImplementedError

    def forward(self, likelihood: Float[Tensor, "n d v"]) -> Float[Tensor, "n d v"]:
        """Return logits, ``(n, d, v)``."""
        tokens, width = self.tokens(likelihood), self.embed.out_features
        return by_blocks(lambda x: self.readout(self.hidden(self.embed(x))), tokens.shape[1] * width, tokens)


class TokenMLP(TokenNet):
    """Denoiser without any structure: an MLP on all standardised tokens at once, read-out zero at the start.

    It has (dv+1)W + (depth−1)(W+1)W + (W+1)dv parameters at width W.

    Parameters
    ----------
    v, d
        Number of symbols and length of the strings.
    width, depth
        Units per hidden layer, and number of such layers, at least 1.
    seed
        Of the initial weights.

    Raises
    ------
    ValueError
        For parameters out of range; when called, for a likelihood that is not (n, d, v).
    """

    def __init__(self, v: int, d: int, width: int = 256, depth: int = 3, seed: Seed = 0) -> None:
        super().__init__(v)
        d, depth = checks.integers(1, d=d, depth=depth)
        self.shortest, self.longest, self.lengths = d, d, str(d)
        self.net = MLP(self.v * d, self.v * d, width, depth, seed=generator(seed, "TokenMLP"))
        nn.init.zeros_(self.net.linear[-1].weight)

    def forward(self, likelihood: Float[Tensor, "n d v"]) -> Float[Tensor, "n d v"]:
        """Return logits, ``(n, d, v)``."""
        return self.net(self.tokens(likelihood).flatten(1)).view(likelihood.shape)


class ConvNet(TokenNet):
    """Denoiser that sees each token's neighbourhood, the wider the deeper: x ← x + W [x_{i−r}, x_i, x_{i+r}].

    Source: van den Oord et al. 2016 (dilated convolutions).

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
        super().__init__(v)
        width = checks.integer("width", width, low=1)
        checks.require(len(dilations) > 0, "dilations", dilations, "at least one")
        self.dilations = tuple(checks.integer("dilations", r, low=1) for r in dilations)
        with torch.random.fork_rng(devices=()):     # torch's layers draw weights of their own, replaced below
            self.embed = nn.Linear(self.v, width)
            self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.dilations)
            self.mixes = nn.ModuleList(nn.Linear(3 * width, width) for _ in self.dilations)
            self.norm = nn.LayerNorm(width)
            self.readout = nn.Linear(width, self.v)
        self.begin(seed, self.embed.bias)           # which is what a masked token is embedded as

    def extra_repr(self) -> str:
        """Return what the shapes of the weights do not tell, for print and ensembles."""
        return f"dilations={self.dilations}"

    def hidden(self, x: Float[Tensor, "n d width"]) -> Float[Tensor, "n d width"]:
        """Return the last block's output, normalised."""
        for norm, mix, r in zip(self.norms, self.mixes, self.dilations, strict=True):
            # a convolution over channels that stand last: faster on a CPU than a product of three positions in a row
            image, kernel = F.gelu(norm(x)).mT.unsqueeze(2), mix.weight.unflatten(1, (1, 3, -1)).movedim(3, 1)
            x = x + F.conv2d(image, kernel, mix.bias, padding=(0, r), dilation=(1, r)).squeeze(2).mT
        return self.norm(x)


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


class Transformer(TokenNet):
    """Denoiser by attention: `layers` blocks with the norm first, learned positions, no causal mask.

    Every position may look at every other, but which ones belong together has to be learned. It has about
    12·layers·width² + (2v + d)·width parameters. Source: Vaswani et al. 2017, and Xiong et al. 2020 for the norms
    before the blocks.

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

    def __init__(self, v: int, d: int, width: int = 64, heads: int = 4, layers: int = 2, seed: Seed = 0) -> None:
        super().__init__(v)
        d, width, heads, layers = checks.integers(1, d=d, width=width, heads=heads, layers=layers)
        checks.require(width % heads == 0, "width", width, f"a multiple of heads = {heads}")
        self.longest, self.lengths = d, f"at most {d}"
        with torch.random.fork_rng(devices=()):
            self.embed = nn.Linear(self.v, width)
            self.position = nn.Parameter(torch.empty(d, width))
            self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
            self.norm = nn.LayerNorm(width)
            self.readout = nn.Linear(width, self.v)
        self.begin(seed, self.embed.bias, self.position)

    def hidden(self, x: Float[Tensor, "n d width"]) -> Float[Tensor, "n d width"]:
        """Return the last block's output, normalised."""
        x = x + self.position[:x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class TreeUNet(TokenNet):
    """Denoiser with the geometry of the tree, weights shared within each level.

    Leaf likelihoods are standardised and embedded. On the way down, L blocks join s neighbours into one (the
    channels of s positions side by side, linear map, LayerNorm, GELU); on the way up, L blocks write s positions
    from one, given the output of the block below and the skip of the same level. Exact inference has the same
    geometry: messages up, and messages down given those that came up.

    The weights are L convolutions with kernel and stride s and L transposed ones, written as matrix products. There
    are (v+1)C + (3L−1)sC² + 4LC + (2C+1)v of them at width C. Linear maps before a norm have no bias, for the norm
    has one.

    Source: Favero et al. 2025 (official code: the same blocks, without biases, at width 1024).

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
        super().__init__(v)
        self.s, self.L, C = checks.integers(1, s=s, L=L, width=width)
        with torch.random.fork_rng(devices=()):     # torch's layers draw weights of their own, replaced below
            self.embed = nn.Linear(self.v, C)
            self.down = nn.ModuleList(nn.Linear(self.s * C, C, bias=False) for _ in range(self.L))
            self.down_norm = nn.ModuleList(nn.LayerNorm(C) for _ in range(self.L))
            self.up = nn.ModuleList(nn.Linear(c, self.s * C, bias=False) for c in (C, *[2 * C] * (self.L - 1)))
            self.up_norm = nn.ModuleList(nn.LayerNorm(C) for _ in range(self.L))
            self.readout = nn.Linear(2 * C, self.v)
        self.begin(seed, self.embed.bias)           # which is what a masked token is embedded as

    def hidden(self, x: Float[Tensor, "n d C"]) -> Float[Tensor, "n d features"]:
        """Return the output of the last block up beside the embedded tokens."""
        d = x.shape[1]
        checks.require(d % self.s**self.L == 0, "d", d, f"a multiple of s**L = {self.s**self.L}")
        x, skips = F.gelu(x), []                                                     # (n, d, C)
        for linear, norm in zip(self.down, self.down_norm, strict=True):
            skips.append(x)
            x = F.gelu(norm(linear(x.unflatten(1, (-1, self.s)).flatten(2))))        # (n, d / s^(l+1), C)
        for linear, norm in zip(self.up, self.up_norm, strict=True):
            x = F.gelu(norm(linear(x).unflatten(2, (self.s, -1)).flatten(1, 2)))     # (n, d / s^l, C)
            x = torch.cat([x, skips.pop()], -1)
        return x
