"""The interactive figures of the chapters: computed in the browser, in the book, JupyterLab and Colab alike."""

from hierlib.figures.belief_tree import belief_tree
from hierlib.figures.core import InteractiveFigure
from hierlib.figures.hierarchical_image import hierarchical_image
from hierlib.figures.loss_landscape import loss_landscape
from hierlib.figures.percolating_bumps import percolating_bumps
from hierlib.figures.swing_by import swing_by
from hierlib.figures.synonyms import synonyms

__all__ = [
    "InteractiveFigure", "belief_tree", "hierarchical_image", "loss_landscape", "percolating_bumps", "swing_by",
    "synonyms",
]
