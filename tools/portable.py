"""Run the unit tests with the kernels of other processors: ``python -m tools.portable [arguments of pytest]``.

torch, OpenBLAS (of numpy and scipy), oneDNN and MKL choose their kernels by the processor, and each kernel rounds its
sums in its own way. These settings make them choose those of others, one setting after the other, as far as this
processor can run them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETTINGS = [  # variable, value, and what the processor must have
    ("OMP_NUM_THREADS", "1", ""),
    ("OMP_NUM_THREADS", "2", ""),
    ("ATEN_CPU_CAPABILITY", "default", ""),
    ("ATEN_CPU_CAPABILITY", "avx2", "avx2"),
    ("OPENBLAS_CORETYPE", "Nehalem", "sse4_2"),
    ("OPENBLAS_CORETYPE", "Haswell", "avx2"),
    ("OPENBLAS_CORETYPE", "SkylakeX", "avx512f"),
    ("ONEDNN_MAX_CPU_ISA", "SSE41", "sse4_1"),
    ("MKL_CBWR", "COMPATIBLE", "sse4_2"),
]


def features() -> set[str]:
    """Return what the processor says it has; nothing where the system does not tell."""
    info = Path("/proc/cpuinfo")
    return set(info.read_text().split()) if info.exists() else set()


def run(arguments: list[str], variable: str, value: str) -> tuple[bool, str]:
    """Run pytest under one setting; return whether all passed, and its own last line: counts and seconds."""
    known = {name for name, _, _ in SETTINGS}
    env = {name: of for name, of in os.environ.items() if name not in known}
    env |= {"OMP_NUM_THREADS": "1", variable: value}
    # as many processes of `-n auto` as there are cores for their threads: more would be several times slower
    processes = max(1, (os.cpu_count() or 1) // int(env["OMP_NUM_THREADS"]))
    env.setdefault("PYTEST_XDIST_AUTO_NUM_WORKERS", str(processes))
    last, command = "", [sys.executable, "-m", "pytest", "-q", *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return process.returncode == 0, last


def main(arguments: list[str]) -> int:
    """Run all settings, going on after one that fails; return 1 where one did."""
    passed, lines, has = True, [], features()
    for variable, value, needed in SETTINGS:
        print(f"== {variable}={value}", flush=True)
        good, line = run(arguments, variable, value) if {needed} - {""} <= has else (True, f"needs {needed}: not run")
        passed &= good
        lines.append(f"{'ok' if good else 'FAILED':6s}  {variable}={value}: {line}")
    print("", *lines, sep="\n")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
