"""nbval on a busy machine: ``-p tests.book.patience``. Outputs may take as long as a cell; what timed out failed."""

import pytest


def pytest_itemcollected(item):
    """Wait for the outputs of a cell that has run as long as for the cell; nbval does so for 5 seconds."""
    item.output_timeout = item.config.option.nbval_cell_timeout


def pytest_runtest_setup(item):
    """Fail after a cell that timed out, where nbval says that this one is expected to fail."""
    if item.parent.timed_out:
        pytest.fail("a cell before this one timed out")
