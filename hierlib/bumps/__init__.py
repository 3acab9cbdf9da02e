"""Bumps and stripes, what a diffusion model makes of their positions, and percolation of their labels."""

from hierlib.bumps import denoise, geometry, labels, lattice, percolation, readout
from hierlib.bumps.denoise import BumpDenoisers, BumpMLP, Examples
from hierlib.bumps.images import Domain, bump, sos

__all__ = ["BumpDenoisers", "BumpMLP", "Domain", "Examples", "bump", "denoise", "geometry", "labels", "lattice",
           "percolation", "readout", "sos"]
