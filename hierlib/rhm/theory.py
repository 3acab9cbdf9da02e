r"""Closed forms: mean field of belief propagation in the ε-process, and the sample complexity of learning the rules.

**Mean field.** p is the belief a message puts on the true value, (1 − p)/(v − 1) on each other. With

    φ = (m v − 1)/(v^s − 1),   c = (m − 1)/(v^s − 1)

(the chance that a wrong tuple is a rule at all, and a rule of the true parent) averaging over random rules gives
the upward map F below. Functions take the parameters by name, and numbers or numpy arrays.

**Sample complexity**: how large the correlations are, and how many strings show them. A tuple μ written by a level-k
symbol and a token ν below a sibling of that symbol are correlated through their common ancestor at level k + 1.
Tuples of one symbol ("synonyms") have the same covariances, so these tell synonyms apart from other tuples once they
stand out of the sampling noise. To leading order in 1/v, for any s, with f = m/v^(s−1) and the common ancestor at the
root (uniform):

1. Two siblings. P(a, b) = N(a, b)/(v m), where N counts the v m rules that hold a and b at the two places, out of
   v^(s−2) of v^s tuples: hypergeometric, mean m/v, variance (m/v)(1 − f). So Var C(a, b) = (1 − f)/(v³ m).
2. One level down. C(a, c) = Σ_b C(a, b) n_b(c)/m, where n_b(c) of the m rules of b hold c at the place. As
   Σ_b C(a, b) = 0, only Var n_b − Cov(n_b, n_b') = m/v counts: Var C(a, c) = v Var C(a, b) m/(v m²), less by m.
3. From a symbol to one of its m equally likely rules: C(μ, ·) = C(a, ·)/m, variance less by m².

Hence (1 − f)/(v³ m^(k+3)) for a tuple and a token k levels below the sibling (and (1 − f)/(v³ m^(2l−1)) for two
tokens). The empirical P̂(μ, ν) of P strings has variance P(μ) P(ν)/P = 1/(v² m P); the two are equal at
P = v m^(k+2)/(1 − f). The mean squared distance of the covariances of synonyms, over that of other tuples, is
R = 1/(1 + P/P*).

At finite v centring takes away about a share (k + 2)/v. Where the common ancestor lies j levels below the root it
is not uniform: the relative variance of its probabilities obeys x_0 = 0, x_(j+1) = (1 − f + x_j)/m, and 1 − f in
step 1 becomes 1 − f + x_j = (1 − f)(1 + 1/m + … + 1/m^j). Statistics that are pooled over the s^j nodes of a string at
this depth see the mean of their laws: the parts in which these differ are averaged, x̄_(j+1) = (1 − f + x̄_j)/(s m), as
the s places of a rule are nearly independent, which leaves (1 − f)(1 + 1/(s m) + … + 1/(s m)^j).

Sources: Sclocchi, Favero, Wyart 2024 (maps and ν, derived anew in the chapter *Phase transition*, as the paper's
body was not at hand); Sclocchi, Favero, Levi, Wyart 2025 (dynamical correlations). Favero, Sclocchi, Cagnetta,
Frossard, Wyart 2025 (tuples and tokens; polynomial in m), Cagnetta, Wyart 2024 (two tokens), Korchinski, Favero,
Wyart 2026 (latent contexts), all derived anew for the chapter *Hierarchical clustering*. The closed forms, the window
of existence, the duality, the criterion of divergence and the factor of depth are this book's.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import bisect, brentq

from hierlib.lab import checks
from hierlib.lab.types import Numbers

__all__ = [
    "Beliefs", "Lists", "Transition", "beliefs", "correlation_exponent", "correlations", "covariance_variance",
    "downward_map", "exponent", "latent_sample_complexity", "masking_limit", "sample_complexity", "sampling_variance",
    "survival", "susceptibility", "transition", "upward_map", "upward_slope", "window",
]


class Transition(NamedTuple):
    """Unstable fixed point p* of the upward map, and the noise ε* whose leaves start there."""

    p_star: float
    eps_star: float


class Lists(NamedTuple):
    """Masked fraction ε* above which deep trees lose their class, and growth Λ per level of a deviation from it."""

    eps_star: float
    growth: float


class Beliefs(NamedTuple):
    """Mean-field belief in the true value per level 0 … L; each of the three is an array ``(L + 1, *shape of ε)``."""

    up: Numbers
    down: Numbers
    marginal: Numbers


def _plain(v: float, m: float, s: int) -> tuple[float, float, int, float, float, float]:
    """Return v, m and s as plain numbers, f, φ and c. Real v and m are allowed: all is smooth in both."""
    s, v = checks.integer("s", s, low=2), checks.real("v", v, low=2.0)
    m = checks.real("m", m, low=1.0, high=v ** (s - 1))
    return v, m, s, m / v ** (s - 1), (m * v - 1) / (v**s - 1), (m - 1) / (v**s - 1)


def _array(name: str, values: Numbers, allowed: str, right: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    checks.require(bool(np.all(right(values))), name, values, allowed)
    return values


def upward_map(p: Numbers, *, v: float, m: float, s: int) -> Numbers:
    """Return F(p) = [(1 − c) p^s + c] / [(1 − φ) p^s + φ], the belief one level up.

    Fixed points: p = 1 (the class is known), p = 1/v (it is lost) and, between them, p* of :func:`transition`.
    Source: after Sclocchi, Favero, Wyart 2024.

    Raises
    ------
    ValueError
        For p < 0, v < 2, m outside [1, v^(s−1)], or s that is no integer ≥ 2.
    """
    *_, s, _, phi, c = _plain(v, m, s)
    power = _array("p", p, "non-negative", lambda p: p >= 0) ** s
    return ((1 - c) * power + c) / ((1 - phi) * power + phi)


def upward_slope(p: Numbers, *, v: float, m: float, s: int) -> Numbers:
    """Return F′(p) = s p^(s−1) (φ − c) / [(1 − φ) p^s + φ]²; errors as :func:`upward_map`. Source: its derivative."""
    (*_, s, _, phi, c), p = _plain(v, m, s), np.asarray(p, dtype=float)
    return s * p ** (s - 1) * (phi - c) / ((1 - phi) * p**s + phi) ** 2


def downward_map(q: Numbers, p: Numbers, *, v: float, m: float, s: int) -> Numbers:
    """Return the downward belief of a child whose parent has downward belief q and whose siblings send up p.

    With a = p^(s−1) and k = ((m − 1) q + m (1 − q))/(m v − 1): (q a + φ k (1 − a)) / (q a + φ k (v − a)).
    Errors as :func:`upward_map`. Source: after Sclocchi, Favero, Wyart 2024.
    """
    v, m, s, _, phi, _ = _plain(v, m, s)
    q, a = np.asarray(q, dtype=float), np.asarray(p, dtype=float) ** (s - 1)
    k = ((m - 1) * q + m * (1 - q)) / (m * v - 1)
    return (q * a + phi * k * (1 - a)) / (q * a + phi * k * (v - a))


def beliefs(epsilon: Numbers, *, v: float, m: float, s: int, L: int) -> Beliefs:
    """Return the mean-field belief in the true value at every level of a tree in the ε-process.

    Source: Sclocchi, Favero, Wyart 2024.

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
    epsilon = _array("epsilon", epsilon, "in [0, 1]", lambda e: (e >= 0) & (e <= 1))
    up, down = [1 - epsilon + epsilon / v], [np.full_like(epsilon, 1 / v)]
    for _ in range(L):
        up.append(upward_map(up[-1], v=v, m=m, s=s))
    for p in up[-2::-1]:
        down.append(downward_map(down[-1], p, v=v, m=m, s=s))
    p, q = np.stack(up), np.stack(down[::-1])
    return Beliefs(p, q, p * q / (p * q + (1 - p) * (1 - q) / (v - 1)))


