"""Structured identity mapping: in which order concepts are learned, and the swing-by."""

from hierlib.sim import concepts, denoise, theory, two_concepts
from hierlib.sim.concepts import Concepts, Probe
from hierlib.sim.deep import deep, initial
from hierlib.sim.denoise import ConceptDenoisers, ConceptMLP
from hierlib.sim.flow import Trajectory, field, flow, loss, one_layer, ood_loss, ood_slope, output, terms
from hierlib.sim.phase import boundary, phase_grid
from hierlib.sim.rises import ascents, largest_rise
from hierlib.sim.task import Task

__all__ = [
    "ConceptDenoisers", "ConceptMLP", "Concepts", "Probe", "Task", "Trajectory", "ascents", "boundary",
    "concepts", "deep", "denoise", "field", "flow", "initial", "largest_rise", "loss", "one_layer", "ood_loss",
    "ood_slope", "output", "phase_grid", "terms", "theory", "two_concepts",
]
