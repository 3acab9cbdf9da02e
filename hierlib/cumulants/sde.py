"""The limit of high dimension of the search for a fourth-cumulant spike: a diffusion without d.

With x = α_v √d, a step of δ₀/d² per sample and time τ = n/d³,

    dx = (4 C₄ δ₀ x³ − ½ δ₀² σ² x) dτ + δ₀ σ dW.

The drift attracts to 0 below the saddle x_s = √(δ₀σ²/(8C₄)) and blows up in finite time above it.
"""

import math

import torch

from hierlib.cumulants.run import device_generator
from hierlib.lab import checks, generator
from hierlib.lab.types import Float, Tensor

__all__ = ["scaled_sde"]

_CHECK = 16              # steps between looks at which paths are still under way


def scaled_sde(
    C4: float,
    sigma2: float,
    delta0: float | list[float] | Float[Tensor, "D"],
    *,
    replicas: int,
    x0: float | None = 1.0,
    level: float = 20.0,
    seed: int = 0,
    horizon: float = 1e6,
    resolution: float = 0.1,
    device: torch.device | str | None = None,
) -> Float[Tensor, "*D replicas"]:
    """Draw the times τ at which \\|x\\| first reaches a level, for one step size or several at once.

    Heun's scheme, of weak order 2 as the noise is additive, with a time step for each path that shrinks with the rates
    of drift and noise at its place. The default resolution has a relative error below 1 %.
    Explained in the chapter *Simplicity bias*; source: this book (reconstruction of Bardone, Merger, Goldt 2026).

    Parameters
    ----------
    C4, sigma2
        C₄ (negative when v repels) and σ² ≥ 0 of the neuron, see :func:`hierlib.cumulants.theory.rates`.
    delta0
        Step size δ₀ > 0, a number or ``(D,)``.
    replicas
        Paths per step size.
    x0
        Start; 1 is the typical overlap 1/√d of a random direction. None draws it from N(0, 1).
    level
        Level to reach, above 0. The default stands for a finite overlap: from 20 to infinity a path takes 0.3 % of
        the time that it takes from 1 without noise.
    seed
        Integer. The starts are the same on every device; the noise is drawn on the device and is not.
    horizon
        Paths that last longer have the time infinity.
    resolution
        Time step in units of the fastest local time scale.
    device
        Where (None: the CPU).

    Returns
    -------
    times
        ``(replicas,)`` for a number δ₀, ``(D, replicas)`` for several; float64, on the CPU.

    Raises
    ------
    ValueError
        For numbers out of range.
    """
    C4, sigma2 = checks.real("C4", C4), checks.real("sigma2", sigma2, 0.0)
    level, horizon = checks.positive("level", level), checks.real("horizon", horizon, 0.0)
    resolution = checks.real("resolution", resolution, 1e-6, 0.5)
    deltas = torch.as_tensor(delta0, dtype=torch.float64)
    checks.require(deltas.ndim < 2 and bool((deltas.isfinite() & (deltas > 0)).all()), "delta0", delta0,
                   "a finite number above 0, or several")
    shape = (*deltas.shape, checks.integer("replicas", replicas, low=1))
    rng = device_generator(seed, "scaled_sde", device)
    if x0 is None:
        x = torch.randn(shape, generator=generator(seed, "scaled_sde.start"), dtype=torch.float64)
    else:
        x = torch.full(shape, checks.real("x0", x0), dtype=torch.float64)
    delta = deltas[..., None].expand(shape).flatten().to(rng.device)
    x, tau = x.abs().flatten().to(rng.device), torch.zeros(x.numel(), dtype=torch.float64, device=rng.device)
    times = torch.full_like(x, math.inf).masked_fill(x >= level, 0.0)
    alive = torch.arange(x.numel(), device=rng.device)
    while True:
        under_way = times[alive].isinf() & (tau < horizon)
        alive, x, tau, delta = alive[under_way], x[under_way], tau[under_way], delta[under_way]
        if not len(alive):
            return times.view(shape).cpu()
        cubic, linear = 4 * C4 * delta, delta * delta * sigma2 / 2
        spread = linear.sqrt() * math.sqrt(2)              # δ₀σ
        scale2 = linear / cubic.abs().clamp(min=1e-300)    # x_s²
        for _ in range(_CHECK):
            x2 = x * x
            noise = 2 * linear / (x2 + scale2).clamp(min=1e-300)
            dt = resolution / (3 * cubic.abs() * x2 + linear + noise)
            kick = spread * dt.sqrt() * torch.randn(x.shape, generator=rng, dtype=x.dtype, device=x.device)
            drift = (cubic * x2 - linear) * x
            ahead = x + drift * dt + kick
            x = (x + (drift + (cubic * ahead * ahead - linear) * ahead) * dt / 2 + kick).abs()
            tau = tau + dt
            now = (x >= level) & times[alive].isinf() & (tau <= horizon)
            times[alive] = torch.where(now, tau, times[alive])
            x = x.clamp(max=level)
