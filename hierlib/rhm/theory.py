r"""Mean-field theory of belief propagation in the ε-process: maps, fixed points, exponents, susceptibility.

Conventions: p is the belief a message puts on the true value, (1 − p)/(v − 1) on each other. With

    φ = (m v − 1)/(v^s − 1),   c = (m − 1)/(v^s − 1)

(the chance that a wrong tuple is a rule at all, and a rule of the true parent) averaging over random rules gives
the upward map F below. Functions take the parameters by name, and numbers or numpy arrays.

Sources: Sclocchi, Favero, Wyart 2024 (maps and ν, derived anew in the chapter *Phase transition*, as the paper's
body was not at hand); Sclocchi, Favero, Levi, Wyart 2025 (dynamical correlations). The closed forms, the window of
existence, the duality and the criterion of divergence are this book's, derived in that chapter.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from hierlib.lab import checks
from hierlib.lab.types import Numbers
from hierlib.rhm.complexity import (
    covariance_variance,
    latent_sample_complexity,
    sample_complexity,
    sampling_variance,
    token_covariance_variance,
)

__all__ = [
    "Beliefs", "Transition", "beliefs", "correlation_exponent", "correlations", "covariance_variance", "diverges",
    "downward_map", "exponent", "latent_sample_complexity", "sample_complexity", "sampling_variance", "survival",
    "susceptibility", "token_covariance_variance", "transition", "upward_map", "upward_slope", "window",
]


class Transition(NamedTuple):
    """Unstable fixed point p* of the upward map, and the noise ε* whose leaves start there: see the chapter."""

    p_star: float
    eps_star: float


class Beliefs(NamedTuple):
    """Mean-field belief in the true value per level 0 … L (chapter *Phase transition*).

    Each of the three is an array ``(L + 1, *shape of ε)``.
    """

    up: Numbers
    down: Numbers
    marginal: Numbers


def _plain(v: float, m: float, s: int) -> tuple[float, float, int, float, float]:
    """Return v, m and s as plain numbers, φ and c. Real v and m are allowed: the maps are smooth in both."""
    s, v = checks.integer("s", s, low=2), checks.real("v", v, low=2.0)
    m = checks.real("m", m, low=1.0, high=v ** (s - 1))
    return v, m, s, (m * v - 1) / (v**s - 1), (m - 1) / (v**s - 1)


def upward_map(p: Numbers, *, v: float, m: float, s: int) -> Numbers:
    """Return F(p) = [(1 − c) p^s + c] / [(1 − φ) p^s + φ], the belief one level up.

    Fixed points: p = 1 (the class is known), p = 1/v (it is lost) and, between them, p* of :func:`transition`.
    Explained in the chapter *Phase transition*; source: after Sclocchi, Favero, Wyart 2024, derived there anew.

    Raises
    ------
    ValueError
        For p < 0, v < 2, m outside [1, v^(s−1)], or s that is no integer ≥ 2.
    """
    (*_, s, phi, c), p = _plain(v, m, s), np.asarray(p, dtype=float)
    checks.require(bool(np.all(p >= 0)), "p", p, "non-negative")
    power = p**s
    return ((1 - c) * power + c) / ((1 - phi) * power + phi)


def upward_slope(p: Numbers, *, v: float, m: float, s: int) -> Numbers:
    """Return F′(p) = s p^(s−1) (φ − c) / [(1 − φ) p^s + φ]²; errors as :func:`upward_map`.

    Explained in the chapter *Phase transition*; source: derivative of :func:`upward_map`.
    """
    (*_, s, phi, c), p = _plain(v, m, s), np.asarray(p, dtype=float)
    return s * p ** (s - 1) * (phi - c) / ((1 - phi) * p**s + phi) ** 2


def downward_map(q: Numbers, p: Numbers, *, v: float, m: float, s: int) -> Numbers:
    """Return the downward belief of a child whose parent has downward belief q and whose siblings send up p.

    With a = p^(s−1) and k = ((m − 1) q + m (1 − q))/(m v − 1): (q a + φ k (1 − a)) / (q a + φ k (v − a)).
    Explained in the chapter *Phase transition*; source: after Sclocchi, Favero, Wyart 2024, derived anew for this
    book. Errors as :func:`upward_map`.
    """
    v, m, s, phi, _ = _plain(v, m, s)
    q, a = np.asarray(q, dtype=float), np.asarray(p, dtype=float) ** (s - 1)
    k = ((m - 1) * q + m * (1 - q)) / (m * v - 1)
    return (q * a + phi * k * (1 - a)) / (q * a + phi * k * (v - a))


def beliefs(epsilon: Numbers, *, v: float, m: float, s: int, L: int) -> Beliefs:
    """Return the mean-field belief in the true value at every level of a tree in the ε-process.

    Explained in the chapter *Phase transition*; source: Sclocchi, Favero, Wyart 2024.

    Parameters
    ----------
    epsilon
        Noise in [0, 1], any shape.
    v, m, s, L
        Parameters of the grammar.

    Returns
    -------
    Beliefs
        ``up``, ``down`` and ``marginal`` = p q / (p q + (1 − p)(1 − q)/(v − 1)), index 0 the leaves.

    Raises
    ------
    ValueError
        For ε outside [0, 1], L < 1, or as :func:`upward_map`.
    """
    L, (v, m, s, *_) = checks.integer("L", L, low=1), _plain(v, m, s)
    epsilon = np.asarray(epsilon, dtype=float)
    checks.require(bool(np.all((epsilon >= 0) & (epsilon <= 1))), "epsilon", epsilon, "in [0, 1]")
    up = [1 - epsilon + epsilon / v]
    for _ in range(L):
        up.append(upward_map(up[-1], v=v, m=m, s=s))
    down = [np.full_like(epsilon, 1 / v)]
    for level in range(L - 1, -1, -1):
        down.append(downward_map(down[-1], up[level], v=v, m=m, s=s))
    p, q = np.stack(up), np.stack(down[::-1])
    return Beliefs(p, q, p * q / (p * q + (1 - p) * (1 - q) / (v - 1)))


def window(*, v: float, s: int) -> tuple[float, float]:
    """Return the open interval of m in which the mean field has a transition.

    Both p = 1 and p = 1/v must be stable: s (v−1) v^(s−1)/(v^s − 1) < m < (v^s − 1)/(s (v − 1)). The two ends
    multiply to v^(s−1), as the duality m -> v^(s−1)/m demands. Source: this book, chapter *Phase transition*.
    Errors as :func:`upward_map`. The interval is empty (low ≥ high) for small v and large s.
    """
    v, _, s, *_ = _plain(v, 1, s)
    high = (v**s - 1) / (s * (v - 1))
    return v ** (s - 1) / high, high


def transition(*, v: float, m: float, s: int) -> Transition | None:
    """Return the transition (p*, ε*) of the mean field, or None where there is none.

    p* solves (1 − φ) p^(s+1) − (1 − c) p^s + φ p − c = 0. By Descartes' rule this has at most three positive
    roots; 1 and 1/v are two of them, so p* is unique. For s = 2 it is (m − 1)/(v − m), else found by bisection of
    F(p)/p, a ratio of positive sums, in ln p. Leaves start at p₀ = 1 − ε + ε/v, so ε* = (1 − p*) v/(v − 1).

    Explained in the chapter *Phase transition*; sources: Sclocchi, Favero, Wyart 2024 (p* exists, ε*); closed
    form, uniqueness and window: this book. Errors as :func:`upward_map`.

    Examples
    --------
    >>> round(transition(v=32, m=8, s=2).eps_star, 6)
    0.731183
    >>> transition(v=32, m=20, s=2) is None
    True
    """
    v, m, s, *_ = _plain(v, m, s)
    low, high = window(v=v, s=s)
    if not low < m < high:
        return None
    if s == 2:
        p_star = (m - 1) / (v - m)
    else:
        margin = 1e-7
        def excess(log_p: float) -> float:
            return float(upward_map(math.exp(log_p), v=v, m=m, s=s)) / math.exp(log_p) - 1

        if not excess(margin - math.log(v)) < 0 < excess(-margin):      # within the margin of a window's end
            return None
        p_star = math.exp(brentq(excess, margin - math.log(v), -margin, xtol=1e-15, rtol=1e-14))
    return Transition(p_star, (1 - p_star) * v / (v - 1))


def _slope_at_transition(v: float, m: float, s: int) -> tuple[float, int]:
    """Return F′(p*), and s."""
    found, (v, m, s, *_) = transition(v=v, m=m, s=s), _plain(v, m, s)
    low, high = window(v=v, s=s)
    checks.require(found is not None, "(v, m, s)", (v, m, s), f"inside the window of existence, {low:g} < m < {high:g}")
    return float(upward_slope(found.p_star, v=v, m=m, s=s)), s


def exponent(*, v: float, m: float, s: int) -> float:
    """Return ν = ln s / ln F′(p*): the correlation length ξ, in leaves, diverges as the power −ν of ε − ε*.

    Explained in the chapter *Phase transition*; source: after Sclocchi, Favero, Wyart 2024, derived there anew.

    Raises
    ------
    ValueError
        Where there is no transition, or as :func:`upward_map`.
    """
    slope, s = _slope_at_transition(v, m, s)
    return math.log(s) / math.log(slope)


def correlation_exponent(*, v: float, m: float, s: int) -> float:
    """Return 2 − 2/ν, the exponent of C(r) ~ r^−(2−2/ν) at ε*; errors as :func:`exponent`.

    Explained in the chapter *Phase transition*; sources: Sclocchi, Favero, Levi, Wyart 2025; form: this book.
    """
    return 2 - 2 / exponent(v=v, m=m, s=s)


def diverges(*, v: float, m: float, s: int) -> bool:
    """Return whether χ at ε* grows without bound with L: F′(p*)² ≥ s, equivalently ν ≤ 2.

    Source: this book, chapter *Phase transition*. Errors as :func:`exponent`.
    """
    slope, s = _slope_at_transition(v, m, s)
    return slope**2 >= s


def _tables(
    epsilon: Numbers, v: float, m: float, s: int, L: int
) -> tuple[Numbers, list[tuple[Numbers, Numbers, Numbers]]]:
    """Return P(root kept), and per level of parents 1 … L the law of two of its children.

    Of each law: P(both kept), P(a given one alone kept), P(neither), arrays with index 0 for a kept parent and 1
    for a changed one. A kept parent with messages p below writes a tuple that keeps the children in S with weight
    p^s if S is everything, else c p^|S| (1−p)^(s−|S|); a changed parent p^|S| (1−p)^(s−|S|), never everything.
    """
    L, (v, m, s, _, c) = checks.integer("L", L, low=1), _plain(v, m, s)
    p_up = beliefs(epsilon, v=v, m=m, s=s, L=L).up
    laws = []
    for p in p_up[:L]:
        every = p**2 * (1 - p ** (s - 2))                      # both kept, but not all s
        mixed = p * (1 - p)
        norm = np.stack([p**s + c * (1 - p**s), np.maximum(1 - p**s, 1e-300)])
        both = np.stack([p**s + c * every, every]) / norm
        one = np.stack([c * mixed, mixed]) / norm
        laws.append((both, one, 1 - both - 2 * one))
    return p_up[L], laws


def survival(epsilon: Numbers, *, v: float, m: float, s: int, L: int) -> Numbers:
    """Return the probability that a U-turn keeps a node of level l, given that it keeps or changes the class.

    In the mean field "kept" and "changed" form a two-state Markov chain down the tree.

    Explained in the chapter *Phase transition*; source: this book, after Sclocchi, Favero, Levi, Wyart 2025.

    Parameters
    ----------
    epsilon
        Noise in [0, 1], any shape.
    v, m, s, L
        Parameters of the grammar.

    Returns
    -------
    array ``(2, L + 1, *shape of ε)``
        Index 0: given that the class is kept, 1: given that it is changed; then the level, 0 the leaves.

    Raises
    ------
    ValueError
        As :func:`beliefs`.
    """
    root, laws = _tables(epsilon, v, m, s, L)
    out = [np.stack([np.ones_like(root), np.zeros_like(root)])]
    for both, one, _ in reversed(laws):
        turn = both + one                                      # P(child kept | parent kept), P(… | changed)
        out.append(out[-1] * turn[0] + (1 - out[-1]) * turn[1])
    return np.stack(out[::-1], axis=1)


def correlations(epsilon: Numbers, *, v: float, m: float, s: int, L: int) -> Numbers:
    """Return C_l, the covariance of "kept" (+1) and "changed" (−1) of two leaves whose common ancestor is at level l.

    The mean field of :func:`survival`, with the root kept with probability p_L.

    Explained in the chapter *Phase transition*; source: this book, after Sclocchi, Favero, Levi, Wyart 2025.

    Parameters
    ----------
    epsilon
        Noise in [0, 1], any shape.
    v, m, s, L
        Parameters of the grammar.

    Returns
    -------
    array ``(L + 1, *shape of ε)``
        C_0 is the variance of one leaf.

    Raises
    ------
    ValueError
        As :func:`beliefs`.
    """
    root, laws = _tables(epsilon, v, m, s, L)
    given = survival(epsilon, v=v, m=m, s=s, L=L)
    kept = root * given[0] + (1 - root) * given[1]
    mean = 2 * kept[0] - 1
    out = [1 - mean**2]
    below = np.stack([np.ones_like(root), -np.ones_like(root)])    # mean σ of a leaf below a kept, a changed node
    for level, (both, one, none) in enumerate(laws, start=1):
        pair = both * below[0] ** 2 + 2 * one * below[0] * below[1] + none * below[1] ** 2
        out.append(kept[level] * pair[0] + (1 - kept[level]) * pair[1] - mean**2)
        below = (both + one) * below[0] + (1 - both - one) * below[1]
    return np.stack(out)


def susceptibility(epsilon: Numbers, *, v: float, m: float, s: int, L: int) -> Numbers:
    """Return χ = Σ_j C_ij / C_ii = 1 + Σ_l (s − 1) s^(l−1) C_l / C_0 of the mean field, shape of ε.

    NaN at ε = 0, where nothing changes.

    Explained in the chapter *Phase transition*; source: Sclocchi, Favero, Levi, Wyart 2025 (χ); recursion: this
    book. Errors as :func:`correlations`.
    """
    L, (v, m, s, *_) = checks.integer("L", L, low=1), _plain(v, m, s)
    C = correlations(epsilon, v=v, m=m, s=s, L=L)
    pairs = np.array([1.0] + [(s - 1) * s ** (level - 1) for level in range(1, L + 1)])
    with np.errstate(invalid="ignore"):
        return np.tensordot(pairs, C, axes=1) / C[0]
