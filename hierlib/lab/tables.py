"""Tables for a page: rounded, captioned, without NaN."""

from dataclasses import dataclass
from html import escape
from numbers import Integral, Real
from typing import Any

import pandas as pd

from hierlib.lab.claims import rounded

__all__ = ["Table", "table"]


def _said(cell: Any, digits: int) -> str:
    value, error = cell if isinstance(cell, tuple) else (cell, None)
    if not isinstance(value, Real):
        return str(value)
    if pd.isna(value):
        return "–"
    plain = isinstance(value, Integral) or error is not None or abs(value) >= 10**digits
    return rounded(float(value if plain else f"{value:.{digits}g}"), error)


@dataclass(frozen=True)
class Table:
    """A frame as a page shows it."""

    frame: pd.DataFrame
    caption: str

    def __repr__(self) -> str:
        return f"{self.caption}\n{self.frame.to_string(index=False)}"

    def _repr_html_(self) -> str:
        page = self.frame.to_html(border=0, index=False)
        return page.replace("<thead>", f"<caption>{escape(self.caption)}</caption><thead>", 1)


def table(frame: pd.DataFrame, caption: str, *, digits: int = 3) -> Table:
    """Return `frame` as a page shows it.

    Parameters
    ----------
    frame
        Numbers, texts, or pairs (value, standard error), which :func:`hierlib.lab.claims.rounded` writes; its columns
        are named as a reader names them, with units.
    caption
        What it shows, in a sentence.
    digits
        Of numbers without an error.
    """
    rows = frame.reset_index() if any(frame.index.names) else frame
    return Table(rows.map(lambda cell: _said(cell, digits)), caption)
