"""An interactive figure of synonyms clustered by their contexts: in the static page, JupyterLab and Colab alike."""

from pathlib import Path

from hierlib.lab import checks
from hierlib.lab.live import LiveFigure
from hierlib.rhm.grammar import Grammar
from hierlib.rhm.live import described

__all__ = ["Synonyms", "synonyms"]

_SCRIPT = Path(__file__).with_name("synonyms.js")
_SAMPLES = (8, 20000)         # ends of the slider
_MAX_SYMBOLS = 12             # letters and colours told apart
_MAX_TUPLES = 48              # rows of a heat map
_MAX_LEAVES = 32              # leaves of a drawn tree
_MAX_FEATURES = 256           # columns of a heat map


class Synonyms(LiveFigure):
    """The figure of :func:`synonyms`; its HTML holds script and grammar, and fetches nothing.

    Shown in the chapter *Hierarchical clustering*; source: this book.
    """

    script, kind, label, thing = _SCRIPT, "synonyms", "Synonyms clustered by their contexts", "figure"
    hidden = ("rules",)


def synonyms(g: Grammar, *, samples: int = 300, seed: int = 0, name: str = "synonyms") -> Synonyms:
    """Show how a grammar is recovered from its strings, level by level, by clustering tuples of like context.

    The reader moves the number P of training strings, draws other ones, and chooses the context: tokens of the
    sibling subtree, or the symbols found for it. For each level the figure shows the features of all tuples seen
    (probability of each context symbol given the tuple, less its mean), the clusters that Ward's agglomeration
    finds, the adjusted Rand index over nodes and the distance ratio R against P with the thresholds
    P*_l = v m^(l+1)/(1 − f), and strings written by the rules found. All is computed in the browser from strings
    drawn there. Explained in the chapter *Hierarchical clustering*; source: Favero et al. 2025; found symbols as
    context: Korchinski, Favero, Wyart 2026.

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
        HTML id of the figure: a letter, then letters, digits, ``-`` or ``_``; another one for each figure.

    Returns
    -------
    Synonyms
        Object that a notebook displays when it is the last value of a cell.

    Raises
    ------
    ValueError
        For a grammar that is too large or too shallow, or samples, a seed or a name that is not allowed.

    Examples
    --------
    >>> from hierlib.rhm import Grammar
    >>> synonyms(Grammar.random(v=6, m=3, s=2, L=3), samples=500)
    Synonyms('synonyms', v=6, m=3, s=2, L=3, samples=500, seed=0)
    """
    checks.require(isinstance(g, Grammar), "g", g, "a hierlib.rhm.Grammar")
    checks.require(g.L >= 2, "g", g, "a grammar of at least 2 levels")
    sizes = ((g.v, _MAX_SYMBOLS, "symbols"), (g.v * g.m, _MAX_TUPLES, "tuples a level"), (g.d, _MAX_LEAVES, "leaves"),
             ((g.s - 1) * g.d * g.v, _MAX_FEATURES, "context features"))
    for size, most, what in sizes:
        checks.require(size <= most, "g", g, f"a grammar of at most {most} {what}, not {size}")
    samples = checks.integer("samples", samples, *_SAMPLES)
    return Synonyms(name, described(g, name, samples=samples, seed=seed))
