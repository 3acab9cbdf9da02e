"""What the tests of the interactive figures share: a browser, and node for a script without a page."""

import shutil

import pytest


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium on the PATH")
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


def node_path() -> str:
    """Return the path of node: the one on the PATH, or the one inside the playwright package."""
    if found := shutil.which("node"):
        return found
    driver = pytest.importorskip("playwright._impl._driver", reason="no node on the PATH, no playwright")
    return driver.compute_driver_executable()[0]
