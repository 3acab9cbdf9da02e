"""What the training loop does with all weights of a network, or of an ensemble of networks stacked in one module.

In an ensemble of E every parameter has the members as its leading dimension, and members never mix.
"""

import torch
from torch import Tensor, nn

from hierlib.lab import checks

__all__ = ["copy_", "keep_", "require_finite", "require_stacked", "tensors"]


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, sharing memory, without gradients."""
    return {name: t.detach() for name, t in (*model.named_parameters(), *model.named_buffers())}


def copy_(to: nn.Module, source: nn.Module | dict[str, Tensor]) -> None:
    """Overwrite all parameters and buffers of `to`."""
    source = tensors(source) if isinstance(source, nn.Module) else source
    for name, t in tensors(to).items():
        t.copy_(source[name])


def require_stacked(model: nn.Module, E: int, name: str) -> None:
    """Raise ``ValueError`` unless all trained parameters have E as leading dimension."""
    for key, p in model.named_parameters():
        checks.require(not p.requires_grad or p.shape[:1] == (E,), name, f"of shape ({E},)",
                       f"a scalar, as the parameter {key!r} {tuple(p.shape)} is not stacked from {E} members")


def keep_(best: nn.Module, new: nn.Module, better: Tensor) -> None:
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


def require_finite(model: nn.Module, step: int, *, members: bool) -> None:
    """Raise ``FloatingPointError`` when a trained parameter is not finite."""
    trained = [(name, p.detach()) for name, p in model.named_parameters() if p.requires_grad]
    if bool(torch.stack([p.isfinite().all() for _, p in trained]).all()):
        return
    name, bad = next((name, ~p.isfinite()) for name, p in trained if not bool(p.isfinite().all()))
    member = f", member {int(bad.reshape(len(bad), -1).any(1).nonzero()[0])}" if members else ""
    raise FloatingPointError(f"weights: {name!r} is not finite at step {step}{member}")
