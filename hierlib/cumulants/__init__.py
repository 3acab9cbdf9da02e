"""Data with a dial for each cumulant, and what a denoiser learns of them first (chapter *Simplicity bias*)."""

from hierlib.cumulants import estimators, hermite, theory
from hierlib.cumulants.model import LATENTS, MixedCumulantModel
from hierlib.cumulants.neuron import Activation, TiedNeuron, cosine, relu, sine, tanh
from hierlib.cumulants.simulate import Plan, Trajectories, chain, psgd, scaled_sde
from hierlib.cumulants.surrogate import gaussian_surrogate, whiten

__all__ = [
    "LATENTS", "Activation", "MixedCumulantModel", "Plan", "TiedNeuron", "Trajectories", "chain", "cosine",
    "estimators", "gaussian_surrogate", "hermite", "psgd", "relu", "scaled_sde", "sine", "tanh", "theory", "whiten",
]
