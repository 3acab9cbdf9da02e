"""The state of a training run and its steps; :func:`hierlib.lab.train` checks the arguments and starts it."""

import copy
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hierlib.lab import checkpoint as files
from hierlib.lab import checks
from hierlib.lab.progress import bar
from hierlib.lab.report import Report, plain
from hierlib.lab.weights import clip_, copy_, keep_, require_finite, require_stacked, tensors

__all__ = ["Loop"]

_PENDING = 64      # steps between two looks at the training loss


@dataclass(kw_only=True)
class Loop:
    """One training run of a chapter, from its first step or its checkpoint on."""

    model: nn.Module
    loss: Callable[[nn.Module, torch.Generator], Tensor]
    optimiser: torch.optim.Optimizer
    schedule: Callable[[int], float] | None
    ema: float | None
    at: list[int]                                      # of the reports; the last one is the number of steps
    held_out: Callable[[nn.Module], Any] | None
    patience: float | None
    margin: float
    clip: float | None
    path: str | os.PathLike | None
    every: int | None
    identity: dict[str, Any]
    generators: list[torch.Generator]                  # the loop's own, then the caller's

    step: int = 0
    total: float | Tensor = 0.0                        # of the training losses since the last report, and their number
    count: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_held_out: Tensor | None = None
    best_step: Tensor | None = None
    seconds: float = 0.0
    done: bool = False

    def __post_init__(self) -> None:
        self.kinds = {p.device.type for p in self.model.parameters() if torch.amp.is_autocast_available(p.device.type)}
        self.require_modes()
        self.averaged = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.best = None if self.held_out is None else copy.deepcopy(self.averaged)
        self.parameters, self.averages = list(self.model.parameters()), list(self.averaged.parameters())
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.pending: list[Tensor] = []                # losses not looked at yet, on the device
        self.shape: torch.Size | None = None           # of the loss
        self.states: list[Tensor] = []                 # of the generators when the last report's turn began
        self.clock = 0.0

    def reports(self, progress: bool | str) -> Iterator[Report]:
        """Train and yield."""
        mode, self.clock = self.model.training, time.perf_counter()
        self.resume()
        shown = bar(self.at[-1], initial=self.step, what=progress)
        try:
            if self.done:                              # a finished run: its last report once more, to be logged anew
                before = copy.deepcopy(self.history)
                yield from self.turn()
                if self.history != before:
                    self.save()
            while not self.done:
                if due := self.step == self.at[len(self.history)]:
                    self.evaluate()
                    yield from self.turn()
                if self.done or (due if self.every is None else self.step % self.every == 0):
                    self.save()
                if not self.done:
                    self.update()
                    shown.update()
        finally:
            self.model.train(mode)
            shown.close()

    def require_modes(self) -> None:
        """Refuse the caller's modes of torch in which steps go wrong, some of them without a word."""
        checks.require(not torch.is_inference_mode_enabled(), "torch.inference_mode", True,
                       "off around train, as nothing can be trained in it (torch.no_grad is no obstacle)")
        checks.require(not any(map(torch.is_autocast_enabled, self.kinds)), "torch.autocast", True,
                       "off around train, as it would keep the weights of the first step: use it within `loss`")

    def update(self) -> None:
        """Make one step of the optimiser."""
        self.require_modes()
        if not self.model.training:
            self.model.train()
        if self.schedule is not None:
            factor = checks.real("schedule", self.schedule(self.step), 0.0)
            for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
        for p in self.parameters:                      # of all: what is not trained keeps no stale ones either
            p.grad = None
        with torch.enable_grad():
            value = self.loss(self.model, self.generators[0])
            if not isinstance(value, Tensor) or value.shape != self.shape:
                self.accept(value)
            (value.sum() if value.ndim else value).backward()
        if self.clip is not None:
            clip_(self.trained(), self.clip, members=value.ndim == 1)
        self.optimiser.step()
        self.step += 1
        if self.ema is not None:
            decay = min(self.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)
        self.pending.append(value.detach().clone())    # a copy: a captured graph writes to the same memory each time
        if len(self.pending) == _PENDING:
            self.settle()

    def accept(self, value: Any) -> None:
        """Refuse a loss that is neither a scalar nor one value per member."""
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        checks.require(self.shape is None, "loss", shape, f"of one shape at all steps, here {self.shape}")
        checks.require(isinstance(value, Tensor) and value.ndim <= 1 and value.numel() > 0 and value.requires_grad,
                       "loss", shape, "a tensor with a gradient: a scalar, or of shape (E,) for E members")
        if value.ndim:
            require_stacked(self.model, len(value), "loss")
        self.shape = value.shape

    def settle(self) -> None:
        """Add the pending losses to the total, one by one, so that the sum does not depend on when this is done."""
        if not self.pending:
            return
        losses = torch.stack(self.pending).cpu().double()
        self.pending.clear()
        if not bool(losses.isfinite().all()):
            first, *member = (~losses.isfinite()).nonzero()[0].tolist()
            where = f"step {self.step - len(losses) + 1 + first}" + "".join(f", member {i}" for i in member)
            raise FloatingPointError(f"loss = {float(losses[(first, *member)])} at {where}: must be finite")
        for value in losses:
            self.total = self.total + value
        self.count += len(losses)

    def verify(self) -> None:
        """Look at all that has not been looked at yet, before it is shown or written."""
        self.settle()
        require_finite(self.model, self.step, members=bool(self.shape))

    def evaluate(self) -> None:
        """Bring the averaged model up to date, measure it, add a row to the history."""
        self.verify()
        self.averaged.eval()
        source = tensors(self.model)
        if self.ema is not None:                       # then only buffers are left to copy
            source |= dict(self.averaged.named_parameters())
        copy_(self.averaged, source)
        row = {"step": self.step, "loss": plain("loss", self.total / self.count) if self.count else None}
        self.done = self.step == self.at[-1]
        if self.held_out is not None:
            with torch.no_grad():
                value = torch.as_tensor(self.held_out(self.averaged), device="cpu").detach().double()
            self.compare(value)
            row["held_out"] = plain("held_out", value)
        self.total, self.count = 0.0, 0
        self.history.append(row)

    def compare(self, value: Tensor) -> None:
        """Keep each member's weights when its held-out loss is its lowest; stop when all have waited long enough."""
        known = self.best_held_out
        checks.require(value.shape == known.shape if known is not None else value.ndim <= 1 and value.numel() > 0,
                       "held_out", tuple(value.shape), "a scalar or of shape (E,) for E members, the same each time")
        if bool(value.isnan().any()):
            raise FloatingPointError(f"held_out = {value.tolist()} at step {self.step}: must be a number")
        if known is None:
            if value.ndim:
                require_stacked(self.model, len(value), "held_out")
            better = torch.ones_like(value, dtype=torch.bool)
            known, self.best_step = value, torch.zeros_like(value, dtype=torch.int64)
        else:
            better = value < known
        self.best_held_out = torch.where(better, value, known)
        self.best_step = torch.where(better, self.step, self.best_step)
        keep_(self.best, self.averaged, better)
        if self.patience is not None:
            late = self.step >= self.patience * self.best_step.clamp(min=1)
            self.done |= bool((late & (value > self.best_held_out + self.margin)).all())

    def turn(self) -> Iterator[Report]:
        """Yield the report that belongs to the last row of the history."""
        self.lap()
        self.states = [each.get_state() for each in self.generators]
        row = self.history[-1]
        report = Report(
            step=self.step, loss=_shown(row["loss"]), held_out=_shown(row.get("held_out")),
            best_held_out=_shown(self.best_held_out), best_step=_shown(self.best_step), model=self.averaged,
            best=self.best, last=self.done, seconds=self.seconds, history=self.history,
        )
        try:
            yield report
        finally:
            report.open = False
            self.clock = time.perf_counter()

    def lap(self) -> None:
        """Count the time since the last lap."""
        now = time.perf_counter()
        self.seconds, self.clock = self.seconds + now - self.clock, now

    def save(self) -> None:
        """Write the checkpoint, if there is one.

        In that of a finished run the generators are as its last report's turn found them, for it may come again.
        """
        if self.path is None:
            return
        self.verify()
        self.lap()
        files.save(self.path, {name: getattr(self, name) for name in _PLAIN} | {
            "models": {name: tensors(model) for name, model in self.models().items()},
            "optimiser": self.optimiser.state_dict(),
            "generators": self.states if self.done else [each.get_state() for each in self.generators],
        }, self.identity)

    def resume(self) -> None:
        """Take up the checkpoint, or write the first one."""
        state = None if self.path is None else files.load(self.path, self.identity)
        if state is None:
            self.save()
            return
        for name in _PLAIN:
            setattr(self, name, state[name])
        for name, model in self.models().items():
            copy_(model, state["models"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        for index, saved in state["optimiser"]["state"].items():       # as saved: torch casts it to the weights' type
            live = self.optimiser.state[self.trained()[index]]
            live |= {key: saved[key].to(t.device) for key, t in live.items() if isinstance(t, Tensor)}
        for each, found in zip(self.generators, state["generators"], strict=True):
            each.set_state(found)

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters of the optimiser, in its order."""
        return [p for group in self.optimiser.param_groups for p in group["params"]]

    def models(self) -> dict[str, nn.Module]:
        """Return the networks of the run by name."""
        return {"model": self.model, "averaged": self.averaged} | ({} if self.best is None else {"best": self.best})


_PLAIN = ("step", "total", "count", "history", "best_held_out", "best_step", "seconds", "done")


def _shown(value: Any) -> Any:
    """Return what a report shows: numbers of a single network, float64 or int64 tensors ``(E,)`` of an ensemble."""
    if isinstance(value, Tensor):
        return value.clone() if value.ndim else value.item()
    return torch.tensor(value, dtype=torch.float64, device="cpu") if isinstance(value, list) else value
