"""What the simulated device did: kernel launches, waits for it, FLOP, bytes moved, peak memory, roofline seconds.

`attach` after `device.install()` counts in `stats`. Or `dry` in place of both: then tensors of the device hold meta
tensors and nothing is computed, so that one step of any size is counted anywhere; `cost` does it. What comes back to
the CPU is 0, a boolean False, the result of `all` True. Seconds are those of the device, or of launching its kernels
where that takes longer, within ± 50 %; what the CPU does besides, such as drawing, is not in them.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import conv_flop_count, flop_registry

from tests.simgpu import device
from tests.simgpu.device import INDEX, CudaTensor, check_devices, facts, leaves, memory, tree_map, way_of

CARDS = {                                         # seconds per operator (host), bytes/s, FLOP/s in float32, in float64
    "T4": (12e-6, 240e9, 5e12, 0.2e12), "H100": (6e-6, 2.4e12, 40e12, 30e12),
}
SYNCS = {"_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "equal", "allclose", "bincount",
         "repeat_interleave", "_linalg_check_errors", "_linalg_eigh", "_linalg_svd"}
ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh"}
META = torch.device("meta")


class Stats:
    """Counts since the last `reset`: `syncs` are waits for the device, `uploads` copies of the CPU's tensors to it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self.launches = self.syncs = self.uploads = self.flops = self.bytes = 0
        self.seconds, memory.peak = dict.fromkeys(CARDS, 0.0), memory.live

    def add(self, other: "Stats", times: int = 1) -> "Stats":
        """Count what another one counted, so many times."""
        for name, more in vars(other).items():
            mine = getattr(self, name)
            setattr(self, name, mine + times * more if name != "seconds" else
                    {card: mine[card] + times * more[card] for card in more})
        return self

    def __repr__(self) -> str:
        cards = ", ".join(f"{card} {seconds:.3g} s" for card, seconds in self.seconds.items())
        return (f"{self.launches} launches, {self.syncs} syncs, {self.uploads} uploads, peak "
                f"{memory.peak / 2**20:.1f} MiB, {self.flops / 1e9:.4g} GFLOP, {self.bytes / 1e9:.4g} GB; {cards}")

    def count(self, func: Any, tensors: list, args: tuple, kwargs: dict, out: Any, way: str | None) -> None:
        """Count one operator, as a watcher of the device."""
        name, _, _, view, *_ = facts(func)
        # a mask as an index is looked through for its places, unless one value is written to all of them
        mask = name in INDEX and any(t.dtype == torch.bool for t in leaves(args[1])) and (
            len(args) < 3 or args[2].numel() > 1)
        self.syncs += name in SYNCS or mask or way == "down"
        self.uploads += way == "up"
        if view or name in ALLOCATIONS:
            return
        moved = flop = double = 0
        for t in (*tensors, *(t for t in leaves(out) if isinstance(t, torch.Tensor))):
            flop = t.numel()
            moved += t.untyped_storage().nbytes() if 0 in t.stride() else flop * t.element_size()
            double |= t.dtype in (torch.float64, torch.complex128)
        if name == "convolution_backward":        # torch's own formula forgets that there are groups
            each = conv_flop_count(args[1].shape, args[2].shape, args[0].shape, args[7])
            self.flops += (flop := sum(args[10][:2]) * each)
        elif formula := flop_registry.get(func._overloadpacket):
            self.flops += (flop := formula(*args, **kwargs, out_val=out))
        self.launches, self.bytes = self.launches + 1, self.bytes + moved
        for card, (host, bandwidth, single, twice) in CARDS.items():
            self.seconds[card] += max(host, moved / bandwidth, flop / (twice if double else single))


stats = Stats()


def attach() -> None:
    """Count from now on."""
    device.watchers.append(stats.count)


def dry(limit: int | None = None) -> None:
    """Install a device that counts and does not compute."""
    device.execute, device.CPU = _execute, META
    device.install(limit)
    attach()


def cost(probe: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Return what `repeats` calls of `probe` cost, counted on the second of two, the first one being to warm up.

    Under the dry device. Keys: seconds_T4, syncs and launches, of all calls together, and peak_bytes, of one.
    """
    probe()
    stats.reset()
    probe()
    return {"seconds_T4": repeats * stats.seconds["T4"], "peak_bytes": memory.peak, "syncs": repeats * stats.syncs,
            "launches": repeats * stats.launches}


def brief(update: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Return `hierlib.lab.training`'s update such that what is the same is counted without being run again.

    The first two steps of a training run, the former making the optimiser's state, and each that follows a report, so
    that the peak of memory is reached; those between count as the last that ran.
    """
    def brief_update(state: Any, loss: Any) -> None:
        nonlocal cost
        if state.step < 2 or not state.pending:
            before = copy.deepcopy(stats)
            update(state, loss)
            cost = copy.deepcopy(stats).add(before, -1)
        else:
            state.step += 1
            stats.add(cost)

    cost = None
    return brief_update


def _execute(func: Any, args: tuple, kwargs: dict) -> Any:
    """Run one operator on meta tensors, in place of `device.execute`."""
    name, written, *_ = facts(func)
    flat = [t for t in leaves((args, *kwargs.values())) if isinstance(t, torch.Tensor)]
    check_devices(func, args, flat)
    ours = {id(t.inner): t for t in flat if isinstance(t, CudaTensor)} if written else {}
    way = way_of(func, args, kwargs)
    if way == "down" or name in ("_local_scalar_dense", "equal"):
        stats.syncs, stats.launches = stats.syncs + 1, stats.launches + 1
        if name == "_local_scalar_dense":
            kind = flat[0].dtype
            return getattr(flat[0], "true", False) if kind == torch.bool else 0.0 if kind.is_floating_point else 0
        return True if name == "equal" else args[0].zero_() if name == "copy_" else torch.zeros(
            flat[0].shape, dtype=kwargs.get("dtype") or flat[0].dtype)

    def plain(t: Any) -> Any:
        return t.inner if isinstance(t, CudaTensor) else t.to(META) if isinstance(t, torch.Tensor) and t.dim() else \
            None if isinstance(t, torch._C.Generator) else t

    inner = tree_map(plain, args)
    kw = {k: tree_map(plain, v) for k, v in kwargs.items() if k not in ("pin_memory", "generator")}
    if "device" in kw:
        kw["device"] = META
    if name.startswith("_fused_"):
        out = None
    elif name in ("_unique2", "unique_dim"):      # as if all were different
        x = inner[0] if name == "unique_dim" else inner[0].flatten()
        index = torch.empty(x.shape[inner[1]] if name == "unique_dim" else len(x), dtype=torch.int64, device=META)
        out = x, index, index
    else:
        out = func(*inner, **kw)
    device.seen(func, [t.inner for t in flat if isinstance(t, CudaTensor)], inner, kw, out, way)
    for t in ours.values():
        if t.shape != t.inner.shape:
            device._Base.data.__set__(t, CudaTensor(t.inner))

    def wrap(t: Any) -> Any:
        if id(t) in ours or not (type(t) is torch.Tensor and t.device == META):
            return ours.get(id(t), t)
        t = CudaTensor(t)
        t.true = name == "all"
        return t

    return tree_map(wrap, out)
