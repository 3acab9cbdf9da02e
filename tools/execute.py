"""Run chapters and store their outputs: ``python -m tools.execute [--scale quick|paper] [CHAPTER ...]``.

``quick``
    ``book/src/x.md`` is converted (one way) to ``book/x.ipynb`` and run on the CPU; the file is replaced only
    when what a reader sees has changed, so that a run without change leaves an empty diff.
``paper``
    The same cells run at the paper's own sizes on the device that is there; the notebook stays as it is and
    the claims go to ``book/results/paper/x.json`` with their provenance.
``--check``
    The stored notebooks run as they are and nothing is written: for a foreign environment such as Colab's.
``--text``
    Nothing runs: prose that has changed in ``book/src/x.md`` goes to ``book/x.ipynb``, whose outputs stay.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import hashlib
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "numpy", "scipy", "matplotlib", "hierlib")
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}


def from_source(text: str) -> nbformat.NotebookNode:
    """Return the notebook of a MyST source, without outputs; ids depend on the cells' text alone."""
    import jupytext  # not at the top: ``--check`` runs where it is missing

    nb = jupytext.reads(text, fmt="md:myst")
    seen: dict[str, int] = {}
    for cell in nb.cells:
        key = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[key] = seen.get(key, 0) + 1
        cell["id"] = key if seen[key] == 1 else f"{key}-{seen[key]}"
    nb.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    nb.nbformat, nb.nbformat_minor = 4, 5
    return nb


def run(nb: nbformat.NotebookNode, folder: Path) -> dict[str, float]:
    """Run all cells in place, from the top, in a fresh kernel; return wall and CPU seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    NotebookClient(
        nb,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    ).execute()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(time.perf_counter() - start, 1), "cpu_seconds": round(cpu, 1)}


def device() -> str:
    """Return the name of the processor that torch computes on."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else []
    name = re.sub(r"\s+", " ", names[0]).strip() if names else platform.processor() or platform.machine()
    return f"CPU ({name}, {os.cpu_count()} cores)"


def provenance(scale: str, cost: dict[str, float]) -> dict:
    """Return what a stored result says about the run that made it."""
    versions = {"python": platform.python_version()} | {p: metadata.version(p) for p in PACKAGES}
    threads = int(os.environ["OMP_NUM_THREADS"])
    return {"scale": scale, "device": device(), "threads": threads, **cost, "versions": versions}


def commit() -> str:
    """Return the commit the run was made from, marked where the tree held more than it."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def claims(nb: nbformat.NotebookNode) -> list[dict]:
    """Return the claims that the notebook's outputs hold, in order."""
    outputs = [o for c in nb.cells if c.cell_type == "code" for o in c.outputs]
    return [dict(o.metadata["claim"]) for o in outputs if "claim" in o.get("metadata", {})]


def as_read(nb: nbformat.NotebookNode) -> dict:
    """Return what a reader sees: all but the run's cost and the digits of a claim that are not shown."""
    nb = copy.deepcopy(nb)
    for key in ("seconds", "cpu_seconds"):
        nb.metadata.get("hierlib", {}).pop(key, None)
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            claim = output.get("metadata", {}).get("claim")
            if claim:
                claim["measured"] = f"{claim['measured']:.4g}"
    return nbformat.from_dict(nb)


def write(path: Path, text: str) -> None:
    """Replace the file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with open(temporary, "w", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def execute_quick(chapter: str, book: Path) -> str:
    """Run one chapter at quick scale and store its notebook; return what happened."""
    target = book / f"{chapter}.ipynb"
    nb = from_source((book / "src" / f"{chapter}.md").read_text(encoding="utf-8"))
    cost = run(nb, book)
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
    # the run itself adds the kernel's own language_info
    nb.metadata = nbformat.from_dict(NOTEBOOK_METADATA | {"hierlib": provenance("quick", cost)})
    nbformat.validate(nb)
    if target.exists() and as_read(nbformat.read(target, as_version=4)) == as_read(nb):
        return f"{cost['seconds']} s, unchanged"
    write(target, nbformat.writes(nb) + "\n")
    return f"{cost['seconds']} s, stored with {len(claims(nb))} claims"


def execute_paper(chapter: str, book: Path) -> str:
    """Run one chapter at paper scale and store its claims; return what happened."""
    nb = from_source((book / "src" / f"{chapter}.md").read_text(encoding="utf-8"))
    cost = run(nb, book)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    result = {
        "chapter": chapter,
        "provenance": {"commit": commit(), "date": today, **provenance("paper", cost)},
        "claims": claims(nb),
    }
    target = book / "results" / "paper" / f"{chapter}.json"
    write(target, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return f"{cost['seconds']} s, {len(result['claims'])} claims in {target.relative_to(ROOT)}"


def take_text(chapter: str, book: Path) -> str:
    """Store a source's new prose in the notebook, whose outputs stay; refused where code has changed."""
    target = book / f"{chapter}.ipynb"
    stored = nbformat.read(target, as_version=4)
    nb = from_source((book / "src" / f"{chapter}.md").read_text(encoding="utf-8"))
    new, old = ([cell for cell in x.cells if cell.cell_type == "code"] for x in (nb, stored))
    if [(c.source, c.metadata) for c in new] != [(c.source, c.metadata) for c in old]:
        raise ValueError("code cells differ from those that ran: execute the chapter")
    for cell, ran in zip(new, old, strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    nb.metadata = stored.metadata
    nbformat.validate(nb)
    write(target, nbformat.writes(nb) + "\n")
    return f"text of {len(nb.cells) - len(new)} cells, outputs of {len(new)}"


def check(chapter: str, book: Path) -> str:
    """Run a stored notebook as it is, write nothing; return what happened."""
    stored = nbformat.read(book / f"{chapter}.ipynb", as_version=4)
    nb = copy.deepcopy(stored)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    cost = run(nb, book)
    made, had = ([(c["name"], c["statement"]) for c in claims(x)] for x in (nb, stored))
    if made != had:
        raise ValueError(f"claims differ from the stored ones: {sorted(set(made) ^ set(had))}")
    return f"{cost['seconds']} s, {len(made)} claims hold"


def main(argv: list[str] | None = None) -> int:
    """Run the chapters named, or all; return 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="all when none is named")
    parser.add_argument("--scale", choices=("quick", "paper"), default="quick")
    parser.add_argument("--check", action="store_true", help="run the stored notebooks, write nothing")
    parser.add_argument("--text", action="store_true", help="run nothing; store new prose beside the stored outputs")
    args = parser.parse_args(argv)

    book = ROOT / "book"
    have = sorted(p.stem for p in (book / "src").glob("*.md"))
    if unknown := sorted(set(args.chapters) - set(have)):
        parser.error(f"no such chapter: {', '.join(unknown)} (there are: {', '.join(have)})")
    os.environ["HIERLIB_SCALE"] = args.scale
    os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))
    if args.scale == "quick":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # stored notebooks are CPU runs
    run_and_store = {"quick": execute_quick, "paper": execute_paper}[args.scale]
    job = take_text if args.text else check if args.check else run_and_store

    failed = []
    for chapter in args.chapters or have:
        try:
            print(f"{chapter}: {job(chapter, book)}", flush=True)
        except (CellExecutionError, ValueError) as error:
            failed.append(chapter)
            print(f"{chapter}: FAILED, nothing written\n{error}", file=sys.stderr, flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
