"""What the stored results say: read from the executed notebooks and the paper-scale files, no kernel needed."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from hierlib.lab.claims import rounded


@dataclass(frozen=True)
class Chapter:
    """One chapter's stored results; empty where a file is not there."""

    name: str
    title: str
    claims: list[dict] = field(default_factory=list)
    run: dict = field(default_factory=dict)  #: nb.metadata.hierlib: scale, device, threads, seconds, versions …
    paper_run: dict = field(default_factory=dict)  #: the provenance of the paper-scale run
    paper_claims: dict[str, dict] = field(default_factory=dict)

    @property
    def holding(self) -> int:
        """The number of claims that hold."""
        return sum(bool(c["holds"]) for c in self.claims)


def notebook_path(root: Path, name: str) -> Path:
    """Return where the executed notebook lies."""
    return root / "book" / f"{name}.ipynb"


def paper_path(root: Path, name: str) -> Path:
    """Return where the paper-scale results lie."""
    return root / "book" / "results" / "paper" / f"{name}.json"


def names(root: Path) -> list[str]:
    """Return the chapters of the table of contents, in order: its pages that have a source in ``book/src``."""

    def walk(node):
        if isinstance(node, list):
            for item in node:
                yield from walk(item)
        elif isinstance(node, dict):
            if "file" in node:
                yield node["file"]
            for value in node.values():
                yield from walk(value)

    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    pages = [Path(p).with_suffix("").name for p in walk(toc) if Path(p).parent == Path("book")]
    return [p for p in pages if (root / "book" / "src" / f"{p}.md").exists()]


def load(root: Path, name: str) -> Chapter:
    """Read a chapter's stored results; missing files give an empty chapter."""
    title, claims, run = name.replace("-", " ").capitalize(), [], {}
    notebook, paper = notebook_path(root, name), paper_path(root, name)
    if notebook.exists():
        nb = json.loads(notebook.read_text(encoding="utf-8"))
        text = "\n".join("".join(c["source"]) for c in nb["cells"] if c["cell_type"] == "markdown")
        if match := re.search(r"^# +(.+?)\s*$", text, flags=re.MULTILINE):
            title = match[1]
        outputs = [o for c in nb["cells"] for o in c.get("outputs", [])]
        claims = [o["metadata"]["claim"] for o in outputs if "claim" in o.get("metadata", {})]
        run = nb["metadata"].get("hierlib", {})
    stored = json.loads(paper.read_text(encoding="utf-8")) if paper.exists() else {}
    return Chapter(
        name,
        title,
        claims,
        run,
        stored.get("provenance", {}),
        {c["name"]: c for c in stored.get("claims", [])},
    )


def repository(root: Path) -> str:
    """Return the repository's address."""
    data = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return data["project"]["urls"]["Repository"].rstrip("/")


def colab(root: Path, name: str, branch: str = "main") -> str:
    """Return the address that opens a chapter in Colab."""
    slug = "/".join(repository(root).rsplit("/", 2)[1:])
    return f"https://colab.research.google.com/github/{slug}/blob/{branch}/book/{name}.ipynb"


def duration(seconds: float) -> str:
    """Return a time as people say it: ``42 s``, ``3 min 5 s``, ``1 h 02 min``."""
    s = round(seconds)
    if s < 100:
        return f"{s} s" if s >= 10 else f"{seconds:.1f} s"
    if s < 3600:
        return f"{s // 60} min {s % 60} s"
    return f"{s // 3600} h {s % 3600 // 60:02d} min"


def measured(claim: dict) -> str:
    """Return what a claim measured, with its standard error; a dash where it measured nothing."""
    return "–" if claim.get("measured") is None else rounded(claim["measured"], claim.get("error"))
