"""The phase diagram of the swing-by of two concepts: where the loss out of distribution rises before it falls.

Two concepts with r = a₁/a₂ and signal strengths μ = 2 (μ₁/μ₂, 1); without diversity μ₁/μ₂ = √r. The network f = U Uᵀ x
starts at W₀ = ω [[1, ρ], [ρ, 1]]. Only r, ρ, ω and μ₁/μ₂ matter: a common factor of all a is a unit of time.
"""

import math
from collections.abc import Callable, Sequence

import torch

from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor
from hierlib.sim.flow import flow, ood_loss, ood_slope
from hierlib.sim.rises import largest_rise

__all__ = ["boundary", "phase_grid"]

Axis = Tensor | Sequence[float]
Device = torch.device | str | None
Record = Callable[[Tensor, Tensor, Tensor], Tensor]        # a function of W, a and x̂

_STEP = 0.1              # of the integration and between records, in V-time and 1/a₂: rises/L₀ and ρ_c to 1e-4
_TOP = 0.9999            # largest ρ of the search for the boundary
_PARTS = 32              # of the interval, in each of two rounds of that search; then by the secant


def phase_grid(r: Axis, rho: Axis, omega: float, *, device: Device = None) -> Float[Tensor, "R P"]:
    """Return how far the loss out of distribution rises for all pairs of r and ρ, without diversity, ``(R, P)``.

    The largest rise above an earlier value, in units of the loss at the start, from one batched flow in float64, until
    both concepts are learned; 0 where it is below 1e-7. Where it rises at all tells :func:`boundary`.

    Parameters
    ----------
    r
        a₁/a₂, in (0, 1], ``(R,)``.
    rho
        Correlation of the two concepts in W₀, in (−1, 1), ``(P,)``. At ±1 the weaker one would never be learned.
    omega
        Scale of W₀, in (0, 1).
    device
        Where to integrate.

    Raises
    ------
    ValueError
        For r, ρ or ω out of range.
    """
    r, omega = _ratios(r, device), _scales([omega], device)
    rho = _axis("rho", rho, device, lambda rho: rho.abs() < 1, "in (−1, 1)")
    loss = _follow(r[:, None], rho, omega, r.sqrt()[:, None], lambda W, _, probe: ood_loss(W, probe))
    return largest_rise(loss, 1e-7) / loss[0]


def boundary(r: Axis, omega: Axis, *, ratio: Axis | None = None, step: float = _STEP, device: Device = None) -> Tensor:
    """Return ρ_c, the correlation ρ > 0 above which the loss out of distribution rises, however little, ``(R,)``.

    No threshold: what decides is the sign of the largest d ln L/dt (:func:`hierlib.sim.flow.ood_slope`) between
    w₂₂ = ½ and w₁₁ = 0.9. The integration gives ρ_c to about 1e-3 of itself. NaN where nothing rises up to ρ = 0.9999:
    for r = 1, or so close to it. The law for small ω is :func:`hierlib.sim.two_concepts.critical`. Source: this book.

    Parameters
    ----------
    r, omega
        a₁/a₂ in (0, 1], and scales of W₀ in (0, 1), ``(R,)`` each; one number in a list stands for all.
    ratio
        μ₁/μ₂ of the probe, positive, ``(R,)``; None: √r, concepts without diversity.
    step
        Of the integration and between the times that are looked at, in V-time and 1/a₂.
    device
        Where to integrate.

    Raises
    ------
    ValueError
        For r, ω, ratio or step out of range.
    """
    r, omega = _ratios(r, device), _scales(omega, device)
    step = checks.positive("step", step, 0.5)
    ratio = r.sqrt() if ratio is None else _axis("ratio", ratio, device, lambda x: x > 0, "above 0")
    r, omega, ratio = (x[:, None] for x in torch.broadcast_tensors(r, omega, ratio))
    low, high = torch.zeros_like(r), torch.full_like(r, _TOP)
    for _ in range(2):
        rho = low + (high - low) * torch.arange(_PARTS + 1, device=r.device) / _PARTS
        slopes = _follow(r, rho, omega, ratio, _slope, step)
        k = slopes[1:-1].argmax(0, keepdim=True)
        before, at, after = (slopes.gather(0, k + shift)[0] for shift in range(3))
        steepest = at + ((after - before).square() / (16 * at - 8 * (before + after))).nan_to_num(0.0, posinf=0.0)
        first = torch.where((steepest > 0).any(1), (steepest > 0).int().argmax(1), _PARTS).clamp_min(1)[:, None]
        (low, high), (below, above) = ([x.gather(1, k) for k in (first - 1, first)] for x in (rho, steepest))
    return torch.where(above > 0, low - (high - low) * below / (above - below), math.nan)[:, 0]


def _slope(W: Tensor, a: Tensor, probe: Tensor) -> Tensor:
    """Return d ln L/dt between the learning of the two concepts, −∞ at other times."""
    return torch.where((W[..., 1, 1] > 0.5) & (W[..., 0, 0] < 0.9), ood_slope(W, a, probe), -math.inf)


def _follow(r: Tensor, rho: Tensor, omega: Tensor, ratio: Tensor, record: Record, step: float = _STEP) -> Tensor:
    """Return record(W, a, x̂) along the flow, until both concepts are learned, for values that broadcast."""
    r, rho, omega, ratio = torch.broadcast_tensors(r, rho, omega, ratio)
    zero, one = torch.zeros_like(r), torch.ones_like(r)
    root = torch.stack([one, zero, rho, (1 - rho**2).sqrt()], -1).unflatten(-1, (2, 2))
    U0 = omega.sqrt()[..., None, None] * root                          # Cholesky: U₀ U₀ᵀ = ω [[1, ρ], [ρ, 1]]
    a, probe = torch.stack([r, one], -1), 2 * torch.stack([ratio, one], -1)          # time in units of 1/a₂
    learned = (1 / (omega * (1 - rho**2))).log() / (2 * r)             # t_1 = ln(1/S_1 − 1)/(2a₁), S_1 = ω(1 − ρ²)
    times = step * torch.arange(math.ceil(float((learned + 3 / r).amax()) / step) + 1, dtype=torch.float64)
    return flow(U0, a, times, dt=step, record=lambda W: record(W, a, probe)).record


def _ratios(r: Axis, device: Device) -> Tensor:
    return _axis("r", r, device, lambda r: (r > 0) & (r <= 1), "in (0, 1]")


def _scales(omega: Axis, device: Device) -> Tensor:
    return _axis("omega", omega, device, lambda omega: (omega > 0) & (omega < 1), "in (0, 1)")


def _axis(name: str, value: Axis, device: Device, good: Callable[[Tensor], Tensor], allowed: str) -> Tensor:
    axis = torch.as_tensor(value, dtype=torch.float64).to(device)
    ok = axis.ndim == 1 and len(axis) > 0 and bool((axis.isfinite() & good(axis)).all())
    checks.require(ok, name, value, f"one or more finite numbers {allowed}")
    return axis
