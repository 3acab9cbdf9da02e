"""One function over a grid of configurations: here, in processes or on a cluster, into one tidy table.

What runs in a worker is the user's function and nothing of hierlib but a few lines that are sent along, so that a
worker starts as fast as that function's own module is imported. Bookkeeping, seeds and files are the driver's, the
process that calls :func:`sweep`.
"""

import itertools
import reprlib
import traceback
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from os import PathLike
from typing import Any

import pandas as pd

from hierlib.lab import checks
from hierlib.lab.plain import plain, scalar
from hierlib.lab.progress import bar as progress_bar
from hierlib.lab.seeds import spawn
from hierlib.lab.sweeping.store import Store, code_version, digest
from hierlib.lab.sweeping.workers import Workers

__all__ = ["SweepError", "sweep"]

_SHOWN = 20    # failures that the message of a SweepError lists


class SweepError(RuntimeError):
    """Some tasks of a sweep failed; the others are done, and stored where there is a store.

    Attributes
    ----------
    frame
        What succeeded, a ``pandas.DataFrame`` as :func:`sweep` returns it.
    failures
        List of (configuration, exception), in grid order. The first exception is also this error's cause.
    """

    frame: pd.DataFrame
    failures: list[tuple[dict[str, Any], BaseException]]


def _configurations(grid: dict | list, seed: int | None) -> list[dict[str, Any]]:
    """Return the configurations of `grid` in order, checked and in plain Python."""
    allowed = "a dict from names to lists of values, or a list of dicts, and not empty"
    checks.require(isinstance(grid, dict | list | tuple) and len(grid) > 0, "grid", grid, allowed)
    if isinstance(grid, dict):
        for name, values in grid.items():
            ordered = hasattr(values, "__getitem__") and not isinstance(values, str | bytes | dict)
            checks.require(ordered and getattr(values, "ndim", 1) == 1 and len(values) > 0, f"grid[{name!r}]", values,
                           "a list with at least one value")
        grid = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    made, seen = [], set()
    for given in grid:
        checks.require(isinstance(given, dict) and all(isinstance(name, str) for name in given), "grid", given,
                       "made of dicts with string keys")
        checks.require(given.keys() == grid[0].keys(), "grid", given, f"with the keys of its first: {list(grid[0])}")
        checks.require(seed is None or "seed" not in given, "grid", given, "without 'seed', which sweep sets")
        try:
            made.append(plain(given))
        except TypeError as error:
            raise ValueError(f"grid = … {given!r} …: must be made of numbers, booleans, strings, None, and tuples, "
                             f"lists and dicts of them ({error})") from None
        key = digest(made[-1])
        checks.require(key not in seen, "grid", made[-1], "without repeated configurations")
        seen.add(key)
    return made


def _rows(result: Any) -> list[dict[str, Any]]:
    """Return a task's result as a list of rows of plain scalars."""
    if isinstance(result, pd.DataFrame) and result.columns.is_unique:
        result = result.to_dict("records")
    rows = [result] if isinstance(result, dict) else result
    if not isinstance(rows, list) or not all(isinstance(r, dict) and all(isinstance(k, str) for k in r) for r in rows):
        raise ValueError(f"result = {reprlib.repr(result)}: must be a dict of scalars with string keys, a list "
                         "of such dicts, or a DataFrame")
    try:
        return [{key: scalar(value) for key, value in row.items()} for row in rows]
    except TypeError as error:
        raise ValueError(f"result = {reprlib.repr(result)}: must hold scalars only ({error})") from None


def _frame(made: list[dict], results: dict[int, list[dict]]) -> pd.DataFrame:
    """Return configuration and result columns, in grid order whatever the order of completion."""
    rows = [made[index] | row for index in sorted(results) for row in results[index]]
    return pd.DataFrame(rows, columns=None if rows else list(made[0]))


def _failed(made: list[dict], frame: pd.DataFrame, failures: dict[int, BaseException]) -> SweepError:
    listed = [(made[index], failures[index]) for index in sorted(failures)]
    lines = [f"  {configuration}: {type(e).__name__}: {e}" for configuration, e in listed[:_SHOWN]]
    if len(listed) > _SHOWN:
        lines.append(f"  and {len(listed) - _SHOWN} more, see .failures")
    error = SweepError(f"{len(listed)} of {len(made)} tasks failed; .frame has the others\n" + "\n".join(lines))
    error.frame, error.failures = frame, listed
    return error


