"""Run checks on the simulated device: ``python -m tests.simgpu.run GROUP [CHECK …]``, a group being a module here.

Its functions ``check_…`` run one after the other; each that fails shows its traceback. ``--prelude`` prints what makes
the cells of a notebook run on the device, for a first cell of a kernel that was started in the repository.
"""

import importlib
import sys
import traceback

import torch

SKIP = 77                                         # exit code where this torch cannot carry the device
DRY = ("memory",)                                 # groups that count and do not compute
PRELUDE = "from tests.simgpu import device\ndevice.install()"


def unsupported(dry: bool) -> str:
    """Install the device, counting; return why it cannot be, or nothing."""
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13):
        return f"the simulated device is made for torch 2.13 or newer, and this is {torch.__version__}"
    try:
        from tests.simgpu import costs, device

        if dry:
            costs.dry()
        else:
            device.install()
            costs.attach()
    except (ImportError, AttributeError) as error:
        return f"torch {torch.__version__} lacks a private name that the simulated device is made of: {error}"
    return ""


def main(group: str, *only: str) -> int:
    """Run a group's checks and return the exit code."""
    if group == "--prelude":
        print(PRELUDE)
        return 0
    torch.set_num_threads(1)
    if why := unsupported(group in DRY):
        print(why)
        return SKIP
    checks, failed = vars(importlib.import_module(f"tests.simgpu.{group}")), []
    for name in only or [name for name in checks if name.startswith("check_")]:
        try:
            checks[name]()
        except Exception:
            traceback.print_exc()
            failed.append(name)
            print(f"FAILED: {group} {name}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
