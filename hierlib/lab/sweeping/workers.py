"""Many calls on one executor, whose workers may die.

Any ``concurrent.futures.Executor`` will do. A worker that dies (killed, out of memory, segmentation fault) takes
down all that was in flight, and nothing says which call it was. Those calls run again at the end, one at a time
with nothing beside them: the one whose worker dies again is to blame, the others are served.
"""

import inspect
import multiprocessing
import os
import pickle
import queue
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from functools import partial
from typing import Any

import torch

from hierlib.lab import checks
from hierlib.lab.device import device

__all__ = ["Workers", "workers"]

_MANY = 1000   # calls in flight where an executor does not tell its number of workers

Job = tuple[Hashable, Callable]


class _Serial(Executor):
    """Runs each call at once, in this process."""

    _max_workers = 0

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except (Exception, SystemExit) as error:
            future.set_exception(error)
        return future


def workers(n: int | None = None) -> Callable[[], Executor] | None:
    """Return what makes the executor of a chapter's sweeps: the one place that knows about processes and threads.

    On a GPU None: tasks run one after the other. On a CPU under Linux `n` forked processes, which know what a
    notebook has defined; elsewhere `n` threads, as forks crash in Apple's frameworks, Windows has none, and processes
    that are not forked know no notebook. In all of them torch computes with one thread, and numbers below 1e-38 count
    as zero (they make some U-Nets three times as slow).

    Parameters
    ----------
    n
        How many; default: the usable cores, at most 8.

    Raises
    ------
    ValueError
        When `n` is not an integer of at least 1.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n = min(usable, 8) if n is None else checks.integer("n", n, low=1)
    if device().type != "cpu":
        return None
    if not sys.platform.startswith("linux"):
        return partial(ThreadPoolExecutor, n, initializer=_quick_cpu)
    torch.optim.Adam([torch.zeros(1, device="cpu")])      # the first optimiser imports much: here, not in every process
    return partial(ProcessPoolExecutor, n, multiprocessing.get_context("fork"), _quick_cpu)


def _quick_cpu() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def _like(old: ProcessPoolExecutor) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(old._max_workers, old._mp_context, old._initializer, old._initargs,
                               max_tasks_per_child=old._max_tasks_per_child)


def _error(future: Future) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError as error:
        return error


def _errand(call):
    """Return (result, None) or (None, exception) of a call in a worker process, whose traceback becomes a note.

    Both can be unpickled elsewhere: what could not be would break the pool. An exception that cannot is replaced by a
    RuntimeError in its words.
    """
    import pickle
    import traceback

    try:
        return pickle.loads(pickle.dumps(call())), None
    except BaseException as error:
        words = "".join(traceback.format_exception_only(error)).strip()
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__.tb_next))
        try:
            made = pickle.loads(pickle.dumps(error))
            str(made)
        except Exception:
            made = RuntimeError(words)
        made.add_note(f"In its worker:\n{trace}")
        return None, made


class _Errand:
    """Pickles as the source of `_errand`: to get that by its name, a worker would have to import hierlib."""

    source = inspect.getsource(_errand)

    def __reduce__(self) -> tuple:
        return eval, ("exec(source) or _errand", {"source": self.source})


class Workers:
    """What a sweep runs on: a context that makes, renews and shuts down an executor.

    Parameters
    ----------
    given
        None: this process. An executor, which stays the user's to shut down; or a function without arguments
        that makes one.
    task
        The function that the calls will run. For a process pool it is checked that it can be pickled.

    Raises
    ------
    ValueError
        When `given` is none of these, or `task` cannot be sent to a process.
    """

    def __init__(self, given: Executor | Callable[[], Executor] | None, task: Callable) -> None:
        checks.require(given is None or isinstance(given, Executor) or callable(given), "executor", given,
                       "None, a concurrent.futures.Executor, or a function without arguments that makes one")
        self.owned = not isinstance(given, Executor)           # shut down by whoever made it
        self.make = _Serial if given is None else given
        self.executor = self.make() if self.owned else given
        checks.require(isinstance(self.executor, Executor), "executor", given,
                       f"a function that makes a concurrent.futures.Executor, not a {type(self.executor).__name__}")
        processes = isinstance(self.executor, ProcessPoolExecutor)
        self.errand = (_Errand(),) if processes else ()
        # in this process a task's own pool may break
        self.breaks = BrokenThreadPool if isinstance(self.executor, _Serial | ThreadPoolExecutor) else BrokenExecutor
        if not self.owned:
            self.make = partial(_like, given) if processes else None
        # Dask would answer equal calls from its own cache
        self.options = {"pure": False} if type(self.executor).__module__.startswith("distributed.") else {}
        # one more than there are workers, so that none waits for the driver
        self.room = getattr(self.executor, "_max_workers", _MANY) + 1
        self.running: dict[Future, Job] = {}
        self.broken = False
        try:
            self.probe = (pickle.loads, pickle.dumps(task)) if processes else (int,)
        except Exception as error:
            self.close()
            raise ValueError(f"task = {task!r}: cannot be pickled, and so not be sent to a process; define it with "
                             f"`def` at the top of a module or notebook ({error})") from error

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type | None, *_: Any) -> None:
        self.close(wait=kind is None)

    def close(self, wait: bool = True) -> None:
        """Cancel what is in flight; shut the executor down unless it is the user's."""
        for future in self.running:
            future.cancel()
        if self.owned:
            self._kill_leftovers()
            self.executor.shutdown(wait=wait, cancel_futures=True)

    def _kill_leftovers(self) -> None:
        """Kill what is left of a broken pool: it would wait for all workers, even for one started as it broke."""
        if self.broken:
            for process in list((getattr(self.executor, "_processes", None) or {}).values()):
                process.kill()

    def outcomes(self, jobs: Iterable[Job]) -> Iterator[tuple[Hashable, Any, BaseException | None]]:
        """Yield (key, result, error) for each job (key, call), as they finish; `jobs` is read as there is room.

        Raises
        ------
        RuntimeError
            When a broken executor cannot be replaced, or its workers die before they run anything.
        ValueError
            When workers cannot load the task.
        """
        suspects = []
        for job, future in self._completed(jobs, self.room):
            if self._died(future):
                suspects.append(job)
            else:
                yield job[0], *self._outcome(future)
        for job, future in self._completed(suspects, 1):
            result, error = self._outcome(future)
            if self._died(future):
                blame = RuntimeError("its worker died, and died again when it ran alone")
                blame.__cause__, error = error, blame
            yield job[0], result, error

    def _outcome(self, future: Future) -> tuple[Any, BaseException | None]:
        if (error := _error(future)) is not None:
            return None, error
        return future.result() if self.errand else (future.result(), None)

    def _died(self, future: Future) -> bool:
        """Whether the worker died: a broken pool, or the KilledWorker of Dask, which is not imported here."""
        error = _error(future)
        return isinstance(error, self.breaks) or type(error).__name__ == "KilledWorker"

    def _completed(self, jobs: Iterable[Job], room: int) -> Iterator[tuple[Job, Future]]:
        """Yield each job with its finished future; after a break, start no other until all are back."""
        jobs, done = iter(jobs), queue.SimpleQueue()
        job = next(jobs, None)
        while job or self.running:
            if job and len(self.running) < room and not (self.broken and self.running):
                if self.broken:
                    self._renew()
                try:
                    future = self.executor.submit(*self.errand, job[1], **self.options)
                except BrokenExecutor:
                    self.broken = True
                    continue
                self.running[future], job = job, next(jobs, None)
                future.add_done_callback(done.put)
            else:
                future = done.get()
                self.broken = self.broken or isinstance(_error(future), self.breaks)
                yield self.running.pop(future), future

    def _renew(self) -> None:
        """Replace the executor, and see that the new one works at all and can load the task."""
        if self.make is None:
            raise RuntimeError(f"executor = {self.executor!r}: is broken; give a function that makes one instead, "
                               "so that it can be replaced")
        self._kill_leftovers()
        self.executor.shutdown(wait=True)
        self.executor, self.owned, self.broken = self.make(), True, False
        try:
            self.executor.submit(*self.probe).result()
        except BrokenExecutor as error:
            raise RuntimeError(f"executor = {self.executor!r}: workers die before they run a task. Its initializer "
                               "fails, or a script starts processes outside `if __name__ == '__main__':`") from error
        except Exception as error:
            raise ValueError(f"task: cannot be loaded in a worker ({type(error).__name__}: {error}). Define it in a "
                             "module or, in a notebook, fork the processes after its definition") from error
