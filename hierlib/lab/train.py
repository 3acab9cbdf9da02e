"""Training as a generator: the chapter's own loop measures what it wants at each report, without callbacks.

::

    for report in train(model, loss, steps=1000, ema=0.999, held_out=held_out, checkpoint="run.pt"):
        report.log(accuracy=accuracy(report.model))
    report.frame()

A run that is killed at any instant and started again ends with the same bits as one that was left alone: weights,
averages, best weights, optimiser, every generator and the history are in its checkpoint.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hierlib.lab import checkpoint as files
from hierlib.lab import checks
from hierlib.lab.loop import Loop
from hierlib.lab.report import Report, log_steps, plain
from hierlib.lab.seeds import Seed, generator
from hierlib.lab.store import scalar
from hierlib.lab.weights import tensors

__all__ = ["train"]

_SPEED = ("foreach", "fused", "capturable", "differentiable")     # of an optimiser: how it computes, not what


def train(
    model: nn.Module, loss: Callable[[nn.Module, torch.Generator], Tensor], *, steps: int, seed: Seed = 0,
    optimiser: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None,
    schedule: Callable[[int], float] | None = None, ema: float | None = None, at: Iterable[int] | None = None,
    held_out: Callable[[nn.Module], Any] | None = None, patience: float | None = None, margin: float = 0.0,
    clip: float | None = None, checkpoint: str | os.PathLike | None = None, every: int | None = None,
    config: dict[str, Any] | None = None, generators: Iterable[torch.Generator] = (), progress: bool | str = False,
) -> Iterator[Report]:
    """Train `model` in place and yield a :class:`Report` at each evaluation step.

    Every chapter with a network trains with it, first *Hierarchical clustering*.

    Parameters
    ----------
    model
        Any module, on any device. It is in training mode at each step and at the end in the mode it came in. Each
        step clears all of its gradients.
    loss
        ``loss(model, rng)`` draws its own batch from the CPU generator `rng` and returns a scalar, or ``(E,)`` for an
        ensemble whose parameters all have the members as their leading dimension. The gradient is that of the sum, so
        members do not feel each other.
    steps
        Number of updates.
    seed
        Of `rng`: integer or CPU ``torch.Generator``. Nothing global is drawn from or seeded; a dropout layer, which
        does draw from torch's global generator, is therefore not resumed exactly.
    optimiser
        ``optimiser(parameters)`` for those that require a gradient, or some of them; default AdamW with lr = 0.01,
        betas (0.9, 0.99).
    schedule
        ``schedule(t)`` multiplies every initial learning rate for the update after step t = 0 … steps − 1;
        :func:`warmup_decay` makes one.
    ema
        Decay β in [0, 1) of the moving average of the weights, or None for the weights themselves. After update t it
        is θ̄ ← θ̄ + (1 − β_t)(θ − θ̄) with β_t = min(β, (1 + t)/(10 + t)), so that early averages reach back over
        about a ninth of the run so far and the start is forgotten. Buffers are copied.
    at
        Increasing steps of the reports, 0 (before training) … `steps`; default :func:`log_steps`. The last step always
        reports.
    held_out
        ``held_out(model)`` of the averaged model at each report, without gradients: a scalar, or ``(E,)``; then the
        best weights are kept for each member on its own.
    patience, margin
        Early stopping, with `patience` > 1: the run ends at a report where, for every member, the step is at least
        `patience` times its best one (counted from 1) and the held-out loss exceeds its lowest by more than `margin`.
    clip
        Largest norm of the gradient of all that the optimiser trains, for each member on its own.
    checkpoint, every
        File of the state (``~`` is the home folder), and the number of steps between two writings; default: at each
        report, after its turn, so that logged values are in it. It is also written before the first step and at the
        end. Where the file exists the run goes on from it: reports whose turn it covers are in the history and not
        yielded again; a finished run yields its last one only.
    config
        What else distinguishes the run (sizes, data, …): a dict that JSON can write. The checkpoint of another
        configuration is refused; compared are also the other arguments, the optimiser's hyperparameters, the model's
        shapes and hierlib's version.
    generators
        All generators that `loss`, `held_out` or the reports' turns draw from; their states are in the checkpoint.
    progress
        Whether to show a bar, or what it says.

    Yields
    ------
    Report

    Raises
    ------
    ValueError
        For arguments outside their range, a loss of another shape, or a checkpoint of another run or damaged. Under
        ``torch.inference_mode``, in which nothing can be trained, and ``torch.autocast``, which would go on with the
        weights of the first step: use it within `loss`.
    FloatingPointError
        When a loss or the weights are not finite, naming the step and the member. To keep the steps free of waiting
        for the device this is seen at reports, checkpoints and every 64 steps; the checkpoint before it stays.
    """
    steps = checks.integer("steps", steps, low=1)
    at = log_steps(steps) if at is None else [checks.integer("at", t, 0, steps) for t in at]
    checks.require(all(a < b for a, b in itertools.pairwise(at)), "at", at, "increasing")
    at = at if at[-1:] == [steps] else [*at, steps]
    ema = None if ema is None else checks.real("ema", ema, 0.0)
    checks.require(ema is None or ema < 1, "ema", ema, "in [0, 1)")
    clip = None if clip is None else checks.real("clip", clip)
    checks.require(clip is None or clip > 0, "clip", clip, "positive")
    patience = None if patience is None else checks.real("patience", patience)
    checks.require(patience is None or patience > 1, "patience", patience, "above 1")
    checks.require(patience is None or held_out is not None, "patience", patience, "None without held_out")
    margin = checks.real("margin", margin, 0.0)
    every = None if every is None else checks.integer("every", every, low=1)
    config = {} if config is None else config
    files.canonical(config)                                       # refused here, not at the first writing
    rng, generators = generator(seed, "train"), list(generators)
    for each in generators:
        checks.require(isinstance(each, torch.Generator), "generators", each, "torch generators")
    parameters = [p for p in model.parameters() if p.requires_grad]
    checks.require(bool(parameters), "model", type(model).__name__, "a module with parameters that require a gradient")
    known = tensors(model).values()
    checks.require(not any(t.is_meta or t.is_inference() for t in known), "model", type(model).__name__,
                   "one that holds numbers (not on the meta device) and was not made in inference mode")
    made = (_adamw if optimiser is None else optimiser)(parameters)
    for group in made.param_groups:
        checks.require(set(model.parameters()).issuperset(group["params"]), "optimiser", type(made).__name__,
                       "over parameters of the model only")
        group.update({key: _numbers(value) for key, value in group.items() if key != "params"})
    identity = {
        "config": config, "steps": steps, "seed": "generator" if seed is rng else int(seed), "at": at, "ema": ema,
        "held_out": held_out is not None, "patience": patience, "margin": margin, "clip": clip,
        "generators": len(generators), "optimiser": [type(made).__name__, *map(_hyperparameters, made.param_groups)],
        "schedule": None if schedule is None else [
            checks.real("schedule", schedule(t), 0.0) for t in sorted({0, *at[:-1]})],
        "model": {name: f"{t.dtype} {list(t.shape)}" for name, t in tensors(model).items()},
    }
    return Loop(
        model=model, loss=loss, optimiser=made, schedule=schedule, ema=ema, at=at, held_out=held_out, patience=patience,
        margin=margin, clip=clip, path=checkpoint, every=every, identity=identity, generators=[rng, *generators],
    ).reports(progress)


def _adamw(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    return torch.optim.AdamW(parameters, lr=1e-2, betas=(0.9, 0.99), fused=fused)    # fused: 4 times faster, small nets


def _numbers(value: Any) -> Any:
    """Return numpy's numbers, in tuples and lists too, as Python's: a resumed run has these, and they round alike."""
    if isinstance(value, tuple | list):
        return (tuple if isinstance(value, tuple) else list)(map(_numbers, value))
    with contextlib.suppress(TypeError):
        return value if isinstance(value, Tensor) else scalar(value)
    return value


def _hyperparameters(group: dict[str, Any]) -> dict[str, Any]:
    plain_ones = bool | int | float | str | tuple | list | Tensor | None
    return {key: plain(key, value) for key, value in group.items()
            if key not in ("params", *_SPEED) and isinstance(value, plain_ones)}
