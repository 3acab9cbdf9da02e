"""The Random Hierarchy Model (chapter *Phase transition*): data, exact inference, mean-field theory."""

from hierlib.rhm import channels, controls, draw, dynamics, population, theory
from hierlib.rhm.belief import cavity, log_evidence, marginals, sample_posterior
from hierlib.rhm.grammar import Grammar
from hierlib.rhm.widget import belief_tree

__all__ = [
    "Grammar", "belief_tree", "cavity", "channels", "controls", "draw", "dynamics", "log_evidence", "marginals",
    "population", "sample_posterior", "theory",
]
