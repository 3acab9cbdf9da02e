"""Training as a generator: the chapter's own loop measures what it wants at each report, without callbacks.

::

    for report in train(model, loss, steps=1000, ema=0.999, held_out=held_out, checkpoint="run.pt"):
        report.log(accuracy=accuracy(report.model))
    report.frame()

A run that is killed at any instant and started again ends with the same bits as one that was left alone: weights,
averages, best weights, optimiser, generator and the history are in its checkpoint.
"""

import copy
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hierlib.lab import checks
from hierlib.lab.plain import mapped, softly
from hierlib.lab.progress import bar
from hierlib.lab.seeds import Seed, generator
from hierlib.lab.training.report import Report, log_steps, logged
from hierlib.lab.training.state import State, copy_, tensors

__all__ = ["train"]

_SPEED = ("foreach", "fused", "capturable", "differentiable")     # of an optimiser: how it computes, not what


def train(
    model: nn.Module, loss: Callable[[nn.Module, torch.Generator], Tensor], *, steps: int, seed: Seed = 0,
    optimiser: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None,
    rate: Callable[[int], float] | None = None, ema: float | None = None, at: Iterable[int] | None = None,
    held_out: Callable[[nn.Module], Any] | None = None, patience: float | None = None, margin: float = 0.0,
    checkpoint: str | os.PathLike | None = None, every: int | None = None, progress: bool | str = False,
) -> Iterator[Report]:
    """Train `model` in place and yield a :class:`Report` at each evaluation step.

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
        Of `rng`: integer or CPU ``torch.Generator``. Nothing global is drawn from or seeded, and a run is resumed
        exactly when nothing but `rng` is drawn from; a dropout layer, say, draws from torch's global generator.
    optimiser
        ``optimiser(parameters)`` for those that require a gradient, or some of them; default AdamW with lr = 0.01,
        betas (0.9, 0.99).
    rate
        ``rate(t)`` multiplies every initial learning rate for the update after step t = 0 … steps − 1;
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
    checkpoint, every
        File of the state (``~`` is the home folder), and the number of steps between two writings; default: at each
        report, after its turn, so that logged values are in it. It is also written before the first step and at the
        end. Where the file exists the run goes on from it: reports whose turn it covers are in the history and not
        yielded again; a finished run yields its last one only. The checkpoint of another run (other arguments,
        hyperparameters, shapes or version of hierlib) is refused; the loss itself is not compared.
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
    patience = None if patience is None else checks.real("patience", patience)
    checks.require(patience is None or patience > 1, "patience", patience, "above 1")
    checks.require(patience is None or held_out is not None, "patience", patience, "None without held_out")
    margin = checks.real("margin", margin, 0.0)
    every = None if every is None else checks.integer("every", every, low=1)
    rng, parameters = generator(seed, "train"), [p for p in model.parameters() if p.requires_grad]
    checks.require(bool(parameters), "model", type(model).__name__, "a module with parameters that require a gradient")
    known = tensors(model)
    checks.require(not any(t.is_meta or t.is_inference() for t in known.values()), "model", type(model).__name__,
                   "one that holds numbers (not on the meta device) and was not made in inference mode")
    made = (_adamw if optimiser is None else optimiser)(parameters)
    for group in made.param_groups:
        checks.require(set(model.parameters()).issuperset(group["params"]), "optimiser", type(made).__name__,
                       "over parameters of the model only")
        # numpy's numbers as Python's: a resumed run has these, and they round alike
        group.update({key: mapped(value, softly) for key, value in group.items() if key != "params"})
    identity = {
        "steps": steps, "seed": "generator" if seed is rng else int(seed), "at": at, "ema": ema,
        "held_out": held_out is not None, "patience": patience, "margin": margin,
        "optimiser": type(made).__name__, **_hyperparameters(made),
        **{f"rate({t})": checks.real("rate", rate(t), 0.0) for t in sorted({0, *at[:-1]}) if rate is not None},
        **{f"model.{name}": f"{t.dtype} {list(t.shape)}" for name, t in known.items()},
    }
    state = State(model=model, optimiser=made, rng=rng, at=at, held_out=held_out, patience=patience, margin=margin,
                  path=checkpoint, identity=identity)
    return _reports(state, loss, rate, ema, every, progress)


def _reports(
    state: State, loss: Callable, rate: Callable | None, ema: float | None, every: int | None, progress: bool | str
) -> Iterator[Report]:
    """The loop: resume, then in turn evaluate and yield, save, update."""
    rates, mode = [group["lr"] for group in state.optimiser.param_groups], state.model.training
    averages, weights = list(state.averaged.parameters()), list(state.model.parameters())
    state.resume()
    shown = bar(state.at[-1], initial=state.step, what=progress)
    try:
        if state.done:                                 # a finished run: its last report once more, to be logged anew
            before = copy.deepcopy(state.history)
            yield from _turn(state)
            if state.history != before:
                state.save()
        while not state.done:
            if due := state.step == state.at[len(state.history)]:
                _evaluate(state, averaged=ema is not None)
                yield from _turn(state)
            if state.done or (due if every is None else state.step % every == 0):
                state.save()
            if not state.done:
                if rate is not None:
                    factor = checks.real("rate", rate(state.step), 0.0)
                    for group, initial in zip(state.optimiser.param_groups, rates, strict=True):
                        group["lr"] = initial * factor
                _update(state, loss)
                if ema is not None:
                    decay = min(ema, (1 + state.step) / (10 + state.step))
                    with torch.no_grad():
                        torch._foreach_lerp_(averages, weights, 1 - decay)
                shown.update()
    finally:
        state.model.train(mode)
        shown.close()


def _update(state: State, loss: Callable) -> None:
    """Make one step of the optimiser."""
    state.require_modes()
    if not state.model.training:
        state.model.train()
    for p in state.model.parameters():                 # of all: what is not trained keeps no stale ones either
        p.grad = None
    with torch.enable_grad():
        value = loss(state.model, state.rng)
        if not isinstance(value, Tensor) or value.shape != state.shape:
            state.accept(value)
        (value.sum() if value.ndim else value).backward()
    state.optimiser.step()
    state.step += 1
    state.count_loss(value)


def _evaluate(state: State, *, averaged: bool) -> None:
    """Bring the averaged model up to date, measure it, add a row to the history."""
    state.verify()
    state.averaged.eval()
    source = tensors(state.model)
    if averaged:                                       # then only buffers are left to copy
        source |= dict(state.averaged.named_parameters())
    copy_(state.averaged, source)
    row = {"step": state.step, "loss": logged("loss", state.total / state.count) if state.count else None}
    state.done = state.step == state.at[-1]
    if state.held_out is not None:
        row["held_out"] = state.measure_held_out()
    state.total, state.count = 0.0, 0
    state.history.append(row)


def _turn(state: State) -> Iterator[Report]:
    """Yield the report that belongs to the last row of the history."""
    state.lap()
    state.drawn = state.rng.get_state()
    row = state.history[-1]
    report = Report(
        step=state.step, loss=_shown(row["loss"]), held_out=_shown(row.get("held_out")),
        best_held_out=_shown(state.best_held_out), best_step=_shown(state.best_step), model=state.averaged,
        best=state.best, last=state.done, seconds=state.seconds, history=state.history,
    )
    try:
        yield report
    finally:
        report.open = False
        state.clock = time.perf_counter()


def _shown(value: Any) -> Any:
    """Return what a report shows: numbers of a single network, float64 or int64 tensors ``(E,)`` of an ensemble."""
    if isinstance(value, Tensor):
        return value.clone() if value.ndim else value.item()
    return torch.tensor(value, dtype=torch.float64, device="cpu") if isinstance(value, list) else value


def _adamw(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    return torch.optim.AdamW(parameters, lr=1e-2, betas=(0.9, 0.99), fused=fused)    # fused: 4 times faster, small nets


def _hyperparameters(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    plain_ones = bool | int | float | str | tuple | list | Tensor | None
    return {f"optimiser[{i}].{key}": logged(key, value) for i, group in enumerate(optimiser.param_groups)
            for key, value in group.items() if key not in ("params", *_SPEED) and isinstance(value, plain_ones)}
