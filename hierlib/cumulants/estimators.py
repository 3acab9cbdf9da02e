"""Cumulants and Hermite moments of a sample: unbiased, in double precision, for many columns at once."""

from collections.abc import Sequence
from functools import reduce

import torch

from hierlib.cumulants.hermite import hermite_sequence
from hierlib.lab import checks
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["hermite_moments", "joint_k_statistic", "k_statistic"]


def joint_k_statistic(*ys: Float[Tensor, "n ..."]) -> Float[Tensor, "..."]:
    """Return the unbiased estimate of the joint cumulant κ(y_1, y_2[, y_3[, y_4]]) of 2, 3 or 4 columns.

    With central sums M over the n rows: M_12/(n−1) for two, n M_123/((n−1)(n−2)) for three, and for four

        n [(n+1) M_1234 − (n−1)/n (M_12 M_34 + M_13 M_24 + M_14 M_23)] / ((n−1)(n−2)(n−3)).

    Equal arguments give :func:`k_statistic`. Source: Fisher 1929 (k-statistics), Kaplan 1952 (of several variables).

    Parameters
    ----------
    ys
        ``(n,)`` or ``(n, …)`` with the same n; the trailing axes broadcast, so that ``(n, d, 1)`` and ``(n, 1, d)``
        give all pairs of columns.

    Returns
    -------
    float64 tensor
        Of the broadcast trailing shape.

    Raises
    ------
    ValueError
        For other than 2 to 4 arguments, different n, or fewer rows than arguments.
    """
    order = checks.integer("number of columns", len(ys), low=2, high=4)
    for y in ys:
        checks.require(y.ndim > 0 and len(y) == len(ys[0]), "y.shape", tuple(y.shape), "(n, …), the same n for all")
    n = checks.integer("n", len(ys[0]), low=order)
    trailing = max(y.ndim for y in ys) - 1
    wide = {id(y): y.double().reshape(n, *[1] * (trailing - y.ndim + 1), *y.shape[1:]) for y in ys}
    centred = {key: y - y.mean(0) for key, y in wide.items()}                             # once for equal arguments
    e = [centred[id(y)] for y in ys]
    if order < 4:
        total = reduce(torch.mul, e).sum(0)
        return total / (n - 1) if order == 2 else n / ((n - 1) * (n - 2)) * total
    first, last = e[0] * e[1], e[2] * e[3]
    pairs = first.sum(0) * last.sum(0) + sum((e[0] * e[i]).sum(0) * (e[1] * e[j]).sum(0) for i, j in ((2, 3), (3, 2)))
    return (n * (n + 1) * (first * last).sum(0) - (n - 1) * pairs) / ((n - 1) * (n - 2) * (n - 3))


def k_statistic(y: Float[Tensor, "n ..."], order: int) -> Float[Tensor, "..."]:
    """Return the k-statistic of an `order` from 2 to 4, the unbiased estimate of that cumulant, for every column.

    Source: Fisher 1929.

    Parameters
    ----------
    y
        ``(n, …)``: n independent samples.
    order
        2, the variance; 3 and 4, the cumulants κ₃ and κ₄ (not divided by the standard deviation).

    Returns
    -------
    float64 tensor
        Of shape ``(…)``.

    Raises
    ------
    ValueError
        For another order, or fewer than `order` samples.
    """
    return joint_k_statistic(*[y] * checks.integer("order", order, low=2, high=4))


def hermite_moments(
    s: Float[Tensor, "n ..."], orders: Sequence[int], groups: Int[Tensor, " n"] | None = None
) -> tuple[Float[Tensor, "M ..."], Float[Tensor, "M ..."]]:
    """Return the means of the Hermite polynomials He_m(s), of leading coefficient 1, and their standard errors.

    All means but that of He_0 are 0 for s ~ N(0, 1). The error is that of the jackknife that leaves out one group at
    a time, and one sample at a time, which is the textbook error of a mean, without groups. Source: Künsch 1989 (the
    jackknife over blocks).

    Parameters
    ----------
    s
        ``(n, …)``, such as projections of standardised data on several directions.
    orders
        The M orders m, in [0, 20].
    groups
        int64 ``(n,)``: a number for every sample; those of one number (patches of one region of a photograph) are
        left out together. The more they depend on each other, the larger the error.

    Returns
    -------
    mean, sem
        float64, ``(M, …)`` each.

    Raises
    ------
    ValueError
        For orders out of range, groups of another length, or fewer than 2 samples or groups.
    """
    highest = checks.integer("orders", max(orders, default=-1), low=0, high=20)
    n, s = len(s), s.double()
    if groups is None:
        block, size = None, torch.ones(n, dtype=torch.float64, device=s.device)
    else:
        checks.require(groups.shape == (n,) and not groups.is_floating_point(), "groups", tuple(groups.shape),
                       f"integers of shape ({n},)")
        block, counts = groups.to(s.device).unique(return_inverse=True, return_counts=True)[1:]
        size = counts.double()
    b = checks.integer("number of groups" if groups is not None else "n", len(size), low=2)
    without = (n - size).view(-1, *[1] * (s.ndim - 1))
    found = {}
    for m, he in zip(range(highest + 1), hermite_sequence(s)):
        if m in orders:
            total = he.sum(0)
            part = he if block is None else he.new_zeros(b, *s.shape[1:]).index_add_(0, block, he)
            shift = (total - part) / without - total / n                 # of the mean, when a group is left out
            found[m] = total / n, ((b - 1) / b * shift.square().sum(0)).sqrt()
    mean, sem = zip(*(found[m] for m in orders), strict=True)
    return torch.stack(mean), torch.stack(sem)
