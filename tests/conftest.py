"""Shapes of every annotated function are checked while the tests run; property tests are derandomised."""

from jaxtyping import install_import_hook

from tests import typecheck  # noqa: F401  (the hook wants it imported)

_hook = install_import_hook("hierlib", "tests.typecheck.check")

import matplotlib  # noqa: E402

matplotlib.use("Agg")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402
from jaxtyping import config  # noqa: E402

from tests.browser import browser  # noqa: E402, F401  (a fixture)

settings.register_profile("book", derandomize=True, deadline=None, database=None, max_examples=30)
settings.load_profile("book")


@pytest.fixture(autouse=True)
def _untyped(request):
    """Tests marked ``untyped`` call hierlib as a user without jaxtyping does."""
    off = request.node.get_closest_marker("untyped") is not None
    config.update("jaxtyping_disable", off)
    yield
    config.update("jaxtyping_disable", False)
