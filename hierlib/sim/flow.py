"""Training of linear networks on the identity mapping as a flow: one layer in closed form, two layers by integration.

With A = diag(a) the second moment of the data, the loss of f(x) = W x is L(W) = ½ ‖(W − I) A^½‖². The gradient flow of

    one layer, W free           dW/dt = (I − W) A
    two layers, W = U Uᵀ        dU/dt = A U − ½ (A W U + W A U)        in V-time

and the second makes dW/dt = V(W) = W A + A W − ½ (A W² + W² A + 2 W A W). The exact gradient of L by U is twice this:
dW/dt = 2 V(W), so that V-time is 2 × gradient time. It is U that is integrated: then W stays positive semi-definite.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor
from hierlib.sim.integrate import as_times, integrate
from hierlib.sim.task import Task

__all__ = ["Trajectory", "euler_on_W", "field", "flow", "loss", "one_layer", "ood_loss", "output", "terms"]


@dataclass(frozen=True)
class Trajectory:
    """The map W along a flow of any number of networks. Explained in the chapter *SIM dynamics*; source: this book.

    Parameters
    ----------
    t
        Times of the records, ``(T,)``, in the unit that was asked for.
    W
        The maps, ``(T, …, d, d)``; None where something else was recorded.
    record
        What was recorded in its place, ``(T, …)``; else None.
    factors
        The last factors, from which the flow can be continued: ``[U]``, or all layers of a deep network; empty for
        :func:`euler_on_W`, which has none.
    error
        Estimate of the relative error of the factors, accumulated over the steps; NaN where it was not estimated.
    """

    t: Float[Tensor, "T"]
    W: Float[Tensor, "T ... d d"] | None
    record: Tensor | None
    factors: list[Tensor]
    error: float


def one_layer(W0: Float[Tensor, "*b1 d d"], a: Float[Tensor, "*b2 d"], t: float | Tensor) -> Tensor:
    """Return W(t) = I + (W₀ − I) e^{−At} of a linear network of one layer, in gradient time.

    Explained in the chapter *SIM dynamics*; source: Yang et al. 2024, theorem 4.1.

    Parameters
    ----------
    W0, a
        Initial maps, ``(…, d, d)``, and second moments, ``(…, d)``; leading axes broadcast.
    t
        A time, or ``(T,)`` times that become the first axis of the result.
    """
    W0, a = _pair(W0, a)
    t = torch.as_tensor(t, dtype=W0.dtype, device=W0.device)
    decay = (-a * t.reshape(t.shape + (1,) * max(W0.ndim - 1, a.ndim))).exp()
    eye = torch.eye(W0.shape[-1], dtype=W0.dtype, device=W0.device)
    return eye + (W0 - eye) * decay[..., None, :]


def field(W: Float[Tensor, "*b1 d d"], a: Float[Tensor, "*b2 d"]) -> Tensor:
    """Return V(W) = W A + A W − ½ (A W² + W² A + 2 W A W), ``(…, d, d)``.

    Explained in the chapter *SIM dynamics*; source: Yang et al. 2024, eq. 4.3.
    """
    return _field(*_pair(W, a))


def _field(W: Tensor, a: Tensor) -> Tensor:
    row, column = a[..., :, None], a[..., None, :]
    square = W @ W
    return (row + column) * (W - square / 2) - (W * column) @ W


def terms(W: Float[Tensor, "*b1 d d"], a: Float[Tensor, "*b2 d"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return growth G, suppression S and noise N of every entry of a symmetric W, each ``(…, d, d)``: V = G − S − N.

    G_ij = w_ij (a_i + a_j),  S_ij = ½ w_ij [w_ii (3a_i + a_j) + 1{i ≠ j} w_jj (3a_j + a_i)] and
    N_ij = ½ Σ_{k ≠ i,j} w_ki w_kj (a_i + a_j + 2a_k). Explained in the chapter *SIM dynamics*; source: Yang et al.
    2024, appendix D.2.
    """
    W, a = _pair(W, a)
    row, column = a[..., :, None], a[..., None, :]
    diagonal = W.diagonal(dim1=-2, dim2=-1)
    growth = W * (row + column)
    by_row, by_column = diagonal[..., :, None] * (3 * row + column), diagonal[..., None, :] * (3 * column + row)
    other = 1 - torch.eye(W.shape[-1], dtype=W.dtype, device=W.device)
    suppression = W / 2 * (by_row + other * by_column)
    off = W * other                                       # a product of two of these leaves out k = i and k = j
    noise = (row + column) / 2 * (off.mT @ off) + (off.mT * column) @ off
    return growth, suppression, noise


