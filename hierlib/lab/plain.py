"""Numbers and containers as plain Python has them: what files hold, and what a restored run computes with."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

__all__ = ["mapped", "plain", "scalar", "softly"]


def scalar(value: Any) -> bool | int | float | str | None:
    """Return a number, boolean, string or None as plain Python has it; numpy's and torch's scalars are converted.

    Raises
    ------
    TypeError
        For anything else.
    """
    if isinstance(value, np.generic | np.ndarray | torch.Tensor) and value.ndim == 0:
        value = value.item()
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if value is not None:
        raise TypeError(f"{type(value).__name__} is not a number, boolean, string or None")
    return None


def softly(value: Any) -> Any:
    """Return numbers and strings as :func:`scalar` does, anything else (tensors among it) as it is."""
    with contextlib.suppress(TypeError):
        return value if isinstance(value, torch.Tensor) else scalar(value)
    return value


def mapped(value: Any, leaf: Callable[[Any], Any], key: Callable[[Any], Any] | None = None) -> Any:
    """Return nested dicts, lists and tuples, as these plain types, with ``leaf(x)`` in the place of each x in them.

    Keys go through `key`, by default through `leaf`, too.
    """
    if isinstance(value, dict):
        return {(key or leaf)(name): mapped(item, leaf, key) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return (tuple if isinstance(value, tuple) else list)(mapped(item, leaf, key) for item in value)
    return leaf(value)


def plain(value: Any) -> Any:
    """Return scalars, and tuples, lists and string-keyed dicts of them, as plain Python; errors as :func:`scalar`."""
    return mapped(value, scalar, _name)


def _name(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the key {key!r} is not a string")
    return key
