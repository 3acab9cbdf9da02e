"""Neural networks: the U-Net on the tree, MLPs, a small transformer, and ensembles of many in one batched call."""

from hierlib.nets.convolution import ConvNet
from hierlib.nets.ensemble import Ensemble
from hierlib.nets.mlp import MLP, TokenMLP
from hierlib.nets.parameters import count, initialise, standardise
from hierlib.nets.transformer import Transformer
from hierlib.nets.tree import TreeUNet

__all__ = ["MLP", "ConvNet", "Ensemble", "TokenMLP", "Transformer", "TreeUNet", "count", "initialise", "standardise"]
