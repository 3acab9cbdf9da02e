"""Bars that a reader sees while a cell runs, and that no stored notebook holds.

In a notebook a bar is one display that is rewritten in place and empty at the end, marked in its metadata so that
:mod:`tools.execute` leaves it out; elsewhere it is tqdm's own, in the terminal.
"""

import contextlib
import html
import io
from typing import Any

from tqdm import tqdm

from hierlib.lab.device import ipython

__all__ = ["bar"]

_MARK = {"hierlib": "progress"}


class _Nothing(contextlib.nullcontext):
    """No bar, and none of the thread and locks that tqdm starts for a disabled one: workers may be forked after it."""

    def __enter__(self) -> "_Nothing":
        return self

    def update(self, n: int = 1) -> None:
        """Count nothing."""

    def close(self) -> None:
        """Close nothing."""


def bar(total: int, *, initial: int = 0, what: bool | str = True) -> tqdm | _Nothing:
    """Return a bar with ``update(n)`` and ``close()``, for trainings and sweeps.

    Parameters
    ----------
    total, initial
        Number of steps, and how many of them were done before.
    what
        What is being done, as the reader is told; True for no words, False for no bar.
    """
    if not what:
        return _Nothing()
    made = _Cell if hasattr(ipython(), "kernel") else tqdm
    return made(total=total, initial=initial, desc=what if isinstance(what, str) else None)


class _Cell(tqdm):
    """tqdm's counting and estimates, shown as rich output instead of on stderr."""

    _handle = None

    def __init__(self, **options: Any) -> None:
        super().__init__(file=io.StringIO(), ncols=80, leave=False, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the bar's line; an empty `msg`, with which tqdm clears it at the end, empties the output."""
        text = self.format_meter(**self.format_dict) if msg is None else msg
        data = {"text/plain": text}
        if text:
            data["text/html"] = (f"<progress max='{self.total}' value='{self.n}'></progress> "
                                 f"<small>{html.escape(text)}</small>")
        if self._handle is None and text:
            from IPython.display import DisplayHandle

            self._handle = DisplayHandle()
            self._handle.display(data, raw=True, metadata=_MARK)
        elif self._handle is not None:
            self._handle.update(data, raw=True, metadata=_MARK)
