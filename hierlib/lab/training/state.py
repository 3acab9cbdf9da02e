"""The state of a training run: what it knows besides its step, what its checkpoint holds, what it refuses."""

import copy
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hierlib.lab import checks
from hierlib.lab.training import checkpoint as files
from hierlib.lab.training.report import logged

__all__ = ["State", "copy_", "tensors"]

_PENDING = 64      # steps between two looks at the training loss
_PLAIN = ("step", "total", "count", "history", "best_held_out", "best_step", "seconds", "done")


@dataclass(kw_only=True)
class State:
    """One training run, from its first step or its checkpoint on."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    rng: torch.Generator
    at: list[int]                                      # of the reports; the last one is the number of steps
    held_out: Callable[[nn.Module], Any] | None
    patience: float | None
    margin: float
    path: str | os.PathLike | None
    identity: dict[str, Any]

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
        self.models = {"model": self.model, "averaged": self.averaged} | ({} if self.best is None else {
            "best": self.best})
        self.pending: list[Tensor] = []                # losses not looked at yet, on the device
        self.shape: torch.Size | None = None           # of the loss
        self.drawn: Tensor | None = None               # state of the generator when the last report's turn began
        self.clock = time.perf_counter()

    def require_modes(self) -> None:
        """Refuse the caller's modes of torch in which steps go wrong, some of them without a word."""
        checks.require(not torch.is_inference_mode_enabled(), "torch.inference_mode", True,
                       "off around train, as nothing can be trained in it (torch.no_grad is no obstacle)")
        checks.require(not any(map(torch.is_autocast_enabled, self.kinds)), "torch.autocast", True,
                       "off around train, as it would keep the weights of the first step: use it within `loss`")

    def accept(self, value: Any) -> None:
        """Refuse a loss that is neither a scalar nor one value per member."""
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        checks.require(self.shape is None, "loss", shape, f"of one shape at all steps, here {self.shape}")
        checks.require(isinstance(value, Tensor) and value.ndim <= 1 and value.numel() > 0 and value.requires_grad,
                       "loss", shape, "a tensor with a gradient: a scalar, or of shape (E,) for E members")
        if value.ndim:
            _require_stacked(self.model, len(value), "loss")
        self.shape = value.shape

    def count_loss(self, value: Tensor) -> None:
        """Take note of a step's loss, without waiting for the device at each."""
        self.pending.append(value.detach().clone())    # a copy: a captured graph writes to the same memory each time
        if len(self.pending) == _PENDING:
            self.settle()

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
        _require_finite(self.model, self.step, members=bool(self.shape))

    def measure_held_out(self) -> Any:
        """Measure the held-out loss of the averaged model, and keep each member's weights when it is its lowest.

        The run is done when all members have waited long enough for a lower one.
        """
        with torch.no_grad():
            value = torch.as_tensor(self.held_out(self.averaged), device="cpu").detach().double()
        known = self.best_held_out
        checks.require(value.shape == known.shape if known is not None else value.ndim <= 1 and value.numel() > 0,
                       "held_out", tuple(value.shape), "a scalar or of shape (E,) for E members, the same each time")
        if bool(value.isnan().any()):
            raise FloatingPointError(f"held_out = {value.tolist()} at step {self.step}: must be a number")
        if known is None:
            if value.ndim:
                _require_stacked(self.model, len(value), "held_out")
            better = torch.ones_like(value, dtype=torch.bool)
            known, self.best_step = value, torch.zeros_like(value, dtype=torch.int64)
        else:
            better = value < known
        self.best_held_out = torch.where(better, value, known)
        self.best_step = torch.where(better, self.step, self.best_step)
        _keep(self.best, self.averaged, better)
        if self.patience is not None:
            late = self.step >= self.patience * self.best_step.clamp(min=1)
            self.done |= bool((late & (value > self.best_held_out + self.margin)).all())
        return logged("held_out", value)

    def lap(self) -> None:
        """Count the time since the last lap."""
        now = time.perf_counter()
        self.seconds, self.clock = self.seconds + now - self.clock, now

    def save(self) -> None:
        """Write the checkpoint, if there is one.

        In that of a finished run the generator is as its last report's turn found it, for it may come again.
        """
        if self.path is None:
            return
        self.verify()
        self.lap()
        files.save(self.path, {name: getattr(self, name) for name in _PLAIN} | {
            "models": {name: tensors(model) for name, model in self.models.items()},
            "optimiser": self.optimiser.state_dict(), "rng": self.drawn if self.done else self.rng.get_state(),
        }, self.identity)

    def resume(self) -> None:
        """Take up the checkpoint, or write the first one."""
        self.clock = time.perf_counter()
        state = None if self.path is None else files.load(self.path, self.identity)
        if state is None:
            self.save()
            return
        for name in _PLAIN:
            setattr(self, name, state[name])
        for name, model in self.models.items():
            copy_(model, state["models"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        trained = [p for group in self.optimiser.param_groups for p in group["params"]]
        for index, saved in state["optimiser"]["state"].items():       # as saved: torch casts it to the weights' type
            live = self.optimiser.state[trained[index]]
            live |= {key: saved[key].to(t.device) for key, t in live.items() if isinstance(t, Tensor)}
        self.rng.set_state(state["rng"])


# ---- all weights of a network, or of an ensemble of networks stacked in one module, where the members never mix

def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, sharing memory, without gradients."""
    return {name: t.detach() for name, t in (*model.named_parameters(), *model.named_buffers())}


def copy_(to: nn.Module, source: nn.Module | dict[str, Tensor]) -> None:
    """Overwrite all parameters and buffers of `to`."""
    source = tensors(source) if isinstance(source, nn.Module) else source
    for name, t in tensors(to).items():
        t.copy_(source[name])


def _require_stacked(model: nn.Module, E: int, name: str) -> None:
    """Raise ``ValueError`` unless all trained parameters have E as leading dimension."""
    for key, p in model.named_parameters():
        checks.require(not p.requires_grad or p.shape[:1] == (E,), name, f"of shape ({E},)",
                       f"a scalar, as the parameter {key!r} {tuple(p.shape)} is not stacked from {E} members")


def _keep(best: nn.Module, new: nn.Module, better: Tensor) -> None:
    """Overwrite `best` by `new` where `better`, one boolean or one per member.

    A tensor that is not stacked, such as a shared buffer, is taken over when any member is better.
    """
    source = tensors(new)
    for name, old in tensors(best).items():
        if better.ndim == 1 and old.shape[:1] == better.shape:
            mine = better.to(old.device).view(-1, *[1] * (old.ndim - 1))
            old.copy_(torch.where(mine, source[name], old))
        elif better.any():
            old.copy_(source[name])


def _require_finite(model: nn.Module, step: int, *, members: bool) -> None:
    """Raise ``FloatingPointError`` when a trained parameter is not finite."""
    trained = [(name, p.detach()) for name, p in model.named_parameters() if p.requires_grad]
    if bool(torch.stack([p.isfinite().all() for _, p in trained]).all()):
        return
    name, bad = next((name, ~p.isfinite()) for name, p in trained if not bool(p.isfinite().all()))
    member = f", member {int(bad.reshape(len(bad), -1).any(1).nonzero()[0])}" if members else ""
    raise FloatingPointError(f"weights: {name!r} is not finite at step {step}{member}")
