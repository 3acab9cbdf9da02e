"""Flows of two-layer linear networks, and ensembles of small MLPs: speed against peers.

    python benchmarks/sim.py            about a minute
    python benchmarks/sim.py --quick    a few seconds; shows that everything runs, its figures mean little

A row compares hierlib with one other way of getting the same result. Both run in turns, several times, on one torch
thread, and the smallest CPU time of each counts. `ratio` is the speed of hierlib over that of the other: above 1
hierlib is faster. Peers are checked to give the same result before they are timed. Speeds are in steps × networks per
second; `us` is hierlib's time per step and network, in microseconds.

- loop: a Python loop over networks, one after another. It does a few of them, and its speed counts.
- vmap: the equations of one network by torch.func.vmap over networks.

Tasks: flow, Runge–Kutta steps of f = U Uᵀ x in float64, named by dimension and number of networks; ensemble, a step of
SGD of deep linear MLPs in float32, named by dimension, width, depth, batch and number of networks.
"""

from collections.abc import Callable

import pandas as pd
import torch
from common import check, fastest, started
from torch import nn

from hierlib.lab import generator
from hierlib.lab.types import Tensor
from hierlib.nets import MLP, Ensemble
from hierlib.sim.flow import flow
from hierlib.sim.task import Task

STEP = 0.05
RATE = 0.01


def row(task: str, name: str, against: str, mine: float, other: float) -> dict:
    """Return a row of the table from the speeds of hierlib and of the other."""
    return {"task": task, "run": name, "unit": "steps/s", "hierlib": f"{mine:.3g}", "us": f"{1e6 / mine:.3g}",
            "against": against, "other": f"{other:.3g}", "ratio": f"{mine / other:.3g}"}


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
    mine, single, mapped = (steps * n / time for n, time in zip((networks, alone, networks), seconds, strict=True))
    name = f"{d},{networks}"
    return [row("flow", name, "loop", mine, single), row("flow", name, "vmap", mine, mapped)]


def trainer(model: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return a function that does a step of SGD on the sum over networks of ½ ‖f(x) − x‖², averaged over `x`."""
    parameters = list(model.parameters())
    optimiser = torch.optim.SGD(parameters, RATE, fused=True)

    def call() -> None:
        optimiser.zero_grad()
        ((model(x) - x).square().sum() / (2 * x.shape[-2])).backward()
        optimiser.step()

    return call


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
    seconds = fastest(repeats, ours, lambda: [call() for call in loop])
    return row("ensemble", f"{d},{width},{depth},{batch},{networks}", "loop", networks / seconds[0], alone / seconds[1])


def main() -> None:
    """Print the table."""
    quick = started(__doc__, "few networks, steps and repeats")
    steps, alone, repeats = (5, 2, 1) if quick else (100, 4, 4)
    table = []
    for networks in (1, 16) if quick else (1, 16, 256, 2048):
        table += flow_rows(4, networks, steps, alone, repeats)
    sizes = ((3, 8, 2, 16, 4),) if quick else ((3, 8, 2, 128, 64), (3, 8, 3, 128, 64), (64, 64, 2, 128, 8))
    for size in sizes:
        table.append(ensemble_row(*size, alone, 1 if quick else 20))
    print(pd.DataFrame(table).to_string(index=False))


if __name__ == "__main__":
    main()
