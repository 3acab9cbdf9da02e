"""pSGD of many replicas of one neuron; times are per sample and replica.

A peer gets the same trajectories in law: it is checked to have the same overlap in mean.

- loop: a Python loop over replicas, each trained alone by automatic differentiation of the loss.
- full: pSGD in all dimensions, against the chain of overlaps.

The size is dimension, batch and replicas.
"""

import math
from collections.abc import Callable

import torch

from benchmarks.common import fastest, row
from hierlib.cumulants import MixedCumulantModel, Plan, TiedNeuron, chain, psgd
from hierlib.lab import generator
from hierlib.lab.types import Tensor

NEURON = TiedNeuron()
START = (0.6, 0.3)
STEP = 0.05


def loop(model: MixedCumulantModel, batch: int, steps: int, replicas: int) -> Tensor:
    """Return the final overlaps with u and v, ``(2, replicas)``, of replicas that are trained one after another."""
    ends = []
    for replica in range(replicas):
        rng = generator(replica, "benchmark")
        w = torch.randn(model.d, generator=rng)
        w[:2] = 0
        w = w / w.norm() * math.sqrt(1 - START[0] ** 2 - START[1] ** 2)
        w[:2] = torch.tensor(START)
        for _ in range(steps):
            w.requires_grad_()
            x0 = model.sample(batch, rng)
            noise = torch.randn(batch, model.d, generator=rng)
            g, = torch.autograd.grad(NEURON.loss(w, x0, noise), w)
            w = w.detach()
            w = w - STEP * (g - (g @ w) * w)
            w = w / w.norm()
        ends.append(w[:2])
    return torch.stack(ends, 1).double()


def size_rows(d: int, batch: int, replicas: int, steps: int, alone: int, repeats: int) -> list[dict]:
    """Return the rows of one size; the loop does `alone` replicas only, and the chain ten times the steps."""
    model = MixedCumulantModel(d)

    def ours(function: Callable, steps: int) -> Callable[[], Tensor]:
        def call() -> Tensor:
            run = function(model, NEURON, Plan(STEP, batch, steps * batch, replicas=replicas, start=START))
            return torch.stack([run.alpha_u[-1], run.alpha_v[-1]])

        return call

    ends = [ours(psgd, steps)(), ours(chain, steps)(), loop(model, batch, steps, alone)]
    for end in ends[1:]:
        error = (end.var(1) / end.shape[1] + ends[0].var(1) / replicas).sqrt()
        if not float(((end.mean(1) - ends[0].mean(1)) / error).abs().max()) < 6:
            raise SystemExit(f"d = {d}: overlaps differ, {[end.mean(1).tolist() for end in ends]}")
    seconds = fastest(repeats, ours(psgd, steps), ours(chain, 10 * steps), lambda: loop(model, batch, steps, alone))
    full, reduced, single = (time / (count * steps * batch) for time, count in
                             zip(seconds, (replicas, 10 * replicas, alone), strict=True))
    return [row(what, f"{d},{batch},{replicas}", "ns/sample", mine, peer, other) for what, mine, peer, other in (
        ("psgd", full, "loop", single), ("chain", reduced, "loop", single), ("chain", reduced, "full", full))]


def rows(quick: bool) -> list[dict]:
    """Return all rows."""
    sizes = ((8, 4, 20),) if quick else ((16, 16, 192), (64, 8, 256), (64, 128, 192), (256, 32, 256))
    steps, alone, repeats = (5, 3, 1) if quick else (20, 8, 4)
    return [one for size in sizes for one in size_rows(*size, steps, alone, repeats)]
