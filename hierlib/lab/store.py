"""Results of a sweep on disk: one file per finished task, named by what was computed and by which code.

A file appears whole or not at all (written beside, then renamed), so a driver that is killed leaves nothing that
has to be repaired. Files are JSON: Python writes the shortest digits that give back the same double, NaN and
infinities included, and integers of any size.
"""

import contextlib
import dis
import functools
import hashlib
import inspect
import json
import os
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hierlib.lab import atomic, checks

__all__ = ["Store", "code_version", "plain", "scalar"]

_STALE = 3600   # seconds after which a temporary file belongs to a dead driver: writing one takes milliseconds


def scalar(value: Any) -> bool | int | float | str | None:
    """Return a number, boolean, string or None as plain Python has it; numpy's and torch's scalars are converted.

    For the results of :func:`hierlib.lab.sweep.sweep`, which the chapters run.

    Raises
    ------
    TypeError
        For anything else.
    """
    if isinstance(value, np.generic | np.ndarray | torch.Tensor) and value.ndim == 0:
        value = value.item()
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if value is not None:
        raise TypeError(f"{type(value).__name__} is not a number, boolean, string or None")
    return None


def plain(value: Any) -> Any:
    """Return scalars, and tuples, lists and dicts of them, as plain Python has them.

    For the configurations of a sweep, which the chapters run. Errors as for :func:`scalar`.
    """
    if isinstance(value, tuple | list):
        return (tuple if isinstance(value, tuple) else list)(map(plain, value))
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(item) for key, item in value.items()}
    return scalar(value)


def canonical(value: Any) -> str:
    """Return one text per plain value, whatever the order of a dict's keys; 1, 1.0 and True differ."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> int:
    """Return 128 bits that identify a plain value."""
    return int(hashlib.sha256(canonical(value).encode()).hexdigest()[:32], 16)


@functools.cache
def _library() -> str:
    """Return a digest of hierlib's own sources, its version among them."""
    root = Path(__file__).parents[1]
    found = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return found.hexdigest()


def _constants(function: types.FunctionType) -> list[Any]:
    """Return what a function reads of its globals, its closure and its defaults, but for what it writes there."""
    codes = [function.__code__]
    for code in codes:                                   # grows by the functions within
        codes += [c for c in code.co_consts if inspect.iscode(c)]
    steps = [step for code in codes for step in dis.get_instructions(code)]
    read = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    written = {step.argval for step in steps if step.opname in ("STORE_GLOBAL", "STORE_DEREF")}
    known = function.__globals__ | inspect.getclosurevars(function).nonlocals
    names = sorted((read | set(function.__code__.co_freevars)) - written)
    return [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(),
            *(known[name] for name in names if name in known)]


def _parts(thing: Any, module: str, seen: set[int]) -> Iterator[str]:
    """Yield the text of constants, and the source of functions and classes of `module` with all they read."""
    if isinstance(thing, bool | int | float | str | tuple | None):
        with contextlib.suppress(TypeError):
            yield canonical(thing)
    elif (inspect.isfunction(thing) or inspect.isclass(thing)) and thing.__module__ == module and id(thing) not in seen:
        seen.add(id(thing))
        yield inspect.getsource(thing)
        members = [m for m in vars(thing).values() if inspect.isfunction(m)] if inspect.isclass(thing) else []
        for member in members or (_constants(thing) if inspect.isfunction(thing) else []):
            yield from _parts(member, module, seen)


def code_version(task: Callable) -> str:
    """Return a digest of the code that computes: the task's source and hierlib's.

    To the task belong the functions and classes of its own module that it uses, and the constants (numbers,
    strings, tuples) that it reads there or in its closure: in a notebook, a changed constant is another version.
    What it imports from elsewhere is not seen, nor are lists, dicts and arrays. Used wherever a chapter stores a
    sweep.

    Raises
    ------
    ValueError
        When source does not tell what runs: a method, a callable object, code without source.
    """
    bound = []
    while isinstance(task, functools.partial):
        bound, task = [*bound, task.args, task.keywords], task.func
    try:
        if not inspect.isfunction(task):
            raise TypeError("it is not a function")
        parts = [canonical(bound), *_parts(task, task.__module__, set())]
    except (OSError, TypeError) as error:
        raise ValueError("version = None: must be given, as the source does not tell what the task "
                         f"{task!r} does ({error})") from error
    return hashlib.sha256("\0".join([_library(), *parts]).encode()).hexdigest()[:32]


class Store:
    """A folder with one file per finished task; the chapters' sweeps resume from it.

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
        self.folder = Path(folder)
        checks.require(self.folder.is_dir() or not self.folder.exists(), "store", str(folder), "a folder")
        name = getattr(task, "__qualname__", type(task).__qualname__)
        self.code = {"task": f"{getattr(task, '__module__', None)}.{name}", "version": version}
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".*.tmp"):
            with contextlib.suppress(FileNotFoundError):   # renamed just now, or removed by another driver
                if time.time() - left.stat().st_mtime > _STALE:
                    left.unlink()

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
