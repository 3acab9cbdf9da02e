"""Checks of input: one kind of message, naming the parameter, its value and what is allowed."""

import math
import operator
from typing import Any

import numpy as np

__all__ = ["integer", "integers", "one_of", "positive", "positive_array", "real", "reals", "require"]


def require(ok: bool, name: str, value: Any, allowed: str) -> None:
    """Raise ``ValueError("name = value: must be allowed")`` unless `ok`."""
    if not ok:
        raise ValueError(f"{name} = {value!r}: must be {allowed}")


def _other(value: Any) -> bool:
    """Whether `value` is a boolean, complex or text, which Python would take for a number too."""
    kind = str(getattr(value, "dtype", ""))
    return isinstance(value, bool | complex | str | bytes) or "bool" in kind or "complex" in kind


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return `value` as an ``int`` in [`low`, `high`]; booleans and fractions are refused.

    Raises
    ------
    ValueError
        When `value` is not an integer or lies outside the range.

    Examples
    --------
    >>> integer("m", 3, low=1)
    3
    """
    allowed = f"an integer of at least {low}" if high is None else f"an integer in [{low}, {high}]"
    require(not _other(value), name, value, allowed)
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} = {value!r}: must be {allowed}") from None
    require(number >= low and (high is None or number <= high), name, value, allowed)
    return number


def integers(low: int, **values: Any) -> tuple[int, ...]:
    """Return each of the named values as an ``int`` of at least `low`; errors as :func:`integer`.

    Examples
    --------
    >>> v, m = integers(1, v=32, m=8)
    """
    return tuple(integer(name, value, low) for name, value in values.items())


def real(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """Return `value` as a finite ``float`` in [`low`, `high`]; booleans, complex numbers and strings are refused.

    Raises
    ------
    ValueError
        When `value` is not a finite number or lies outside the range.
    """
    allowed = f"a finite number in [{low:g}, {high:g}]"
    require(not _other(value), name, value, allowed)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} = {value!r}: must be {allowed}") from None
    require(math.isfinite(number) and low <= number <= high, name, value, allowed)
    return number


def reals(low: float = -math.inf, high: float = math.inf, **values: Any) -> tuple[float, ...]:
    """Return each of the named values as a finite ``float`` in [`low`, `high`]; errors as :func:`real`."""
    return tuple(real(name, value, low, high) for name, value in values.items())


def positive(name: str, value: Any, high: float = math.inf) -> float:
    """Return `value` as a finite ``float`` in (0, `high`]; errors as :func:`real`."""
    number = real(name, value, 0.0, high)
    require(number > 0, name, value, "positive" if high == math.inf else f"in (0, {high:g}]")
    return number


def positive_array(name: str, value: Any, below: float = math.inf) -> np.ndarray:
    """Return a number or numbers as a float64 array, finite and in (0, `below`), for closed forms.

    Raises
    ------
    ValueError
        When one of them is not.
    """
    numbers = np.asarray(value, dtype=float)
    allowed = "positive and finite" if below == math.inf else f"in (0, {below:g})"
    require(bool(((numbers > 0) & (numbers < below)).all()), name, value, allowed)
    return numbers


def one_of(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """Return the one of `choices` that equals `value`.

    Raises
    ------
    ValueError
        When it is not.
    """
    require(value in choices, name, value, "one of " + ", ".join(map(repr, choices)))
    return choices[choices.index(value)]
