"""An interactive figure of belief propagation on one tree: in the static page, JupyterLab and Colab alike."""

from pathlib import Path

from hierlib.lab import checks
from hierlib.lab.live import LiveFigure
from hierlib.rhm.grammar import Grammar
from hierlib.rhm.live import described

__all__ = ["BeliefTree", "belief_tree"]

_SCRIPT = Path(__file__).with_name("belief_tree.js")
_MAX_LEAVES = 128             # more do not fit a page
_MAX_NUMBERS = 50_000         # numbers in the rules: they are written into the page


class BeliefTree(LiveFigure):
    """The figure of :func:`belief_tree`; its HTML holds script and grammar, and fetches nothing.

    Shown in the chapter *Phase transition*.
    """

    script, kind, label, thing = _SCRIPT, "belief-tree", "Belief propagation on a tree", "tree"
    hidden = ("rules",)


def belief_tree(
    g: Grammar, *, seed: int = 0, epsilon: float = 0.5, name: str = "belief-tree"
) -> BeliefTree:
    """Show one tree of the grammar: what noise on its leaves leaves to believe, and what a U-turn changes.

    The reader moves the noise, chooses the channel (ε-process, masking, uniform), asks for another tree, and
    goes forward and back: one exact posterior sample, with the nodes it changed. All inference runs in the
    browser, by the recursion of :func:`hierlib.rhm.marginals`. Explained in the chapter *Phase transition*
    (``phase-transition``); source: Sclocchi, Favero, Wyart 2024.

    Parameters
    ----------
    g
        Grammar with at most 128 leaves (32 or 64 look best) and 50000 numbers in its rules.
    seed
        Seed of the first tree and of its noise, 0 … 2^31 − 1.
    epsilon
        Noise at the start, in [0, 1].
    name
        HTML id of the figure: a letter, then letters, digits, ``-`` or ``_``; another one for each figure.

    Returns
    -------
    BeliefTree
        Object that a notebook displays when it is the last value of a cell.

    Raises
    ------
    ValueError
        For a grammar that is too large, or a seed, noise or name that is not allowed.

    Examples
    --------
    >>> from hierlib.rhm import Grammar
    >>> belief_tree(Grammar.random(v=32, m=8, s=2, L=5), epsilon=0.7)
    BeliefTree('belief-tree', v=32, m=8, s=2, L=5, seed=0, epsilon=0.7)
    """
    checks.require(isinstance(g, Grammar), "g", g, "a hierlib.rhm.Grammar")
    size = g.rules.numel()
    checks.require(g.d <= _MAX_LEAVES, "g", g, f"a grammar of at most {_MAX_LEAVES} leaves, not {g.d}")
    checks.require(size <= _MAX_NUMBERS, "g", g, f"a grammar of at most {_MAX_NUMBERS} numbers, not {size}")
    epsilon = checks.real("epsilon", epsilon, 0.0, 1.0)
    return BeliefTree(name, described(g, name, seed=seed, epsilon=epsilon))
