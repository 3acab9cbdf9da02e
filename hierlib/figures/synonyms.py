"""Synonyms of a grammar, clustered by their contexts."""

from hierlib.figures.core import InteractiveFigure, of_grammar
from hierlib.lab import checks
from hierlib.rhm.grammar import Grammar

__all__ = ["synonyms"]

# letters and colours told apart, rows of a heat map, leaves of a drawn tree, columns of a heat map
_MOST = {"symbols": 12, "tuples a level": 48, "leaves": 32, "context features": 256}


def synonyms(g: Grammar, *, samples: int = 300, seed: int = 0, name: str = "synonyms") -> InteractiveFigure:
    """Show how a grammar is recovered from its strings, level by level, by clustering tuples of like context.

    The reader moves the number P of training strings, draws other ones, and chooses the context: tokens of the
    sibling subtree, or the symbols found for it. For each level the figure shows the features of all tuples seen
    (probability of each context symbol given the tuple, less its mean), the clusters that Ward's agglomeration
    finds, the adjusted Rand index over nodes and the distance ratio R against P with the thresholds
    P*_l = v m^(l+1)/(1 − f), and strings written by the rules found. All is computed in the browser from strings
    drawn there.

    Source: Favero et al. 2025; found symbols as context: Korchinski, Favero, Wyart 2026.

    Parameters
    ----------
    g
        Grammar with 2 levels or more, at most 12 symbols, 48 tuples a level (v·m), 32 leaves and 256 context
        features, (s − 1)·s^L·v.
    samples
        P at the start, 8 … 20000.
    seed
        Seed of the first sample, 0 … 2^31 − 1.
    name
        Of the :class:`hierlib.figures.InteractiveFigure` that is returned.

    Raises
    ------
    ValueError
        For a grammar that is too large or too shallow, or samples, a seed or a name that is not allowed.

    Examples
    --------
    >>> from hierlib.rhm import Grammar
    >>> synonyms(Grammar.random(v=6, m=3, s=2, L=3), samples=500)
    InteractiveFigure('synonyms', v=6, m=3, s=2, L=3, samples=500, seed=0)
    """
    config = of_grammar(g, _MOST, samples=checks.integer("samples", samples, 8, 20000), seed=seed)
    checks.require(g.L >= 2, "g", g, "a grammar of at least 2 levels")
    return InteractiveFigure(name, config, "synonyms", "synonyms", "Synonyms clustered by their contexts")
