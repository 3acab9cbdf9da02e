"""What the training loop does with all weights of a network, or of an ensemble of networks stacked in one module.

In an ensemble of E every parameter has the members as its leading dimension, and members never mix.
"""

import torch
from torch import Tensor, nn

from hierlib.lab import checks

__all__ = ["clip_", "copy_", "keep_", "require_finite", "require_stacked", "tensors"]


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, sharing memory, without gradients; for the loop of all chapters."""
    return {name: t.detach() for name, t in (*model.named_parameters(), *model.named_buffers())}


def copy_(to: nn.Module, source: nn.Module | dict[str, Tensor]) -> None:
    """Overwrite all parameters and buffers of `to`; for the loop of all chapters."""
    source = tensors(source) if isinstance(source, nn.Module) else source
    for name, t in tensors(to).items():
        t.copy_(source[name])


def _per_member(x: Tensor, like: Tensor) -> Tensor:
    """Return x ``(E,)`` on the device of `like` and with its number of dimensions."""
    return x.to(like.device).view(-1, *[1] * (like.ndim - 1))


def require_stacked(model: nn.Module, E: int, name: str) -> None:
    """Raise ``ValueError`` unless all trained parameters have E as leading dimension; for ensembles of all chapters."""
    for key, p in model.named_parameters():
        checks.require(not p.requires_grad or p.shape[:1] == (E,), name, f"of shape ({E},)",
                       f"a scalar, as the parameter {key!r} {tuple(p.shape)} is not stacked from {E} members")


def keep_(best: nn.Module, new: nn.Module, better: Tensor) -> None:
    """Overwrite `best` by `new` where `better`, one boolean or one per member; for early stopping in all chapters.

    A tensor that is not stacked, such as a shared buffer, is taken over when any member is better.
    """
    source = tensors(new)
    for name, old in tensors(best).items():
        if better.ndim == 1 and old.shape[:1] == better.shape:
            old.copy_(torch.where(_per_member(better, old), source[name], old))
        elif better.any():
            old.copy_(source[name])


def clip_(parameters: list[nn.Parameter], limit: float, *, members: bool) -> None:
    """Scale gradients down to norm `limit`, each member by its own norm; for the loop of all chapters."""
    if not members:
        nn.utils.clip_grad_norm_(parameters, limit)
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return
    norms = torch.stack([torch.linalg.vector_norm(g.reshape(len(g), -1), dim=1) for g in grads])
    scale = (limit / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)    # 1e-6: as torch has it
    for g in grads:
        g.mul_(_per_member(scale, g))


def require_finite(model: nn.Module, step: int, *, members: bool) -> None:
    """Raise ``FloatingPointError`` when a trained parameter is not finite; for the loop of all chapters."""
    trained = [(name, p.detach()) for name, p in model.named_parameters() if p.requires_grad]
    if bool(torch.stack([p.isfinite().all() for _, p in trained]).all()):
        return
    name, bad = next((name, ~p.isfinite()) for name, p in trained if not bool(p.isfinite().all()))
    member = f", member {int(bad.reshape(len(bad), -1).any(1).nonzero()[0])}" if members else ""
    raise FloatingPointError(f"weights: {name!r} is not finite at step {step}{member}")
