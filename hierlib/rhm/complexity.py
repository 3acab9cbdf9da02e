r"""Sample complexity of the Random Hierarchy Model: how large the correlations are, and how many strings show them.

A tuple μ written by a level-k symbol and a token ν below a sibling of that symbol are correlated through their
common ancestor at level k + 1. Tuples of one symbol ("synonyms") have the same covariances, so these tell
synonyms apart from other tuples once they stand out of the sampling noise. To leading order in 1/v, for any s, with
f = m/v^(s−1) and the common ancestor at the root (uniform):

1. Two siblings. P(a, b) = N(a, b)/(v m), where N counts the v m rules that hold a and b at the two places, out of
   v^(s−2) of v^s tuples: hypergeometric, mean m/v, variance (m/v)(1 − f). So Var C(a, b) = (1 − f)/(v³ m).
2. One level down. C(a, c) = Σ_b C(a, b) n_b(c)/m, where n_b(c) of the m rules of b hold c at the place. As
   Σ_b C(a, b) = 0, only Var n_b − Cov(n_b, n_b') = m/v counts: Var C(a, c) = v Var C(a, b) m/(v m²), less by m.
3. From a symbol to one of its m equally likely rules: C(μ, ·) = C(a, ·)/m, variance less by m².

Hence (1 − f)/(v³ m^(k+3)) for a tuple and a token k levels below the sibling, and (1 − f)/(v³ m^(2l−1)) for two
tokens. The empirical P̂(μ, ν) of P strings has variance P(μ) P(ν)/P = 1/(v² m P); the two are equal at
P = v m^(k+2)/(1 − f). The mean squared distance of the covariances of synonyms, over that of other tuples, is
R = 1/(1 + P/P*).

At finite v centring takes away about a share (k + 2)/v. Where the common ancestor lies j levels below the root it
is not uniform: the relative variance of its probabilities obeys x_0 = 0, x_(j+1) = (1 − f + x_j)/m, and 1 − f in
step 1 becomes 1 − f + x_j = (1 − f)(1 + 1/m + … + 1/m^j).

Sources: Favero, Sclocchi, Cagnetta, Frossard, Wyart 2025 (tuples and tokens; polynomial in m), Cagnetta, Wyart
2024 (two tokens), Korchinski, Favero, Wyart 2026 (latent contexts). All is derived anew for the chapter
*Hierarchical clustering*; the factor of depth is this book's.
"""

import numpy as np

from hierlib.lab import checks
from hierlib.lab.types import Numbers

__all__ = [
    "covariance_variance", "latent_sample_complexity", "sample_complexity", "sampling_variance",
    "token_covariance_variance",
]


def _density(v: float, m: float, s: int) -> tuple[float, float, float]:
    """Return v, m and f = m/v^(s−1). Real v and m are allowed, as in the mean field."""
    s, v = checks.integer("s", s, low=2), checks.real("v", v, low=2.0)
    m = checks.real("m", m, low=1.0, high=v ** (s - 1))
    return v, m, m / v ** (s - 1)


def _below_full(v: float, m: float, s: int) -> tuple[float, float, float]:
    v, m, f = _density(v, m, s)
    checks.require(f < 1, "m", m, f"below v^(s−1) = {v ** (s - 1):g}: where every tuple is a rule, siblings are "
                   "independent and contexts tell nothing")
    return v, m, f


def _depth_factor(m: float, below: int) -> float:
    below = checks.integer("below", below, low=0)
    return sum(m**-i for i in range(below + 1))


def covariance_variance(k: int, *, v: float, m: float, s: int, below: int = 0) -> float:
    """Return Var C(μ, ν) = (1 − f)/(v³ m^(k+3)): a tuple of a level-k symbol, and a token below its sibling.

    The variance is over grammars (or over tuples and tokens of a large one), C(μ, ν) = P(μ, ν) − P(μ) P(ν).
    For a context of k' levels below the sibling instead of a token, put k' for k: 1 for latent contexts.

    Explained in the chapter *Hierarchical clustering*; source: after Favero et al. 2025, derived there anew.

    Parameters
    ----------
    k
        Level of the symbol that writes the tuple, ≥ 1.
    v, m, s
        Parameters of the grammar.
    below
        Levels j of the common ancestor below the root: a factor 1 + 1/m + … + 1/m^j (this book).

    Raises
    ------
    ValueError
        For k < 1, v < 2, m outside [1, v^(s−1)], s that is no integer ≥ 2, or negative `below`.
    """
    k, (v, m, f) = checks.integer("k", k, low=1), _density(v, m, s)
    return (1 - f) / (v**3 * m ** (k + 3)) * _depth_factor(m, below)


def token_covariance_variance(l: int, *, v: float, m: float, s: int, below: int = 0) -> float:
    """Return Var C(ν, ν') = (1 − f)/(v³ m^(2l−1)) of two tokens whose common ancestor is at level l ≥ 1.

    Explained in the chapter *Hierarchical clustering*; source: Cagnetta, Wyart 2024. `below` and errors as
    :func:`covariance_variance`.
    """
    l, (v, m, f) = checks.integer("l", l, low=1), _density(v, m, s)
    return (1 - f) / (v**3 * m ** (2 * l - 1)) * _depth_factor(m, below)


def sampling_variance(P: Numbers, *, v: float, m: float, s: int) -> Numbers:
    """Return 1/(v² m P), the variance of the empirical P̂(μ, ν) of P strings about its mean, shape of P.

    Explained in the chapter *Hierarchical clustering*; source: Favero et al. 2025.

    Raises
    ------
    ValueError
        For P ≤ 0, or as :func:`covariance_variance`.
    """
    (v, m, _), P = _density(v, m, s), np.asarray(P, dtype=float)
    checks.require(bool(np.all(P > 0)), "P", P, "positive")
    return 1 / (v**2 * m * P)


def sample_complexity(level: int, *, v: float, m: float, s: int) -> float:
    """Return P*_l, the number of strings from which the rules of level l can be learnt through token contexts.

    P*_1 = v m, as the tuples of tokens need only be seen (for all of them to be, a factor ln(v m) more). For l ≥ 2
    the tuples below must first be grouped into synonyms, by their covariances with tokens:
    P*_l = v m^(l+1)/(1 − f), where the variances of :func:`covariance_variance` (k = l − 1) and
    :func:`sampling_variance` are equal.

    Explained in the chapter *Hierarchical clustering*; source: after Favero et al. 2025, derived there anew.

    Raises
    ------
    ValueError
        For a level below 1, m = v^(s−1) at levels ≥ 2 (there are no correlations), or as
        :func:`covariance_variance`.

    Examples
    --------
    >>> [round(sample_complexity(l, v=12, m=3, s=2)) for l in (1, 2, 3)]
    [36, 432, 1296]
    """
    level = checks.integer("level", level, low=1)
    v, m, f = _density(v, m, s) if level == 1 else _below_full(v, m, s)
    return v * m if level == 1 else v * m ** (level + 1) / (1 - f)


def latent_sample_complexity(*, v: float, m: float, s: int) -> float:
    """Return v m³/(1 − f), the same for all levels: contexts are the symbols that write the sibling's tuple.

    Symbols of level k − 1 found before take the place of tokens, which are k levels down, so one power of m per
    level is saved; at level 2 the two are one and the same.

    Explained in the chapter *Hierarchical clustering*; source: Korchinski, Favero, Wyart 2026, derived there anew.

    Raises
    ------
    ValueError
        For m = v^(s−1), or as :func:`covariance_variance`.
    """
    v, m, f = _below_full(v, m, s)
    return v * m**3 / (1 - f)
