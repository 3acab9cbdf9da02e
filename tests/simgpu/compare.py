"""What the checks share: results of both devices side by side, and how often a loop waits for the device."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tests.simgpu import costs


def parts(x: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield tensors, arrays, numbers and strings of nested results, with where they stand."""
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        x = {f.name: getattr(x, f.name) for f in dataclasses.fields(x)}
    elif isinstance(x, pd.DataFrame):
        x = {name: x[name].tolist() for name in x}
    elif isinstance(x, nn.Module):
        x = x.state_dict()
    if isinstance(x, dict):
        for name, y in x.items():
            yield from parts(y, f"{path}.{name}")
    elif isinstance(x, list | tuple):
        for k, y in enumerate(x):
            yield from parts(y, f"{path}[{k}]")
    else:
        yield path, x


def both(make: Callable[[str], Any], *, tolerance: float = 1e-5, host: bool = False) -> Any:
    """Return ``make("cuda")``, having asserted that it is ``make("cpu")``: integers equal, real numbers nearly.

    Its tensors must be on the device or, with `host`, on the CPU.
    """
    expected, found = list(parts(make("cpu"))), list(parts(result := make("cuda")))
    assert [path for path, _ in expected] == [path for path, _ in found]
    for (path, a), (_, b) in zip(expected, found, strict=True):
        if not isinstance(a, Tensor | np.ndarray | int | float | np.generic):
            assert a == b or callable(a), (path, a, b)
            continue
        if isinstance(b, Tensor):
            assert b.device.type == ("cpu" if host else "cuda"), f"{path} is on {b.device}"
            b = b.detach().cpu()
        a, b = torch.as_tensor(a).detach(), torch.as_tensor(b)
        assert a.shape == b.shape and a.dtype == b.dtype, (path, a.shape, b.shape, a.dtype, b.dtype)
        size = float(a.double().nan_to_num(0, 0, 0).abs().amax()) if a.is_floating_point() and a.numel() else 0.0
        same = torch.equal(a, b) if not a.is_floating_point() else torch.allclose(
            a, b, rtol=0, atol=tolerance * max(size, 1e-3), equal_nan=True)
        assert same, f"{path} differs from the CPU's:\n{a}\n{b}"
    return result


def counted(work: Callable[[], Any]) -> tuple[int, int]:
    """Return how often `work` waits for the device, and how often it copies from the CPU to it."""
    costs.stats.reset()
    work()
    return costs.stats.syncs, costs.stats.uploads


def grows(work: Callable[[int], Any], *, waits: int = 0, uploads: int = 0, n: int = 4) -> None:
    """Assert by how much `counted` of ``work(n)`` grows with each further step, after a call to warm up."""
    work(n)
    few, many = counted(lambda: work(n)), counted(lambda: work(2 * n))
    found = [(b - a) / n for a, b in zip(few, many, strict=True)]
    assert found == [waits, uploads], f"waits, uploads per step: {found}, not {[waits, uploads]} ({few} -> {many})"
