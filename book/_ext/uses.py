"""Which chapters use which names of hierlib: read from their cells, so that nobody writes it by hand.

A name is found where it stands in a cell, through the cells' own imports; methods count for their class.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

CELL = re.compile(r"^```\{code-cell\}.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
OPTIONS = re.compile(r"\A(?:---\n[\s\S]*?^---\n|(?::.*\n)*)", re.MULTILINE)


def cells(source: str) -> list[str]:
    """Return the code of a chapter's cells."""
    return [OPTIONS.sub("", body, count=1).strip() for body in CELL.findall(source)]


def full_name(thing: object) -> str | None:
    """Return where a function or class of hierlib is defined, with its name there."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    return f"{module}.{name}" if name and str(module).startswith("hierlib") else None


def used(code: list[str]) -> set[str]:
    """Return the full names of hierlib's functions and classes that stand in the cells."""
    known: dict[str, object] = {}
    found: set[str] = set()
    for tree in map(ast.parse, code):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("hierlib"):
                for alias in node.names:
                    try:
                        thing = importlib.import_module(f"{node.module}.{alias.name}")
                    except ImportError:
                        thing = getattr(importlib.import_module(node.module), alias.name)
                    known[alias.asname or alias.name] = thing
    for tree in map(ast.parse, code):
        for node in ast.walk(tree):
            names = []
            while isinstance(node, ast.Attribute):
                names, node = [node.attr, *names], node.value
            if not isinstance(node, ast.Name) or node.id not in known:
                continue
            thing = known[node.id]
            for name in [None, *names]:
                thing = thing if name is None else getattr(thing, name, None)
                if full := full_name(thing):
                    found.add(full)
                    break
    return found


def chapters_of(root: Path, names: list[str]) -> dict[str, list[str]]:
    """Return for each name the chapters that use it, in the book's order."""
    found: dict[str, list[str]] = {}
    for chapter in names:
        text = (root / "book" / "src" / f"{chapter}.md").read_text(encoding="utf-8")
        for name in used(cells(text)):
            found.setdefault(name, []).append(chapter)
    return found
