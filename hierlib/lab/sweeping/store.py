"""Results of a sweep on disk: one file per finished task, named by what was computed and by which code.

A file appears whole or not at all (written beside, then renamed), so a driver that is killed leaves nothing that
has to be repaired, at most one hidden temporary file. Files are JSON: Python writes the shortest digits that give back
the same double, NaN and infinities included, and integers of any size.
"""

import contextlib
import functools
import hashlib
import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hierlib.lab import atomic, checks
from hierlib.lab.plain import plain, scalar

__all__ = ["Store", "code_version"]


def canonical(value: Any) -> str:
    """Return one text per plain value, whatever the order of a dict's keys; 1, 1.0 and True differ."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> int:
    """Return 128 bits that identify a plain value."""
    return int(hashlib.sha256(canonical(value).encode()).hexdigest()[:32], 16)


@functools.cache
def _library() -> str:
    """Return a digest of hierlib's own sources, its version among them."""
    root = Path(__file__).parents[2]
    found = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return found.hexdigest()


def code_version(task: Callable, version: str | None) -> str:
    """Return a digest of what a stored sweep is valid for: hierlib's sources, the task's own and `version`.

    Nothing else is looked at. What the task reads besides its arguments (constants, helpers, data, other packages) is
    told apart by `version` alone, which therefore must be given.

    Raises
    ------
    ValueError
        Without a version, or for a ``functools.partial`` over anything but plain values.
    """
    checks.require(isinstance(version, str) and version != "", "version", version,
                   "a string where there is a store: another one whenever what the task reads has changed")
    bound = []
    while isinstance(task, functools.partial):
        bound, task = [*bound, task.args, task.keywords], task.func
    try:
        parts = [canonical(bound)]
    except TypeError as error:
        raise ValueError(f"task: must have plain values only bound to it where there is a store ({error})") from None
    with contextlib.suppress(OSError, TypeError):              # no source: then its name and `version` stand for it
        parts.append(inspect.getsource(inspect.unwrap(task)))
    return hashlib.sha256("\0".join([_library(), version, *parts]).encode()).hexdigest()[:32]


class Store:
    """A folder with one file per finished task, from which a sweep resumes.

    Parameters
    ----------
    folder
        Made when missing. Other files in it are left alone. Several drivers may share it, on several machines
        too: a task that two of them run is simply written twice.
    task, version
        Results count for the task of this name, run by this version of the code.

    Raises
    ------
    ValueError
        When `folder` is not a folder.
    """

    def __init__(self, folder: str | os.PathLike, task: Callable, version: str) -> None:
        self.folder = Path(folder).expanduser()
        checks.require(self.folder.is_dir() or not self.folder.exists(), "store", str(folder), "a folder")
        name = getattr(task, "__qualname__", type(task).__qualname__)
        self.code = {"task": f"{getattr(task, '__module__', None)}.{name}", "version": version}
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, arguments: dict[str, Any]) -> Path:
        """Return where the rows of the task called with `arguments` are kept."""
        return self.folder / f"{digest(self.code | {'arguments': arguments}):032x}.json"

    def read(self, arguments: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return the rows of the task called with `arguments`, None where they are not stored.

        Raises
        ------
        ValueError
            When the file is damaged, or was not written by this class.
        """
        path = self.path(arguments)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            record = json.loads(content)
            rows = [{name: scalar(value) for name, value in row.items()} for row in record.pop("rows")]
            known = canonical(record) == canonical(self.code | {"arguments": arguments})
        except (ValueError, TypeError, KeyError, AttributeError):
            known = False
        if not known:
            raise ValueError(f"store = {str(self.folder)!r}: its file {path.name} is damaged or foreign; "
                             "remove it and the task runs again")
        return rows

    def write(self, arguments: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        """Store the rows of the task called with `arguments`, whole or not at all."""
        path = self.path(arguments)
        record = self.code | {"arguments": arguments, "rows": rows}
        atomic.write(path, json.dumps(record).encode("ascii"))
