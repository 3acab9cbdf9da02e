"""Neural networks: U-Nets on the tree and on images, MLPs, a transformer, and ensembles of many in one batched call."""

from hierlib.nets.embedding import NoiseLevel
from hierlib.nets.ensemble import Ensemble, chunked_loss
from hierlib.nets.mlp import MLP, Skip
from hierlib.nets.parameters import count, initialise
from hierlib.nets.tokens import ConvNet, TokenMLP, TokenNet, Transformer, TreeUNet, activations, standardise
from hierlib.nets.unet import UNet

__all__ = ["MLP", "ConvNet", "Ensemble", "NoiseLevel", "Skip", "TokenMLP", "TokenNet", "Transformer", "TreeUNet",
           "UNet", "activations", "chunked_loss", "count", "initialise", "standardise"]
