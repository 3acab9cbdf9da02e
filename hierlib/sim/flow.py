"""Training of linear networks on the identity mapping as a flow: one layer in closed form, two layers by integration.

With A = diag(a) the second moment of the data, the loss of f(x) = W x is L(W) = ½ ‖(W − I) A^½‖². The gradient flow of

    one layer, W free           dW/dt = (I − W) A
    two layers, W = U Uᵀ        dU/dt = A U − ½ (A W U + W A U)        in V-time

and the second makes dW/dt = V(W) = W A + A W − ½ (A W² + W² A + 2 W A W). The exact gradient of L by U is twice this:
dW/dt = 2 V(W), so that V-time is 2 × gradient time. It is U that is integrated: then W stays positive semi-definite.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor
from hierlib.sim.task import Task

__all__ = ["Trajectory", "field", "flow", "loss", "one_layer", "ood_loss", "ood_slope", "output", "terms"]

State = list[Tensor]                       # matrices that flow together, each (…, rows, columns)


class Trajectory(NamedTuple):
    """The map W along a flow of any number of networks.

    Parameters
    ----------
    t
        Times of the records, ``(T,)``, in the unit of the flow, on the CPU.
    W
        The maps, ``(T, …, d, d)``; None where something else was recorded.
    record
        What was recorded in its place, ``(T, …)``; else None.
    factors
        The last factors, from which the flow can be continued: ``[U]``, or all layers of a deep network.
    """

    t: Float[Tensor, "T"]
    W: Float[Tensor, "T ... d d"] | None
    record: Tensor | None
    factors: State


def one_layer(W0: Float[Tensor, "*b1 d d"], a: Float[Tensor, "*b2 d"], t: float | Tensor) -> Tensor:
    """Return W(t) = I + (W₀ − I) e^{−At} of a linear network of one layer, in gradient time.

    Source: Yang et al. 2025, theorem 4.1.

    Parameters
    ----------
    W0, a
        Initial maps, ``(…, d, d)``, and second moments, ``(…, d)``; leading axes broadcast.
    t
        A time, or ``(T,)`` times that become the first axis of the result.
    """
    W0, a = fitting("W", W0, a, square=True)
    t = torch.as_tensor(t, dtype=W0.dtype, device=W0.device)
    decay = (-a * t.reshape(t.shape + (1,) * max(W0.ndim - 1, a.ndim))).exp()
    eye = torch.eye(W0.shape[-1], dtype=W0.dtype, device=W0.device)
    return eye + (W0 - eye) * decay[..., None, :]


def field(W: Float[Tensor, "*b1 d d"], a: Float[Tensor, "*b2 d"]) -> Tensor:
    """Return V(W) = W A + A W − ½ (A W² + W² A + 2 W A W), ``(…, d, d)``.

    Source: Yang et al. 2025, eq. 4.3.
    """
    W, a = fitting("W", W, a, square=True)
    row, column = a[..., :, None], a[..., None, :]
    square = W @ W
    return (row + column) * (W - square / 2) - (W * column) @ W


def terms(W: Float[Tensor, "*b1 d d"], a: Float[Tensor, "*b2 d"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return growth G, suppression S and noise N of every entry of a symmetric W, each ``(…, d, d)``: V = G − S − N.

    G_ij = w_ij (a_i + a_j),  S_ij = ½ w_ij [w_ii (3a_i + a_j) + 1{i ≠ j} w_jj (3a_j + a_i)] and
    N_ij = ½ Σ_{k ≠ i,j} w_ki w_kj (a_i + a_j + 2a_k). Source: Yang et al. 2025, appendix D.2.
    """
    W, a = fitting("W", W, a, square=True)
    row, column = a[..., :, None], a[..., None, :]
    diagonal = W.diagonal(dim1=-2, dim2=-1)
    by_row, by_column = diagonal[..., :, None] * (3 * row + column), diagonal[..., None, :] * (3 * column + row)
    other = 1 - torch.eye(W.shape[-1], dtype=W.dtype, device=W.device)
    suppression = W / 2 * (by_row + other * by_column)
    off = W * other                                       # a product of two of these leaves out k = i and k = j
    noise = (row + column) / 2 * (off.mT @ off) + (off.mT * column) @ off
    return W * (row + column), suppression, noise


