"""The smallest denoiser that can learn a direction: one neuron with tied weights and a skip connection.

D_w(x) = a x + κ w φ(w·x) on x_t = a x₀ + b ε, with ‖w‖ = 1 and a² + b² = 1.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import reduce

import torch

from hierlib.diffusion.gaussian import noised
from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor

__all__ = ["Activation", "TiedNeuron", "cosine", "relu", "sine", "tanh", "value_and_derivative"]

_FORMS = {                       # kind -> φ(s) of parameter p, and φ'(s) from s, p and φ(s)
    "sine": (lambda s, p: torch.sin(p * s), lambda s, p, value: p * torch.cos(p * s)),
    "cosine": (lambda s, p: torch.cos(p * s), lambda s, p, value: -p * torch.sin(p * s)),
    "tanh": (lambda s, p: torch.tanh(p * s), lambda s, p, value: p * (1 - value * value)),
    "relu": (lambda s, p: torch.relu(s + p), lambda s, p, value: (s > -p).to(s.dtype)),
}


def _combine(terms: Iterable[tuple[float, Tensor]]) -> Tensor:
    """Return Σ c y over pairs (c, y); a single one with c = 1 is y itself."""
    return reduce(torch.add, (y if c == 1 else c * y for c, y in terms))


@dataclass(frozen=True)
class Activation:
    """Elementwise function φ with its exact derivative: a weighted sum of sines, cosines, tanh and biased ReLUs.

    Made by :func:`sine`, :func:`cosine`, :func:`tanh`, :func:`relu`, and their sums and multiples:
    ``sine(1.5) + 0.5 * cosine(1.5)``.

    Parameters
    ----------
    terms
        Triples (weight, kind, parameter), kind one of "sine", "cosine", "tanh", "relu".
    """

    terms: tuple[tuple[float, str, float], ...]

    @property
    def kinks(self) -> tuple[float, ...]:
        """Places where the derivative jumps."""
        return tuple(-bias for _, kind, bias in self.terms if kind == "relu")

    def __call__(self, s: Tensor) -> Tensor:
        """Return φ(s)."""
        return _combine((c, _FORMS[kind][0](s, p)) for c, kind, p in self.terms)

    def value_and_derivative(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return φ(s) and φ'(s)."""
        values = [(c, _FORMS[kind][0](s, p)) for c, kind, p in self.terms]
        slopes = ((c, _FORMS[kind][1](s, p, value)) for (c, kind, p), (_, value) in zip(self.terms, values))
        return _combine(values), _combine(slopes)

    def __add__(self, other: "Activation") -> "Activation":
        """Return the sum of two activations."""
        return Activation(self.terms + other.terms) if isinstance(other, Activation) else NotImplemented

    def __mul__(self, factor: float) -> "Activation":
        """Return a multiple; ValueError for a factor that is not finite."""
        factor = checks.real("factor", factor)
        return Activation(tuple((factor * weight, kind, p) for weight, kind, p in self.terms))

    __rmul__ = __mul__


def sine(omega: float = 1.5) -> Activation:
    """Return φ(s) = sin(ωs): odd and bounded, with a large third Hermite coefficient.

    ValueError for an ω that is not finite.
    """
    return Activation(((1.0, "sine", checks.real("omega", omega)),))


def cosine(omega: float = 1.5) -> Activation:
    """Return φ(s) = cos(ωs), even: added to a sine it makes odd cumulants visible.

    ValueError for an ω that is not finite.
    """
    return Activation(((1.0, "cosine", checks.real("omega", omega)),))


def tanh(gain: float = 2.0) -> Activation:
    """Return φ(s) = tanh(gain · s).

    ValueError for a gain that is not finite.
    """
    return Activation(((1.0, "tanh", checks.real("gain", gain)),))


def relu(bias: float = 0.0) -> Activation:
    """Return φ(s) = max(0, s + bias); without a bias it is blind to every symmetric whitened spike.

    ValueError for a bias that is not finite.
    """
    return Activation(((1.0, "relu", checks.real("bias", bias)),))


