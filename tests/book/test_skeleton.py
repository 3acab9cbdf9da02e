"""The skeleton that a new chapter begins with runs, and breaks none of the rules for chapters."""

import pytest

from tests.book import rules
from tests.book.conftest import ROOT
from tests.simgpu.warm import kernels
from tools.execute import from_source, run


@pytest.fixture(scope="module")
def nb():
    """Return the executed skeleton."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"HIERLIB_SCALE": "quick", "HIERLIB_STRICT": "1", "OMP_NUM_THREADS": "1",
                            **kernels()}.items():
            patch.setenv(name, value)
        nb = from_source((ROOT / "book" / "skeleton.md").read_text(encoding="utf-8"))
        run(nb, ROOT / "book")
    return nb


@pytest.mark.parametrize("rule", ["run_order", "bad_outputs", "sizes", "figures", "randomness", "semicolons"])
def test_keeps_the_rules(nb, rule):
    assert getattr(rules, rule)(nb) == []


def test_states_what_it_claims(nb):
    assert rules.claims(nb, "skeleton") == [] and rules.glued(nb) == {"skeleton.share"}
    assert rules.glue(nb, set()) == []


def test_begins_like_every_chapter(nb):
    text = (ROOT / "book" / "skeleton.md").read_text(encoding="utf-8")
    assert rules.install_cell(nb, (ROOT / "book" / "install_cell.py").read_text(encoding="utf-8")) == []
    assert "{chapter-facts}" in text and len(text.splitlines()) < 100
    assert "book/skeleton.md" in (ROOT / "README.md").read_text(encoding="utf-8")
