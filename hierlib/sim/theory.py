"""Closed forms of the structured identity mapping: when each concept is learned, and how high the swing-by goes.

The data have the second moment A = diag(a). One layer x ↦ Wx learns at the rates a_k. Two tied layers x ↦ UUᵀx, whose
W = UUᵀ obeys in V time (twice the time of gradient flow)

    dW/dt = V(W) = WA + AW − ½(AW² + W²A + 2WAW),

have no closed form, but a cousin that differs from them by a double commutator has, dW/dt = V(W) + ½[[A, W], W]: a
Riccati equation. In it, and in the two-layer model up to a small error, concept k is learned as a logistic of rate 2a_k
that starts at S_k, the part of W_kk(0) that the stronger concepts do not explain (a Schur complement). Two concepts
alone, with their swing-by, are in :mod:`hierlib.sim.two_concepts`.

Source: Yang et al. 2025 for the models and their stages, this book for the closed forms of two layers.
"""

import torch
from scipy.special import betainc

from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor
from hierlib.sim.flow import fitting

__all__ = ["correlation_tail", "learning_times", "schur"]

# ---------------------------------------------------------------------------------------------- learning times

def schur(W0: Float[Tensor, "... d d"], a: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    """Return S_k, the Schur complement of W_kk(0) on all coordinates of larger a: S_k = W_kk − W_kG W_GG⁻¹ W_Gk.

    It is the squared length of what remains of row k of U after projecting out the rows of the stronger concepts, so
    that 0 < S_k ≤ W_kk; without stronger coordinates, or for a diagonal W(0), it is W_kk. Coordinates of equal a do
    not condition each other. Source: this book.

    Raises
    ------
    ValueError
        For a W(0) that is not symmetric and positive definite (a direction in the null space of W is never learned),
        a negative a, or shapes that do not match.
    """
    W0, a = fitting("W0", W0, a, square=True)
    good = torch.isfinite(W0).all() and torch.allclose(W0, W0.mT, rtol=1e-6, atol=0)
    checks.require(bool(good and not torch.linalg.cholesky_ex(W0).info.any()), "W0", W0,
                   "finite, symmetric and positive definite: what lies in its null space is never learned")
    stronger = a[..., None, :] > a[..., :, None]                                            # (…, k, i): i acts on k
    inside = stronger[..., :, None] & stronger[..., None, :]                                # (…, k, i, j)
    W_GG = torch.where(inside, W0[..., None, :, :], torch.eye(a.shape[-1], dtype=W0.dtype, device=W0.device))
    W_kG = torch.where(stronger, W0, 0.0)                                                   # (…, k, i)
    return W0.diagonal(dim1=-2, dim2=-1) - (W_kG * torch.linalg.solve(W_GG, W_kG)).sum(-1)


def learning_times(W0: Float[Tensor, "... d d"], a: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    """Return t_k = ln(1/S_k − 1)/(2a_k), when W_kk reaches ½ with two layers, in V time; gradient time is half of it.

    S_k is the Schur complement of :func:`schur`. Exact for a diagonal W(0), and for the Riccati flow when the learning
    of the concepts is well separated; 0 for S_k ≥ ½, infinite where a_k = 0. Source: this book. ValueError as
    :func:`schur`.
    """
    S = schur(W0, a)
    return torch.where(S < 0.5, -torch.logit(S.clamp(max=0.5)) / (2 * a.to(S.device)), 0.0)


# ------------------------------------------------------------------------------------------- Gaussian start

def correlation_tail(rho: float, width: int) -> float:
    """Return P(w_ij/√(w_ii w_jj) > `rho`) for a Gaussian U of `width` columns, ½I_{1−ρ²}((d′ − 1)/2, ½) for ρ ≥ 0.

    With the critical ρ of the phase diagram, an estimate of the share of starts that swing by. Source: this book.
    ValueError for ρ outside [−1, 1] or a width below 2.
    """
    rho, n = checks.real("rho", rho, -1.0, 1.0), checks.integer("width", width, low=2)
    tail = float(betainc((n - 1) / 2, 0.5, 1 - rho**2)) / 2
    return tail if rho >= 0 else 1 - tail
