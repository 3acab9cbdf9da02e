"""hierlib: how neural networks learn hierarchical and compositional data.

=============  =================================================================================
``rhm``        Random Hierarchy Model: grammar, exact inference, theory, clustering by contexts
``cumulants``  mixed cumulant model, Gaussian surrogates, one neuron's loss and its projected SGD
``sim``        structured identity mapping: flows, closed forms, phase diagram; concept images, denoisers
``bumps``      bumps and stripes, percolation of their labels, geometry of representations, their denoisers
``figures``    the interactive figures of all phenomena
``diffusion``  noise schedules; Gaussian and discrete diffusion: losses, samplers, exact and conditional denoisers
``nets``       U-Nets of trees and images, convolutions, transformer, MLP; ensembles in one batched call
``real``       real photographs and text from installed packages or files, their correlations
``lab``        scale and device, seeds, training, sweeps, claims, curves: what every chapter uses
=============  =================================================================================

Rooms for a phenomenon (``rhm``, ``cumulants``, ``sim``, ``bumps``) stand on the others and never import each other.
"""

import importlib
from types import ModuleType

__all__ = ["bumps", "cumulants", "diffusion", "figures", "lab", "nets", "real", "rhm", "sim"]
__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    """Import a room when it is first asked for."""
    if name in __all__:
        return importlib.import_module(f"hierlib.{name}")
    raise AttributeError(f"module 'hierlib' has no attribute {name!r}")
