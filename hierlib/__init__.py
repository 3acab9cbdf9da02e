"""hierlib: how neural networks learn hierarchical and compositional data.

=============  ==========================================================================
``rhm``        Random Hierarchy Model: grammar, exact inference, mean-field theory
``diffusion``  noise schedules of diffusion models
``lab``        scale and device, seeds, claims, figure style: what every chapter uses
=============  ==========================================================================

Rooms for a phenomenon (``rhm``) stand on ``diffusion`` and ``lab`` and never import each other.
"""

from hierlib import diffusion, lab, rhm

__all__ = ["diffusion", "lab", "rhm"]
__version__ = "0.1.0"
