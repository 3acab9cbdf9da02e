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
from hierlib.rhm.belief import cavity, log_evidence, marginals, sample_posterior
from hierlib.rhm.grammar import Grammar
from hierlib.rhm.synonym_widget import synonyms
from hierlib.rhm.widget import belief_tree

__all__ = [
    "Grammar", "belief_tree", "cavity", "channels", "clustering", "coherence", "contexts", "controls", "draw",
    "dynamics", "log_evidence", "marginals", "population", "sample_posterior", "synonyms", "theory", "validity",
]
