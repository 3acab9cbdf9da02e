"""Structured identity mapping: in which order concepts are learned, and the swing-by (chapter *SIM dynamics*)."""

from hierlib.sim import concepts, denoise, theory
from hierlib.sim.ascents import ascents, bumps
from hierlib.sim.concepts import Concepts, Probe
from hierlib.sim.deep import deep, initial
from hierlib.sim.denoise import ConceptMLP, Denoisers
from hierlib.sim.flow import Trajectory, euler_on_W, field, flow, loss, one_layer, ood_loss, output, terms
from hierlib.sim.phase import PhaseGrid, boundary, phase_grid
from hierlib.sim.swing import swing_by
from hierlib.sim.task import Task

__all__ = [
    "ConceptMLP", "Concepts", "Denoisers", "PhaseGrid", "Probe", "Task", "Trajectory", "ascents", "boundary", "bumps",
    "concepts", "deep", "denoise", "euler_on_W", "field", "flow", "initial", "loss", "one_layer", "ood_loss", "output",
    "phase_grid", "swing_by", "terms", "theory",
]
