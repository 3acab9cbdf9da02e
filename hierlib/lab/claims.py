"""Stated numbers that check themselves: findings for the reader, checks for the tests.

::

    claims = lab.Claims("phase-transition")
    claims.check("exact", worst, "< 1e-12", "Belief propagation against a sum over all strings: largest error")
    claims.finding("nu", nu, "1.89 ± 0.05", "Exponent of the correlation length", error=0.01, paper="1.78",
                   verdict="not reproduced", source="Sclocchi et al. 2024, fig. 3")

The reader sees what was measured, with its standard error: in the box, and in the prose, which quotes it with myst-nb's
glue role as ``chapter.key``. The tests see the interval: where it is strict (:func:`hierlib.lab.device.strict`: in
``make``, nbval and CI) a measured value outside of it raises :class:`ClaimError`. For an explorer, who has changed a
parameter, it is a red box, and the chapter goes on.

The plain-text form of the output (name, interval, verdict) is the same on every machine; the measured value
is in its HTML form and in its metadata, from which the claims page is made.
"""

import html
import math
import re
import warnings
from dataclasses import asdict, dataclass
from typing import Any

from hierlib.lab import checks
from hierlib.lab.device import ipython, strict

__all__ = ["VERDICTS", "Claim", "ClaimError", "ClaimWarning", "Claims", "parse", "rounded"]

VERDICTS = "reproduced", "reproduced at small scale", "not reproduced", "new here"
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_PLAIN = str.maketrans({"−": "-", "≤": "<", "≥": ">"})
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_OUTSIDE = "Outside the interval that was checked for the stored sizes: another size, seed or device may do that."
_RED = ' style="border: 2px solid #c62828; padding: .3em"'           # Jupyter and Colab have none of the book's styles
_NO_NUMBER = "Not a finite number: nothing was measured."
GLUE = "application/papermill.record/text/plain"    # what myst-nb looks for


class ClaimError(AssertionError):
    """A measured value is outside its stated interval: where it is strict, the chapter stops."""


class ClaimWarning(UserWarning):
    """A chapter's measured value is outside its stated interval, and there is no notebook to show it."""


def parse(interval: str) -> tuple[float, float]:
    """Return the closed interval (low, high) that a chapter's statement allows.

    Understood: ``a ± b``, ``a ± p%``, ``[a, b]``, ``< a``, ``≤ a``, ``> a``, ``≥ a``.
    Intervals are closed: a measured number that equals a bound is never a matter of its last bit.

    Raises
    ------
    ValueError
        When it is none of these, or allows nothing (b < a, negative or zero width).

    Examples
    --------
    >>> parse("[0.7, 0.9]")
    (0.7, 0.9)
    >>> parse("> 0.9")
    (0.9, inf)
    """
    text = interval.strip().translate(_PLAIN)
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
        raise ValueError(f"interval = {interval!r}: must be 'a ± b' (b > 0), 'a ± p%', '[a, b]' (a < b), "
                         "'< a', '≤ a', '> a' or '≥ a'")
    return low, high


def rounded(value: float, error: float | None = None) -> str:
    """Return a measured value as a reader wants it: four digits, or as many as its standard error leaves.

    Very small and very large ones are written with a power of ten.

    Examples
    --------
    >>> rounded(-0.61543, 0.0123), rounded(0.61543, 0.0045), rounded(43184.1985), rounded(3.21e-5, 2e-6)
    ('−0.615 ± 0.012', '0.615 ± 0.005', '43184', '(3.2 ± 0.2)·10⁻⁵')
    """
    if error is None or not 1e-9 * abs(value) < error < math.inf or not math.isfinite(value):    # rounding is no error
        text, _, exponent = (f"{value:.0f}" if 1e4 <= abs(value) < 1e6 else f"{value:.4g}").partition("e")
    else:
        size = math.floor(math.log10(max(abs(value), error)))
        exponent = "" if -4 < size < 6 else str(size)
        value, error = (x / 10.0 ** size if exponent else x for x in (value, error))
        power = math.floor(math.log10(error))
        digits = max(0, (0 if error >= 2.95 * 10.0**power else 1) - power)         # of the error one digit, or two
        text = f"{value:.{digits}f} ± {error:.{digits}f}"
        text = f"({text})" if exponent else text
    return (text + (f"·10{str(int(exponent)).translate(_RAISED)}" if exponent else "")).replace("-", "−")


