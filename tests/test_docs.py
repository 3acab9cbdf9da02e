"""Every public name says which chapter uses or explains it and, where it holds science, its source."""

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


def test_modules_stay_small():
    for info in pkgutil.walk_packages(hierlib.__path__, "hierlib."):
        if not info.ispkg:
            lines = inspect.getsource(importlib.import_module(info.name)).count("\n")
            assert lines <= 330, f"{info.name}: {lines} lines"
