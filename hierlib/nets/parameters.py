"""What all networks share: the number of parameters, and their first values."""

import torch
from torch import nn

__all__ = ["count", "initialise"]


def count(model: nn.Module) -> int:
    """Return the number of trainable parameters of `model`.

    Examples
    --------
    >>> count(nn.Linear(3, 2))
    8
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@torch.no_grad()
def initialise(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw the weights of all linear layers, then of all convolutions, from N(0, 1/fan-in); set biases to 0.

    Unit-variance inputs then give outputs of variance 1. LayerNorms become the identity, other layers are left as they
    are. The model is changed in place, and returned. The generator is on the CPU; weights on another device are drawn
    there and copied. Source: LeCun et al. 1998, section 4.6.
    """
    for kind in (nn.Linear, nn.Conv2d, nn.LayerNorm):
        for module in (each for each in model.modules() if isinstance(each, kind)):
            if kind is nn.LayerNorm:
                module.reset_parameters()
                continue
            draw = torch.randn(module.weight.shape, generator=generator, dtype=module.weight.dtype)
            module.weight.copy_(draw.mul_(module.weight[0].numel() ** -0.5))
            if module.bias is not None:
                module.bias.zero_()
    return model