def sweep(
    task: Callable[..., Any], grid: dict | list, *,
    executor: Executor | Callable[[], Executor] | None = None, store: str | PathLike | None = None,
    seed: int | None = None, version: str | None = None, progress: bool | str = False,
) -> pd.DataFrame:
    """Run ``task(**configuration)`` for every configuration of a grid and return one tidy table.

    The same call is serial, runs in processes or on a cluster, and takes up where it was stopped when it has a
    store.

    Parameters
    ----------
    task
        Function that returns a dict of scalars (one row), or a list of such dicts or a DataFrame (several rows;
        its index is dropped). For processes it must be defined at the top of a module or notebook.
    grid
        Dict from names to lists of values (their full product, the last name fastest), or a list of dicts with
        the same keys. Values are numbers, booleans, strings, None, or tuples, lists and dicts of them.
    executor
        None: one task after the other in this process. Else a ``concurrent.futures.Executor``, such as a
        ``ProcessPoolExecutor`` or Dask's ``client.get_executor()``, or a function without arguments that makes
        one; what sweep makes it also shuts down.
    store
        Folder for one file per finished task, written as soon as it is finished. Tasks found there are not run.
        Needs a `version`.
    seed
        When given, each task is called with ``seed=<int>`` as well, derived from this seed and the configuration
        alone: it stays when the grid grows or is reordered, and ``sweep(task, [configuration], seed=…)`` repeats
        one row.
    version
        A text that stored rows are valid for, together with the task's name, source and arguments and hierlib's
        sources. Nothing else is looked at: give another one whenever anything that the task reads (constants, helper
        functions, data, packages) has changed. In a chapter :class:`hierlib.lab.Keep` gives both.
    progress
        Whether to show a bar, or what it says.

    Returns
    -------
    pandas.DataFrame
        The configuration's columns, then the results'; rows in grid order.

    Raises
    ------
    SweepError
        At the end, when tasks raised an exception or gave a wrong result. Nothing is stored for these.
    ValueError
        For bad input, a result column named like one of the configuration, or a damaged file in the store.

    Notes
    -----
    When a worker dies (killed, out of memory, segmentation fault), all that was in flight comes back unfinished.
    A new pool is started: by the executor's function, or, for a ``ProcessPoolExecutor``, with the attributes of
    the broken one. The suspects run again at the end, one at a time with nothing beside them; the one whose
    worker dies again is a failure in the ``SweepError``, the others are not affected. An interrupt cancels what
    waits and keeps what is stored.
    """
    checks.require(callable(task), "task", task, "callable")
    made = _configurations(grid, seed)
    calls = made if seed is None else [each | {"seed": spawn(seed, 1, "sweep", digest(each))[0]} for each in made]
    kept = None if store is None else Store(store, task, code_version(task, version))
    stored = [None if kept is None else kept.read(call) for call in calls]
    results = {index: rows for index, rows in enumerate(stored) if rows is not None}
    failures: dict[int, BaseException] = {}
    missing = [index for index in range(len(made)) if index not in results]
    if not missing:
        return _frame(made, results)
    with (Workers(executor, task) as workers,
          progress_bar(len(made), initial=len(results), what=progress) as shown):
        for index, result, error in workers.outcomes((i, partial(task, **plain(calls[i]))) for i in missing):
            if isinstance(error, KeyboardInterrupt):
                raise error
            try:
                rows = _rows(result) if error is None else []
            except ValueError as wrong:
                error = wrong
            if error is None:
                names = made[index].keys() & {name for row in rows for name in row}
                checks.require(not names, "result", names, "of columns that are not named like the configuration's")
                results[index] = rows
                if kept is not None:
                    kept.write(calls[index], rows)
            else:
                traceback.clear_frames(error.__traceback__)   # a failed task's tensors are let go
                failures[index] = error
            shown.update()
    frame = _frame(made, results)
    if failures:
        raise _failed(made, frame, failures) from failures[min(failures)]
    return frame
