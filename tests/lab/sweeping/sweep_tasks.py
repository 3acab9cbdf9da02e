"""Tasks for the tests of the sweep: importing them in a worker takes no time."""

import os
import random
import signal
import sys
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

SCALE = 2.0


def helper(x):
    return SCALE * x


def several(x, y, seed):
    """Two rows per configuration, finished out of order."""
    draw = random.Random(seed)
    time.sleep(0.03 * draw.random())
    return [{"row": row, "value": helper(x) + draw.random(), "name": f"{x}{y}"} for row in range(2)]


def logged(x, folder):
    """Leave one line per call."""
    with open(Path(folder) / "log", "a") as log:
        log.write(f"{x}\n")
    return {"square": x * x}


def calls(folder):
    log = Path(folder) / "log"
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def fails(x, folder):
    logged(x, folder)
    if x % 3 == 1 and not (Path(folder) / "cured").exists():
        time.sleep(0.1 * (x == 1))                       # the last to fail, where others run beside it
        raise ArithmeticError(f"no {x}")
    return {"square": x * x}


def kills(x, folder):
    """x = 3 kills its worker until a file `cured` is there; x = 5 at its first call only."""
    first = x not in calls(folder)
    logged(x, folder)
    if (x == 3 and not (Path(folder) / "cured").exists()) or (x == 5 and first):
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return {"square": x * x}


def waits(x, folder):
    """From x = 4 on wait for a file `go`, or for the driver's death."""
    logged(x, folder)
    driver = os.getppid()
    while x >= 4 and not (Path(folder) / "go").exists():
        time.sleep(0.02)
        if os.getppid() != driver:
            os._exit(1)
    return {"square": x * x}


def loaded(x):
    return {name: name in sys.modules for name in ("hierlib", "torch", "pandas")}


class Awkward(Exception):
    """Arrives in no other process: its arguments are not those of its constructor."""

    def __init__(self, a, b):
        super().__init__("awkward")


def awkward(x):
    if x == 1:
        raise Awkward(1, 2)
    return {"square": x * x}


class Full(Awkward):
    """Says what it holds."""

    def __init__(self, a, b):
        super().__init__(a, b)
        self.held = a

    def __str__(self):
        return f"held {self.held}"


class Unreadable:
    """Can be pickled, and not unpickled."""

    def __reduce__(self):
        return int, ("x",)


def ends(how):
    """End in the way that is named."""
    if how == "result":
        return {"a": Unreadable()}
    if how == "lambda":
        return {"a": lambda: 0}
    if how == "exit":
        sys.exit(3)
    if how == "unicode":
        b"\xff".decode()
    if how == "file":
        Path("/no/such/file").read_bytes()
    raise {"awkward": Awkward(1, 2), "full": Full(1, 2), "unpicklable": Full(lambda: 0, 1), "key": KeyError(how),
           "pool": BrokenExecutor("its own"), "group": ExceptionGroup("two", [Awkward(1, 2), OSError(2, "x")]),
           "unreadable": Full(Unreadable(), 1)}[how]


def deaf(x, folder):
    """Of two at once, the first time, 0 cannot be terminated and 1 dies."""
    there = Path(folder[0], "deaf")
    if x == 1 and not there.with_name("died").exists():
        while not there.exists():
            time.sleep(0.01)
        there.with_name("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if x == 0 and not there.exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        there.touch()
        time.sleep(10**6)                                # longer than any run of the tests
    return {"square": x * x}


def dies():
    os._exit(1)
