"""Long parts of a chapter: how long they will take here, and where what is finished is kept."""

import hashlib
import os
import shutil
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from hierlib.lab import checks
from hierlib.lab.device import device, ipython, scale

__all__ = ["Keep", "forecast"]

_SECONDS = 2.0      # of measuring, per part
_EVERY = 200        # steps between two checkpoints


class Keep:
    """Arguments by which a chapter's long sweeps and trainings are stored at paper scale, and go on after a stop.

    ::

        keep = lab.Keep("percolation")
        lab.sweep(onset, grid, executor=workers, **keep.sweep("onset"))
        lab.train(model, loss, steps=steps, **keep.train("U-Net"))

    The folder is ``HIERLIB_KEEP`` (default ``~/.cache/hierlib``); on Colab name one of a mounted drive, as the
    machine's own disk goes with it. At quick scale nothing is kept. What is kept counts for one text of the notebook:
    that of all cells run so far. A changed cell therefore starts anew, and the old files stay until they are removed.

    Parameters
    ----------
    chapter
        Name of the folder in it.
    version
        Outside of a notebook, a text that changes when anything that the parts read has changed.

    Raises
    ------
    ValueError
        For a name that is no single folder; at paper scale outside of a notebook without a `version`.
    """

    def __init__(self, chapter: str, version: str | None = None) -> None:
        checks.require(Path(chapter).name == chapter not in ("", ".."), "chapter", chapter, "the name of one folder")
        self.chapter, self.given, self.kept = chapter, version, scale() == "paper"
        if not self.kept:
            self._temporary = tempfile.mkdtemp(prefix="hierlib-")
            weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
        checks.require(not self.kept or version is not None or ipython() is not None, "version", version,
                       "a string, as there is no notebook whose text could stand for it")

    def _place(self) -> tuple[Path, str]:
        cells = sorted(set(ipython().user_ns["In"])) if self.given is None else [self.given]
        version = hashlib.sha256("\0".join(cells).encode()).hexdigest()[:16]
        root = Path(os.environ.get("HIERLIB_KEEP") or "~/.cache/hierlib").expanduser()
        return root / self.chapter / version, version

    def sweep(self, part: str) -> dict[str, Any]:
        """Return the arguments ``store`` and ``version`` of :func:`hierlib.lab.sweep`; none at quick scale.

        What differs between two calls with one `part` must be in their configurations.
        """
        if not self.kept:
            return {}
        folder, version = self._place()
        return {"store": folder / part, "version": version}

    def train(self, part: str) -> dict[str, Any]:
        """Return the arguments ``checkpoint`` and ``every`` of :func:`hierlib.lab.train`; none at quick scale.

        Two trainings must not share a `part`.
        """
        return {"checkpoint": self._place()[0] / f"{part}.pt", "every": _EVERY} if self.kept else {}

    def folder(self, part: str) -> Path:
        """Return a folder for files that tasks leave for the figures; at quick scale it goes with the chapter's end.

        Call it once, in the cell of the sweep: in later cells it is another one.
        """
        made = Path(self._place()[0] if self.kept else self._temporary) / f"{part}-files"
        made.mkdir(parents=True, exist_ok=True)
        return made


def forecast(parts: dict[str, tuple[Callable[[], Any], float]]) -> pd.DataFrame | None:
    """At paper scale, measure a few steps of each long part of a chapter and print minutes and memory, part by part.

    At quick scale nothing happens.

    Parameters
    ----------
    parts
        What it is → (probe, times): ``probe()`` runs a few steps at full size, and the part takes `times` as long.
        It is called once to warm up, then for about two seconds.

    Returns
    -------
    pandas.DataFrame
        Index: the parts; columns ``minutes`` and ``GB``, the largest memory so far (on a GPU what torch holds there
        during the part; on a CPU that of the process). None at quick scale.
    """
    if scale() != "paper":
        return None
    where, rows = device(), {}
    gpu = where.type == "cuda"
    for what, (probe, times) in parts.items():
        if gpu:
            torch.cuda.reset_peak_memory_stats(where)
        probe()
        count, start = 0, _now(where)
        while not count or _now(where) - start < _SECONDS:
            probe()
            count += 1
        minutes = (_now(where) - start) / count * times / 60
        rows[what] = minutes, torch.cuda.max_memory_allocated(where) / 1e9 if gpu else _resident()
        print(f"{minutes:6.1f} min  {rows[what][1]:5.1f} GB  {what}", flush=True)
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["minutes", "GB"])
    print(f"{frame['minutes'].sum():6.1f} min in all, on {torch.cuda.get_device_name(where) if gpu else 'this CPU'}")
    return frame


def _now(where: torch.device) -> float:
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    return time.perf_counter()


def _resident() -> float:
    """Return the largest memory that this process has had so far, in GB; NaN where the system does not tell."""
    try:
        import resource
    except ImportError:                                             # Windows
        return float("nan")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e9 if sys.platform == "darwin" else 1e6)        # bytes on macOS, kB elsewhere
