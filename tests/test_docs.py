"""Every public name says which chapter uses or explains it and, where it holds science, its source."""

import ast
import importlib
import inspect
import pkgutil
import re

import pytest

import hierlib

INTERNAL = {"hierlib.rhm.messages", "hierlib.lab.checks", "hierlib.lab.types"}


def public() -> list[tuple[str, object]]:
    """Return (full name, object) of what the modules of all rooms offer."""
    found = []
    for info in pkgutil.walk_packages(hierlib.__path__, "hierlib."):
        module = importlib.import_module(info.name)
        if not info.ispkg and info.name not in INTERNAL:
            found += [(f"{info.name}.{name}", getattr(module, name)) for name in module.__all__]
    return [(name, thing) for name, thing in found if callable(thing)]


@pytest.mark.parametrize(("name", "thing"), public(), ids=lambda x: x if isinstance(x, str) else "")
def test_docstring_names_chapter_and_source(name, thing):
    text = inspect.getdoc(thing) or ""
    assert re.search(r"\bchapters?\b", text, re.IGNORECASE), "no chapter is named"
    if inspect.isfunction(thing) and ".lab." not in name:
        assert re.search(r"\bsources?:", text, re.IGNORECASE), "no source is named"


def code_lines(text: str) -> int:
    """Count the lines that hold code: no docstring, no comment, not blank."""
    documented = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef))
    docs = [n.body[0] for n in documented if n.body and ast.get_docstring(n) is not None]
    prose = {line for doc in docs for line in range(doc.lineno, doc.end_lineno + 1)}
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for i, line in lines if i not in prose and line.strip() and not line.lstrip().startswith("#"))


def test_code_lines_are_counted_without_prose():
    assert code_lines('"""One\ntwo."""\n\n# three\ndef f():\n    """Four."""\n    return 5  # six\n') == 2


def test_modules_stay_small():
    for info in pkgutil.walk_packages(hierlib.__path__, "hierlib."):
        if not info.ispkg:
            lines = code_lines(inspect.getsource(importlib.import_module(info.name)))
            assert lines <= 220, f"{info.name}: {lines} lines of code"
