"""Closed forms of the structured identity mapping: when each concept is learned, and how high the swing-by goes.

The data have the second moment A = diag(a). One layer x ↦ Wx learns at the rates a_k. Two tied layers x ↦ UUᵀx, whose
W = UUᵀ obeys in V time (twice the time of gradient flow)

    dW/dt = V(W) = WA + AW − ½(AW² + W²A + 2WAW),

have no closed form, but a cousin that differs from them by a double commutator has, dW/dt = V(W) + ½[[A, W], W]: a
Riccati equation. In it, and in the two-layer model up to a small error, concept k is learned as a logistic of rate 2a_k
that starts at S_k, the part of W_kk(0) that the stronger concepts do not explain (a Schur complement). Two concepts
alone, with their swing-by, are in :mod:`hierlib.sim.pair`, offered here too.

Source: Yang et al. 2024 for the models and their stages, this book for the closed forms of two layers.
"""

import math
from typing import NamedTuple

import torch
from scipy.special import betainc

from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor
from hierlib.sim.pair import TwoConcepts, bump_law, loss_bump, minor_peak, two_concepts

__all__ = [
    "GaussianSignal", "TwoConcepts", "bump_law", "correlation_tail", "gaussian_signal", "gaussian_times", "half_time",
    "learning_times", "loss_bump", "minor_peak", "naive_times", "riccati", "riccati_field", "schur", "terminal_slope",
    "two_concepts",
]

# ---------------------------------------------------------------------------------------------- learning times

