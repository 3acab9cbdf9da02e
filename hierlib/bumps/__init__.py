"""Bumps and stripes, what a diffusion model makes of their positions, and percolation (chapter *Percolation*)."""

from hierlib.bumps import denoise, labels, lattice, manifold, percolation, readout
from hierlib.bumps.denoise import BumpMLP, Denoisers, Examples, fit, follow
from hierlib.bumps.drops import drops
from hierlib.bumps.images import bump, overlap, sos, stripe, visible

__all__ = [
    "BumpMLP", "Denoisers", "Examples", "bump", "denoise", "drops", "fit", "follow", "labels", "lattice", "manifold",
    "overlap", "percolation", "readout", "sos", "stripe", "visible",
]
