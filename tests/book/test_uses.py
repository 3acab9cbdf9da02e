"""The links from the library to the chapters are read from the chapters' cells."""

import importlib

from tests.book.conftest import ROOT

uses = importlib.import_module("uses")
SOURCE = """\
text with `lab.device` in it

```{code-cell}
:tags: [hide-input]

from hierlib import lab as tools, rhm
from hierlib.rhm import Grammar, theory
```

```{code-cell}
---
mystnb:
  figure:
    name: fig-a
---
p = theory.transition(v=32, m=8, s=2)
tools.figure.use(), rhm.marginals(Grammar.random(v=8, m=2, s=2, L=2), x).mean()
theory = None
"""


def test_cells_lose_their_options_and_nothing_else():
    first, second = uses.cells(SOURCE + "```\n")
    assert first.startswith("from hierlib import lab as tools") and second.startswith("p = theory")


def test_names_are_found_through_the_imports():
    assert uses.used(uses.cells(SOURCE + "```\n")) == {
        "hierlib.rhm.theory.transition", "hierlib.lab.figure.use", "hierlib.rhm.belief.marginals",
        "hierlib.rhm.grammar.Grammar"}


def test_every_chapter_uses_the_library():
    chapters = sorted(path.stem for path in (ROOT / "book" / "src").glob("*.md"))
    found = uses.chapters_of(ROOT, chapters)
    assert {chapter for those in found.values() for chapter in those} == set(chapters)
    assert found["hierlib.lab.figure.use"] == chapters
