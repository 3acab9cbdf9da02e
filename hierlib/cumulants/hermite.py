"""Hermite polynomials and coefficients, by a quadrature that takes the kinks of the activation into account.

He_m are the probabilists' polynomials: E He_m(s) He_k(s) = m! δ_mk for s ~ N(0, 1). Tensors are float64 on the CPU.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice, pairwise

import numpy as np
import torch

from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor

__all__ = ["hermite_coefficients", "hermite_sequence", "kinks_of", "normal_mean"]

_FAR = 12.0                                      # exp(−12²/2) = 5e-32
_LEGENDRE = np.polynomial.legendre.leggauss(10)


def hermite_sequence(s: Float[Tensor, "*n"]) -> Iterator[Float[Tensor, "*n"]]:
    """Yield He_0(s), He_1(s), …, without end, each of the shape of `s`.

    By the recursion He_{m+1} = s He_m − m He_{m−1}.
    """
    before, now = torch.zeros_like(s), torch.ones_like(s)
    for m in count():
        yield now
        before, now = now, s * now - m * before


def hermite_polynomials(s: Float[Tensor, "*n"], order: int) -> Float[Tensor, "M *n"]:
    """Return He_0(s), …, He_order(s), stacked in front: ``(order + 1, *n)``."""
    return torch.stack(list(islice(hermite_sequence(s), order + 1)))


def panels(low: float, high: float, width: float, kinks: Sequence[float] = ()) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of Gauss–Legendre quadrature on intervals of at most `width`, cut at the `kinks`.

    Ten nodes each: near 1e-15 for what is smooth on the scale of `width` between the kinks. Needs low < high.
    """
    cuts = np.unique([low, *(k for k in kinks if low < k < high), high])
    edges = np.concatenate([np.linspace(p, q, math.ceil((q - p) / width) + 1)[:-1] for p, q in pairwise(cuts)])
    half = np.diff(edges, append=high)[:, None] / 2
    node, weight = _LEGENDRE
    return (torch.from_numpy((edges[:, None] + half * (1 + node)).ravel()),
            torch.from_numpy((half * weight).ravel()))


def kinks_of(phi: Callable) -> tuple[float, ...]:
    """Return where the quadrature is cut for φ: its kinks if it names them, and 0, where most functions have theirs."""
    return (0.0, *getattr(phi, "kinks", ()))


def normal_mean(f: Callable[[Tensor], Tensor], kinks: Sequence[float] = (0.0,)) -> Float[Tensor, "*M"]:
    """Return E f(s) over s ~ N(0, 1), for f from ``(n,)`` to ``(*M, n)``, smooth between the `kinks`."""
    s, weight = panels(-_FAR, _FAR, 0.25, kinks)
    return f(s) @ (weight * torch.exp(-s.square() / 2) / math.sqrt(2 * math.pi))


def hermite_coefficients(
    phi: Callable[[Tensor], Tensor], order: int, *, kinks: Sequence[float] | None = None,
) -> np.ndarray:
    """Return c_0, …, c_order of φ = Σ_k c_k He_k: c_k = E[φ(s) He_k(s)]/k! over s ~ N(0, 1).

    Parameters
    ----------
    phi
        Elementwise torch function of at most polynomial growth.
    order
        Last order, in [0, 40].
    kinks
        Where φ is not smooth; by default ``phi.kinks``, if it has them, and 0. A kink elsewhere costs 1e-5.

    Returns
    -------
    numpy.ndarray
        ``(order + 1,)``, float64.

    Raises
    ------
    ValueError
        For an order out of range or a φ that is not finite.
    """
    order = checks.integer("order", order, low=0, high=40)
    kinks = kinks_of(phi) if kinks is None else kinks
    mean = normal_mean(lambda s: phi(s) * hermite_polynomials(s, order), kinks).numpy()
    checks.require(bool(np.isfinite(mean).all()), "phi", phi, "finite, of at most polynomial growth")
    return mean / np.array([math.factorial(k) for k in range(order + 1)], dtype=float)
