"""What all networks share: the number of parameters, their first values, and the scale of the input."""

import torch
from torch import nn

from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor

__all__ = ["count", "initialise", "standardise"]


def count(model: nn.Module) -> int:
    """Return the number of trainable parameters of `model`.

    Used in the chapter *Hierarchical clustering*; source: this book.

    Examples
    --------
    >>> count(nn.Linear(3, 2))
    8
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@torch.no_grad()
def initialise(model: nn.Module, generator: torch.Generator, gain: float = 1.0) -> nn.Module:
    """Draw the weights of every linear layer from N(0, gain²/fan-in), set biases to 0 and norms to the identity.

    Unit-variance inputs then give outputs of variance gain². Used in the chapter *Hierarchical clustering*; source:
    LeCun et al. 1998, section 4.6.

    Parameters
    ----------
    model
        Changed in place, and returned. Layers other than ``Linear`` and ``LayerNorm`` are left as they are.
    generator
        A generator on the CPU; weights on another device are drawn on the CPU and copied.
    gain
        Factor on all weights.
    """
    gain = checks.real("gain", gain)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            draw = torch.randn(module.weight.shape, generator=generator, dtype=module.weight.dtype)
            module.weight.copy_(draw.mul_(gain * module.in_features**-0.5))
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
    return model


def standardise(likelihood: Float[Tensor, "*batch v"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch v"]:
    """Return (q − 1/v) v/√(v−1): mean 0 and variance 1 over the symbols for a seen token, exactly 0 for a masked one.

    Explained in the chapter *Hierarchical clustering*; source: Favero et al. 2025 (official code), where mean and
    variance are those of noisy tokens at each time; here those of a one-hot vector at all times.

    Parameters
    ----------
    likelihood
        Leaf likelihoods, each summing to 1 over the symbols: one-hot for a seen token, 1/v for a masked one.
    dtype
        Of the result, that of the weights which it is multiplied by; None: of the likelihoods.
    """
    v = likelihood.shape[-1]
    return ((likelihood - 1 / v) * (v / max(v - 1, 1) ** 0.5)).to(dtype or likelihood.dtype)
