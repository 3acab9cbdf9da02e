"""Trains under SIGKILL: ``python -m tests.lab.training.killed_run FOLDER``, a process of test_train.py.

One process imports everything once and forks each attempt; an attempt begins with nothing but its checkpoint, as a
new process would. How it is killed: ``random``, by the parent after a random time; ``writing``, by itself at the
n-th call that touches the disk (fsync of the file, rename, fsync of the folder). Prints the number of kills.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from hierlib.lab.training.report import warmup_decay
from hierlib.lab.training.train import train

E, STEPS = 2, 200


class Stack(nn.Module):
    """Two perceptrons in one module, with a running mean as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        gen = torch.Generator().manual_seed(5)
        self.a = nn.Parameter(torch.randn(E, 3, 8, generator=gen))
        self.b = nn.Parameter(torch.randn(E, 8, 1, generator=gen))
        self.register_buffer("mean", torch.zeros(E, 1, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(x @ self.a)
        if self.training:
            self.mean.lerp_(h.detach().mean(1, keepdim=True), 0.1)
        return (h - self.mean) @ self.b


def run(path: Path | None, every: int | None, steps: int = STEPS) -> dict:
    """Train from the checkpoint on and return all that must not depend on the kills."""
    rng, model = torch.Generator().manual_seed(1), Stack()

    def error(model: nn.Module, gen: torch.Generator) -> torch.Tensor:
        x = torch.randn(E, 16, 3, generator=gen)
        y = x.sin().sum(-1, keepdim=True) + 0.1 * torch.randn(E, 16, 1, generator=gen)
        return (model(x) - y).square().mean((1, 2))

    for report in train(
        model, error, steps=steps, seed=rng, rate=warmup_decay(steps), ema=0.98, at=range(0, steps, 10),
        held_out=lambda model: error(model, rng), checkpoint=path, every=every,
    ):
        report.log(drawn=torch.rand(2, generator=rng), size=float(report.model.a.norm()))
    states = {name: net.state_dict() for name, net in [("model", model), ("mean", report.model), ("best", report.best)]}
    return {"states": states, "history": report.history, "best_step": report.best_step.tolist(),
            "rng": [rng.get_state()]}


def dies_at(n: int) -> None:
    """Let the n-th call that touches the disk be the last."""
    left = [n]

    def deadly(call: Callable) -> Callable:
        def wrapped(*args: object) -> object:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args)
        return wrapped

    os.fsync, os.replace = deadly(os.fsync), deadly(os.replace)


def attempt(work: Callable[[], dict], out: Path, delay: float | None) -> bool:
    """Fork, work, and kill after `delay` seconds; return whether the child came to its end."""
    child = os.fork()
    if not child:
        try:
            torch.save(work(), out)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    if delay is not None:
        end = time.monotonic() + delay
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            time.sleep(0.001)
        else:
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
    else:
        status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("an attempt failed")
    return os.WIFEXITED(status)


def main(folder: Path) -> None:
    """Write reference.pt and one file per way of being killed, and print the numbers of kills."""
    torch.set_num_threads(1)
    run(None, None, steps=2)                   # what torch imports late is then there in every attempt
    start = time.monotonic()
    attempt(lambda: run(None, None), folder / "reference.pt", None)
    took, draw = time.monotonic() - start, random.Random(time.time_ns())      # real kills come at any time
    kills = 0
    while not (done := attempt(lambda: run(folder / "random.ckpt", 7), folder / "random.pt",
                               took * draw.uniform(0.02, 0.3) * 1.05**kills)) or kills < 5:
        kills += 1
        if done:                               # the machine was busy before and is so no more: anew, and sooner
            took, kills = took / 2, 0
            (folder / "random.ckpt").unlink()
    print("random", kills)
    kills = 0

    def work() -> dict:
        dies_at(kills % 8 + 1)
        return run(folder / "writing.ckpt", None)

    while not attempt(work, folder / "writing.pt", None):
        kills += 1
    print("writing", kills)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
