"""Discrete diffusion of strings: uniform and masked processes, losses and samplers.

Tokens are int64 in 0 … v−1; a masked token is v. A **denoiser** is any callable that takes the leaf likelihood
λ_i(a) ∝ P(what is seen of token i | it is a), float ``(..., d, v)``, and returns logits of p(x0_i = a) of the same
shape: a network or, without training, belief propagation on the grammar. It sees no other time. Leading dimensions
are (n,) for one denoiser, (E, n) for an ensemble of E.
"""

from hierlib.diffusion.discrete.base import Process, linear_alpha_bar
from hierlib.diffusion.discrete.losses import any_order_loss, variational_loss
from hierlib.diffusion.discrete.processes import Masked, Uniform
from hierlib.diffusion.discrete.sampling import ancestral, any_order, forward_backward

__all__ = ["Masked", "Process", "Uniform", "ancestral", "any_order", "any_order_loss", "forward_backward",
           "linear_alpha_bar", "variational_loss"]
