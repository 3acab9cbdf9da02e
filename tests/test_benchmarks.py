"""The benchmarks run and print their table; how fast anything is, is not tested."""

import math
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
PEERS = {
    "bumps": {"networkx", "tree", "loop", "label"},
    "cumulants": {"loop", "full"},
    "belief": {"naive", "traffic", "pgmpy", "loop", "randint"},
    "nets": {"matmul", "convolution", "loop", "baddbmm"},
    "sim": {"loop", "vmap"},
    "unet": {"matmul", "layers", "contiguous", "loop"},
}


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_quick_run_prints_rows_with_a_ratio_to_every_peer_and_bound(path):
    for package in PEERS[path.stem] & {"networkx", "pgmpy"}:
        pytest.importorskip(package)
    run = subprocess.run(
        [sys.executable, path, "--quick"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
    )
    assert run.returncode == 0, run.stderr
    table = pd.read_csv(StringIO(run.stdout), sep=r"\s+", comment="#", dtype=str)
    assert set(table["against"]) >= PEERS[path.stem]
    for column in ("hierlib", "other", "ratio"):
        assert all(math.isfinite(x) and x > 0 for x in table[column].astype(float)), table.to_string()
