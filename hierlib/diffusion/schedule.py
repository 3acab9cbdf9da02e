"""Noise schedules: the signal ᾱ that is left at diffusion time τ, and back; random ᾱ to train at, a grid to sample on.

Time is counted in units of the whole process, τ = t/T in [0, 1]. A `schedule` is a decreasing function ᾱ(τ), or the
name of one in :data:`SCHEDULES`.
"""

from collections.abc import Callable

import numpy as np
import torch

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Numbers, Tensor

__all__ = ["SCHEDULES", "alpha_bar_cosine", "alpha_bar_linear", "draw_alpha_bar", "grid", "time_of_alpha_bar"]

POINTS = 100_001        # between which a schedule is inverted


def _time(tau: Numbers) -> Numbers:
    tau = np.asarray(tau, dtype=float)
    checks.require(bool(np.all((tau >= 0) & (tau <= 1))), "tau", tau, "in [0, 1]")
    return tau


def alpha_bar_linear(tau: Numbers) -> Numbers:
    """Return ᾱ(τ) = Π_{t ≤ τT} (1 − β_t) of DDPM, with β linear from 1e-4 to 0.02 in T = 1000 steps.

    Between the integer times log ᾱ is interpolated linearly; ᾱ(0) = 1. ValueError for τ outside [0, 1]. Source: Ho,
    Jain, Abbeel 2020, sect. 4.
    """
    knots = np.concatenate([[0.0], np.cumsum(np.log1p(-np.linspace(1e-4, 0.02, 1000)))])
    return np.exp(np.interp(_time(tau) * 1000, np.arange(1001), knots))


def alpha_bar_cosine(tau: Numbers, *, offset: float = 0.008) -> Numbers:
    """Return ᾱ(τ) = cos²(π/2 · (τ + o)/(1 + o)) / cos²(π/2 · o/(1 + o)) with the offset o of the cosine schedule.

    ValueError for τ or an offset outside [0, 1]. Source: Nichol, Dhariwal 2021, eq. 17.
    """
    offset = checks.real("offset", offset, 0.0, 1.0)
    angle = np.pi / 2 * (_time(tau) + offset) / (1 + offset)
    return np.cos(angle) ** 2 / np.cos(np.pi / 2 * offset / (1 + offset)) ** 2


SCHEDULES: dict[str, Callable[[Numbers], Numbers]] = {
    "uniform": lambda tau: 1 - np.asarray(tau),
    "cosine": alpha_bar_cosine,
    "linear": alpha_bar_linear,
    "log_snr": lambda tau: 1 / (1 + np.exp(20 * np.asarray(tau) - 10)),     # log ᾱ/(1−ᾱ) from 10 to −10
}


def _resolve(schedule: str | Callable[[Numbers], Numbers]) -> Callable[[Numbers], Numbers]:
    return schedule if callable(schedule) else SCHEDULES[checks.one_of("schedule", schedule, tuple(SCHEDULES))]


def time_of_alpha_bar(alpha_bar: Numbers, schedule: str | Callable[[Numbers], Numbers] = alpha_bar_linear) -> Numbers:
    """Return the time τ at which a schedule has fallen to `alpha_bar`: inverted on a grid, linear in between.

    ValueError for ᾱ outside [0, 1].
    """
    alpha_bar = np.asarray(alpha_bar, dtype=float)
    checks.require(bool(np.all((alpha_bar >= 0) & (alpha_bar <= 1))), "alpha_bar", alpha_bar, "in [0, 1]")
    tau = np.linspace(0, 1, POINTS)
    return np.interp(-alpha_bar, -_resolve(schedule)(tau), tau)


def draw_alpha_bar(
    n: int, seed: Seed, *, schedule: str | Callable[[Numbers], Numbers] = "uniform", stratified: bool = False,
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n"]:
    """Draw `n` signals ᾱ at uniformly random times of a schedule.

    Source: Ho, Jain, Abbeel 2020 (algorithm 1); Kingma et al. 2021, appendix I.1 (stratified).

    Parameters
    ----------
    n
        How many.
    seed
        Integer or CPU ``torch.Generator``.
    schedule
        A function ᾱ(τ), or "uniform" (ᾱ itself is uniform), "cosine", "linear", "log_snr" (uniform in log ᾱ/(1−ᾱ)
        between −10 and 10).
    stratified
        Whether each n-th of the time interval gets one of the draws: less noise in the mean over a batch.

    Raises
    ------
    ValueError
        For a negative `n`, or an unknown schedule.
    """
    n, gen = checks.integer("n", n, low=0), generator(seed, "draw_alpha_bar")
    u = torch.rand(n, generator=gen, dtype=torch.float64)
    if stratified:
        u = (torch.randperm(n, generator=gen) + u) / n
    return torch.as_tensor(_resolve(schedule)(u.numpy()), dtype=dtype, device=device)


def grid(
    steps: int, schedule: str | Callable[[Numbers], Numbers] = "cosine", *, start: float | None = None
) -> Float[Tensor, "steps_plus_1"]:
    """Return the signals ᾱ of a reverse process of `steps` steps at equal times, increasing to 1, which is clean.

    Source: Song, Meng, Ermon 2021, sect. 4.2.

    Parameters
    ----------
    steps
        Number of steps, at least 1.
    schedule
        As in :func:`draw_alpha_bar`.
    start
        First signal, in [0, 1); by default ᾱ(1), which is 0 for "cosine" and "uniform". A network that predicts noise
        needs a positive one, such as 1e-4.

    Returns
    -------
    float64 ``(steps + 1,)``, on the CPU

    Raises
    ------
    ValueError
        For no steps, an unknown schedule, or a start at which the schedule leaves nothing to do.
    """
    steps, schedule = checks.integer("steps", steps, low=1), _resolve(schedule)
    first = float(schedule(1.0)) if start is None else checks.real("start", start, 0.0, 1.0)
    tau = 1.0 if start is None else float(time_of_alpha_bar(first, schedule))
    inner = np.asarray(schedule(tau * np.arange(steps - 1, 0, -1) / steps), dtype=float)
    signals = np.concatenate([[first if first > 1e-15 else 0.0], inner, [1.0]])     # cos²(π/2) is rounded to 4e-33
    checks.require(bool((np.diff(signals) > 0).all()), "start", start, "below the signals of the schedule that follow")
    return torch.from_numpy(signals)
