"""Neural networks: U-Nets on the tree and on images, MLPs, a transformer, and ensembles of many in one batched call."""

from hierlib.nets.convolution import ConvNet
from hierlib.nets.ensemble import Ensemble, chunked_loss
from hierlib.nets.mlp import MLP, Skip, TokenMLP
from hierlib.nets.parameters import count, initialise, standardise
from hierlib.nets.transformer import Transformer
from hierlib.nets.tree import TreeUNet
from hierlib.nets.unet import UNet

__all__ = [
    "MLP", "ConvNet", "Ensemble", "Skip", "TokenMLP", "Transformer", "TreeUNet", "UNet", "chunked_loss", "count",
    "initialise", "standardise",
]
