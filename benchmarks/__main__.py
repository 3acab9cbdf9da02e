"""Run the benchmarks, each in a process of its own, and print their table; a run of all goes to the book."""

import argparse
import datetime
import os
import platform
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from benchmarks import measure

RESULTS = Path(__file__).parents[1] / "book" / "results" / "benchmarks.md"
NAMES = ("belief", "bumps", "cumulants", "nets", "sim", "unet")
PACKAGES = ("torch", "numpy", "scipy", "networkx", "pgmpy", "pgmax", "jax", "diffusers", "denoising-diffusion-pytorch")


def markdown(table: pd.DataFrame) -> str:
    """Return a line of provenance and a pipe table in which a line names the module of those that follow."""
    from tools.execute import device

    there = {dist.name.lower().replace("_", "-"): dist.version for dist in metadata.distributions()}
    versions = [f"{name} {there[name]}" for name in PACKAGES if name in there]
    made = [f"{datetime.date.today()}", device(), f"Python {platform.python_version()}", *versions]
    table = table.assign(peer=table["peer"] + " " + table["peer's"], bound=table["bound"] + " " + table["bound's"])
    columns = ["what", "size", "unit", "hierlib", "peer", "ratio", "bound", "share"]
    lines = [columns, [":--" if name in ("what", "size", "unit", "peer", "bound") else "--:" for name in columns]]
    for module, rows in table.groupby("module", sort=False):
        lines += [[f"**{module}**", *[""] * (len(columns) - 1)], *rows[columns].to_numpy().tolist()]
    return "\n".join([f"Measured {', '.join(made)}.", "", *(f"| {' | '.join(line)} |" for line in lines), ""])


def main() -> None:
    """Read the command line, measure, print and store."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Speed against peers and bounds.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes in one process; the figures mean little")
    parser.add_argument("--csv", action="store_true", help="print comma-separated values at the end")
    arguments, tables = parser.parse_args(), []
    os.environ |= {"CUDA_VISIBLE_DEVICES": ""}
    each = None if arguments.quick else 1
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=each) as pool:
        for name in arguments.names or NAMES:
            table = pd.DataFrame(pool.submit(measure, name, arguments.quick).result())
            if not arguments.csv:
                print(f"== {name}\n{table.to_string(index=False)}", flush=True)
            table.insert(0, "module", name)
            tables.append(table)
    whole = pd.concat(tables)
    if arguments.csv:
        print(whole.to_csv(index=False), end="")
    if not (arguments.quick or arguments.names):
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(markdown(whole), encoding="utf-8")


if __name__ == "__main__":
    main()
