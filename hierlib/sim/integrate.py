"""Runge–Kutta integration of flows: any number of trajectories at once, with a fixed or an adaptive step."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from hierlib.lab import checks
from hierlib.lab.types import Tensor

__all__ = ["as_times", "integrate"]

State = list[Tensor]                       # matrices that flow together, each (…, rows, columns)

_MOST = 10**6                              # steps of an adaptive integration before it is given up


def as_times(times: Tensor | Sequence[float]) -> Tensor:
    """Return record times as an increasing float64 tensor ``(T,)`` on the CPU.

    Used in the chapter *SIM dynamics*; source: this book.

    Raises
    ------
    ValueError
        Unless they are one or more finite numbers, none negative, in increasing order.
    """
    t = torch.as_tensor(times, dtype=torch.float64).cpu()
    ok = t.ndim == 1 and len(t) > 0 and bool(t.isfinite().all()) and float(t[0]) >= 0 and bool((t.diff() > 0).all())
    checks.require(ok, "times", times, "one or more finite numbers, at least 0 and in increasing order")
    return t


def integrate(
    field: Callable[[State], State],
    state: State,
    times: Tensor | Sequence[float],
    keep: Callable[[State], Tensor],
    *,
    dt: float | None = None,
    tolerance: float = 1e-9,
) -> tuple[Tensor, State, float]:
    """Integrate d state/dt = field(state) from time 0 by the classical Runge–Kutta method of order 4.

    With a fixed step the error is of order dt⁴. Without one, each step is compared with two of half the length
    (Richardson): it is taken, and extrapolated to order 5, when the estimate from their difference is at most
    `tolerance` of the largest entry of every matrix of the batch, and its length follows the estimate. The step is
    common to the batch, so that the fastest trajectory decides, and a GPU is waited for at each; each record ends a
    step. Used in the chapter *SIM dynamics*; source: Kutta 1901 (step control: this book).

    Parameters
    ----------
    field
        Right-hand side: a list of tensors to a list of tensors of the same shapes.
    state
        At time 0.
    times
        When to record, ``(T,)``.
    keep
        What is recorded of a state.
    dt
        Longest fixed step; each interval between records is divided evenly. None: adaptive.
    tolerance
        Of the adaptive step, per step and relative.

    Returns
    -------
    tuple
        Records ``(T, …)``, the last state, and the sum over steps of the largest estimated relative error, which is
        pessimistic because the steps are extrapolated (NaN for a fixed step, whose error is not estimated).

    Raises
    ------
    ValueError
        For times out of order, dt or tolerance not positive, or when the numbers overflow.
    """
    t = as_times(times).tolist()
    finite = all(bool(x.isfinite().all()) for x in state)
    checks.require(finite, "state", [tuple(x.shape) for x in state], "of finite numbers")
    dt, tolerance = dt if dt is None else checks.positive("dt", dt), checks.positive("tolerance", tolerance)
    stepper = _Adaptive(field, tolerance) if dt is None else _Fixed(field, dt)
    records = []
    for start, end in pairwise([0.0, *t]):
        if end > start:
            state = stepper.advance(state, end - start)
        records.append(keep(state))
    checks.require(all(bool(x.isfinite().all()) for x in state), "dt", dt, "shorter: the integration overflowed")
    return torch.stack(records), state, stepper.error


def _rk4(field: Callable[[State], State], state: State, h: float, k1: State | None = None) -> State:
    k1 = field(state) if k1 is None else k1
    k2 = field(_add(state, k1, h / 2))
    k3 = field(_add(state, k2, h / 2))
    k4 = field(_add(state, k3, h))
    return _add(state, _add(_add(k1, k4, 1), _add(k2, k3, 1), 2), h / 6)


def _add(x: State, y: State, factor: float) -> State:
    return [torch.add(a, b, alpha=factor) for a, b in zip(x, y, strict=True)]


class _Fixed:
    """Steps of one length, at most dt."""

    error = math.nan

    def __init__(self, field: Callable[[State], State], dt: float) -> None:
        self.field, self.dt = field, dt

    def advance(self, state: State, span: float) -> State:
        steps = math.ceil(span / self.dt * (1 - 1e-12))
        for _ in range(steps):
            state = _rk4(self.field, state, span / steps)
        return state


class _Adaptive:
    """Steps whose length follows the difference from two half steps; it is carried over the records."""

    def __init__(self, field: Callable[[State], State], tolerance: float) -> None:
        self.field, self.tolerance = field, tolerance
        self.h, self.error = math.inf, 0.0

    def advance(self, state: State, span: float) -> State:
        left = span
        for _ in range(_MOST):
            k1 = self.field(state)
            if math.isinf(self.h):                                       # the first step: short against |x/ẋ|
                speed = max(float(k.abs().amax() / x.abs().amax().clamp_min(1e-300)) for x, k in
                            zip(state, k1, strict=True))
                self.h = 0.1 / speed if speed > 0 else span
            pieces = max(1, math.ceil(left / self.h * (1 - 1e-12)))      # the interval ends without a tiny last step
            h = left / pieces if pieces < 4 else self.h
            whole = _rk4(self.field, state, h, k1)
            halves = _rk4(self.field, _rk4(self.field, state, h / 2, k1), h / 2)
            differ = max(_relative(b - a, b) for a, b in zip(whole, halves, strict=True)) / 15
            if differ <= self.tolerance:
                state = [b + (b - a) / 15 for a, b in zip(whole, halves, strict=True)]
                self.error += differ
                left -= h
                if pieces == 1:
                    self.h = max(self.h, h * _factor(differ, self.tolerance))
                    return state
            self.h = h * _factor(differ, self.tolerance)
        raise ValueError(f"tolerance = {self.tolerance!r}: must be larger: {_MOST} steps did not reach the next record")


def _relative(difference: Tensor, x: Tensor) -> float:
    size = x.abs().amax((-2, -1)).clamp_min(1e-300)
    return float((difference.abs().amax((-2, -1)) / size).nan_to_num(math.inf).amax())


def _factor(differ: float, tolerance: float) -> float:
    """Return by how much the next step is longer: the local difference is of order h⁵."""
    return min(4.0, max(0.1, 0.9 * (tolerance / max(differ, 1e-300)) ** 0.2))
