"""The Random Hierarchy Model (chapters *Phase transition*, *Hierarchical clustering*): data, inference, learning."""

from hierlib.rhm import (
    channels,
    clustering,
    coherence,
    contexts,
    controls,
    draw,
    dynamics,
    population,
    theory,
    validity,
)
from hierlib.rhm.belief import cavity, log_evidence, marginals, sample_posterior, truncated
from hierlib.rhm.grammar import Grammar

__all__ = [
    "Grammar", "cavity", "channels", "clustering", "coherence", "contexts", "controls", "draw", "dynamics",
    "log_evidence", "marginals", "population", "sample_posterior", "theory", "truncated", "validity",
]
