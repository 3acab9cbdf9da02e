"""nbval for chapters that measure, on a busy machine: ``-p tests.book.patience``.

Outputs may take as long as a cell; what timed out failed. What a claim measured may differ from machine to machine:
the run itself has checked that it lies in its interval. Bars of progress are shown by a run and never stored.
"""

import pytest

from hierlib.lab.claims import GLUE
from tools.execute import is_progress


def pytest_itemcollected(item):
    """Wait for outputs as long as for the cell (nbval: 5 seconds); compare neither measured values nor bars."""
    item.output_timeout = item.config.option.nbval_cell_timeout
    if GLUE not in item.parent.skip_compare:
        item.parent.skip_compare += (GLUE,)
    compare = item.compare_outputs
    item.compare_outputs = lambda test, ref, *rest: compare([out for out in test if not is_progress(out)], ref, *rest)


def pytest_runtest_setup(item):
    """Fail after a cell that timed out, where nbval says that this one is expected to fail."""
    if item.parent.timed_out:
        pytest.fail("a cell before this one timed out")
