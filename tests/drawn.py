"""Random generators and networks with random weights, for tests."""

import torch
from torch import nn


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randomised(net: nn.Module) -> nn.Module:
    """Return the network in double precision with all weights random."""
    for k, p in enumerate(net.parameters()):
        nn.init.normal_(p, std=0.3, generator=gen(k))
    return net.double()
