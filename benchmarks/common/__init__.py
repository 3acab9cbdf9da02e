"""What all benchmarks share."""

import argparse
import time
from collections.abc import Callable

import torch


def started(doc: str, quick: str = "small batches, few repeats", aim: str = "") -> bool:
    """Read the command line, take one thread, print the first line; return whether a quick run is wanted."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    wanted = parser.parse_args().quick
    torch.set_num_threads(1)
    print(f"# torch {torch.__version__}, one thread{aim}")
    return wanted


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
