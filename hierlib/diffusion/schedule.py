"""Noise schedules: the signal ᾱ that is left at diffusion time t, and back.

Time is counted in units of the whole process, τ = t/T in [0, 1].
"""

from collections.abc import Callable

import numpy as np

from hierlib.lab import checks
from hierlib.lab.types import Numbers

__all__ = ["alpha_bar_cosine", "alpha_bar_linear", "time_of_alpha_bar"]


def _time(tau: Numbers) -> Numbers:
    tau = np.asarray(tau, dtype=float)
    checks.require(bool(np.all((tau >= 0) & (tau <= 1))), "tau", tau, "in [0, 1]")
    return tau


def alpha_bar_linear(
    tau: Numbers, *, beta_min: float = 1e-4, beta_max: float = 0.02, steps: int = 1000
) -> Numbers:
    """Return ᾱ(τ) = Π_{t ≤ τT} (1 − β_t) of DDPM, with β linear from `beta_min` to `beta_max` in T = `steps`.

    Between the integer times log ᾱ is interpolated linearly; ᾱ(0) = 1. Explained in the chapter *Phase
    transition*; source: Ho, Jain, Abbeel 2020, sect. 4.

    Raises
    ------
    ValueError
        For τ outside [0, 1], β outside [0, 1) or in the wrong order, or no steps.
    """
    steps = checks.integer("steps", steps, low=1)
    beta_min = checks.real("beta_min", beta_min, 0.0, 1.0)
    beta_max = checks.real("beta_max", beta_max, beta_min, 0.999999)
    log_alpha = np.log1p(-np.linspace(beta_min, beta_max, steps))
    knots = np.concatenate([[0.0], np.cumsum(log_alpha)])
    return np.exp(np.interp(_time(tau) * steps, np.arange(steps + 1), knots))


def alpha_bar_cosine(tau: Numbers, *, offset: float = 0.008) -> Numbers:
    """Return ᾱ(τ) = cos²(π/2 · (τ + o)/(1 + o)) / cos²(π/2 · o/(1 + o)) with the offset o of the cosine schedule.

    Explained in the chapter *Phase transition*; source: Nichol, Dhariwal 2021, eq. 17.

    Raises
    ------
    ValueError
        For τ outside [0, 1] or an offset outside [0, 1].
    """
    offset = checks.real("offset", offset, 0.0, 1.0)
    angle = np.pi / 2 * (_time(tau) + offset) / (1 + offset)
    return np.cos(angle) ** 2 / np.cos(np.pi / 2 * offset / (1 + offset)) ** 2


def time_of_alpha_bar(
    alpha_bar: Numbers, schedule: Callable[[Numbers], Numbers] = alpha_bar_linear, *, points: int = 100_001
) -> Numbers:
    """Return the time τ at which a decreasing `schedule` (a function of τ) has fallen to `alpha_bar`.

    Inversion on a grid of `points`, linear in between. Used in the chapter *Phase transition*; source: this book.
    ValueError for ᾱ outside [0, 1].
    """
    alpha_bar = np.asarray(alpha_bar, dtype=float)
    checks.require(bool(np.all((alpha_bar >= 0) & (alpha_bar <= 1))), "alpha_bar", alpha_bar, "in [0, 1]")
    tau = np.linspace(0, 1, checks.integer("points", points, low=2))
    return np.interp(-alpha_bar, -schedule(tau), tau)
