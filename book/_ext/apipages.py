"""Small repairs of the library's pages: type aliases by their name, no filler text."""

from __future__ import annotations

from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

FILLER = "Alias for field number"


def shorten(text: str | None) -> str | None:
    """Return a signature in which an expanded ``ArrayLike`` has its name again."""
    if not text:
        return text
    for mode in ("smart", "fully-qualified-except-typing"):
        text = text.replace(stringify_annotation(ArrayLike, mode), "ArrayLike")
    for prefix in ("~numpy.", "numpy.", ""):
        text = text.replace(f"{prefix}ndarray[tuple[~typing.Any, ...], ~numpy.dtype[~numpy.float64]]", "ndarray")
    return text


def _signature(app, what, name, obj, options, signature, returns):
    return shorten(signature), shorten(returns)


def _docstring(app, what, name, obj, options, lines):
    if lines and lines[0].startswith(FILLER):
        lines[:] = []


def setup(app: Sphinx) -> dict:
    """Connect to autodoc."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