def flow(
    U0: Float[Tensor, "*b1 d k"], a: Float[Tensor, "*b2 d"], times: Tensor | Sequence[float], *,
    dt: float | None = None, record: Callable[[Tensor], Tensor] | None = None, allow_rank_deficient: bool = False,
) -> Trajectory:
    """Train f(x) = U Uᵀ x by its gradient flow in V-time, any number of initialisations and tasks at once.

    Source: Yang et al. 2025, eq. 4.3; stepping U: this book.

    Parameters
    ----------
    U0
        Initial factors, ``(…, d, k)``.
    a
        Second moments, ``(…, d)``, at least 0; leading axes broadcast with those of `U0`.
    times
        When to record, ``(T,)`` increasing, from 0.
    dt
        Longest step of the Runge–Kutta scheme of order 4, whose error is of order (a dt)⁴. None: 0.05/max a, for W to
        about 1e-7 from a small start.
    record
        Function of W ``(…, d, d)`` whose values are kept in place of W.
    allow_rank_deficient
        The rank of U is conserved. Where its rows of the concepts (a > 0) do not have full rank, W never becomes the
        identity on them: the null directions are never learned. That is refused unless this is true.

    Raises
    ------
    ValueError
        For shapes that do not fit, a negative a, rank-deficient U0, a step that is too long.
    """
    U0, a = fitting("U0", U0, a)
    on = (a > 0)[..., None]
    if not allow_rank_deficient:
        full = torch.linalg.matrix_rank(U0 * on) == on.sum((-2, -1))
        checks.require(bool(full.all()), "U0", tuple(U0.shape),
                       "of full rank on the rows with a > 0: the flow conserves the rank, and what W does not see at "
                       "the start it never learns (allow_rank_deficient=True to see that)")
    U = U0.expand(*torch.broadcast_shapes(U0.shape[:-2], a.shape[:-1]), *U0.shape[-2:])
    if U.shape[-1] > U.shape[-2]:                         # a wide U enters by W alone: d columns do, W = R'ᵀ R'
        U = torch.linalg.qr(U.mT, mode="r").R.mT
    A, pairs = a.diag_embed(), (a[..., :, None] + a[..., None, :]) / 2

    def velocity(state: State) -> State:
        U, = state                                        # dU/dt = K U,  K_ij = a_i δ_ij − ½ (a_i + a_j) w_ij
        return [torch.addcmul(A, pairs, U @ U.mT, value=-1) @ U]

    return integrate(velocity, [U], times, lambda state: state[0] @ state[0].mT, record, dt, a)


def integrate(
    velocity: Callable[[State], State], state: State, times: Tensor | Sequence[float],
    product: Callable[[State], Tensor], record: Callable[[Tensor], Tensor] | None, dt: float | None, a: Tensor,
) -> Trajectory:
    """Integrate d state/dt = velocity(state) from time 0 by the classical Runge–Kutta method of order 4.

    Each interval between records is divided evenly into steps of at most `dt`. What is kept is W = product(state), or
    record(W). Source: Kutta 1901.
    """
    t = torch.as_tensor(times, dtype=torch.float64).cpu()
    good = t.ndim == 1 and len(t) > 0 and bool(t.isfinite().all()) and float(t[0]) >= 0 and bool((t.diff() > 0).all())
    checks.require(good, "times", times, "one or more finite numbers, at least 0 and in increasing order")
    finite = all(bool(x.isfinite().all()) for x in state)
    checks.require(finite, "state", [tuple(x.shape) for x in state], "of finite numbers")
    dt = float(0.05 / a.amax()) if dt is None else checks.positive("dt", dt)
    kept = []
    for start, end in pairwise([0.0, *t.tolist()]):
        steps = math.ceil((end - start) / dt * (1 - 1e-12))
        for _ in range(steps):
            state = _rk4(velocity, state, (end - start) / steps)
        W = product(state)
        kept.append(W if record is None else record(W))
    checks.require(all(bool(x.isfinite().all()) for x in state), "dt", dt, "shorter: the integration overflowed")
    return Trajectory(t, *((torch.stack(kept), None) if record is None else (None, torch.stack(kept))), state)


