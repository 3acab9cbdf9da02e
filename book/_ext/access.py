"""What the theme's pages lack for people who read with a screen reader or on a phone.

The faults lie in templates and in stored outputs, so the written pages are corrected, after all else is done: empty
table headers are plain cells; what opens and closes has a name, the one that can be read on it; roles that do not fit
are dropped; a value and its error stay on one line; each cell of a table of claims names its column, for the style
sheet that stacks it on a phone; each figure is a link to its image, to be seen enlarged.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

EDITS = [(re.compile(pattern), put) for pattern, put in (
    (r"<th\b([^>]*)>\s*(?:<p>\s*</p>)?\s*</th>", r"<td\1></td>"),
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    (r'<summary>(?=\s*<span class="toctree-toggle")', '<summary aria-label="Pages of this section">'),
    (r'(<button\b(?=[^>]*search-button-field)[^>]*?)\s+aria-label="[^"]*"', r"\1"),
    (r'(<div\b(?=[^>]*class="citation)[^>]*?)\s+role="[^"]*"', r"\1"),
    (r"(?<=[0-9⁰-⁹]) ± (?=\d)", "\u00a0±\u00a0"),
    (r'<div\b(?=[^>]*class="bd-sidebar-primary)(?![^>]*\srole=)', '<div role="complementary" aria-label="The book"'),
)]
LEDGER = re.compile(r'<table class="[^"]*ledger-claims.*?</table>', re.DOTALL)
FIGURE = re.compile(r"<figure\b.*?</figure>", re.DOTALL)
IMAGE = re.compile(r'<img\b[^>]*?\bsrc="([^"]+)"[^>]*>(?!</a>)')
ENLARGED = r'<a class="enlarge" href="\1" title="enlarge">\g<0></a>'
HEAD, ROW, CELL = (re.compile(p, re.DOTALL) for p in (r"<th\b[^>]*>(.*?)</th>", r"<tr\b.*?</tr>", r"<td(?=[ >])"))


def labelled(table: str) -> str:
    """Return a table whose cells name their columns."""
    heads = [re.sub("<.*?>", "", text).strip() for text in HEAD.findall(table)]

    def row(match):
        names = iter(heads)
        return CELL.sub(lambda _: f'<td data-label="{next(names)}"', match[0])

    return ROW.sub(row, re.sub(r' data-label="[^"]*"', "", table))


def improved(page: str) -> str:
    """Return the text of a page, corrected; one that is, stays as it is."""
    for pattern, put in EDITS:
        page = pattern.sub(put, page)
    page = FIGURE.sub(lambda match: IMAGE.sub(ENLARGED, match[0]), page)
    return LEDGER.sub(lambda match: labelled(match[0]), page)


def _improve(app: Sphinx, exception) -> None:
    if exception is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        old = path.read_text(encoding="utf-8")
        if (new := improved(old)) != old:
            path.write_text(new, encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Connect to the end of the build."""
    app.connect("build-finished", _improve, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