def half_time(a: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    """Return ln 2/a_k, when one layer has learned half of concept k in gradient time; infinite where a_k = 0.

    Explained in the chapter *SIM dynamics*; source: Yang et al. 2024, eq. 4.2. ValueError for a negative a.
    """
    return math.log(2) / _rates(a)


def schur(W0: Float[Tensor, "... d d"], a: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    """Return S_k, the Schur complement of W_kk(0) on all coordinates of larger a: S_k = W_kk − W_kG W_GG⁻¹ W_Gk.

    It is the squared length of what remains of row k of U after projecting out the rows of the stronger concepts, so
    that 0 < S_k ≤ W_kk; without stronger coordinates, or for a diagonal W(0), it is W_kk. Coordinates of equal a do
    not condition each other. Explained in the chapter *SIM dynamics*; source: this book.

    Raises
    ------
    ValueError
        For a W(0) that is not symmetric and positive definite (a direction in the null space of W is never learned),
        a negative a, or shapes that do not match.
    """
    a = _rates(a).to(W0.device)
    d = a.shape[-1]
    checks.require(W0.ndim >= 2 and W0.shape[-2:] == (d, d), "W0", tuple(W0.shape), f"of shape (…, {d}, {d}) as a is")
    checks.require(bool(torch.isfinite(W0).all()) and torch.allclose(W0, W0.mT, rtol=1e-6, atol=0), "W0", W0,
                   "finite and symmetric")
    checks.require(not torch.linalg.cholesky_ex(W0).info.any(), "W0", W0,
                   "positive definite: what lies in its null space is never learned")
    stronger = a[..., None, :] > a[..., :, None]                                            # (…, k, i): i acts on k
    inside = stronger[..., :, None] & stronger[..., None, :]                                # (…, k, i, j)
    W_GG = torch.where(inside, W0[..., None, :, :], torch.eye(d, dtype=W0.dtype, device=W0.device))
    W_kG = torch.where(stronger, W0, 0.0)                                                   # (…, k, i)
    return W0.diagonal(dim1=-2, dim2=-1) - (W_kG * torch.linalg.solve(W_GG, W_kG)).sum(-1)


def learning_times(W0: Float[Tensor, "... d d"], a: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    """Return t_k = ln(1/S_k − 1)/(2a_k), when W_kk reaches ½ with two layers, in V time; gradient time is half of it.

    S_k is the Schur complement of :func:`schur`. Exact for a diagonal W(0), and for the Riccati flow when the learning
    of the concepts is well separated; 0 for S_k ≥ ½, infinite where a_k = 0. Explained in the chapter *SIM dynamics*;
    source: this book. ValueError as :func:`schur`.
    """
    return _logistic_times(schur(W0, a), a)


def naive_times(W0: Float[Tensor, "... d d"], a: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    """Return ln(1/W_kk(0) − 1)/(2a_k), the learning times in V time of a flow without off-diagonal entries.

    Too early for weak concepts, whose head start the stronger ones take away: compare :func:`learning_times`.
    Explained in the chapter *SIM dynamics*; source: Yang et al. 2024, eq. 4.3, diagonal part alone. ValueError for a
    negative a or a diagonal that is not positive.
    """
    w = W0.diagonal(dim1=-2, dim2=-1)
    checks.require(bool((w > 0).all()), "W0", W0, "of positive diagonal")
    return _logistic_times(w, _rates(a))


def terminal_slope(a: Float[Tensor, "*batch d"], layers: int = 2) -> Float[Tensor, "*batch"]:
    """Return the slope of ln|dW/dt| at late times, ``-layers * a_1`` with a_1 the smallest positive a.

    One layer in gradient time: −a_1. Two layers in V time: −2a_1, as V(1 + E) = −(AE + EA) + O(E²). Explained in the
    chapter *SIM dynamics*; sources: Yang et al. 2024, eq. 4.2 (one layer), this book (two layers).

    Raises
    ------
    ValueError
        For a negative a, no positive a, or layers that are not 1 or 2.
    """
    a = _rates(a)
    checks.require(bool((a > 0).any(-1).all()), "a", a, "positive in one coordinate at least")
    return -checks.integer("layers", layers, 1, 2) * torch.where(a > 0, a, math.inf).amin(-1)


def _rates(a: Tensor) -> Tensor:
    checks.require(a.ndim > 0 and bool((a >= 0).all()) and bool(torch.isfinite(a).all()), "a", a,
                   "a vector of finite numbers of at least 0")
    return a


def _logistic_times(w: Tensor, a: Tensor) -> Tensor:
    """Return when a logistic of rate 2a that starts at `w` passes ½; 0 where it starts there or above."""
    return torch.where(w < 0.5, -torch.logit(w.clamp(max=0.5)) / (2 * a.to(w.device)), 0.0)


# ------------------------------------------------------------------------------------------- the solvable cousin

def riccati_field(W: Float[Tensor, "... d d"], a: Float[Tensor, "... d"]) -> Float[Tensor, "... d d"]:
    """Return dW/dt = AW + WA − 2WAW, the flow that :func:`riccati` solves; V(W) is it minus ½[[A, W], W].

    Explained in the chapter *SIM dynamics*; source: this book (dU/dt = (1 − UUᵀ)AU is Oja's flow). ValueError for a
    negative a.
    """
    a = _rates(a).to(W.device)
    AW = a[..., :, None] * W
    return AW + W * a[..., None, :] - 2 * W @ AW


def riccati(
    U0: Float[Tensor, "... d k"], a: Float[Tensor, "... d"], t: Float[Tensor, " T"]
) -> Float[Tensor, "T ... d d"]:
    """Return W(t) = e^{At}[W(0)⁻¹ + e^{2At} − 1]⁻¹e^{At} for W(0) = U₀U₀ᵀ, also where W(0) has no inverse.

    With rows sorted by falling a, U₀ = LQ (L lower triangular, L_kk² the Schur complements of :func:`schur`), and
    X = e^{At}Le^{−At}, N = (1 − e^{−2At})^{½}X,

        W = X (e^{−2At} + NᵀN)⁻¹ Xᵀ,

    by a QR factorisation of N on top of e^{−At}: X_ij ∝ e^{−(a_j−a_i)t}, i ≥ j, so that nothing overflows at late
    times, nothing cancels, and W is symmetric and positive semidefinite by construction. Explained in the chapter *SIM
    dynamics*; source: this book.

    Parameters
    ----------
    U0
        Weights at the start, any number k of columns; leading dimensions are replicas.
    a
        Second moments; leading dimensions broadcast with those of `U0`.
    t
        Times, in V time.

    Raises
    ------
    ValueError
        For a negative a or t, or shapes that do not match.
    """
    d = _rates(a).shape[-1]
    checks.require(U0.ndim >= 2 and U0.shape[-2] == d, "U0", tuple(U0.shape), f"of shape (…, {d}, k) as a is")
    checks.require(t.ndim == 1 and bool((t >= 0).all()) and bool(torch.isfinite(t).all()), "t", t,
                   "a vector of finite times of at least 0")
    batch = torch.broadcast_shapes(U0.shape[:-2], a.shape[:-1])
    a, order = a.to(U0).expand(*batch, d).sort(-1, descending=True)
    rows = U0.expand(*batch, -1, -1).gather(-2, order[..., None].expand(*batch, d, U0.shape[-1]))
    L = torch.linalg.qr(rows.mT, mode="r").R.mT                                             # (…, d, p), p = min(d, k)
    p = L.shape[-1]
    t = t.to(U0).view(-1, *[1] * L.ndim)
    gap = (a[..., None, :p] - a[..., :, None]).clamp(min=0)       # a_j − a_i; above the diagonal L is 0
    X = L * torch.exp(-gap * t)
    N = torch.sqrt(-torch.expm1(-2 * a[..., :, None] * t)) * X
    decay = torch.exp(-a[..., :p] * t[..., 0]).clamp(min=torch.finfo(L.dtype).tiny ** 0.5)
    R = torch.linalg.qr(torch.cat([N, torch.diag_embed(decay)], -2), mode="r").R            # RᵀR = e^{−2At} + NᵀN
    Y = torch.linalg.solve_triangular(R, X, upper=True, left=False)
    back = order.argsort(-1)[..., None].expand(Y.shape)
    Y = Y.gather(-2, back)
    return Y @ Y.mT


# ------------------------------------------------------------------------------------------- Gaussian start

class GaussianSignal(NamedTuple):
    """Entries of W = UUᵀ for a Gaussian U. Explained in the chapter *SIM dynamics*.

    Attributes
    ----------
    mean, std
        Of a diagonal entry.
    minor
        Standard deviation of an off-diagonal entry, whose mean is 0.
    rho
        Mean size E|ρ| of ρ = w_ij/√(w_ii w_jj).
    """

    mean: float
    std: float
    minor: float
    rho: float


def gaussian_signal(width: int, tau: float = 1.0) -> GaussianSignal:
    """Return mean and spread of the entries of UUᵀ for U of d′ = `width` columns, entries N(0, τ²).

    E w_ii = d′τ², E w_ij = 0; the minor entries are smaller by 1/√d′, so that the swing-by weakens with the width d′.
    Explained in the chapter *SIM dynamics*; sources: Yang et al. 2024, app. E.2 (means), this book (the rest).
    ValueError for a width below 1 or a negative tau.
    """
    n, s2 = checks.integer("width", width, low=1), checks.real("tau", tau, 0.0) ** 2
    rho = math.exp(math.lgamma(n / 2) - math.lgamma((n + 1) / 2)) / math.sqrt(math.pi)
    return GaussianSignal(n * s2, math.sqrt(2 * n) * s2, math.sqrt(n) * s2, rho)


def correlation_tail(rho: float, width: int) -> float:
    """Return P(w_ij/√(w_ii w_jj) > `rho`) for a Gaussian U of `width` columns, ½I_{1−ρ²}((d′ − 1)/2, ½) for ρ ≥ 0.

    With the critical ρ of the phase diagram, an estimate of the share of starts that swing by. Explained in the chapter
    *SIM dynamics*; source: this book. ValueError for ρ outside [−1, 1] or a width below 2.
    """
    rho, n = checks.real("rho", rho, -1.0, 1.0), checks.integer("width", width, low=2)
    tail = float(betainc((n - 1) / 2, 0.5, 1 - rho**2)) / 2
    return tail if rho >= 0 else 1 - tail


def gaussian_times(a: Float[Tensor, "*batch d"], width: int, tau: float) -> Float[Tensor, "*batch d"]:
    """Return the mean learning times −E ln S_k/(2a_k) in V time of a Gaussian U with `width` columns, as `tau` → 0.

    S_k is τ² times a χ² variable of d′ − n_k degrees of freedom, with n_k the number of coordinates of larger a
    (Bartlett's decomposition of a Wishart matrix). Explained in the chapter *SIM dynamics*; source: this book.
    ValueError for a width below d, a negative a, or a tau that is not positive.
    """
    n, tau = checks.integer("width", width, low=_rates(a).shape[-1]), checks.positive("tau", tau)
    free = n - (a[..., None, :] > a[..., :, None]).sum(-1)
    return -(math.log(2 * tau**2) + torch.digamma(free.to(a) / 2)) / (2 * a)
