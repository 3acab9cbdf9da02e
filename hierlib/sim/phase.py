"""The phase diagram of the swing-by of two concepts: where the loss out of distribution rises before it falls.

Two concepts without diversity, signal strengths μ = 2 (√r, 1), so that a = (2r, 2) and r = a₁/a₂. The network
f = U Uᵀ x starts at W₀ = ω [[1, ρ], [ρ, 1]]. Only r, ρ, ω matter: a common factor of all a is a unit of time.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from hierlib.lab import checks
from hierlib.lab.types import Float, Int, Tensor
from hierlib.sim.flow import flow, ood_loss
from hierlib.sim.rises import ascents, largest_rise

__all__ = ["PhaseGrid", "boundary", "phase_grid"]

Axis = Tensor | Sequence[float]
Device = torch.device | str | None

_STEP = 0.1              # of the integration and between records, in V-time and 1/a₂: rises/L₀ and ρ_c to 1e-4
_TOP = 0.999             # largest ρ of the search for the boundary
_PARTS = 32              # of the interval, in each of two rounds of that search: ρ_c to 1e-3


class PhaseGrid(NamedTuple):
    """Ascents over the plane of r and ρ.

    Parameters
    ----------
    r, rho
        Axes, ``(R,)`` and ``(P,)``.
    ascents
        Number of ascents of the loss out of distribution, ``(R, P)``.
    rise
        Largest rise of it above an earlier value, in units of the loss at the start, ``(R, P)``; 0 without ascent.
    """

    r: Float[Tensor, "R"]
    rho: Float[Tensor, "P"]
    ascents: Int[Tensor, "R P"]
    rise: Float[Tensor, "R P"]


def phase_grid(r: Axis, rho: Axis, omega: float, *, threshold: float = 1e-3, device: Device = None) -> PhaseGrid:
    """Count the ascents for all pairs of r and ρ at one ω, in one batched flow; float64.

    It is integrated until both concepts are learned.

    Parameters
    ----------
    r
        a₁/a₂, in (0, 1], ``(R,)``.
    rho
        Correlation of the two concepts in W₀, in (−1, 1), ``(P,)``. At ±1 the weaker one would never be learned.
    omega
        Scale of W₀, in (0, 1).
    threshold
        Smallest rise that counts, relative to the loss at the start.
    device
        Where to integrate.

    Raises
    ------
    ValueError
        For r, ρ or ω out of range, or a negative threshold.
    """
    r = _axis("r", r, device, lambda r: (r > 0) & (r <= 1), "in (0, 1]")
    rho = _axis("rho", rho, device, lambda rho: rho.abs() < 1, "in (−1, 1)")
    return PhaseGrid(r, rho, *_swing(r[:, None], rho[None, :], omega, threshold))


def boundary(r: Axis, omega: float, *, threshold: float = 1e-3, device: Device = None) -> Float[Tensor, "R"]:
    """Return ρ_c(r), the smallest correlation ρ > 0 at which the loss out of distribution ascends, ``(R,)``.

    NaN where it does not for any ρ up to 0.999. The value returned has an ascent, and the one lower by 1e-3 has none.
    The integration itself gives ρ_c to about 1e-4. Arguments and errors as for :func:`phase_grid`.
    """
    r = _axis("r", r, device, lambda r: (r > 0) & (r <= 1), "in (0, 1]")
    low, high = torch.zeros_like(r), torch.full_like(r, _TOP)
    for _ in range(2):
        grid = low[:, None] + (high - low)[:, None] * torch.arange(_PARTS + 1, device=r.device) / _PARTS
        up = _swing(r[:, None], grid, omega, threshold)[0] > 0
        first = torch.where(up.any(1), up.int().argmax(1), _PARTS).clamp_min(1)[:, None]
        low, high = grid.gather(1, first - 1)[:, 0], grid.gather(1, first)[:, 0]
    return torch.where(up.any(1), high, math.nan)


def _swing(r: Tensor, rho: Tensor, omega: float, threshold: float) -> tuple[Tensor, Tensor]:
    """Return the number of ascents and the largest relative rise for values of r and ρ that broadcast."""
    omega = checks.real("omega", omega)
    checks.require(0 < omega < 1, "omega", omega, "in (0, 1)")
    r, rho = torch.broadcast_tensors(r, rho)
    zero, one = torch.zeros_like(r), torch.ones_like(r)
    root = torch.stack([one, zero, rho, (1 - rho**2).sqrt()], -1).unflatten(-1, (2, 2))
    U0 = math.sqrt(omega) * root                                       # Cholesky: U₀ U₀ᵀ = ω [[1, ρ], [ρ, 1]]
    a, probe = torch.stack([r, one], -1), 2 * torch.stack([r.sqrt(), one], -1)       # time in units of 1/a₂
    learned = (1 / (omega * (1 - rho**2))).log() / (2 * r)             # t_1 = ln(1/S_1 − 1)/(2a₁), S_1 = ω(1 − ρ²)
    times = _STEP * torch.arange(math.ceil(float((learned + 3 / r).amax()) / _STEP) + 1, dtype=torch.float64)
    loss = flow(U0, a, times, dt=_STEP, record=lambda W: ood_loss(W, probe)).record
    return ascents(loss, threshold), largest_rise(loss, threshold) / loss[0]


def _axis(name: str, value: Axis, device: Device, good: Callable[[Tensor], Tensor], allowed: str) -> Tensor:
    axis = torch.as_tensor(value, dtype=torch.float64).to(device)
    ok = axis.ndim == 1 and len(axis) > 0 and bool((axis.isfinite() & good(axis)).all())
    checks.require(ok, name, value, f"one or more finite numbers {allowed}")
    return axis
