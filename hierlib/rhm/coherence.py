"""How far generated strings are coherent: their correlations level by level of the tree, beside those of the data.

Two leaves are correlated through their lowest common ancestor. A model that has learnt the rules up to some level
writes strings with the data's correlations inside the subtrees of that level and none between them.
"""

import math

import torch

from hierlib.lab import checks
from hierlib.lab.correlation import Overlap, pair_overlap
from hierlib.lab.types import Int, Tensor

__all__ = ["coherence", "pairs_by_level"]


def pairs_by_level(s: int, L: int) -> list[Int[Tensor, "k 2"]]:
    """Return for l = 1 … L all pairs of leaves i < j whose lowest common ancestor is at level l.

    Explained in the chapter *Hierarchical clustering*; source: this book.

    Returns
    -------
    list of L int64 tensors
        ``(k_l, 2)`` with k_l = s^(L+l) (1 − 1/s)/2 pairs.
    """
    s, L = checks.integer("s", s, low=2), checks.integer("L", L, low=1)
    i, j = torch.triu_indices(s**L, s**L, 1)
    level = sum((i // s**l != j // s**l).long() for l in range(L))
    return [torch.stack([i[level == l], j[level == l]], 1) for l in range(1, L + 1)]


def coherence(x: Int[Tensor, "n d"], data: Int[Tensor, "N d"], *, v: int, s: int) -> Overlap:
    """Return which part of the data's token–token correlations the strings `x` have, per level 1 … L.

    For every pair of positions C(μ, ν) = P(μ, ν) − P(μ) P(ν); of the pairs with their lowest common ancestor at
    level l the overlap ⟨C_x, C_data⟩/‖C_data‖² is taken over all of them together: 1 for strings of the grammar, 0
    where the two tokens are independent or correlated in ways that the data do not have. It has no noise floor, as
    `x` and `data` are independent; `data` must not be the training set. Explained in the chapter *Hierarchical
    clustering*; source: this book, after Favero et al. 2025 (growing coherence of generated data).

    Raises
    ------
    ValueError
        As :func:`hierlib.lab.correlation.pair_overlap`, and when d is no power of s.
    """
    s = checks.integer("s", s, low=2)
    L = round(math.log(x.shape[-1], s))
    checks.require(L >= 1 and s**L == x.shape[-1], "x", tuple(x.shape), f"strings whose length is a power of s = {s}")
    return pair_overlap(x, data, pairs_by_level(s, L), v, pool=False)
