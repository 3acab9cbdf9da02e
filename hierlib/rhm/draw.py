"""Pictures of derivations for the chapters."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from hierlib.lab import checks
from hierlib.lab.figure import FAINT, INK, PALETTE
from hierlib.lab.types import Bool, Float, Int, Tensor
from hierlib.rhm.grammar import check_depth

__all__ = ["tree"]


def tree(
    ax: Axes, symbols: Sequence[Int[Tensor, " _"]], *, s: int, kept: Sequence[Bool[Tensor, " _"]] | None = None,
    belief: Sequence[Float[Tensor, " _"]] | None = None, text: bool = True,
) -> None:
    """Draw one derivation, root on top.

    Parameters
    ----------
    ax
        Axes to draw into; its frame is removed.
    symbols
        L + 1 tensors ``(s**(L-l),)``, leaves first: ``[t[0] for t in trees]``.
    s
        Branching.
    kept
        Like `symbols`, boolean: kept nodes are drawn in blue, changed ones in vermilion.
    belief
        Like `symbols`, numbers in [0, 1]: opacity of the nodes.
    text
        Write the symbols into the nodes.

    Raises
    ------
    ValueError
        When the levels do not form an s-ary tree.
    """
    sizes = [len(level) for level in symbols]
    s, L = check_depth("symbols", sizes[0], s)
    checks.require(sizes == [s ** (L - l) for l in range(L + 1)], "symbols", sizes, f"levels of an s = {s} tree")
    place = [[(i + 0.5) * s**l for i in range(n)] for l, n in enumerate(sizes)]
    edges = [((place[l][i], l), (place[l + 1][i // s], l + 1)) for l in range(L) for i in range(sizes[l])]
    ax.add_collection(LineCollection(edges, colors=FAINT, linewidths=0.8, zorder=1))
    for l in range(L + 1):
        size = 200.0 if text else max(10.0, 110.0 * s ** (-(L - l) / 1.8) + 7.0)
        colour = [PALETTE[0] if kept is None or kept[l][i] else PALETTE[1] for i in range(sizes[l])]
        alpha = [1.0 if belief is None else 0.08 + 0.92 * float(belief[l][i]) for i in range(sizes[l])]
        ax.scatter(place[l], [l] * sizes[l], s=size, c=colour, alpha=alpha, edgecolors=colour, zorder=2)
        if text:
            for x, symbol in zip(place[l], symbols[l].tolist()):
                ax.text(x, l, str(symbol), color="white", ha="center", va="center", fontsize=8, zorder=3)
    ax.set(xlim=(0, sizes[0]), ylim=(-0.45, L + 0.45), yticks=range(L + 1), xticks=[], ylabel="level")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelcolor=INK)
