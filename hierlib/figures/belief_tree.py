"""Belief propagation on one tree of a grammar."""

from hierlib.figures.core import InteractiveFigure, of_grammar
from hierlib.lab import checks
from hierlib.rhm.grammar import Grammar

__all__ = ["belief_tree"]

# more leaves do not fit a page; numbers in the rules are written into it
_MOST = {"leaves": 128, "numbers": 50_000}


def belief_tree(g: Grammar, *, seed: int = 0, epsilon: float = 0.5, name: str = "belief-tree") -> InteractiveFigure:
    """Show one tree of the grammar: what noise on its leaves leaves to believe, and what a U-turn changes.

    The reader moves the noise, chooses the channel (ε-process, masking, uniform), asks for another tree, and
    goes forward and back: one exact posterior sample, with the nodes it changed. All inference runs in the
    browser, by the recursion of :func:`hierlib.rhm.marginals`.

    Source: Sclocchi, Favero, Wyart 2024.

    Parameters
    ----------
    g
        Grammar with at most 128 leaves (32 or 64 look best) and 50000 numbers in its rules.
    seed
        Seed of the first tree and of its noise, 0 … 2^31 − 1.
    epsilon
        Noise at the start, in [0, 1].
    name
        Of the :class:`hierlib.figures.InteractiveFigure` that is returned.

    Raises
    ------
    ValueError
        For a grammar that is too large, or a seed, noise or name that is not allowed.

    Examples
    --------
    >>> from hierlib.rhm import Grammar
    >>> belief_tree(Grammar.random(v=32, m=8, s=2, L=5), epsilon=0.7)
    InteractiveFigure('belief-tree', v=32, m=8, s=2, L=5, seed=0, epsilon=0.7)
    """
    config = of_grammar(g, _MOST, seed=seed, epsilon=checks.real("epsilon", epsilon, 0.0, 1.0))
    return InteractiveFigure(name, config, "belief_tree", "belief-tree", "Belief propagation on a tree", "tree",
                             ("inference",))
