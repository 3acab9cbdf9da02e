"""The library on a GPU that is simulated: each group of checks in a process of its own, as the device is there to stay.

To see one alone: ``python -m tests.simgpu.run GROUP [CHECK …]``.
"""

import functools
import os
import subprocess
from pathlib import Path

import pytest

from tests.simgpu.run import PRELUDE, SKIP, main
from tests.simgpu.warm import python

ROOT = Path(__file__).parents[2]
GROUPS = ("bugs", "memory", "rhm", "cumulants", "sim", "bumps", "diffusion", "nets", "real", "lab", "default_device")


@functools.cache
def run(*arguments: str) -> str:
    """Return what Python says; fail with its traceback, skip with its reason."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    flags = "-W", "error", "-W", "ignore::DeprecationWarning"                      # (those are torch's own)
    for name in ("HIERLIB_DEVICE", "HIERLIB_SCALE"):
        environment.pop(name, None)
    command = [*python(), *flags, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode == SKIP:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.simgpu
@pytest.mark.parametrize("group", GROUPS)
def test_group(group):
    run("-m", "tests.simgpu.run", group)


def test_prelude_is_printed(capsys):
    assert main("--prelude") == 0 and capsys.readouterr().out.strip() == PRELUDE


def test_all_groups_are_run():
    checks = {path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef check_" in path.read_text("utf-8")}
    assert checks - {"device"} == set(GROUPS)
