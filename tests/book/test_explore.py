"""An executor changes a value of the sizes cell and runs all: every chapter reaches its last cell."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
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


def test_photographs_may_come_from_a_folder_of_classes(tmp_path):
    from PIL import Image

    draw = torch.Generator().manual_seed(0)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        for k in range(60):
            pixels = torch.randint(256, (20 * 20,), generator=draw, dtype=torch.uint8)
            Image.frombytes("L", (20, 20), bytes(pixels.tolist())).save(tmp_path / name / f"{k}.png")
    assert "claims" in explore("images", BOOK, CASES["images"]["tiny"] | {"image_root": repr(str(tmp_path))})


def test_photographs_may_come_from_cifar10(tmp_path):
    cells = from_source((BOOK / "src" / "images.md").read_text(encoding="utf-8")).cells
    tree = ast.parse(next(cell.source for cell in cells if "def labelled" in cell.source))
    made = torch.rand(3, 1, 32, 32), torch.arange(3)
    images = SimpleNamespace(cifar10=lambda root: made, folder=lambda root, size, per_class: (root, size, per_class))
    space = {"images": images, "functional": torch.nn.functional, "Path": Path, "size": 16, "per_class": 7}
    wanted = [node for node in tree.body if getattr(node, "name", "") == "labelled"]
    exec(compile(ast.Module(wanted, []), "images", "exec"), space)
    assert space["labelled"](tmp_path) == (tmp_path, 16)
    (tmp_path / "cifar-10-batches-py").mkdir()
    for root in (tmp_path, tmp_path / "cifar-10-batches-py"):
        x, labels = space["labelled"](str(root))
        assert labels is made[1] and torch.allclose(x, torch.nn.functional.avg_pool2d(made[0], 2))


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
