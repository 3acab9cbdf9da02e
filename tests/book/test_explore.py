"""An executor changes a value of the sizes cell and runs all: every chapter reaches its last cell."""

from pathlib import Path

import pytest
from nbclient.exceptions import CellExecutionError

from tests.book.tiny import CASES
from tests.simgpu.warm import kernels
from tools.execute import explore, from_source, with_values

BOOK = Path(__file__).parents[2] / "book"
EVERY = [(chapter, case) for chapter, cases in CASES.items() for case in cases]


@pytest.fixture(autouse=True)
def _as_an_explorer(monkeypatch):
    for name, value in {"HIERLIB_SCALE": "quick", "HIERLIB_STRICT": "0", "OMP_NUM_THREADS": "1",
                        **kernels()}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("name", "case"), EVERY, ids=map("-".join, EVERY))
def test_a_chapter_of_other_sizes_reaches_its_last_cell(name, case):
    assert "claims" in explore(name, BOOK, CASES[name][case])


def test_every_chapter_is_explored(chapter):
    assert len(CASES[chapter]) >= 2, "one case of tiny sizes and one of another structure"


def test_a_value_replaces_an_assignment_and_its_name_must_exist():
    nb = from_source("```{code-cell}\n:tags: [sizes]\na, b = 1, 2\nc = a + b\n```\n\n```{code-cell}\nb = 3\n```\n")
    changed = with_values(nb, {"b": "5"})
    space = {}
    exec(changed.cells[0].source, space)
    assert (space["a"], space["b"], space["c"]) == (1, 5, 6) and changed.cells[1].source == "b = 3"
    with pytest.raises(ValueError, match="assigns no d"):
        with_values(nb, {"d": "1"})


def test_a_cell_that_fails_is_told(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "x.md").write_text("```{code-cell}\n:tags: [sizes]\na = 1\n```\n\n```{code-cell}\n1 / a\n```\n")
    assert "0 claims" in explore("x", tmp_path, {"a": "2"})
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        explore("x", tmp_path, {"a": "0"})
