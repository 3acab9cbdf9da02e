"""Every chapter on the simulated GPU: the structure of paper scale with tiny sizes, and what the real sizes cost."""

from pathlib import Path

import pytest

from tests.book.tiny import PAPER
from tests.simgpu.run import PRELUDE
from tests.simgpu.test_simgpu import run
from tests.simgpu.warm import kernels
from tools.execute import explore

ROOT = Path(__file__).parents[2]
BRIEFLY = "from hierlib.lab import keep\nkeep._SECONDS = 0"     # of measuring, in the forecasts


@pytest.mark.simgpu
@pytest.mark.parametrize("name", PAPER)
def test_a_chapter_of_the_papers_structure_reaches_its_last_cell(name, monkeypatch, tmp_path):
    run("-m", "tests.simgpu.run", "real", "check_text")                            # (skipped where there is no device)
    for variable, value in {"HIERLIB_SCALE": "paper", "HIERLIB_STRICT": "0", "HIERLIB_KEEP": str(tmp_path),
                            "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **kernels()}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("HIERLIB_DEVICE", raising=False)
    assert "claims" in explore(name, ROOT / "book", PAPER[name], prelude=f"{PRELUDE}\n{BRIEFLY}")


@pytest.mark.simgpu
@pytest.mark.parametrize("name", PAPER)
def test_a_chapter_takes_half_an_hour_and_12_gb_of_a_t4_at_most(name):
    print(run("-m", "tests.simgpu.forecast", name))
