"""Noise levels of a diffusion: random ones for training, a grid of them for sampling.

A `schedule` is a decreasing function ᾱ(τ) of the time τ in [0, 1], or the name of one in :data:`SCHEDULES`.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch

from hierlib.diffusion.schedule import alpha_bar_cosine, alpha_bar_linear, time_of_alpha_bar
from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Numbers, Tensor

__all__ = ["SCHEDULES", "draw_alpha_bar", "levels", "log_snr"]

SCHEDULES: dict[str, Callable[[Numbers], Numbers]] = {
    "uniform": lambda tau: 1 - np.asarray(tau),
    "cosine": alpha_bar_cosine,
    "linear": alpha_bar_linear,
    "log_snr": lambda tau: 1 / (1 + np.exp(20 * np.asarray(tau) - 10)),     # log ᾱ/(1−ᾱ) from 10 to −10
}


def log_snr(alpha_bar: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the logarithm of the signal-to-noise ratio, log ᾱ/(1−ᾱ); ∓∞ at ᾱ = 0 and 1.

    Used in the chapter *Simplicity bias*; source: Kingma et al. 2021.
    """
    return alpha_bar.log() - (-alpha_bar).log1p()


def _resolve(schedule: str | Callable[[Numbers], Numbers]) -> Callable[[Numbers], Numbers]:
    if callable(schedule):
        return schedule
    return SCHEDULES[checks.one_of("schedule", schedule, tuple(SCHEDULES))]


@lru_cache(maxsize=64)
def _times(schedule: Callable[[Numbers], Numbers], low: float, high: float) -> tuple[float, float]:
    """Return the times at which ᾱ is `high` and `low`, or the ends of the process where it never is."""
    first = time_of_alpha_bar(high, schedule) if high < 1 else 0.0
    last = time_of_alpha_bar(low, schedule) if low > 0 else 1.0
    return float(first), float(last)


def draw_alpha_bar(
    n: int, seed: Seed, low: float = 0.0, high: float = 1.0, *,
    schedule: str | Callable[[Numbers], Numbers] = "uniform", stratified: bool = False,
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n"]:
    """Draw `n` noise levels ᾱ in [`low`, `high`], at uniformly random times of a schedule.

    Explained in the chapter *Simplicity bias*; source: Ho, Jain, Abbeel 2020 (algorithm 1); Kingma et al. 2021,
    appendix I.1 (stratified).

    Parameters
    ----------
    n
        How many.
    seed
        Integer or CPU ``torch.Generator``.
    low, high
        Range of ᾱ, cut to that of the schedule.
    schedule
        A function ᾱ(τ), or "uniform" (ᾱ itself is uniform), "cosine", "linear", "log_snr" (uniform in log ᾱ/(1−ᾱ)
        between −10 and 10).
    stratified
        Whether each n-th of the time interval gets one of the draws: less noise in the mean over a batch.

    Raises
    ------
    ValueError
        For an empty or impossible range, or an unknown schedule.
    """
    n, low = checks.integer("n", n, low=0), checks.real("low", low, 0.0, 1.0)
    high = checks.real("high", high, low, 1.0)
    schedule, gen = _resolve(schedule), generator(seed, "draw_alpha_bar")
    u = torch.rand(n, generator=gen, dtype=torch.float64)
    if stratified:
        u = (torch.randperm(n, generator=gen) + u) / n
    first, last = _times(schedule, low, high)
    alpha_bar = np.clip(schedule(first + (last - first) * u.numpy()), low, high)
    return torch.as_tensor(alpha_bar, dtype=dtype, device=device)


def levels(
    steps: int, schedule: str | Callable[[Numbers], Numbers] = "cosine", *, start: float | None = None
) -> Float[Tensor, "steps_plus_1"]:
    """Return the signals ᾱ of a reverse process of `steps` steps at equal times, increasing to 1, which is clean.

    Explained in the chapter *Simplicity bias*; source: Song, Meng, Ermon 2021, sect. 4.2.

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
    grid = np.concatenate([[first if first > 1e-15 else 0.0], inner, [1.0]])     # cos²(π/2) is rounded to 4e-33
    checks.require(bool((np.diff(grid) > 0).all()), "start", start, "below the signals of the schedule that follow")
    return torch.from_numpy(grid)
