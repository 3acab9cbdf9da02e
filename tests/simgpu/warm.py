"""Python with the large packages imported already: ``python warm.py SOCKET [-W FILTER …] -m MODULE [ARGUMENT …]``.

That does what ``python [-W FILTER …] -m MODULE [ARGUMENT …]`` does, but for the seconds that a new interpreter takes to
import torch, pandas and seaborn: a process that has them (``python warm.py SOCKET``) forks for each command, so that
each has a process of its own, with its own environment, folder, streams and exit code.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

PACKAGES = ("torch._dynamo", "torch.utils.flop_counter", "scipy.stats", "scipy.ndimage", "seaborn", "jupytext",
            "matplotlib_inline.backend_inline", "matplotlib.backends.backend_svg", "ipykernel.kernelapp")


@functools.cache
def python() -> tuple[str, ...]:
    """Start such a process, to end with this one; return what stands for ``python`` in a command.

    Where nothing can be forked, that is a new Python.
    """
    if not hasattr(os, "pidfd_open"):
        return (sys.executable,)
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    command = sys.executable, __file__, str(folder / "socket")
    (folder / "kernels" / "python3").mkdir(parents=True)
    kernel = {"argv": [*command, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "warm"}
    (folder / "kernels" / "python3" / "kernel.json").write_text(json.dumps(kernel | {"language": "python"}))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               env=os.environ | {"OMP_NUM_THREADS": "1"})
    atexit.register(process.communicate)
    assert process.stdout.readline() == b"ready\n"
    return command


def kernels() -> dict[str, str]:
    """Return the variable of the environment with which Jupyter's kernels are such processes."""
    return {"JUPYTER_PATH": str(Path(python()[-1]).parent)}


def serve(address: str) -> list[str]:
    """Fork at each connection until standard input ends; return the command that is to run, in its own process."""
    for name in PACKAGES:
        importlib.import_module(name)
    gc.freeze()                                                 # of the packages, for all that are forked
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            connection, _ = server.accept()
            if not os.fork():
                return answer(connection)
            connection.close()
    shutil.rmtree(Path(address).parent)
    sys.exit()


def answer(connection: socket.socket) -> list[str]:
    """Fork again: return the command there, in its surroundings; here wait for its end, and send its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, streams, *_ = socket.recv_fds(connection, 1 << 20, 3)
    if child := os.fork():
        if connection in select.select([connection, os.pidfd_open(child)], [], [])[0]:
            os.kill(child, signal.SIGKILL)                      # who asked is gone
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(OSError):
            connection.send(str(code).encode())
        os._exit(0)
    connection.close()
    for k, stream in enumerate(streams):
        os.dup2(stream, k)
        os.close(stream)
    command, folder, environment = json.loads(text)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:1] = [folder, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    return command


def execute(command: list[str]) -> None:
    """Run a command as a new Python does."""
    import matplotlib

    while command[0] == "-W":
        warnings._processoptions(command[1:2])
        command = command[2:]
    sys.argv = command[1:]
    matplotlib.rcParams["backend"] = os.environ.get("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    runpy.run_module(command[1], run_name="__main__", alter_sys=True)


def ask(address: str, command: list[str]) -> int:
    """Have a command run, and return its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)                # Jupyter sends one before a kernel shuts down
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        text = json.dumps([command, os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(connection, [text], [0, 1, 2])
        return int(connection.recv(99) or 1)


if __name__ == "__main__":
    if sys.argv[2:]:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    execute(serve(sys.argv[1]))
