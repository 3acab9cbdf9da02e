import pytest

from hierlib.real import images


@pytest.fixture(scope="module")
def photographs():
    try:
        return images.photographs()
    except FileNotFoundError:
        pytest.skip("scikit-image and scikit-learn are not installed")
