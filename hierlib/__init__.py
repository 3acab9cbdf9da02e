"""hierlib: how neural networks learn hierarchical and compositional data.

=============  =================================================================================
``rhm``        Random Hierarchy Model: grammar, exact inference, theory, clustering by contexts
``diffusion``  noise schedules; discrete diffusion: processes, losses, samplers
``nets``       tree U-Net, convolutions, transformer, MLP; ensembles in one batched call
``real``       real text from installed packages or files
``lab``        scale and device, seeds, training, sweeps, claims, figures: what every chapter uses
=============  =================================================================================

Rooms for a phenomenon (``rhm``) stand on the others and never import each other.
"""

from hierlib import diffusion, lab, nets, real, rhm

__all__ = ["diffusion", "lab", "nets", "real", "rhm"]
__version__ = "0.1.0"
