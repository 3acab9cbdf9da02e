"""How far generated strings are coherent: their correlations level by level of the tree, beside those of the data.

Two leaves are correlated through their lowest common ancestor. A model that has learnt the rules up to some level
writes strings with the data's correlations inside the subtrees of that level and none between them.
"""

import torch

from hierlib.lab.types import Int, Tensor
from hierlib.real.correlation import Overlap, pair_overlap
from hierlib.rhm.grammar import check_depth

__all__ = ["by_level"]


def _pairs(s: int, L: int) -> list[Int[Tensor, "k 2"]]:
    """Return for l = 1 … L all pairs of leaves i < j with lowest common ancestor at level l, s^(L+l) (1 − 1/s)/2."""
    i, j = torch.triu_indices(s**L, s**L, 1)
    level = sum((i // s**l != j // s**l).long() for l in range(L))
    return [torch.stack([i[level == l], j[level == l]], 1) for l in range(1, L + 1)]


def by_level(x: Int[Tensor, "n d"], data: Int[Tensor, "N d"], *, v: int, s: int) -> Overlap:
    """Return which part of the data's token–token correlations the strings `x` have, per level 1 … L.

    For every pair of positions C(μ, ν) = P(μ, ν) − P(μ) P(ν); of the pairs with their lowest common ancestor at
    level l the overlap ⟨C_x, C_data⟩/‖C_data‖² is taken over all of them together: 1 for strings of the grammar, 0
    where the two tokens are independent or correlated in ways that the data do not have. It has no noise floor, as
    `x` and `data` are independent; `data` must not be the training set. Source: after Favero et al. 2025 (growing
    coherence of generated data).

    Raises
    ------
    ValueError
        As :func:`hierlib.real.correlation.pair_overlap`, and when d is no power of s.
    """
    return pair_overlap(x, data, _pairs(*check_depth("x", x.shape[-1], s)), v, pool=False)