def value_and_derivative(phi: Callable[[Tensor], Tensor], s: Float[Tensor, "*n"]) -> tuple[Tensor, Tensor]:
    """Return (φ(s), φ'(s)): exact for an :class:`Activation`, by automatic differentiation for any torch function.

    ValueError when φ is not elementwise in shape.
    """
    if isinstance(phi, Activation):
        return phi.value_and_derivative(s)
    value, pull_back = torch.func.vjp(phi, s)
    checks.require(value.shape == s.shape, "phi", phi, "elementwise: an output of the shape of its input")
    return value, pull_back(torch.ones_like(value))[0]


@dataclass(frozen=True)
class TiedNeuron:
    """Denoiser D_w(x) = a x + κ w φ(w·x) for x_t = a x₀ + b ε; its weights w are arguments, not parameters.

    One direction is w (d,); many replicas at once are w (S, d), on shared samples (n, d) or on their own (S, n, d).
    Source: this book (reconstruction of Bardone, Merger, Goldt 2026).

    Parameters
    ----------
    phi
        Activation: an :class:`Activation`, or any elementwise torch function.
    kappa
        Strength κ and sign of the output.
    alpha_bar
        Signal ᾱ = a² at the one noise level, strictly between 0 and 1.

    Raises
    ------
    ValueError
        For parameters out of range, or (when called) for shapes that do not fit.
    """

    phi: Callable[[Tensor], Tensor] = field(default_factory=sine)
    kappa: float = 0.5
    alpha_bar: float = 0.7

    def __post_init__(self) -> None:
        checks.require(callable(self.phi), "phi", self.phi, "an activation: a function of a tensor")
        kappa, alpha_bar = checks.real("kappa", self.kappa), checks.real("alpha_bar", self.alpha_bar, 0.0, 1.0)
        checks.require(0 < alpha_bar < 1, "alpha_bar", alpha_bar, "strictly between 0 and 1")
        vars(self).update(kappa=kappa, alpha_bar=alpha_bar)

    @property
    def a(self) -> float:
        """Amplitude of the signal, √ᾱ."""
        return math.sqrt(self.alpha_bar)

    @property
    def b(self) -> float:
        """Amplitude of the noise, √(1 − ᾱ)."""
        return math.sqrt(1 - self.alpha_bar)

    def __call__(self, w: Float[Tensor, "*S d"], x_t: Float[Tensor, "*R n d"]) -> Float[Tensor, "*T n d"]:
        """Return the denoised samples, ``(n, d)`` or ``(S, n, d)``."""
        return self.a * x_t + self.kappa * self.phi(_project(w, x_t))[..., None] * w[..., None, :]

    def loss(
        self, w: Float[Tensor, "*S d"], x0: Float[Tensor, "*R n d"], noise: Float[Tensor, "*R n d"],
    ) -> Float[Tensor, "*T"]:
        """Return ½‖x₀ − D_w(a x₀ + b ε)‖², mean over samples, per direction."""
        return (x0 - self(w, noised(x0, self.alpha_bar, noise))).square().sum(-1).mean(-1) / 2

    def gradient(
        self, w: Float[Tensor, "*S d"], x0: Float[Tensor, "*R n d"], noise: Float[Tensor, "*R n d"],
    ) -> Float[Tensor, "*S d"]:
        """Return the mean gradient of the loss without its constant, not yet projected on the sphere.

        g = −κ [(e·w − κφ) φ'(s) x_t + φ(s) e], s = w·x_t, e = x₀ − a x_t; on the sphere, (1 − wwᵀ)g, it is that of
        the whole loss.
        """
        x_t = noised(x0, self.alpha_bar, noise)
        e = x0 - self.a * x_t                               # what the skip connection leaves
        value, slope = value_and_derivative(self.phi, _project(w, x_t))
        pull = (_project(w, e) - self.kappa * value) * slope
        total = torch.einsum("...n,...nd->...d", pull, x_t) + torch.einsum("...n,...nd->...d", value, e)
        return -self.kappa / x0.shape[-2] * total


def _project(w: Tensor, x: Tensor) -> Tensor:
    """Return w·x: (..., d), (..., n, d) -> (..., n)."""
    checks.require(x.ndim >= 2 and x.shape[-1] == w.shape[-1], "x", tuple(x.shape),
                   f"of shape (n, d) or (S, n, d) with d = {w.shape[-1]} as in w")
    return torch.einsum("...nd,...d->...n", x, w)
