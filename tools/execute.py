"""Run chapters and store their outputs: ``python -m tools.execute [--scale quick|paper] [CHAPTER ...]``.

``quick``
    ``book/src/x.md`` is converted (one way) to ``book/x.ipynb`` and run on the CPU; the file is replaced only
    when what a reader sees has changed, so that a run without change leaves an empty diff; a time that is shorter by
    a fifth is stored even so, as the former run had to share its machine. The picture of the cell tagged ``cover``,
    shown by README and index, goes to ``book/_static/x.svg``.
``paper``
    The same cells run at the paper's own sizes on the device that is there; the notebook stays as it is and
    the claims go to ``book/results/paper/x.json`` with their provenance.
``--check``
    The stored notebooks run as they are and nothing is written: for a foreign environment such as Colab's.
``--text``
    Nothing runs: prose, captions and tags that have changed in ``book/src/x.md`` go to ``book/x.ipynb``, whose outputs
    stay.
``--set NAME=VALUE``
    The source runs with other values in its sizes cell and nothing is written: what an explorer does. A claim that
    fails is listed and stops nothing.
"""

from __future__ import annotations

import argparse
import ast
import copy
import datetime
import functools
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[1]
LIMIT = 5400  # seconds that a kernel may need to start or to hand over outputs: as long as CI runs
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


def with_values(nb: nbformat.NotebookNode, values: dict[str, str]) -> nbformat.NotebookNode:
    """Return the notebook with other values (Python text) assigned in its cell tagged ``sizes``.

    The right-hand side of the first assignment to each name is replaced, in ``a, b = 1, 2`` too.

    Raises
    ------
    ValueError
        For a name that the cell does not assign.
    """
    nb, left = copy.deepcopy(nb), dict(values)
    for cell in nb.cells:
        if "sizes" not in cell.metadata.get("tags", []):
            continue
        tree = ast.parse(cell.source)
        for node in (n for n in ast.walk(tree) if isinstance(n, ast.Assign)):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id in left:
                    node.value = ast.parse(left.pop(target.id), mode="eval").body
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    for i, name in enumerate(target.elts):
                        if isinstance(name, ast.Name) and name.id in left:
                            node.value.elts[i] = ast.parse(left.pop(name.id), mode="eval").body
        cell.source = ast.unparse(tree)
    if left:
        raise ValueError(f"the sizes cell assigns no {', '.join(left)}")
    return nb


def is_progress(output: nbformat.NotebookNode) -> bool:
    """Return whether an output is a bar of :mod:`hierlib.lab.progress`, which is shown but not stored."""
    return output.get("metadata", {}).get("hierlib") == "progress"


def run(nb: nbformat.NotebookNode, folder: Path) -> dict[str, float]:
    """Run all cells in place, from the top, in a fresh kernel; return wall seconds, and CPU seconds where counted."""
    before, start = os.times(), time.perf_counter()
    NotebookClient(
        nb,
        timeout=None,
        startup_timeout=LIMIT,
        iopub_timeout=LIMIT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    ).execute()
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not is_progress(output)]
    cost = {"seconds": round(time.perf_counter() - start, 1)}
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cost | ({"cpu_seconds": round(cpu, 1)} if cpu > 0 else {})  # Windows counts none of a child


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
            if claim and claim["measured"] is not None:
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


def cover(nb: nbformat.NotebookNode) -> str | None:
    """Return the picture of the cell tagged ``cover``; None where there is no such cell."""
    chosen = [o for c in nb.cells if "cover" in c.metadata.get("tags", []) for o in c.outputs]
    return next(("".join(o.data["image/svg+xml"]) for o in chosen if "image/svg+xml" in o.get("data", {})), None)


def store(nb: nbformat.NotebookNode, chapter: str, book: Path) -> None:
    """Write a chapter's notebook and its cover."""
    nbformat.validate(nb)
    write(book / f"{chapter}.ipynb", nbformat.writes(nb) + "\n")
    if picture := cover(nb):
        write(book / "_static" / f"{chapter}.svg", picture)


