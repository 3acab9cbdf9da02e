"""What the tests of pSGD and of its reduced chain share."""

import torch

from hierlib.cumulants.model import MixedCumulantModel
from hierlib.cumulants.neuron import TiedNeuron
from hierlib.cumulants.theory import population_loss


def drift(model: MixedCumulantModel, neuron: TiedNeuron, alpha_u: float, alpha_v: float) -> torch.Tensor:
    """Return minus the gradient of the population loss on the sphere, along u and v, by central differences."""
    h = 1e-4

    def loss(p: float, q: float) -> float:
        return float(population_loss(model, neuron, p, q))

    along_u = (loss(alpha_u + h, alpha_v) - loss(alpha_u - h, alpha_v)) / (2 * h)
    along_v = (loss(alpha_u, alpha_v + h) - loss(alpha_u, alpha_v - h)) / (2 * h)
    radial = alpha_u * along_u + alpha_v * along_v
    return -torch.tensor([along_u - alpha_u * radial, along_v - alpha_v * radial], dtype=torch.float64)
