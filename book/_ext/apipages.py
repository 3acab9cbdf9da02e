"""Small repairs of the library's pages: type aliases by their name, chapters linked, no filler text."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import stored
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
def chapter_titles(root: Path) -> dict[str, str]:
    """Return the page of each chapter by its title."""
    return {stored.load(root, page).title: page for page in stored.names(root)}


def link_chapters(text: str, titles: dict[str, str]) -> str:
    """Return a docstring in which every ``*Title*`` of a chapter is a link; `titles` gives the page of each."""
    for title, page in titles.items():
        pattern = r"\*" + r"\s+".join(map(re.escape, title.split())) + r"\*"
        text = re.sub(pattern, f":doc:`{title} </book/{page}>`", text)
    return text


def _signature(app, what, name, obj, options, signature, returns):
    return shorten(signature), shorten(returns)


def _docstring(app, what, name, obj, options, lines):
    if lines and lines[0].startswith(FILLER):
        lines[:] = []
    lines[:] = link_chapters("\n".join(lines), chapter_titles(Path(app.srcdir))).split("\n")


def setup(app: Sphinx) -> dict:
    """Connect to autodoc."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
