"""Write ``requirements.lock``: exact pins of what hierlib, its book and its tests need.

What those packages need in turn is pinned too; packages that happen to be installed but that nothing here
needs are left out. Run it (``make lock``) in an environment where the wanted versions are installed and tried.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
HEADER = """\
# Exact pins for Python 3.11: hierlib, its book and its tests (extras: {extras}) with everything they need.
# Written by `make lock` (tools/lock.py) from the environment they were tried in; not edited by hand.
# No build tag on torch: a CPU and a CUDA build of one version both satisfy it.
# hierlib itself comes afterwards: pip install --no-deps --no-build-isolation -e .
"""
EXTRAS = ("book", "test", "cluster", "real")


def wanted(pyproject: Path = ROOT / "pyproject.toml") -> list[Requirement]:
    """Return the direct requirements: the build's, the library's and those of ``EXTRAS``."""
    data = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    project = data["project"]
    lines = [*data["build-system"]["requires"], *project["dependencies"]]
    for extra in EXTRAS:
        lines += project["optional-dependencies"].get(extra, [])
    return [Requirement(line) for line in lines]


def closure(requirements: list[Requirement]) -> dict[str, str]:
    """Return name -> version of the installed packages that the requirements need, directly or not."""
    pins: dict[str, str] = {}
    todo = [(r, e) for r in requirements for e in ("", *r.extras)]
    seen = set()
    while todo:
        req, extra = todo.pop()
        name = canonicalize_name(req.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            dist = metadata.distribution(req.name)
        except metadata.PackageNotFoundError:
            raise SystemExit(f"{req} is needed but not installed") from None
        version = Version(dist.version)
        if not req.specifier.contains(version.public, prereleases=True):
            raise SystemExit(f"{req} is needed but {dist.version} is installed")
        pins[name] = version.public  # the build tag (+cpu) is left out
        for line in dist.requires or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                todo += [(need, e) for e in ("", *need.extras)]
    return pins


def render(pins: dict[str, str]) -> str:
    """Return the text of the lock file."""
    return HEADER.format(extras=", ".join(EXTRAS)) + "".join(f"{n}=={pins[n]}\n" for n in sorted(pins))


def main(argv: list[str] | None = None) -> int:
    """Write the lock, or with ``--check`` say whether this environment is the locked one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the lock differs")
    text = render(closure(wanted()))
    if parser.parse_args(argv).check:
        return int(not LOCK.exists() or LOCK.read_text(encoding="utf-8") != text)
    LOCK.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
