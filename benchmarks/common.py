"""What all benchmarks share."""

import time
from collections.abc import Callable, Iterable

import torch
from torch.utils.flop_counter import FlopCounterMode

SCALE = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}


def row(what: str, size: str, unit: str, ours: float, peer: str = "", theirs: float | None = None,
        bound: str = "", limit: float | None = None) -> dict[str, str]:
    """Return a row of the table from seconds per unit of work; `unit`, as µs/step, says in what they are shown."""
    def show(x: float | None, scale: float = SCALE[unit.partition("/")[0]]) -> str:
        digits = "" if x is None else f"{scale * x:#.3g}"
        return f"{float(digits):.0f}" if "e+" in digits else digits.removesuffix(".")

    return {
        "what": what, "size": size, "unit": unit, "hierlib": show(ours),
        "peer": peer, "peer's": show(theirs), "ratio": show(theirs and theirs / ours, 1),
        "bound": bound, "bound's": show(limit), "share": show(limit and limit / ours, 1),
    }


def check(found: torch.Tensor, expected: torch.Tensor, who: str, tolerance: float) -> None:
    """Stop when two results differ by `tolerance` or more somewhere."""
    error = float((found - expected).detach().abs().max())
    if not error < tolerance:
        raise SystemExit(f"{who} and hierlib differ by {error:.1e}")


def fastest(repeats: int, *calls: Callable[[], object]) -> list[float]:
    """Return the smallest CPU time of each call in seconds; they run in turns, after one turn that does not count."""
    best = [float("inf")] * len(calls)
    for turn in range(repeats + 1):
        for k, call in enumerate(calls):
            start = time.process_time()
            call()
            if turn:
                best[k] = min(best[k], time.process_time() - start)
    return best


def training(optimiser: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """Return a function that does one training step."""
    def call() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return call


def step(parameters: Iterable[torch.Tensor], output: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """Return a function that does one step of AdamW on the mean square of an output."""
    return training(torch.optim.AdamW(parameters, 1e-3, fused=True), lambda: output().square().mean())


def gflop(call: Callable[[], object]) -> float:
    """Return the number of floating point operations of a call, in 10⁹."""
    with FlopCounterMode(display=False) as flops:
        call()
    return flops.get_total_flops() / 1e9
