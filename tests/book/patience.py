"""nbval for chapters that measure, on a busy machine: ``-p tests.book.patience``.

Outputs may take as long as a cell; what timed out failed. What a claim measured may differ from machine to machine:
the run itself has checked that it lies in its interval.
"""

import pytest

from hierlib.lab.claims import GLUE


def pytest_itemcollected(item):
    """Wait for outputs as long as for the cell, where nbval waits for 5 seconds; compare no measured values."""
    item.output_timeout = item.config.option.nbval_cell_timeout
    if GLUE not in item.parent.skip_compare:
        item.parent.skip_compare += (GLUE,)


def pytest_runtest_setup(item):
    """Fail after a cell that timed out, where nbval says that this one is expected to fail."""
    if item.parent.timed_out:
        pytest.fail("a cell before this one timed out")
