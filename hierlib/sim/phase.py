"""The phase diagram of the swing-by of two concepts: where the loss out of distribution rises before it falls.

Two concepts without diversity, signal strengths μ = 2 (√r, 1), so that a = (2r, 2) and r = a₁/a₂. The network
f = U Uᵀ x starts at W₀ = ω [[1, ρ], [ρ, 1]]. Only r, ρ, ω matter: a common factor of all a is a unit of time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hierlib.lab import checks
from hierlib.lab.types import Float, Int, Tensor
from hierlib.sim.ascents import ascents, bumps
from hierlib.sim.flow import flow, ood_loss

__all__ = ["PhaseGrid", "boundary", "phase_grid"]

_STEP = 0.1              # of the integration and between records, in V-time and 1/a₂: bumps/L₀ and ρ_c to 1e-4
_TOP = 0.999             # largest ρ of the search for the boundary


@dataclass(frozen=True)
class PhaseGrid:
    """Ascents over the plane of r and ρ. Explained in the chapter *SIM dynamics*; source: this book.

    Parameters
    ----------
    r, rho
        Axes, ``(R,)`` and ``(P,)``.
    ascents
        Number of ascents of the loss out of distribution, ``(R, P)``.
    bump
        Largest rise of it above an earlier value, in units of the loss at the start, ``(R, P)``; 0 without ascent.
    """

    r: Float[Tensor, "R"]
    rho: Float[Tensor, "P"]
    ascents: Int[Tensor, "R P"]
    bump: Float[Tensor, "R P"]


def phase_grid(
    r: Tensor | Sequence[float], rho: Tensor | Sequence[float], omega: float, *, threshold: float = 1e-3,
    device: torch.device | str | None = None,
) -> PhaseGrid:
    """Count the ascents for all pairs of r and ρ at one ω, in one batched flow; float64.

    It is integrated until both concepts are learned. Explained in the chapter *SIM dynamics*; source: this book.

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
    r, rho = _axis("r", r, device), _axis("rho", rho, device)
    checks.require(bool(((r > 0) & (r <= 1)).all()), "r", r, "in (0, 1]")
    checks.require(bool((rho.abs() < 1).all()), "rho", rho, "in (−1, 1)")
    count, bump = _swing(r[:, None], rho[None, :], omega, threshold)
    return PhaseGrid(r, rho, count, bump)


def boundary(
    r: Tensor | Sequence[float], omega: float, *, threshold: float = 1e-3, precision: float = 1e-3,
    device: torch.device | str | None = None,
) -> Float[Tensor, "R"]:
    """Return ρ_c(r), the smallest correlation ρ > 0 at which the loss out of distribution ascends, ``(R,)``.

    NaN where it does not for any ρ up to 0.999. Explained in the chapter *SIM dynamics*; source: this book.

    Parameters
    ----------
    r, omega, threshold, device
        As for :func:`phase_grid`.
    precision
        Of ρ_c, in (0, 1): the value returned has an ascent, and the one lower by `precision` has none. The integration
        itself gives ρ_c to about 1e-4.

    Raises
    ------
    ValueError
        For r, ω or the precision out of range, or a negative threshold.
    """
    r = _axis("r", r, device)
    checks.require(bool(((r > 0) & (r <= 1)).all()), "r", r, "in (0, 1]")
    precision = checks.real("precision", precision)
    checks.require(0 < precision < 1, "precision", precision, "in (0, 1)")
    rounds = max(1, math.ceil(math.log(_TOP / precision, 32)))
    parts = math.ceil((_TOP / precision) ** (1 / rounds))              # every round divides the interval by this
    low, high = torch.zeros_like(r), torch.full_like(r, _TOP)
    for turn in range(rounds):
        grid = low[:, None] + (high - low)[:, None] * torch.arange(parts + 1, device=r.device) / parts
        up = _swing(r[:, None], grid, omega, threshold)[0] > 0
        if turn == 0:
            never = ~up.any(1)
        first = torch.where(never, parts, up.int().argmax(1)).clamp_min(1)[:, None]
        low, high = grid.gather(1, first - 1)[:, 0], grid.gather(1, first)[:, 0]
    return torch.where(never, math.nan, high)


def _swing(r: Tensor, rho: Tensor, omega: float, threshold: float) -> tuple[Tensor, Tensor]:
    """Return the number of ascents and the relative bump for values of r and ρ that broadcast."""
    omega = checks.real("omega", omega)
    checks.require(0 < omega < 1, "omega", omega, "in (0, 1)")
    r, rho = torch.broadcast_tensors(r, rho)
    zero, one = torch.zeros_like(r), torch.ones_like(r)
    rows = [torch.stack(row, -1) for row in ((one, zero), (rho, (1 - rho**2).sqrt()))]
    U0 = math.sqrt(omega) * torch.stack(rows, -2)                      # Cholesky: U₀ U₀ᵀ = ω [[1, ρ], [ρ, 1]]
    a, probe = torch.stack([r, one], -1), 2 * torch.stack([r.sqrt(), one], -1)       # time in units of 1/a₂
    learned = (1 / (omega * (1 - rho**2))).log() / (2 * r)             # t_1 = ln(1/S_1 − 1)/(2a₁), S_1 = ω(1 − ρ²)
    end = float((learned + 3 / r).amax())
    times = _STEP * torch.arange(math.ceil(end / _STEP) + 1, dtype=torch.float64)
    run = flow(U0, a, times, dt=_STEP, record=lambda W: ood_loss(W, probe))
    return ascents(run.record, threshold), bumps(run.record, threshold) / run.record[0]


def _axis(name: str, value: Tensor | Sequence[float], device: torch.device | str | None) -> Tensor:
    axis = torch.as_tensor(value, dtype=torch.float64).to(device)
    checks.require(axis.ndim == 1 and len(axis) > 0 and bool(axis.isfinite().all()), name, value,
                   "one or more finite numbers")
    return axis
