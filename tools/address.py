"""Keep the repository's address the same everywhere: ``python -m tools.address [--check]``.

The address is written by hand in one place, ``[project.urls] Repository`` of ``pyproject.toml``. This script
copies it to the others: the book's configuration, the citation file, the install cell, links to Colab.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SKIP = {".git", ".venv", "_build", "build", "tests", ".ipynb_checkpoints"}
SUFFIXES = {".md", ".ipynb", ".py", ".yml", ".cff", ".toml", ".html", ".js"}
#: where an address must be found, and the pattern it has there
PLACES = {
    "_config.yml": r"(?m)^repository:\s*\n\s+url:\s*[\"']?({address})[\"']?\s*$",
    "CITATION.cff": r"(?m)^repository-code:\s*[\"']?({address})[\"']?\s*$",
    "book/install_cell.py": r"({address})(?:\.git)?",
}
COLAB = r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)"
ADDRESS = r"https://github\.com/[\w.-]+/[\w-]+"


def repository(root: Path = ROOT) -> str:
    """Return the address that ``pyproject.toml`` states."""
    data = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return data["project"]["urls"]["Repository"].rstrip("/").removesuffix(".git")


def slug(address: str) -> str:
    """Return ``owner/name`` of an address."""
    return "/".join(address.rsplit("/", 2)[1:])


def found(root: Path = ROOT) -> dict[str, str | None]:
    """Return the address in each place that must hold one."""
    out = {}
    for place, pattern in PLACES.items():
        path = root / place
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        match = re.search(pattern.format(address=ADDRESS), text)
        out[place] = match[1] if match else None
    return out


def forms(address: str) -> list[str]:
    """Return the ways in which the address appears in text."""
    owner, name = slug(address).split("/")
    return [
        f"github.com/{owner}/{name}",
        f"colab.research.google.com/github/{owner}/{name}",
        f"raw.githubusercontent.com/{owner}/{name}",
        f"{owner}.github.io/{name}",
    ]


def replace(text: str, old: str, new: str) -> str:
    """Return the text with every form of the old address replaced by the new one's."""
    for a, b in zip(forms(old), forms(new), strict=True):
        text = re.sub(rf"(?<![\w.-]){re.escape(a)}(?![\w-])", b, text)
    return text


def files(root: Path = ROOT) -> list[Path]:
    """Return the text files that may hold an address."""
    inside = (p for p in root.rglob("*") if not SKIP & set(p.relative_to(root).parts))
    return sorted(p for p in inside if p.suffix in SUFFIXES and p.is_file())


def problems(root: Path = ROOT) -> list[str]:
    """Return a line for each place whose address is missing or not the stated one."""
    stated = repository(root)
    lines = [f"{p}: {a or 'no address'}, not {stated}" for p, a in found(root).items() if a != stated]
    for path in files(root):
        for other in re.findall(COLAB, path.read_text(encoding="utf-8")):
            if other != slug(stated):
                lines.append(f"{path.relative_to(root)}: Colab link to {other}, not {slug(stated)}")
    return lines


def rewrite(root: Path = ROOT) -> list[Path]:
    """Bring every file in line with ``pyproject.toml``; return the files that changed."""
    stated, changed = repository(root), []
    for old in sorted({a for a in found(root).values() if a and a != stated}):
        for path in files(root):
            text = path.read_text(encoding="utf-8")
            if (new := replace(text, old, stated)) != text:
                path.write_text(new, encoding="utf-8")
                changed.append(path)
    return changed


def main(argv: list[str] | None = None) -> int:
    """Rewrite, or with ``--check`` only report; return 1 where an address is still wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    if not parser.parse_args(argv).check:
        for path in rewrite():
            print(f"rewrote {path.relative_to(ROOT)}")
    left = problems()
    print("\n".join(left) or f"everywhere {repository()}")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
