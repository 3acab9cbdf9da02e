"""Seeds: one stream per task, derived by ``numpy.random.SeedSequence``; nothing global is ever seeded."""

import zlib

import numpy as np
import torch

from hierlib.lab import checks

__all__ = ["generator", "spawn"]

Seed = int | torch.Generator


def _sequence(seed: int, key: tuple[int | str, ...]) -> np.random.SeedSequence:
    seed = checks.integer("seed", seed, low=0)
    numbers = (zlib.crc32(k.encode()) if isinstance(k, str) else checks.integer("key", k, low=0) for k in key)
    return np.random.SeedSequence(seed, spawn_key=tuple(numbers))


def generator(seed: Seed, *key: int | str) -> torch.Generator:
    """Return a CPU generator: a new one for an integer `seed`, or `seed` itself when it is one already.

    Parameters
    ----------
    seed
        Non-negative integer (it starts a new stream), or a ``torch.Generator`` on the CPU, whose stream is
        continued: two calls on half a batch each then give what one call on the whole batch gives.
    key
        Task, replica, name of the drawing function, … : non-negative integers or strings that make the stream
        independent of every other key's (``SeedSequence(seed, spawn_key=key)``, strings by their CRC-32). Every
        function of hierlib that draws has a key of its own, so that two of them called with one integer seed do
        not draw the same numbers. A generator is taken as it is, whatever the key.

    Raises
    ------
    ValueError
        For a negative or fractional seed or key, a generator on another device, or where torch's default device is
        not the CPU: functions of hierlib are told their device, or take that of their arguments.
    """
    default = torch.get_default_device()
    checks.require(default.type == "cpu", "torch.get_default_device()", default, "the CPU, as draws are made there; "
                   "give functions of hierlib their device instead of torch.set_default_device")
    if isinstance(seed, torch.Generator):
        checks.require(seed.device.type == "cpu", "seed", seed.device, "a generator on the CPU: draws are the "
                       "same on every device because they are made there")
        return seed
    state = int(_sequence(seed, key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)   # torch takes 64 bits, signed


def spawn(seed: int, n: int, *key: int | str) -> list[int]:
    """Return `n` integer seeds, statistically independent of each other and of `seed` itself.

    Raises
    ------
    ValueError
        For a negative or fractional seed, key or `n`.
    """
    n = checks.integer("n", n, low=0)
    return [int(s.generate_state(1, np.uint64)[0] >> np.uint64(1)) for s in _sequence(seed, key).spawn(n)]
