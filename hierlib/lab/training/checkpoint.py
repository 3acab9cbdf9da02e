"""Checkpoints: one file that is whole or not there, and that only the run it belongs to takes up again.

A checkpoint is a state (a nested dict of tensors and plain values) with the identity of its run (plain values by name:
arguments, seed, shapes, version). The file is written beside its place, flushed to the disk and renamed, so that
a process killed at any instant leaves the old checkpoint or the new one. It starts with a line that names its format
and with the SHA-256 of the rest; what was cut short or changed on the disk is refused, not loaded.
"""

import glob
import hashlib
import io
import json
import os
import pickle
import re
import reprlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hierlib.lab import atomic, checks
from hierlib.lab.plain import mapped, scalar

__all__ = ["load", "loadable", "save"]

_HEAD = re.compile(rb"hierlib checkpoint, format 2\n([0-9a-f]{64})\n")


def canonical(identity: dict[str, Any]) -> dict[str, str]:
    """Return the values of an identity in words, after a journey through JSON, with hierlib's version in front."""
    known = {"hierlib": sys.modules["hierlib"].__version__} | identity
    return {name: repr(json.loads(json.dumps(value, default=scalar))) for name, value in known.items()}


def loadable(state: Any) -> Any:
    """Return a state of plain types, the only ones that :func:`load` reads.

    Numbers of numpy, subclasses of Python's types and parameters become numbers, these types and tensors.

    Raises
    ------
    ValueError
        For anything that has no such form.
    """
    def leaf(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach().cpu().as_subclass(Tensor)
        if isinstance(value, torch.dtype | torch.device):
            return value
        try:
            return scalar(value)
        except TypeError:
            raise ValueError(f"checkpoint: {reprlib.repr(value)}: must be a tensor, number, string, boolean or None, "
                             "or made of them in lists, tuples and dicts: nothing else could be loaded") from None

    return mapped(state, leaf)


def save(path: str | os.PathLike, state: dict[str, Any], identity: dict[str, Any]) -> None:
    """Write `state` to `path` at one stroke; :func:`hierlib.lab.train` calls it.

    The folder is made when missing. What fails half-way (a full disk) leaves the
    former checkpoint as it was and no other file.

    Parameters
    ----------
    path
        The file; ``~`` is the home folder. Two runs must not share it.
    state
        Nested dicts, lists and tuples of tensors, numbers, strings, booleans and None, as :func:`load` runs no code
        from the file. It is written as :func:`loadable` has it.
    identity
        What the run is, by name: plain values, or lists of them; hierlib's version is added.

    Raises
    ------
    ValueError
        For a state that could not be loaded, or a path that is a folder.
    """
    path, known = Path(path).expanduser(), canonical(identity)
    checks.require(not path.is_dir(), "checkpoint", str(path), "a file, not a folder")
    buffer = io.BytesIO()
    torch.save({"identity": known, "state": loadable(state)}, buffer)
    body = buffer.getbuffer()
    head = f"hierlib checkpoint, format 2\n{hashlib.sha256(body).hexdigest()}\n".encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, head, body)


def load(path: str | os.PathLike, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return the state in `path`, tensors on the CPU, or None where there is no file yet.

    Files that a killed run left half-written beside `path` are removed.

    Parameters
    ----------
    path, identity
        As for :func:`save`.

    Raises
    ------
    ValueError
        For the checkpoint of another run, naming the first key that differs and both values; for a file that is cut
        short, changed or no checkpoint of hierlib; for a folder.
    """
    path, known = Path(path).expanduser(), canonical(identity)
    checks.require(not path.is_dir(), "checkpoint", str(path), "a file, not a folder")
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        stale.unlink(missing_ok=True)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    head = _HEAD.match(content)
    checks.require(head is not None, "checkpoint", str(path), "a checkpoint of hierlib (this file is another one, or "
                   "was cut short at its beginning); remove it or give another path")
    body = memoryview(content)[head.end():]
    checks.require(hashlib.sha256(body).hexdigest() == head[1].decode(), "checkpoint", str(path),
                   "undamaged (this file was cut short or changed after it was written); remove it to start anew")
    try:
        found = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise ValueError(f"checkpoint = {str(path)!r}: must hold tensors and plain values only, of a version of torch "
                         f"that this one ({torch.__version__}) can read ({error})") from error
    for key in known | found["identity"]:
        ours, theirs = (values.get(key, "absent") for values in (known, found["identity"]))
        checks.require(ours == theirs, "checkpoint", str(path), f"of this run; it was written with {key} = "
                       f"{theirs:.99}, here {key} = {ours:.99}; remove it or give another path")
    return found["state"]