def execute_quick(chapter: str, book: Path) -> str:
    """Run one chapter at quick scale and store its notebook; return what happened."""
    target = book / f"{chapter}.ipynb"
    nb = from_source((book / "src" / f"{chapter}.md").read_text(encoding="utf-8"))
    cost = run(nb, book)
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
    # the run itself adds the kernel's own language_info
    nb.metadata = nbformat.from_dict(NOTEBOOK_METADATA | {"hierlib": provenance("quick", cost)})
    if target.exists() and as_read(stored := nbformat.read(target, as_version=4)) == as_read(nb):
        if cost["seconds"] > 0.8 * stored.metadata["hierlib"]["seconds"]:
            return f"{cost['seconds']} s, unchanged"
        stored.metadata["hierlib"] |= cost                 # the former run had to share the machine
        nb = stored
    store(nb, chapter, book)
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
    stored = nbformat.read(book / f"{chapter}.ipynb", as_version=4)
    nb = from_source((book / "src" / f"{chapter}.md").read_text(encoding="utf-8"))
    new, old = ([cell for cell in x.cells if cell.cell_type == "code"] for x in (nb, stored))
    if [c.source for c in new] != [c.source for c in old]:
        raise ValueError("code cells differ from those that ran: execute the chapter")
    for cell, ran in zip(new, old, strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    nb.metadata = stored.metadata
    store(nb, chapter, book)
    return f"text of {len(nb.cells) - len(new)} cells, outputs of {len(new)}"


def check(chapter: str, book: Path) -> str:
    """Run a stored notebook as it is, write nothing; return what happened."""
    stored = nbformat.read(book / f"{chapter}.ipynb", as_version=4)
    nb = copy.deepcopy(stored)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    cost = run(nb, book)
    made, had = ([(c["name"], c["interval"]) for c in claims(x)] for x in (nb, stored))
    if made != had:
        raise ValueError(f"claims differ from the stored ones: {sorted(set(made) ^ set(had))}")
    return f"{cost['seconds']} s, {len(made)} claims hold"


def explore(chapter: str, book: Path, values: dict[str, str], prelude: str = "") -> str:
    """Run a source with other values in its sizes cell, after a prelude, write nothing; return what happened."""
    nb = with_values(from_source((book / "src" / f"{chapter}.md").read_text(encoding="utf-8")), values)
    nb.cells = [nbformat.v4.new_code_cell(prelude)] * bool(prelude) + nb.cells
    cost = run(nb, book)
    outside = [c["name"] for c in claims(nb) if not c["holds"]]
    return f"{cost['seconds']} s, {len(claims(nb))} claims, outside their intervals: {', '.join(outside) or 'none'}"


def main(argv: list[str] | None = None) -> int:
    """Run the chapters named, or all; return 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="all when none is named")
    parser.add_argument("--scale", choices=("quick", "paper"), default="quick")
    parser.add_argument("--check", action="store_true", help="run the stored notebooks, write nothing")
    parser.add_argument("--text", action="store_true", help="run nothing; store new prose beside the stored outputs")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="explore another size")
    args = parser.parse_args(argv)
    values = dict(pair.split("=", 1) for pair in args.set)

    book = ROOT / "book"
    have = sorted(p.stem for p in (book / "src").glob("*.md"))
    if unknown := sorted(set(args.chapters) - set(have)):
        parser.error(f"no such chapter: {', '.join(unknown)} (there are: {', '.join(have)})")
    os.environ["HIERLIB_SCALE"] = args.scale
    # a run at paper scale is stored with the claims that fail, not lost by them
    os.environ["HIERLIB_STRICT"] = "0" if values or args.scale == "paper" else "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))
    if args.scale == "quick":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # stored notebooks are CPU runs
    run_and_store = {"quick": execute_quick, "paper": execute_paper}[args.scale]
    job = take_text if args.text else check if args.check else run_and_store
    if values:
        job = functools.partial(explore, values=values)

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
