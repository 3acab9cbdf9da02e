"""Makes sphinx-codeautolink, which links names in code cells to the library's pages, work with theorem boxes.

It takes every section to have a title and every title to belong to a section. Theorem and exercise boxes hold
sections without a title, admonitions titles without a section; here only real ones are counted.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx_codeautolink.extension.block import CodeBlockAnalyser


def _titled(section: nodes.Node) -> bool:
    return isinstance(section, nodes.section) and any(isinstance(c, nodes.title) for c in section.children)


def _only(method, applies):
    def wrapped(self, node):
        if applies(node):
            method(self, node)

    return wrapped


def setup(app: Sphinx) -> dict:
    """Guard the three steps that keep the stack of titles."""
    guards = {
        "visit_title": lambda title: _titled(title.parent),
        "visit_section": _titled,
        "depart_section": _titled,
    }
    for name, applies in guards.items():
        setattr(CodeBlockAnalyser, name, _only(getattr(CodeBlockAnalyser, name), applies))
    app.setup_extension("sphinx_codeautolink")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
