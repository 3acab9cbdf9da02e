"""What is made of the library's pages: links to the chapters that use a name, type aliases by their name."""

from __future__ import annotations

import functools
from pathlib import Path

import stored
import uses
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

from hierlib.lab.types import Numbers

FILLER = "Alias for field number"


def shorten(text: str | None) -> str | None:
    """Return a signature in which the alias ``Numbers`` has its name again."""
    if not text:
        return text
    for mode in ("smart", "fully-qualified-except-typing"):
        text = text.replace(stringify_annotation(Numbers, mode), "Numbers")
    return text


@functools.cache
def chapters_of(root: Path) -> dict[str, list[str]]:
    """Return for each name of the library links to the chapters whose cells use it."""
    chapters = stored.names(root)
    link = {name: f":doc:`{stored.load(root, name).title} </book/{name}>`" for name in chapters}
    return {name: [link[each] for each in those] for name, those in uses.chapters_of(root, chapters).items()}


def _signature(app, what, name, obj, options, signature, returns):
    return shorten(signature), shorten(returns)


def _docstring(app, what, name, obj, options, lines):
    if lines and lines[0].startswith(FILLER):
        lines[:] = []
    if links := chapters_of(Path(app.srcdir)).get(uses.full_name(obj) or ""):
        lines += ["", f"*Used in* {', '.join(links)}.", ""]


def setup(app: Sphinx) -> dict:
    """Connect to autodoc."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
