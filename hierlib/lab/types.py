"""Array types for annotations: jaxtyping's where it is installed, plain tensors elsewhere.

Colab does not preinstall jaxtyping, and hierlib must not ask for it at run time; the tests install it
and check every annotated shape.
"""

import numpy as np
from torch import Tensor

try:
    from jaxtyping import Bool, Float, Int
except ImportError:

    class _Shape:
        """Stand-in: ``Float[Tensor, "n d"]`` is ``Tensor``."""

        def __class_getitem__(cls, item: tuple[type, str]) -> type:
            return item[0]

    Bool = Float = Int = _Shape

Numbers = float | np.ndarray | list[float]      # of closed forms: a number or an array, taken and returned

__all__ = ["Bool", "Float", "Int", "Numbers", "Tensor"]
