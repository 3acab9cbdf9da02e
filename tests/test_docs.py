"""What the library offers: each public name is documented, used and, where there is a paper, names its source."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections import Counter
from pathlib import Path

import pytest

import hierlib

ROOT = Path(__file__).parents[1]
# closed forms and protocols of papers: their functions say from where
PAPERS = ("rhm.theory", "rhm.belief", "cumulants.theory", "sim.theory", "sim.two_concepts", "diffusion.gaussian",
          "diffusion.discrete.losses", "diffusion.discrete.processes")
# what users were promised beside what the book shows
PROMISED = {"hierlib.rhm.belief.log_evidence", "hierlib.diffusion.ideal.Empirical"}


def modules() -> list:
    """Return the modules of hierlib."""
    names = [info.name for info in pkgutil.walk_packages(hierlib.__path__, "hierlib.") if not info.ispkg]
    return [importlib.import_module(name) for name in names if name != "hierlib.lab.types"]


def public() -> list[tuple[str, object]]:
    """Return (full name, object) of the functions and classes that the modules offer."""
    found = [(f"{module.__name__}.{name}", getattr(module, name)) for module in modules() for name in module.__all__]
    return [(name, thing) for name, thing in found if callable(thing)]


@pytest.mark.parametrize(("name", "thing"), public(), ids=lambda x: x if isinstance(x, str) else "")
def test_docstring_says_what_and_from_where(name, thing):
    text = inspect.getdoc(thing) or ""
    assert re.match(r".+\.$", text.split("\n\n")[0], re.DOTALL), "no sentence that says what it is"
    if inspect.isfunction(thing) and name.rpartition(".")[0].removeprefix("hierlib.") in PAPERS:
        whole = importlib.import_module(name.rpartition(".")[0]).__doc__      # one source for all of a module will do
        assert re.search(r"\bsources?:", f"{text}\n{whole}", re.IGNORECASE), "no source is named"


def test_modules_offer_their_own_names_only():
    for module in modules():
        for name in module.__all__:
            home = getattr(getattr(module, name), "__module__", module.__name__)
            assert home == module.__name__ or not home.startswith("hierlib"), f"{module.__name__}.{name}: of {home}"


def test_every_public_name_is_used_somewhere():
    texts = {path: path.read_text(encoding="utf-8") for folder, kind in (
        ("hierlib", "*.py"), ("book/src", "*.md"), ("benchmarks", "*.py"), ("tools", "*.py"), ("book/_ext", "*.py"))
        for path in (ROOT / folder).rglob(kind)} | {ROOT / "README.md": (ROOT / "README.md").read_text("utf-8")}
    dead = re.compile(r'"""(?:.|\n)*?"""|__all__ = \[(?:.|\n)*?\]|^(?:from|import) .*$', re.MULTILINE)
    code = {path: dead.sub("", text) for path, text in texts.items() if path.suffix == ".py"}
    words = Counter(re.findall(r"\w+", "\n".join({**texts, **code}.values())))
    unused = [name for name, thing in public() if name not in PROMISED
              and not (inspect.isclass(thing) and issubclass(thing, BaseException | tuple))
              and words[name.rpartition(".")[2]] < 2]                                 # once: where it is defined
    assert not unused


def code_lines(text: str) -> int:
    """Count the lines that hold code: no docstring, no comment, not blank."""
    documented = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef))
    docs = [n.body[0] for n in documented if n.body and ast.get_docstring(n) is not None]
    prose = {line for doc in docs for line in range(doc.lineno, doc.end_lineno + 1)}
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for i, line in lines if i not in prose and line.strip() and not line.lstrip().startswith("#"))


def test_code_lines_are_counted_without_prose():
    assert code_lines('"""One\ntwo."""\n\n# three\ndef f():\n    """Four."""\n    return 5  # six\n') == 2


def test_the_library_stays_small():
    lines = {module.__name__: code_lines(inspect.getsource(module)) for module in modules()}
    assert max(lines.values()) <= 220, max(lines, key=lines.get)
    assert sum(lines.values()) <= 5650