def window(*, v: float, s: int) -> tuple[float, float]:
    """Return the open interval of m in which the mean field has a transition.

    Both p = 1 and p = 1/v must be stable: s (v−1) v^(s−1)/(v^s − 1) < m < (v^s − 1)/(s (v − 1)). The two ends
    multiply to v^(s−1), as the duality m -> v^(s−1)/m demands. The interval is empty (low ≥ high) for small v and
    large s. Errors as :func:`upward_map`. Source: the slopes of :func:`upward_map`, in no paper.
    """
    v, _, s, *_ = _plain(v, 1, s)
    high = (v**s - 1) / (s * (v - 1))
    return v ** (s - 1) / high, high


def transition(*, v: float, m: float, s: int) -> Transition | None:
    """Return the transition (p*, ε*) of the mean field, or None where there is none.

    p* solves (1 − φ) p^(s+1) − (1 − c) p^s + φ p − c = 0. By Descartes' rule this has at most three positive
    roots; 1 and 1/v are two of them, so p* is unique. For s = 2 it is (m − 1)/(v − m), else found by bisection of
    F(p)/p, a ratio of positive sums, in ln p. Leaves start at p₀ = 1 − ε + ε/v, so ε* = (1 − p*) v/(v − 1).

    Errors as :func:`upward_map`. Source: Sclocchi, Favero, Wyart 2024 (p* exists, ε*).

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

    def excess(log_p: float) -> float:
        return float(upward_map(math.exp(log_p), v=v, m=m, s=s)) / math.exp(log_p) - 1

    ends = 1e-7 - math.log(v), -1e-7
    if s == 2:
        p_star = (m - 1) / (v - m)
    elif excess(ends[0]) < 0 < excess(ends[1]):
        p_star = math.exp(brentq(excess, *ends, xtol=1e-15, rtol=1e-14))
    else:                                         # so close to an end of the window that p* is at a phase
        return None
    return Transition(p_star, (1 - p_star) * v / (v - 1))


def exponent(*, v: float, m: float, s: int) -> float:
    """Return ν = ln s / ln F′(p*): the correlation length ξ, in leaves, diverges as the power −ν of ε − ε*.

    The susceptibility at ε* grows without bound with L where ν ≤ 2, that is F′(p*)² ≥ s. Source: after Sclocchi,
    Favero, Wyart 2024.

    Raises
    ------
    ValueError
        Where there is no transition, or as :func:`upward_map`.
    """
    found, (v, m, s, *_) = transition(v=v, m=m, s=s), _plain(v, m, s)
    low, high = window(v=v, s=s)
    checks.require(found is not None, "(v, m, s)", (v, m, s), f"inside the window of existence, {low:g} < m < {high:g}")
    return math.log(s) / math.log(upward_slope(found.p_star, v=v, m=m, s=s))


def correlation_exponent(*, v: float, m: float, s: int) -> float:
    """Return 2 − 2/ν, the exponent of C(r) ~ r^−(2−2/ν) at ε*; errors as :func:`exponent`.

    Source: after Sclocchi, Favero, Levi, Wyart 2025.
    """
    return 2 - 2 / exponent(v=v, m=m, s=s)


def masking_limit(mu: float, *, s: int) -> Lists:
    """Return threshold and growth for masked leaves in the limit of many symbols, v → ∞ with m = v^(μ(s−1)).

    An upward message is a list of v^κ symbols that are still possible: κ = 1 for a masked leaf, 0 for one that is seen.
    Children with κ_1 … κ_s leave v^(Σκ) tuples, a share v^(−(s−1)(1−μ)) of which has a parent, so that for the parent
    κ = min(1, max(0, Σκ_j − (s−1)(1−μ))). This is iterated on the law of κ, on multiples of 1/60. Λ is s times the
    second eigenvalue of the step from the κ of one child to that of its parent. Source: this book.

    Parameters
    ----------
    mu
        ln m/ln v^(s−1) in [0, 1], rounded to a multiple of 1/60. Duality: ε*(1 − μ) = 1 − ε*(μ), the same Λ.
    s
        Branching.

    Returns
    -------
    Lists
        ``eps_star`` and ``growth``; this is NaN for μ so close to an end that no law is found between the phases.

    Raises
    ------
    ValueError
        For μ outside [0, 1], or s that is no integer ≥ 2.
    """
    s, mu, N = checks.integer("s", s, low=2), checks.real("mu", mu, 0.0, 1.0), 60
    shift = (s - 1) * (N - round(mu * N))

    def step(known: Numbers, P: Numbers, children: int) -> Numbers:
        for _ in range(children):
            known = np.convolve(known, P)
        return np.bincount(np.clip(np.arange(len(known)) - shift, 0, N), known, N + 1)

    def path(eps: float, levels: int) -> list[Numbers]:
        P = [np.bincount([0, N], [1 - eps, eps])]
        while len(P) <= levels and max(P[-1][0], P[-1][-1]) < 1 - 1e-6:
            P.append(step(np.ones(1), P[-1] / P[-1].sum(), s))
        return P

    eps_star = bisect(lambda eps: np.diff(path(eps, 400)[-1][[0, -1]])[0], 0.0, 1.0, xtol=1e-15)
    P = min(path(eps_star, 60), key=lambda P: abs(step(np.ones(1), P, s) - P).max())
    rates = np.linalg.eigvals(np.stack([step(one, P, s - 1) for one in np.eye(N + 1)])[np.ix_(P > 0, P > 0)])
    growth = s * float(np.sort(abs(rates))[-2:][0])
    return Lists(eps_star, growth if growth > 1 else math.nan)                 # at a phase, deviations shrink


def _family(epsilon: Numbers, v: float, m: float, s: int, L: int) -> tuple[Numbers, list[tuple[Numbers, ...]]]:
    """Return P(root kept), and per level of parents 1 … L the law of two of its children.

    Of each law: P(both kept), P(a given one alone kept), P(neither), arrays with index 0 for a kept parent and 1
    for a changed one. A kept parent with messages p below writes a tuple that keeps the children in S with weight
    p^s if S is everything, else c p^|S| (1−p)^(s−|S|); a changed parent p^|S| (1−p)^(s−|S|), never everything.
    """
    *p_up, root = beliefs(epsilon, v=v, m=m, s=s, L=L).up
    (*_, s, _, _, c), laws = _plain(v, m, s), []
    for p in p_up:
        every = p**2 * (1 - p ** (s - 2))                      # both kept, but not all s
        mixed = p * (1 - p)
        norm = np.stack([p**s + c * (1 - p**s), np.maximum(1 - p**s, 1e-300)])
        both = np.stack([p**s + c * every, every]) / norm
        one = np.stack([c * mixed, mixed]) / norm
        laws.append((both, one, 1 - both - 2 * one))
    return root, laws


def survival(epsilon: Numbers, *, v: float, m: float, s: int, L: int) -> Numbers:
    """Return the probability that a U-turn keeps a node of level l, given that it keeps or changes the class.

    In the mean field "kept" and "changed" form a two-state Markov chain down the tree. Parameters and errors as
    :func:`beliefs`. Source: after Sclocchi, Favero, Levi, Wyart 2025.

    Returns
    -------
    array ``(2, L + 1, *shape of ε)``
        Index 0: given that the class is kept, 1: given that it is changed; then the level, 0 the leaves.
    """
    root, laws = _family(epsilon, v, m, s, L)
    out = [np.stack([np.ones_like(root), np.zeros_like(root)])]
    for both, one, _ in reversed(laws):
        turn = both + one                                      # P(child kept | parent kept), P(… | changed)
        out.append(out[-1] * turn[0] + (1 - out[-1]) * turn[1])
    return np.stack(out[::-1], axis=1)


def correlations(epsilon: Numbers, *, v: float, m: float, s: int, L: int) -> Numbers:
    """Return C_l, the covariance of "kept" (+1) and "changed" (−1) of two leaves whose common ancestor is at level l.

    The mean field of :func:`survival`, with the root kept with probability p_L. Array ``(L + 1, *shape of ε)``; C_0 is
    the variance of one leaf. Parameters and errors as :func:`beliefs`. Source: after Sclocchi, Favero, Levi, Wyart
    2025.
    """
    root, laws = _family(epsilon, v, m, s, L)
    given = survival(epsilon, v=v, m=m, s=s, L=L)
    kept = root * given[0] + (1 - root) * given[1]
    mean = 2 * kept[0] - 1
    out = [1 - mean**2]
    below = np.stack([np.ones_like(root), -np.ones_like(root)])    # mean σ of a leaf below a kept, a changed node
    for at_level, (both, one, none) in zip(kept[1:], laws, strict=True):
        pair = both * below[0] ** 2 + 2 * one * below[0] * below[1] + none * below[1] ** 2
        out.append(at_level * pair[0] + (1 - at_level) * pair[1] - mean**2)
        below = (both + one) * below[0] + (1 - both - one) * below[1]
    return np.stack(out)


def susceptibility(epsilon: Numbers, *, v: float, m: float, s: int, L: int) -> Numbers:
    """Return χ = Σ_j C_ij / C_ii = 1 + Σ_l (s − 1) s^(l−1) C_l / C_0 of the mean field, shape of ε.

    NaN at ε = 0, where nothing changes. Errors as :func:`correlations`. Source: Sclocchi, Favero, Levi, Wyart 2025.
    """
    C, (_, _, s, *_) = correlations(epsilon, v=v, m=m, s=s, L=L), _plain(v, m, s)
    pairs = np.array([1.0] + [(s - 1) * s**below for below in range(len(C) - 1)])
    with np.errstate(invalid="ignore"):
        return np.tensordot(pairs, C, axes=1) / C[0]


def _level(name: str, level: int, v: float, m: float, s: int, below: int = 0) -> tuple[int, float, float, float]:
    """Return level, v, m and 1 − f, this times 1 + 1/m + … + 1/m^below."""
    level, (v, m, s, f, *_) = checks.integer(name, level, low=1), _plain(v, m, s)
    depths = range(checks.integer("below", below, low=0) + 1)
    return level, v, m, (1 - f) * sum(m**-j for j in depths)


def covariance_variance(k: int, *, v: float, m: float, s: int, below: int = 0) -> float:
    """Return Var C(μ, ν) = (1 − f)/(v³ m^(k+3)): a tuple of a level-k symbol, and a token below its sibling.

    The variance is over grammars (or over tuples and tokens of a large one), C(μ, ν) = P(μ, ν) − P(μ) P(ν).
    For a context of k' levels below the sibling instead of a token, put k' for k: 1 for latent contexts.
    Source: after Favero et al. 2025.

    Parameters
    ----------
    k
        Level of the symbol that writes the tuple, ≥ 1.
    v, m, s
        Parameters of the grammar.
    below
        Levels j of the common ancestor below the root: a factor 1 + 1/m + … + 1/m^j.

    Raises
    ------
    ValueError
        For k < 1, v < 2, m outside [1, v^(s−1)], s that is no integer ≥ 2, or negative `below`.
    """
    k, v, m, rest = _level("k", k, v, m, s, below)
    return rest / (v**3 * m ** (k + 3))


def sampling_variance(P: Numbers, *, v: float, m: float, s: int) -> Numbers:
    """Return 1/(v² m P), the variance of the empirical P̂(μ, ν) of P strings about its mean, shape of P.

    Source: Favero et al. 2025.

    Raises
    ------
    ValueError
        For P ≤ 0, or as :func:`covariance_variance`.
    """
    v, m, *_ = _plain(v, m, s)
    return 1 / (v**2 * m * _array("P", P, "positive", lambda P: P > 0))


def sample_complexity(level: int, *, v: float, m: float, s: int, below: int = 0) -> float:
    """Return P*_l, the number of strings from which the rules of level l can be learnt through token contexts.

    P*_1 = v m, as the tuples of tokens need only be seen (for all of them to be, a factor ln(v m) more). For l ≥ 2
    the tuples below must first be grouped into synonyms, by their covariances with tokens:
    P*_l = v m^(l+1)/(1 − f), where the variances of :func:`covariance_variance` (k = l − 1) and
    :func:`sampling_variance` are equal. This is for level l at the root. Below it a string has s^below nodes of the
    level, and statistics that do not tell them apart have so many times the data; averaged over the nodes, the signal
    is stronger by 1 + 1/(s m) + … + 1/(s m)^below. Both divide P*_l; s^below alone divides P*_1. Source: after Favero
    et al. 2025; `below` is this book's.

    Raises
    ------
    ValueError
        For a level below 1, m = v^(s−1) at levels ≥ 2 (there are no correlations), or as
        :func:`covariance_variance`.

    Examples
    --------
    >>> [round(sample_complexity(l, v=12, m=3, s=2)) for l in (1, 2, 3)]
    [36, 432, 1296]
    >>> [round(sample_complexity(l, v=12, m=3, s=2, below=3 - l)) for l in (1, 2, 3)]
    [9, 185, 1296]
    """
    (level, v, m, _), s, below = _level("level", level, v, m, s, below), int(s), int(below)
    pooled = s**below * sum((s * m) ** -j for j in range(below + 1))
    return v * m / s**below if level == 1 else latent_sample_complexity(v=v, m=m, s=s) * m ** (level - 2) / pooled


def latent_sample_complexity(*, v: float, m: float, s: int) -> float:
    """Return v m³/(1 − f), the same for all levels: contexts are the symbols that write the sibling's tuple.

    Symbols of level k − 1 found before take the place of tokens, which are k levels down, so one power of m per
    level is saved; at level 2 the two are one and the same. Source: Korchinski, Favero, Wyart 2026.

    Raises
    ------
    ValueError
        For m = v^(s−1), or as :func:`covariance_variance`.
    """
    v, m, s, f, *_ = _plain(v, m, s)
    checks.require(f < 1, "m", m, f"below v^(s−1) = {v ** (s - 1):g}: where every tuple is a rule, siblings are "
                   "independent and contexts tell nothing")
    return v * m**3 / (1 - f)
