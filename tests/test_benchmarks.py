"""The benchmarks run and print their table; how fast anything is, is not tested."""

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent
PEERS = {
    "bumps": {"networkx", "tree", "loop", "label"},
    "cumulants": {"loop", "full"},
    "belief": {"naive", "traffic", "pgmpy", "loop", "randint"},
    "nets": {"matmul", "convolution", "loop", "baddbmm"},
    "sim": {"loop", "vmap"},
    "unet": {"matmul", "layers", "contiguous", "concatenated", "loop"},
}


def test_a_quick_run_prints_a_row_for_every_peer_and_bound():
    for package in ("networkx", "pgmpy"):
        pytest.importorskip(package)
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--csv"], cwd=ROOT, capture_output=True, encoding="utf-8",
        check=False, env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    assert run.returncode == 0, run.stderr
    table = pd.read_csv(StringIO(run.stdout))
    assert table[["module", "what", "size", "unit", "hierlib"]].notna().to_numpy().all()
    for other, time, part in (("peer", "peer's", "ratio"), ("bound", "bound's", "share")):
        rows = table.dropna(subset=[other, time, part], how="all")
        times = rows[["hierlib", time, part]].to_numpy(float)
        assert np.isfinite(times).all() and (times > 0).all(), rows.to_string()
        np.testing.assert_allclose(rows[time] / rows["hierlib"], rows[part], rtol=0.02)
    for module, rows in table.groupby("module"):
        assert {*rows["peer"], *rows["bound"]} >= PEERS.pop(module)
    assert not PEERS
