"""Rises of a loss curve: how often, and how far, a loss goes up again while training goes on.

Double descent is one ascent, triple descent two. A rise counts when it is larger than a threshold, and so does the
fall that must lie between two of them (hysteresis): the ripple of noisy curves is passed over, and a rise is one
ascent whether it takes two records or two thousand.
"""

import torch

from hierlib.lab import checks
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["ascents", "largest_rise"]


def _height(loss: Tensor, threshold: float) -> Tensor:
    """Return the threshold in units of the loss, threshold·loss[0], after checks of both."""
    threshold = checks.real("threshold", threshold, 0.0)
    checks.require(loss.ndim > 0 and len(loss) > 0 and bool(loss.isfinite().all()), "loss", tuple(loss.shape),
                   "of shape (T, ...), with T at least 1, and finite: some curve diverged")
    checks.require(bool((loss[0] >= 0).all()), "loss[0]", loss[0], "non-negative, as the threshold is relative to it")
    return threshold * loss[0]


def ascents(loss: Float[Tensor, "T *batch"], threshold: float = 1e-3) -> Int[Tensor, "*batch"]:
    """Count the ascents of loss curves: rises by more than the threshold, with falls by more than it in between.

    It is the largest k such that there are times t₁ < t₁' ≤ t₂ < t₂' ≤ … ≤ t_k < t_k' with a loss that is higher at
    every t_i' than at t_i, and lower at every t_{i+1} than at t_i', by more than the threshold. A rise from the very
    beginning counts. It depends on the values and their order only, not on the times at which they were recorded, as
    long as the turning points are among them.

    Parameters
    ----------
    loss
        Curves ``(T, ...)``, time first.
    threshold
        Relative to the first value of each curve, at least 0. For the loss of gradient flows 1e-3 is above rounding
        and below what is seen; curves with noise want some standard deviations of it.

    Returns
    -------
    int64 ``(...)``, on the device of the curves.

    Raises
    ------
    ValueError
        For a negative threshold, no records, a loss that is not finite or that begins below 0.

    Examples
    --------
    >>> ascents(torch.tensor([1.0, 0.4, 0.6, 0.1, 0.3, 0.0])).item()
    2
    """
    height = _height(loss, threshold)
    turning = loss[0]                                           # lowest value of this fall, or highest of this rise
    rising, count = (torch.zeros_like(turning, dtype=kind) for kind in (torch.bool, torch.int64))
    for value in loss:
        back = torch.where(rising, turning - value, value - turning)        # how far against the present direction
        turns = back > height
        turning = torch.where(turns | (back < 0), value, turning)
        count += turns & ~rising
        rising = rising ^ turns
    return count


def largest_rise(loss: Float[Tensor, "T *batch"], threshold: float = 1e-3) -> Float[Tensor, "*batch"]:
    """Return the largest rise of loss curves above an earlier value, max_{t < t'} loss(t') − loss(t), ``(...)``.

    It is in units of the loss, and 0 where it does not exceed the threshold: it is positive where :func:`ascents`
    counts any. With several ascents the rise is taken from the lowest value before, be it two ascents earlier.
    Arguments and errors as for :func:`ascents`.

    Examples
    --------
    >>> largest_rise(torch.tensor([1.0, 0.25, 0.75, 0.5])).item()
    0.5
    """
    height = _height(loss, threshold)
    rise = (loss - loss.cummin(0).values).amax(0)
    return torch.where(rise > height, rise, 0.0)
