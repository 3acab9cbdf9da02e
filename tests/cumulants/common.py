"""What several tests share: batches, and the population loss order by order and its slope as oracles."""

import itertools
import math

import numpy as np
import torch

from hierlib.cumulants import theory
from hierlib.cumulants.model import MixedCumulantModel, latent_moment
from hierlib.cumulants.neuron import TiedNeuron


def batch_v(d: int, delta0: float) -> int:
    """Return the batch with which the step δ₀ B/d² is 0.1, or 16 below d = 40."""
    return 16 if d < 40 else max(1, round(0.1 * d**2 / delta0))


def partitions(items: tuple):
    """Yield all partitions of the items into blocks."""
    if not items:
        yield []
        return
    head, *tail = items
    for k in range(len(tail) + 1):
        for block in itertools.combinations(range(len(tail)), k):
            rest = tuple(tail[i] for i in range(len(tail)) if i not in block)
            for blocks in partitions(rest):
                yield [(head, *(tail[i] for i in block)), *blocks]


def joint_cumulant(model: MixedCumulantModel, p: int, q: int) -> float:
    """Return κ(x·u p times, x·v q times), from the latents' moments by a sum over set partitions."""
    total = 0.0
    for blocks in partitions(tuple(enumerate((0,) * p + (1,) * q))):
        moments = [latent_moment(model.latents, *(sum(v == k for _, v in block) for k in (0, 1))) for block in blocks]
        total += (-1) ** (len(blocks) - 1) * math.factorial(len(blocks) - 1) * math.prod(moments)
    noise = {(2, 0): 1.0, (0, 2): 1 - model.r2}.get((p, q), 0.0)
    return model.beta_u ** (p / 2) * model.r2 ** (q / 2) * total + noise


def hermite_moment(model: MixedCumulantModel, alpha_u, alpha_v, order: int):
    """Return E He_order(w·x₀) in closed form, for overlaps that broadcast."""
    alpha_u, alpha_v = np.asarray(alpha_u, dtype=float), np.asarray(alpha_v, dtype=float)
    return sum(math.comb(order, p) * theory._mixed_moment(model, p, order - p) * alpha_u**p * alpha_v ** (order - p)
               for p in range(order + 1))


def loss_expansion(model: MixedCumulantModel, neuron: TiedNeuron, alpha_u, alpha_v, order: int = 4):
    """Return L(α) − L(0) to a given order, Σ_{1 ≤ m ≤ order} ℓ_m a^m E He_m(w·x₀), over overlaps that broadcast."""
    ell = theory.loss_coefficients(neuron, order)
    return sum(ell[m] * neuron.a**m * hermite_moment(model, alpha_u, alpha_v, m) for m in range(1, order + 1))


def short_loss(neuron: TiedNeuron, w: torch.Tensor, x0: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return the loss without the part ½‖x₀ − a x_t‖² that does not depend on w, for ‖w‖ = 1."""
    x_t = neuron.a * x0 + neuron.b * noise
    s, e = (torch.einsum("...nd,...d->...n", x, w) for x in (x_t, x0 - neuron.a * x_t))
    value = neuron.phi(s)
    return (neuron.kappa**2 / 2 * value.square() - neuron.kappa * value * e).mean(-1)


def drift(model: MixedCumulantModel, neuron: TiedNeuron, alpha_u: float, alpha_v: float) -> torch.Tensor:
    """Return minus the gradient of the population loss on the sphere, along u and v, by central differences."""
    h = 1e-4

    def loss(p: float, q: float) -> float:
        return float(theory.population_loss(model, neuron, p, q))

    along_u = (loss(alpha_u + h, alpha_v) - loss(alpha_u - h, alpha_v)) / (2 * h)
    along_v = (loss(alpha_u, alpha_v + h) - loss(alpha_u, alpha_v - h)) / (2 * h)
    radial = alpha_u * along_u + alpha_v * along_v
    return -torch.tensor([along_u - alpha_u * radial, along_v - alpha_v * radial], dtype=torch.float64)
