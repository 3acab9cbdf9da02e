"""Where the book lies, its stored notebooks and its rendered pages."""

import importlib
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
sys.path.insert(0, str(ROOT / "book" / "_ext"))  # the local extensions are modules of no package


def pytest_generate_tests(metafunc):
    """Run a test that asks for ``chapter`` once for each source in book/src."""
    if "chapter" in metafunc.fixturenames:
        metafunc.parametrize("chapter", sorted(p.stem for p in (ROOT / "book" / "src").glob("*.md")))


@pytest.fixture
def nb(chapter):
    """Return the stored notebook of a chapter."""
    path = ROOT / "book" / f"{chapter}.ipynb"
    assert path.exists(), f"{path.name} is not stored: make execute CHAPTER={chapter}"
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="session")
def html():
    """Return the folder of the rendered book; ``make test`` renders it before the tests run."""
    if not (HTML / "index.html").exists():
        pytest.skip("the book is not rendered: make book")
    return HTML


@pytest.fixture(scope="session")
def stored():
    """Return the module of book/_ext that reads the stored results."""
    return importlib.import_module("stored")