def _rk4(velocity: Callable[[State], State], state: State, h: float) -> State:
    k1 = velocity(state)
    k2 = velocity(_add(state, k1, h / 2))
    k3 = velocity(_add(state, k2, h / 2))
    k4 = velocity(_add(state, k3, h))
    return _add(state, _add(_add(k1, k4, 1), _add(k2, k3, 1), 2), h / 6)


def _add(x: State, y: State, factor: float) -> State:
    return [torch.add(a, b, alpha=factor) for a, b in zip(x, y, strict=True)]


def output(W: Float[Tensor, "*b1 d d"], probe: Task | Float[Tensor, "*b2 d"]) -> Tensor:
    """Return f(x̂) = W x̂, ``(…, d)``, for the probe of a task, or probes ``(…, d)``.

    Source: Yang et al. 2025, sect. 2.1.
    """
    probe = (probe.probe if isinstance(probe, Task) else probe).to(W)
    return (W @ probe[..., None])[..., 0]


def ood_loss(W: Float[Tensor, "*b1 d d"], probe: Task | Float[Tensor, "*b2 d"]) -> Tensor:
    """Return the loss ½ ‖W x̂ − x̂‖² out of distribution, ``(…)``, at the probe of a task, or at probes ``(…, d)``.

    Source: Yang et al. 2025, sect. 2.1.
    """
    x = (probe.probe if isinstance(probe, Task) else probe).to(W)
    return (output(W, x) - x).square().sum(-1) / 2


def ood_slope(W: Float[Tensor, "*b d d"], a: Float[Tensor, "*c d"], probe: Task | Float[Tensor, "*e d"]) -> Tensor:
    """Return d ln L/dt = 2 e·V(W)x̂ / ‖e‖², e = W x̂ − x̂, of the loss out of distribution in V-time, ``(…)``.

    Its sign tells without any threshold whether that loss is rising. Source: this book.
    """
    x = (probe.probe if isinstance(probe, Task) else probe).to(W)
    e = output(W, x) - x
    return 2 * (e * output(field(W, a), x)).sum(-1) / e.square().sum(-1)


def loss(W: Float[Tensor, "*b1 d d"], a: Task | Float[Tensor, "*b2 d"]) -> Tensor:
    """Return the loss L(W) = ½ ‖(W − I) A^½‖² in distribution, ``(…)``, for a task or second moments ``(…, d)``.

    Source: Yang et al. 2025, sect. 4.1.
    """
    W, a = fitting("W", W, a.second_moment() if isinstance(a, Task) else a, square=True)
    eye = torch.eye(W.shape[-1], dtype=W.dtype, device=W.device)
    return ((W - eye).square() * a[..., None, :]).sum((-2, -1)) / 2


def moments(a: Tensor, d: int) -> Tensor:
    """Return second moments ``(…, d)`` after a check."""
    good = a.ndim >= 1 and a.shape[-1] == d and bool(((a >= 0) & a.isfinite()).all())
    checks.require(good, "a", a, f"of shape (…, {d}), finite and at least 0")
    return a


def fitting(name: str, M: Tensor, a: Tensor, *, square: bool = False) -> tuple[Tensor, Tensor]:
    """Return matrices ``(…, d, k)`` and second moments ``(…, d)`` that fit, of one dtype and device, after a check."""
    good = M.ndim >= 2 and M.shape[-1] > 0 and (not square or M.shape[-1] == M.shape[-2])
    checks.require(good, name, tuple(M.shape), f"of shape (…, d, {'d' if square else 'k'})")
    return M, moments(a, M.shape[-2]).to(M)
