"""How grammatical generated strings are, level by level, and how many are copies of the training set.

A network that samples strings is judged by three numbers: A_l, the fraction of level-l nodes whose whole subtree
follows the rules; c_l, the same among the nodes whose s children are in order, which is what level l adds; and the
fraction of copies, because a model that has memorised its training set parses as well (one that writes all N strings
of the grammar alike has A_L P/N of them). Source: Favero et al. 2025 (A_l, as in their code); c_l is this book's.
"""

from itertools import pairwise

import torch

from hierlib.lab import checks
from hierlib.lab.types import Bool, Float, Int, Tensor
from hierlib.rhm.grammar import Grammar, check_strings

__all__ = ["accuracies", "conditional", "copies"]


def _right(g: Grammar, x: Int[Tensor, "n d"]) -> list[Bool[Tensor, "n _"]]:
    """Return for the levels 0 … L which nodes follow the rules, with all that is below them."""
    check_strings("x", x, some=True)
    return [ok for _, ok in g.climb(x)]


def accuracies(g: Grammar, x: Int[Tensor, "n d"]) -> Float[Tensor, " L"]:
    """Return A_1 … A_L: the fraction of nodes of each level whose subtree follows the rules.

    A_L is the fraction of strings of the grammar. Source: Favero et al. 2025.

    Raises
    ------
    ValueError
        When `x` is not an int64 tensor of shape (n, d), or empty.
    """
    return torch.stack([ok.double().mean() for ok in _right(g, x)[1:]])


def conditional(g: Grammar, x: Int[Tensor, "n d"]) -> Float[Tensor, " L"]:
    """Return c_1 … c_L: among the nodes whose s children are in order, the fraction that is so itself.

    This is A_l/A_{l−1}^s where the children's errors are independent. A model that writes the levels below l
    correctly, but knows nothing of level l, has c_l = f, the fraction of tuples that occur. NaN where no node has
    all children in order. Errors as :func:`accuracies`.
    """
    levels = _right(g, x)
    levels[0] = torch.ones_like(x, dtype=torch.bool)
    return torch.stack([ok.double().mean() / below.unflatten(1, (-1, g.s)).all(-1).double().mean()
                        for below, ok in pairwise(levels)])


def copies(x: Int[Tensor, "n d"], train: Int[Tensor, "P d"]) -> float:
    """Return the fraction of rows of `x` that are rows of `train`, too. Source: Favero et al. 2025.

    Raises
    ------
    ValueError
        When either is empty, or their strings differ in length.
    """
    for name, rows in (("x", x), ("train", train)):
        checks.require(rows.ndim == 2 and len(rows) > 0 and rows.shape[1:] == x.shape[1:], name, tuple(rows.shape),
                       f"a non-empty tensor of shape (n, {x.shape[-1]})")
    _, group = torch.cat([train.to(x.device), x]).unique(dim=0, return_inverse=True)
    return torch.isin(group[len(train):], group[:len(train)]).double().mean().item()
