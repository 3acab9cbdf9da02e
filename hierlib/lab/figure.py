"""Figure style: one SVG that follows the page's light or dark theme, and a colour-blind-safe palette.

The ink of every figure is a sentinel colour. When a figure is shown, the sentinel becomes a CSS variable
that a ``prefers-color-scheme`` rule inside the SVG sets; browsers hand an ``<img>`` the colour scheme of the
page's element, so the theme switch works on stored figures. seaborn draws in the same style once
:func:`use` has been called.
"""

import io
import re
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure

from hierlib.lab.device import ipython

__all__ = ["FAINT", "INK", "PALETTE", "colours", "letters", "svg", "use"]

INK, FAINT = "#1f2328", "#8b949e"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")   # after Okabe and Ito
_LEVELS = LinearSegmentedColormap.from_list("levels", ["#E69F00", "#D55E00", "#B4468C", "#6C6FCB", "#0083C0"])
_THEME = (
    f"<style>:root{{--ink:{INK};background:#fff}}"
    "@media (prefers-color-scheme:dark){:root{--ink:#dfe3e8;background:#121212}}</style>"
)
_COORDINATES = re.compile(r' (?:d|x|y|x1|x2|y1|y2|points)="[^"]*"')
_LONG = re.compile(r"-?\d+\.\d{3,}")
_RC: dict[str, Any] = {
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "axes.titlecolor": INK,
    "xtick.color": INK, "ytick.color": INK, "legend.labelcolor": INK,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    "axes.prop_cycle": cycler(color=PALETTE), "image.cmap": "viridis",
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "axes.grid": True, "grid.color": FAINT, "grid.alpha": 0.25, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "font.size": 10.5, "axes.titlesize": 11.0, "axes.titlelocation": "left", "legend.fontsize": 9.0,
    "lines.linewidth": 1.9, "lines.markersize": 4.5, "errorbar.capsize": 0.0,
    "figure.figsize": (6.8, 3.7), "figure.constrained_layout.use": True, "figure.dpi": 96,
    "svg.hashsalt": "hierlib", "svg.fonttype": "path",
}


def colours(n: int) -> list[str]:
    """Return `n` colours for levels 0 (leaves, orange) to n − 1 (root, blue), the same in every chapter.

    They are legible on light and dark pages.
    """
    return [to_hex(_LEVELS(x)) for x in np.linspace(0, 1, n)]


def letters(axes: Any) -> None:
    """Put a, b, c, … before the titles of panels, as captions name them."""
    for letter, ax in zip("abcdefghijkl", np.ravel(axes)):
        ax.set_title(rf"$\bf{{{letter}}}$  {ax.get_title(loc='left')}".rstrip(), loc="left")


def svg(figure: Figure) -> str:
    """Return `figure` as an SVG string that follows light and dark, byte-identical from run to run."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().replace(INK, f"var(--ink,{INK})")
    text = _COORDINATES.sub(lambda found: _LONG.sub(lambda n: f"{float(n[0]):.2f}", found[0]), text)    # half the size
    text = re.sub(r"\s*\n\s*", " ", text)              # a notebook stores every line with its own quotes
    return re.sub(r"(<svg\b[^>]*>)", lambda found: found[1] + _THEME, text, count=1)


def use() -> None:
    """Set the style for matplotlib and seaborn and, inside IPython, show figures as themed SVG: once per chapter."""
    if (shell := ipython()) is not None:
        shell.run_line_magic("matplotlib", "inline")
        shell.run_line_magic("config", "InlineBackend.figure_formats = ['svg']")
        shell.run_line_magic("config", "InlineBackend.rc = {}")
        shell.display_formatter.formatters["image/svg+xml"].for_type(Figure, svg)
    mpl.rcParams.update(_RC)
