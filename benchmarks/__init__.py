"""Speed against peers and bounds: ``python -m benchmarks [--quick] [NAME ...]``, all of it takes some minutes.

A row compares hierlib with a peer, another way of getting the same result, and with a bound: the part of the work that
cannot be left out, alone; its memory traffic; or the work written out by hand. All run in turns, several times, on one
torch thread, and the smallest CPU time of each counts, per unit of work. `ratio` is the peer's time over hierlib's:
above 1 hierlib is faster. `share` is the bound's time over hierlib's: the fraction of the bound that is reached. Peers
are checked to give the same result before they are timed. Each module says what its peers and bounds are.
"""

import importlib


def measure(name: str, quick: bool) -> list[dict[str, str]]:
    """Return the rows of one module, measured on one thread; not in __main__, which other processes do not import."""
    import torch

    torch.set_num_threads(1)
    return importlib.import_module(f"benchmarks.{name}").rows(quick)
