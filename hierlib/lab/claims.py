"""Stated numbers that check themselves.

A claim is one string that is text, test and display at once::

    claim("phase-transition.eps-star", eps_star, "0.7312 ± 0.0001", about="Threshold of the ε-process",
          source="Sclocchi et al. 2024")

The statement is parsed (the test), shown with its verdict (the display) and glued, so that the prose can quote
it with myst-nb's glue role (the text): the three cannot drift apart. Where it is strict
(:func:`hierlib.lab.device.strict`: in ``make``, nbval and CI) a measured value outside its interval raises
:class:`ClaimError`. For an explorer, who has changed a parameter, it is a red box, and the chapter goes on.

The plain-text form of the output (name, statement, verdict) is the same on every machine; the measured value
is in its HTML form and in its metadata, from which the claims page is made.
"""

import html
import math
import re
import warnings
from dataclasses import asdict, dataclass
from typing import Any

from hierlib.lab.device import ipython, strict

__all__ = ["Claim", "ClaimError", "ClaimWarning", "claim", "parse"]

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_PLAIN = str.maketrans({"−": "-", "≤": "<", "≥": ">"})
_OUTSIDE = "Outside the interval that was checked for the stored sizes: another size, seed or device may do that."
_RED = ' style="border: 2px solid #c62828; padding: .3em"'           # Jupyter and Colab have none of the book's styles
_NO_NUMBER = "Not a finite number: nothing was measured."
_GLUE = "application/papermill.record/text/plain"   # what myst-nb looks for


class ClaimError(AssertionError):
    """A measured value is outside its stated interval: where it is strict, the chapter stops."""


class ClaimWarning(UserWarning):
    """A chapter's measured value is outside its stated interval, and there is no notebook to show it."""


def parse(statement: str) -> tuple[float, float]:
    """Return the closed interval (low, high) that a chapter's statement allows.

    Understood: ``a ± b``, ``a ± p%``, ``[a, b]``, ``< a``, ``≤ a``, ``> a``, ``≥ a``.
    Intervals are closed: a measured number that equals a bound is never a matter of its last bit.

    Raises
    ------
    ValueError
        When the statement is none of these, or allows nothing (b < a, negative or zero width).

    Examples
    --------
    >>> parse("[0.7, 0.9]")
    (0.7, 0.9)
    >>> parse("> 0.9")
    (0.9, inf)
    """
    text = statement.strip().translate(_PLAIN)
    low = high = math.nan
    if found := re.fullmatch(rf"({_NUMBER})\s*±\s*({_NUMBER})\s*(%?)", text):
        centre, width = float(found[1]), float(found[2])
        width = abs(centre) * width / 100 if found[3] else width
        low, high = centre - width, centre + width
    elif found := re.fullmatch(rf"\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\]", text):
        low, high = float(found[1]), float(found[2])
    elif found := re.fullmatch(rf"([<>])\s*=?\s*({_NUMBER})", text):
        bound = float(found[2])
        low, high = (-math.inf, bound) if found[1] == "<" else (bound, math.inf)
    if not low < high:
        raise ValueError(f"statement = {statement!r}: must be 'a ± b' (b > 0), 'a ± p%', '[a, b]' (a < b), "
                         "'< a', '≤ a', '> a' or '≥ a'")
    return low, high


@dataclass(frozen=True)
class Claim:
    """A chapter's statement and what this run measured; :func:`claim` makes and checks it."""

    name: str
    statement: str
    measured: float
    about: str = ""
    source: str = ""
    paper: str = ""

    @property
    def holds(self) -> bool:
        """Whether the measured value is finite and lies in the stated interval."""
        low, high = parse(self.statement)
        return math.isfinite(self.measured) and low <= self.measured <= high

    def __repr__(self) -> str:
        return f"[claim {self.name}] {self.statement}: {'holds' if self.holds else 'FAILS'}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        kind, mark = ("holds", "✓") if self.holds else ("fails", "✗")
        source = f'<span class="claim-source">{html.escape(self.source)}</span>' if self.source else ""
        finite = math.isfinite(self.measured)                      # JSON knows no NaN and no infinity
        why = f'<div class="claim-why">{_OUTSIDE if finite else _NO_NUMBER}</div>' * (not self.holds)
        page = (
            f'<div class="claim claim-{kind}" id="claim-{html.escape(self.name)}"{_RED * (not self.holds)}>'
            f'<span class="claim-mark">{mark}</span> '
            f'<b>{html.escape(self.about or self.name)}:</b> '
            f'stated <span class="stated">{html.escape(self.statement)}</span>, '
            f'measured <span class="measured">{self.measured:.4g}</span> {source}{why}</div>'
        )
        record = asdict(self) | {"measured": float(f"{self.measured:.6g}") if finite else None, "holds": self.holds}
        return {"text/plain": repr(self), "text/html": page}, {"claim": record}


def claim(
    name: str, measured: float, statement: str, *, about: str = "", source: str = "", paper: str = ""
) -> Claim:
    """State a number, check it against this run, show the verdict and glue it into the chapter's prose.

    Parameters
    ----------
    name
        ``"chapter.key"``, unique in the book.
    measured
        What this run found: a number or a tensor with one element.
    statement
        The interval as the reader sees it, see :func:`parse`.
    about, source, paper
        What is stated, in one line; where it comes from (paper, equation or figure, or ``"this book"``); and
        the paper's own value where it gives one.

    Returns
    -------
    Claim
        With ``measured``, ``statement`` and ``holds``.

    Raises
    ------
    ClaimError
        Where it is strict, when the measured value is outside the stated interval, or is not a finite number.
    ValueError
        When the statement cannot be read.

    Warns
    -----
    ClaimWarning
        Instead, where it is not strict and there is no notebook to show the box.
    """
    made = Claim(name, statement, float(measured), about, source, paper)
    parse(statement)
    if inside := ipython() is not None:
        from IPython.display import display

        display(made)
        glue = {"scrapbook": {"name": name, "mime_prefix": _GLUE.removesuffix("text/plain")}}
        display({_GLUE: statement}, raw=True, metadata=glue)
    if not made.holds:
        told = f"{made!r}; measured {made.measured:.6g}"
        if strict():
            raise ClaimError(told)
        if not inside:
            warnings.warn(told, ClaimWarning, stacklevel=2)
    return made
