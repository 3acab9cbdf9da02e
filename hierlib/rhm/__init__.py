"""The Random Hierarchy Model (*Phase transition*, *Hierarchical clustering*, *Images*): data, inference, learning."""

from hierlib.rhm import (
    channels,
    clustering,
    coherence,
    contexts,
    controls,
    draw,
    dynamics,
    pictures,
    population,
    theory,
    validity,
)
from hierlib.rhm.belief import cavity, log_evidence, marginals, sample_posterior, truncated
from hierlib.rhm.grammar import Grammar

__all__ = [
    "Grammar", "cavity", "channels", "clustering", "coherence", "contexts", "controls", "draw", "dynamics",
    "log_evidence", "marginals", "pictures", "population", "sample_posterior", "theory", "truncated", "validity",
]
