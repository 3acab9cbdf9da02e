"""What a chapter's long parts cost at paper scale on a T4: ``python -m tests.simgpu.forecast CHAPTER``.

The chapter's cells run on the dry device, at paper scale, up to its ``lab.forecast``, whose probes are counted instead
of timed. Exits with 1 where they add up to more than half an hour or a part needs more than 12 GB.
"""

import importlib
import os
import sys
import tempfile
from pathlib import Path

from tests.simgpu import costs
from tests.simgpu.run import SKIP, unsupported

MINUTES, BYTES = 30, 12e9
BOOK = Path(__file__).parents[2] / "book"
# replicas of what comes before the forecast and is no part of it: without a network, on the CPU
REPLICAS = {"hierarchical-clustering": {"n_signal": "6", "n_grammars": "8", "n_counted": "2"},
            "one-picture": {"n_exact": "2"}}


class Done(Exception):
    """The forecast has been counted."""


def main(chapter: str) -> int:
    """Count one chapter where the device can be had, and return the exit code."""
    if why := unsupported(dry=True):
        print(why)
        return SKIP
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HIERLIB_SCALE": "paper", "HIERLIB_KEEP": folder, "MPLBACKEND": "Agg"}
        return count(chapter)


def count(chapter: str) -> int:
    """Count one chapter, print a line per part, and return the exit code."""
    from hierlib import lab
    from tools.execute import from_source, with_values

    counted = {}

    def forecast(parts: dict) -> None:
        for what, (probe, times) in parts.items():
            counted[what] = found = costs.cost(probe, times)
            print(f"{found['seconds_T4'] / 60:6.1f} min  {found['peak_bytes'] / 1e9:5.2f} GB  {what}", flush=True)
        raise Done

    kept = lab.Keep
    lab.forecast, lab.Keep = forecast, lambda name, version="counted": kept(name, version)
    train = importlib.import_module("hierlib.lab.training.train")
    train._update = costs.brief(train._update)
    os.chdir(BOOK)
    nb = from_source((BOOK / "src" / f"{chapter}.md").read_text(encoding="utf-8"))
    space = {"__name__": "__main__"}
    try:
        for cell in with_values(nb, REPLICAS.get(chapter, {})).cells:
            if cell.cell_type == "code" and "install" not in cell.metadata.get("tags", []):
                exec(compile(cell.source, chapter, "exec"), space)
        print("no lab.forecast in this chapter")
        return 1
    except Done:
        minutes = sum(part["seconds_T4"] for part in counted.values()) / 60
        most = max(part["peak_bytes"] for part in counted.values())
        print(f"{minutes:6.1f} min  {most / 1e9:5.2f} GB  in all")
        return int(minutes > MINUTES or most > BYTES)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
