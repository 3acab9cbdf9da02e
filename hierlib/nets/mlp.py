"""Fully connected networks, and a skip around a network."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Tensor
from hierlib.nets.parameters import initialise

__all__ = ["MLP", "Skip"]


class MLP(nn.Module):
    """Fully connected network with `depth` hidden layers of `width` units, ``(n, n_in) -> (n, n_out)``.

    With `depth` 0 it is one linear map; with ``torch.nn.Identity`` a deep linear network. Source: Rumelhart et al.
    1986.

    Parameters
    ----------
    n_in, n_out, width, depth
        Sizes.
    activation
        A class of torch modules (``torch.nn.ReLU``), or a function of a tensor (``torch.tanh``).
    bias
        Whether the linear maps have biases (they start at 0).
    seed
        Of the initial weights, N(0, 1/fan-in).

    Raises
    ------
    ValueError
        For sizes out of range; when called, for an input that is not (n, n_in).
    """

    def __init__(
        self, n_in: int, n_out: int, width: int = 64, depth: int = 2, activation: Callable = nn.GELU,
        bias: bool = True, seed: Seed = 0,
    ) -> None:
        super().__init__()
        self.n_in, n_out, width = checks.integers(1, n_in=n_in, n_out=n_out, width=width)
        sizes = self.n_in, *[width] * checks.integer("depth", depth, low=0), n_out
        checks.require(callable(activation), "activation", activation, "a class of torch modules or a function")
        self.activation = activation() if isinstance(activation, type) else activation
        with torch.random.fork_rng(devices=()):
            self.linear = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in pairwise(sizes))
        initialise(self, generator(seed, "MLP"))

    def extra_repr(self) -> str:
        """Return a function's name, for print; modules print themselves."""
        return "" if isinstance(self.activation, nn.Module) else f"activation={self.activation.__name__}"

    def forward(self, x: Float[Tensor, "n n_in"]) -> Float[Tensor, "n n_out"]:
        """Return the outputs, ``(n, n_out)``."""
        checks.require(x.ndim == 2 and x.shape[1] == self.n_in, "x", tuple(x.shape), f"of shape (n, {self.n_in})")
        for linear in self.linear[:-1]:
            x = self.activation(linear(x))
        return self.linear[-1](x)


class Skip(nn.Module):
    """Denoiser D(x) = c x + net(x) with a trained number c: the network has to learn only what scaling x cannot do.

    Source: Bardone, Merger, Goldt 2026, reconstructed.

    Parameters
    ----------
    net
        A network whose output has the shape of its first input, for example a two-layer :class:`MLP`.
    scale
        c at the start; √ᾱ is the least-squares value for white data of variance 1.

    Raises
    ------
    ValueError
        For a `net` that is no module or a `scale` that is not finite; when called, when the shapes differ.
    """

    def __init__(self, net: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        checks.require(isinstance(net, nn.Module), "net", net, "a torch module")
        self.net = net
        self.scale = nn.Parameter(torch.tensor(checks.real("scale", scale)))

    def forward(self, x: Float[Tensor, "n *shape"], *more: object) -> Float[Tensor, "n *shape"]:
        """Return c x + net(x, …), of the shape of `x`; `more` (noise level, condition) is handed on to the network."""
        y = self.net(x, *more)
        checks.require(y.shape == x.shape, "net(x)", tuple(y.shape), f"of the shape of x, {tuple(x.shape)}")
        return self.scale * x + y
