"""Files that are written whole or not at all."""

import os
import secrets
from pathlib import Path

__all__ = ["write"]


def write(path: Path, *parts: bytes | memoryview) -> None:
    """Write the parts one after the other to `path`, which is replaced in one step.

    Killed at any instant, the former file is there or the new one, and besides at most a temporary file
    ``.<name>.<hex>.tmp`` in the same folder. File and name have reached the disk on return.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):              # the new name, too, must reach the disk; Windows has no such call
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