def flow(
    U0: Float[Tensor, "*b1 d k"],
    a: Float[Tensor, "*b2 d"],
    times: Tensor | Sequence[float],
    *,
    time: str = "V",
    dt: float | None = None,
    tolerance: float = 1e-9,
    record: Callable[[Tensor], Tensor] | None = None,
    allow_rank_deficient: bool = False,
) -> Trajectory:
    """Train f(x) = U Uᵀ x by its gradient flow, any number of initialisations and tasks at once.

    Explained in the chapter *SIM dynamics*; source: Yang et al. 2024, eq. 4.3; stepping U: this book.

    Parameters
    ----------
    U0
        Initial factors, ``(…, d, k)``.
    a
        Second moments, ``(…, d)``, at least 0; leading axes broadcast with those of `U0`.
    times
        When to record, ``(T,)`` increasing, from 0.
    time
        "V" for dW/dt = V(W); "gradient" for the gradient flow of L by U, dW/dt = 2 V(W).
    dt
        Longest step of a fixed Runge–Kutta scheme of order 4, in the unit of `time`: an error of order (a dt)⁴, about
        1e-7 for a dt = 0.05 in V-time. None: steps follow `tolerance`, and each record ends one, so that many records
        are cheaper with a fixed step.
    tolerance
        Relative error per adaptive step, of its estimate. The sum of the estimates is the trajectory's `error`. The
        default gives W to about 1e-9.
    record
        Function of W ``(…, d, d)`` whose values are kept in place of W.
    allow_rank_deficient
        The rank of U is conserved. Where its rows of the concepts (a > 0) do not have full rank, W never becomes the
        identity on them: the null directions are never learned. That is refused unless this is true.

    Raises
    ------
    ValueError
        For shapes that do not fit, a negative a, an unknown unit of time, rank-deficient U0, a step that is too long.
    """
    checks.require(U0.ndim >= 2 and U0.shape[-1] > 0, "U0", tuple(U0.shape), "of shape (…, d, k)")
    _moments(a, U0.shape[-2])
    time, a = checks.one_of("time", time, ("V", "gradient")), a.to(U0)
    batch = torch.broadcast_shapes(U0.shape[:-2], a.shape[:-1])
    on = (a > 0)[..., None]
    if not allow_rank_deficient:
        full = torch.linalg.matrix_rank(U0 * on) == on.sum((-2, -1))
        checks.require(bool(full.all()), "U0", tuple(U0.shape),
                       "of full rank on the rows with a > 0: the flow conserves the rank, and what W does not see at "
                       "the start it never learns (allow_rank_deficient=True to see that)")
    U = U0.expand(*batch, *U0.shape[-2:])
    if U.shape[-1] > U.shape[-2]:                         # a wide U enters by W alone: d columns do, W = R'ᵀ R'
        U = torch.linalg.qr(U.mT, mode="r").R.mT
    speed = 1.0 if time == "V" else 2.0
    A, pairs = (speed * a).diag_embed(), speed * (a[..., :, None] + a[..., None, :]) / 2

    def velocity(state: list[Tensor]) -> list[Tensor]:
        U, = state                                        # dU/dt = K U,  K_ij = a_i δ_ij − ½ (a_i + a_j) w_ij
        return [torch.addcmul(A, pairs, U @ U.mT, value=-1) @ U]

    seen = (lambda W: W) if record is None else record
    kept, factors, error = integrate(velocity, [U], times, lambda state: seen(state[0] @ state[0].mT), dt=dt,
                                     tolerance=tolerance)
    return Trajectory(as_times(times), kept if record is None else None, None if record is None else kept, factors,
                      error)


