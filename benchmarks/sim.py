"""Flows of two-layer linear networks, and ensembles of small MLPs; times are per step and network.

- loop: a Python loop over networks, one after another. It does a few of them.
- vmap: the equations of one network by torch.func.vmap over networks.

flow: Runge–Kutta steps of f = U Uᵀ x in float64; the size is dimension and number of networks. ensemble: a step of SGD
of deep linear MLPs in float32; the size is dimension, width, depth, batch and number of networks.
"""

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.common import check, fastest, row, training
from hierlib.lab import generator
from hierlib.lab.types import Tensor
from hierlib.nets import MLP, Ensemble
from hierlib.sim.flow import flow
from hierlib.sim.task import Task

STEP = 0.05
RATE = 0.01


def one(U: Tensor, A: Tensor) -> Tensor:
    """Return U after a Runge–Kutta step of one network, as one writes it down."""
    def velocity(U: Tensor) -> Tensor:
        W = U @ U.mT
        return A @ U - (A @ W @ U + W @ A @ U) / 2

    k1 = velocity(U)
    k2 = velocity(U + STEP / 2 * k1)
    k3 = velocity(U + STEP / 2 * k2)
    k4 = velocity(U + STEP * k3)
    return U + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def flow_rows(d: int, networks: int, steps: int, alone: int, repeats: int) -> list[dict]:
    """Return the rows of one batch of flows; the loop does `alone` networks at most."""
    alone = min(alone, networks)
    U0 = torch.rand(networks, d, d, generator=generator(0, "benchmark"), dtype=torch.float64) / 5
    a = torch.linspace(0.3, 1.5, d, dtype=torch.float64)
    A, batched = a.diag(), torch.func.vmap(one, (0, None))

    def ours() -> Tensor:
        return flow(U0, a, [steps * STEP], dt=STEP).W[0]

    def loop() -> Tensor:
        ends = []
        for U in U0[:alone]:
            for _ in range(steps):
                U = one(U, A)
            ends.append(U @ U.mT)
        return torch.stack(ends)

    def vmap() -> Tensor:
        U = U0
        for _ in range(steps):
            U = batched(U, A)
        return U @ U.mT

    W = ours()
    check(W[:alone], loop(), "loop", 1e-10)
    check(W, vmap(), "vmap", 1e-10)
    seconds = fastest(repeats, ours, loop, vmap)
    mine, *others = (time / (steps * n) for time, n in zip(seconds, (networks, alone, networks), strict=True))
    return [row("flow", f"{d},{networks}", "µs/step", mine, who, other)
            for who, other in zip(("loop", "vmap"), others, strict=True)]


def trainer(model: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return a function that does a step of SGD on the sum over networks of ½ ‖f(x) − x‖², averaged over `x`."""
    return training(torch.optim.SGD(model.parameters(), RATE, fused=True),
                    lambda: (model(x) - x).square().sum() / (2 * x.shape[-2]))


def ensemble_row(d: int, width: int, depth: int, batch: int, networks: int, alone: int, repeats: int) -> dict:
    """Return the row of an ensemble of MLPs; the loop trains `alone` networks."""
    alone = min(alone, networks)
    members = [MLP(d, d, width, depth, nn.Identity, bias=False, seed=seed) for seed in range(networks)]
    ensemble = Ensemble(members)
    task = Task(range(1, d + 1), 0.05)
    x = task.sample(batch * networks, 0).view(networks, batch, d)
    ours, loop = trainer(ensemble, x), [trainer(net, y) for net, y in zip(members[:alone], x, strict=False)]
    ours()
    for call in loop:
        call()
    check(ensemble(x)[:alone], torch.stack([net(y) for net, y in zip(members[:alone], x, strict=False)]), "loop", 1e-4)
    mine, other = fastest(repeats, ours, lambda: [call() for call in loop])
    size = f"{d},{width},{depth},{batch},{networks}"
    return row("ensemble", size, "µs/step", mine / networks, "loop", other / alone)


def rows(quick: bool) -> list[dict]:
    """Return all rows."""
    steps, alone, repeats = (5, 2, 1) if quick else (100, 4, 4)
    found = []
    for networks in (1, 16) if quick else (1, 16, 256, 2048):
        found += flow_rows(4, networks, steps, alone, repeats)
    sizes = ((3, 8, 2, 16, 4),) if quick else ((3, 8, 2, 128, 64), (3, 8, 3, 128, 64), (64, 64, 2, 128, 8))
    return found + [ensemble_row(*size, alone, 1 if quick else 20) for size in sizes]
