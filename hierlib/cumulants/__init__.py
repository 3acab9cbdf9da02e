"""Data with a dial for each cumulant, and what a denoiser learns of them first (chapter *Simplicity bias*)."""

from hierlib.cumulants import estimators, hermite, theory
from hierlib.cumulants.chain import chain
from hierlib.cumulants.landscape import landscape
from hierlib.cumulants.model import LATENTS, MixedCumulantModel
from hierlib.cumulants.neuron import Activation, TiedNeuron, cosine, relu, sine, tanh
from hierlib.cumulants.psgd import batch_u, batch_v, psgd, step_u, step_v
from hierlib.cumulants.run import Run
from hierlib.cumulants.sde import scaled_sde
from hierlib.cumulants.surrogate import gaussian_surrogate, whiten
from hierlib.diffusion.ideal import Wiener

__all__ = [
    "LATENTS", "Activation", "MixedCumulantModel", "Run", "TiedNeuron", "Wiener", "batch_u", "batch_v", "chain",
    "cosine", "estimators", "gaussian_surrogate", "hermite", "landscape", "psgd", "relu", "scaled_sde", "sine",
    "step_u", "step_v", "tanh", "theory", "whiten",
]