def _short(value: float | None) -> float | None:
    """Return a number as it is stored; JSON knows no NaN and no infinity."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class Claim:
    """What this run measured, with its standard error, and the interval it was checked for; a finding has a verdict."""

    name: str
    interval: str
    measured: float
    about: str
    source: str
    error: float | None = None
    paper: str = ""
    verdict: str = ""

    @property
    def holds(self) -> bool:
        """Whether the measured value is finite and lies in the stated interval."""
        low, high = parse(self.interval)
        return math.isfinite(self.measured) and low <= self.measured <= high

    @property
    def said(self) -> str:
        """The measured value and its standard error as the reader sees them."""
        return rounded(self.measured, self.error)

    def __repr__(self) -> str:
        kind, verdict = ("finding", f"{self.verdict}; ") if self.verdict else ("check", "")
        return f"[{kind} {self.name}] {verdict}{self.interval}: {'holds' if self.holds else 'FAILS'}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        kind, mark = ("holds", "✓") if self.holds else ("fails", "✗")
        told = _OUTSIDE if math.isfinite(self.measured) else _NO_NUMBER
        why = f'<div class="claim-why">{told}</div>' * (not self.holds)
        paper = f" (the paper: {html.escape(self.paper)})" if self.paper else ""
        page = (
            f'<div class="claim claim-{kind}" id="claim-{html.escape(self.name)}"{_RED * (not self.holds)}>'
            f'<span class="claim-mark">{mark}</span> {html.escape(self.about)}: '
            f'<b class="measured">{self.said}</b>{paper} '
            + f'<span class="claim-verdict">{self.verdict}</span> ' * bool(self.verdict)
            + f'<span class="claim-source">checked: <span class="stated">{html.escape(self.interval)}</span> · '
            f'{html.escape(self.source)}</span>{why}</div>'
        )
        record = asdict(self) | {"measured": _short(self.measured), "error": _short(self.error), "holds": self.holds}
        return {"text/plain": repr(self), "text/html": page}, {"claim": record}


class Claims(dict[str, Claim]):
    """The claims of one chapter, by key: each is checked against this run, shown, and glued as ``chapter.key``.

    Parameters
    ----------
    chapter
        Its name, the first part of every claim's.
    source
        Where a claim comes from that names no source of its own.

    Raises
    ------
    ClaimError
        By both methods, where it is strict, when the measured value is outside its interval or no finite number.
    ValueError
        By both, for an interval that cannot be read, an unknown verdict or an error that is no number.

    Warns
    -----
    ClaimWarning
        Instead, where it is not strict and there is no notebook to show the box.
    """

    def __init__(self, chapter: str, source: str = "this book") -> None:
        super().__init__()
        self.chapter, self.source = chapter, source

    def check(
        self, key: str, measured: float, interval: str, about: str, *, error: float | None = None,
        source: str | None = None,
    ) -> None:
        """State an interval outside of which the run is wrong.

        Parameters
        ----------
        key
            Unique in the chapter.
        measured
            What this run found: a number or a tensor with one element.
        interval
            What is allowed, see :func:`parse`.
        about, source
            What is measured, in one line; where it comes from (paper, equation or figure).
        error
            Standard error of the measured value; None or NaN where it has none.
        """
        self._state(key, measured, interval, about, source, error)

    def finding(
        self, key: str, measured: float, interval: str, about: str, *, verdict: str, error: float | None = None,
        paper: str = "", source: str | None = None,
    ) -> None:
        """State what a reader came for: what :meth:`check` takes, beside the paper's value.

        Parameters
        ----------
        verdict
            One of :data:`VERDICTS`.
        paper
            The paper's value, or what it says.
        """
        self._state(key, measured, interval, about, source, error, paper, checks.one_of("verdict", verdict, VERDICTS))

    def _state(
        self, key: str, measured: float, interval: str, about: str, source: str | None, error: float | None, *more: str
    ) -> None:
        name = f"{self.chapter}.{key}"
        error = None if error is None or math.isnan(error) else checks.real("error", error, 0.0)
        made = self[key] = Claim(name, interval, float(measured), about, source or self.source, error, *more)
        parse(interval)
        if inside := ipython() is not None:
            from IPython.display import display

            display(made)
            glue = {"scrapbook": {"name": name, "mime_prefix": GLUE.removesuffix("text/plain")}}
            display({GLUE: made.said}, raw=True, metadata=glue)
        if not made.holds:
            told = f"{made!r}; measured {made.measured:.6g}"
            if strict():
                raise ClaimError(told)
            if not inside:
                warnings.warn(told, ClaimWarning, stacklevel=3)
