"""What all benchmarks share."""

import time
from collections.abc import Callable


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