def euler_on_W(
    W0: Float[Tensor, "*b1 d d"], a: Float[Tensor, "*b2 d"], eta: float, steps: int, *, every: int = 1
) -> Trajectory:
    """Iterate W ← W + η V(W), the recurrence of the authors' scripts for the two-layer model: an experiment, no tool.

    It does not conserve W ≥ 0: a step may make the smallest eigenvalue negative, and from there W runs to −∞. This is
    a numerical artefact; the flow itself learns (:func:`flow`). The scripts use a² in place of a. Explained in the
    chapter *SIM dynamics*; source: code of Yang et al. 2024 (finding of the artefact: this book).

    Parameters
    ----------
    W0, a
        ``(…, d, d)`` and ``(…, d)``; leading axes broadcast.
    eta, steps
        η, and the number of steps.
    every
        Records are `every` steps apart, the first one at step 0.

    Raises
    ------
    ValueError
        For shapes that do not fit, a step η that is not positive, or fewer than one step.
    """
    (W, a), eta = _pair(W0, a), checks.positive("eta", eta)
    steps, every = checks.integer("steps", steps, low=1), checks.integer("every", every, low=1)
    W = W.expand(*torch.broadcast_shapes(W.shape[:-2], a.shape[:-1]), *W.shape[-2:])
    kept = [W]
    for step in range(1, steps + 1):
        W = W + eta * _field(W, a)
        if step % every == 0:
            kept.append(W)
    t = eta * every * torch.arange(len(kept), dtype=torch.float64)
    return Trajectory(t, torch.stack(kept), None, [], float("nan"))


def output(W: Float[Tensor, "*b1 d d"], probe: Task | Float[Tensor, "*b2 d"]) -> Tensor:
    """Return f(x̂) = W x̂, ``(…, d)``, for the probe of a task, or probes ``(…, d)``.

    Explained in the chapter *SIM dynamics*; source: Yang et al. 2024, sect. 2.1.
    """
    probe = (probe.probe if isinstance(probe, Task) else probe).to(W)
    return (W @ probe[..., None])[..., 0]


def ood_loss(W: Float[Tensor, "*b1 d d"], probe: Task | Float[Tensor, "*b2 d"]) -> Tensor:
    """Return the loss ½ ‖W x̂ − x̂‖² out of distribution, ``(…)``, at the probe of a task, or at probes ``(…, d)``.

    Explained in the chapter *SIM dynamics*; source: Yang et al. 2024, sect. 2.1.
    """
    x = (probe.probe if isinstance(probe, Task) else probe).to(W)
    return (output(W, x) - x).square().sum(-1) / 2


def loss(W: Float[Tensor, "*b1 d d"], a: Task | Float[Tensor, "*b2 d"]) -> Tensor:
    """Return the loss L(W) = ½ ‖(W − I) A^½‖² in distribution, ``(…)``, for a task or second moments ``(…, d)``.

    Explained in the chapter *SIM dynamics*; source: Yang et al. 2024, sect. 4.1.
    """
    a = a.second_moment() if isinstance(a, Task) else a
    W, a = _pair(W, a)
    eye = torch.eye(W.shape[-1], dtype=W.dtype, device=W.device)
    return ((W - eye).square() * a[..., None, :]).sum((-2, -1)) / 2


def _moments(a: Tensor, d: int) -> None:
    ok = a.ndim >= 1 and a.shape[-1] == d and bool(((a >= 0) & a.isfinite()).all())
    checks.require(ok, "a", a, f"of shape (…, {d}), finite and at least 0")


def _pair(W: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """Return square matrices and second moments that fit, of one dtype and device."""
    checks.require(W.ndim >= 2 and W.shape[-1] == W.shape[-2], "W", tuple(W.shape), "of shape (…, d, d)")
    _moments(a, W.shape[-1])
    return W, a.to(W)
