"""Numbers read off measured curves, with their errors: where a level is crossed, means and medians over replicas."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from hierlib.lab import checks

__all__ = ["crossing", "mean_sem", "median"]


def crossing(
    x: ArrayLike, y: ArrayLike, level: float, *, falling: bool = False, log: bool = False,
    error: ArrayLike | None = None,
) -> Any:
    """Return where a curve y(x) first rises to `level`, by linear interpolation between its points.

    Parameters
    ----------
    x
        Increasing, ``(K,)`` with K ≥ 2.
    y
        ``(K,)``, or many curves ``(..., K)``.
    level, falling
        The level; with `falling` it is reached from above.
    log
        Whether to interpolate in ln x.
    error
        Standard error of `y`, of its shape: then that of the place is given, too, by the slope of the curve there.

    Returns
    -------
    place, or (place, error)
        A float, or an array ``(...)``. NaN for a curve that never reaches the level, and for one whose first point is
        already beyond: the crossing is outside of the grid.

    Raises
    ------
    ValueError
        For x that does not increase, is not positive with `log`, or has not as many values as y.
    """
    x, y, level = np.asarray(x, float), np.asarray(y, float), checks.real("level", level)
    checks.require(x.ndim == 1 and x.shape == y.shape[-1:] and len(x) > 1, "x", x.shape,
                   f"at least two points, as y {y.shape}")
    checks.require(bool((np.diff(x) > 0).all() and (x[0] > 0 or not log)), "x", x,
                   "positive and increasing" if log else "increasing")
    beyond = y <= level if falling else y >= level
    k = beyond.argmax(-1)                                          # 0 where there is none
    ends = np.maximum(np.stack([k - 1, k], -1), 0)

    def around(values: np.ndarray) -> np.ndarray:
        return np.moveaxis(np.take_along_axis(np.broadcast_to(values, y.shape), ends, -1), -1, 0)

    (x0, x1), (y0, y1) = around(np.log(x) if log else x), around(y)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight, slope = (level - y0) / (y1 - y0), (y1 - y0) / (x1 - x0)
        place = np.where(k > 0, x0 + weight * (x1 - x0), np.nan)
        place = np.exp(place) if log else place
        if error is None:
            return place[()]
        e0, e1 = around(np.asarray(error, float))
        spread = np.hypot((1 - weight) * e0, weight * e1) / abs(slope) * (place if log else 1.0)
    return place[()], spread[()]


def mean_sem(values: ArrayLike) -> tuple[Any, Any]:
    """Return mean and standard error of the mean along the first axis (seeds, say); NaN is left out.

    A single value has no standard error: NaN.
    """
    values = np.asarray(values, float)
    frame = pd.DataFrame(values.reshape(len(values), -1))
    return tuple(each.to_numpy().reshape(values.shape[1:])[()] for each in (frame.mean(), frame.sem()))


def median(values: ArrayLike, level: float = 0.68, seed: int = 0) -> tuple[float, float, float]:
    """Return the median of ``(n,)`` values and its central bootstrap interval of coverage `level`: (median, low, high).

    By ``scipy.stats.bootstrap`` (percentiles). Values may be infinite, as the times of what has not happened; then so
    are the results that depend on them. A single value is its own interval.

    Raises
    ------
    ValueError
        For no values, NaN, or a level that is not in (0, 1).
    """
    values, level = np.asarray(values, float), checks.real("level", level, 0.0, 1.0)
    checks.require(0 < level < 1, "level", level, "strictly between 0 and 1")
    checks.require(values.ndim == 1 and len(values) > 0 and not np.isnan(values).any(), "values", values,
                   "one or more numbers, (n,)")
    finite = values[np.isfinite(values)]
    beyond = 2 * abs(finite).max(initial=1.0)                      # stands for infinity: nothing finite comes near it
    from scipy import stats  # late: it takes as long to import as all the rest of hierlib without torch

    found = stats.bootstrap(
        (np.clip(values, -2 * beyond, 2 * beyond),), np.median, confidence_level=level, n_resamples=1000,
        method="percentile", axis=-1, random_state=np.random.default_rng(seed),
    ).confidence_interval if len(values) > 1 else (values[0], values[0])
    low, high = (end if abs(end) < beyond else np.copysign(np.inf, end) for end in found)
    return float(np.median(values)), float(low), float(high)
