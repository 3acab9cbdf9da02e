"""How grammatical generated strings are, level by level, and how many are copies of the training set.

A network that samples strings is judged by three numbers: A_l, the fraction of level-l nodes whose whole subtree
follows the rules; c_l, the same among the nodes whose s children are in order, which is what level l adds; and the
fraction of copies, because a model that has memorised its training set parses as well.
Source: Favero et al. 2025 (A_l, as in their code); c_l and the threshold read from it are this book's.
"""

import numpy as np
import torch

from hierlib.lab import checks
from hierlib.lab.types import Bool, Float, Int, Tensor
from hierlib.rhm.grammar import Grammar

__all__ = ["accuracies", "chance_copies", "conditional", "copies", "crossing", "valid_nodes"]


def valid_nodes(g: Grammar, x: Int[Tensor, "n d"]) -> list[Bool[Tensor, "n _"]]:
    """Return for the levels 1 … L which nodes of any strings follow the rules, with all that is below them.

    Explained in the chapter *Hierarchical clustering*; source: Favero et al. 2025.

    Returns
    -------
    list of L boolean tensors
        ``(n, s**(L-l))`` for l = 1 … L. The last one is :meth:`Grammar.is_valid`.

    Raises
    ------
    ValueError
        When `x` is not an int64 tensor of shape (n, d).
    """
    return [ok for _, ok in g.climb(x)][1:]


def accuracies(g: Grammar, x: Int[Tensor, "n d"]) -> Float[Tensor, " L"]:
    """Return A_1 … A_L: the fraction of nodes of each level whose subtree follows the rules.

    A_L is the fraction of strings of the grammar. Explained in the chapter *Hierarchical clustering*; source: Favero
    et al. 2025.

    Raises
    ------
    ValueError
        When `x` is not an int64 tensor of shape (n, d), or empty.
    """
    checks.require(len(x) > 0, "x", tuple(x.shape), "at least one string")
    return torch.stack([ok.double().mean() for ok in valid_nodes(g, x)])


def conditional(g: Grammar, x: Int[Tensor, "n d"]) -> Float[Tensor, " L"]:
    """Return c_1 … c_L: among the nodes whose s children are in order, the fraction that is so itself.

    This is A_l/A_{l−1}^s where the children's errors are independent. A model that writes the levels below l
    correctly, but knows nothing of level l, has c_l = f, the fraction of tuples that occur. NaN where no node has
    all children in order. Explained in the chapter *Hierarchical clustering*; source: this book.

    Raises
    ------
    ValueError
        As :func:`accuracies`.
    """
    checks.require(len(x) > 0, "x", tuple(x.shape), "at least one string")
    levels = [torch.ones_like(x, dtype=torch.bool), *valid_nodes(g, x)]
    children = [below.unflatten(1, (-1, g.s)).all(-1).double().mean() for below in levels[:-1]]
    return torch.stack([ok.double().mean() / base for ok, base in zip(levels[1:], children)])


def copies(x: Int[Tensor, "n d"], train: Int[Tensor, "P d"]) -> float:
    """Return the fraction of rows of `x` that are rows of `train`, too.

    Explained in the chapter *Hierarchical clustering*; source: Favero et al. 2025.

    Raises
    ------
    ValueError
        When either is empty, or their strings differ in length.
    """
    checks.require(x.ndim == 2 and len(x) > 0, "x", tuple(x.shape), "a non-empty tensor of shape (n, d)")
    checks.require(train.ndim == 2 and len(train) > 0 and train.shape[1] == x.shape[1], "train",
                   tuple(train.shape), f"a non-empty tensor of shape (P, {x.shape[1]})")
    _, group = torch.cat([train.to(x.device), x]).unique(dim=0, return_inverse=True)
    return torch.isin(group[len(train):], group[:len(train)]).double().mean().item()


def chance_copies(accuracy: float, P: int, n_strings: int) -> float:
    """Return A_L P/N: the fraction of copies of a model that writes all N strings of the grammar alike.

    A model with this many copies has not memorised. Explained in the chapter *Hierarchical clustering*; source: this
    book.
    """
    P, n_strings = checks.integer("P", P, low=0), checks.integer("n_strings", n_strings, low=1)
    return checks.real("accuracy", accuracy, 0.0, 1.0) * min(1.0, P / n_strings)


def crossing(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """Return where a rising curve y(x) first reaches `level`, by linear interpolation in ln x; NaN where it never does.

    Also NaN when the first point is above it: the crossing is outside the grid. Explained in the chapter *Hierarchical
    clustering*; source: this book.

    Raises
    ------
    ValueError
        For x that is not positive and increasing, or of another length than y.
    """
    x, y, level = np.asarray(x, float), np.asarray(y, float), checks.real("level", level)
    checks.require(x.ndim == 1 and x.shape == y.shape and len(x) > 1, "x", x.shape,
                   f"at least two points, as y {y.shape}")
    checks.require(bool((x > 0).all() and (np.diff(x) > 0).all()), "x", x, "positive and increasing")
    above = y >= level
    first = int(np.argmax(above))
    if not above.any() or first == 0:
        return float("nan")
    weight = (level - y[first - 1]) / (y[first] - y[first - 1])
    return float(x[first - 1] * (x[first] / x[first - 1]) ** weight)
