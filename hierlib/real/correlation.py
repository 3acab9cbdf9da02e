"""How strongly tokens at two positions depend on each other, measured from strings without the noise's share.

For a pair p = (i, j) of positions let C_p(μ, ν) = P(x_i = μ, x_j = ν) − P(x_i = μ) P(x_j = ν), a v × v matrix.
Wanted is the squared Frobenius norm of its mean over the pairs at one distance in a text. The plain estimate is
biased: strings of independent tokens give about (1 − Σ P²)²/n instead of 0, a floor under which the decay of
correlations with distance is hidden.

Here the strings are dealt into B blocks. Each gives a sample covariance Ĉ_g that is unbiased as it stands (divisor
n_g − 1, means of the block itself), and two blocks are independent, so the average of ⟨Ĉ_g, Ĉ_h⟩ over g ≠ h is
exactly unbiased at any n, however the positions inside one string depend on each other. It is a U-statistic over
blocks (Hoeffding 1948): its variance is estimated from the B × B matrix K_gh = ⟨Ĉ_g, Ĉ_h⟩, which is all that has to
be kept. Against the U-statistic over single strings the variance grows by about 1/B + B/n. B is √n, at most 100,
fewer where v is so large that memory asks for it.

A text's own correlations fall off like a power of the distance and have no length of their own. A model that has
learnt the lower levels only writes text whose correlations follow the data's at short distance and are missing
beyond; where they part is read from the overlap ⟨C_generated, C_data⟩/‖C_data‖², from which the data's decay drops
out, and which has no floor, as it is linear in the generated text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from hierlib.lab import checks
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["Correlation", "Overlap", "at_distance", "by_distance", "jackknife", "pair_overlap"]

_MAX_BLOCKS = 100
_MAX_ENTRIES = 2**24          # of one temporary


@dataclass(frozen=True, eq=False)
class Correlation:
    """Squared correlation of groups of position pairs, ``(groups,)``, float64, as :func:`by_distance` returns it.

    Parameters
    ----------
    square
        Unbiased estimate of ‖C‖² = Σ_{μν} C(μ, ν)²; it is negative in about half of the cases where C = 0.
    error
        Standard error of `square` from the spread over blocks.
    """

    square: Float[Tensor, "..."]
    error: Float[Tensor, "..."]

    @property
    def norm(self) -> Float[Tensor, "*groups"]:
        """‖C‖ = √max(square, 0); divide by v for the root mean square over the entries of C."""
        return self.square.clamp_min(0).sqrt()

    @property
    def norm_error(self) -> Float[Tensor, "*groups"]:
        """Standard error of `norm`, error/(2 norm), and √error where the square is below its error."""
        resolved = self.square > self.error
        return torch.where(resolved, self.error / (2 * self.norm.where(resolved, torch.ones_like(self.square))),
                           self.error.sqrt())


class Overlap(NamedTuple):
    """⟨C_sample, C_reference⟩/‖C_reference‖² of groups of position pairs, and its standard error, ``(groups,)``.

    1 where they agree, 0 where the sample has none of the reference's correlations. Returned by :func:`pair_overlap`.
    """

    value: Float[Tensor, "..."]
    error: Float[Tensor, "..."]


class _Blocks:
    """Strings dealt into blocks in turn, with the frequencies of every symbol at every position."""

    def __init__(self, x: Tensor, v: int) -> None:
        (n, d), self.v = x.shape, v
        self.b = max(4, min(round(n**0.5), _MAX_BLOCKS, n // 2, 2 * _MAX_ENTRIES // v**2))
        block = torch.arange(n, device=x.device) % self.b
        self.size = torch.bincount(block, minlength=self.b).double()[:, None, None]
        self.right = x.T.contiguous()                                     # (d, n), code of a position's symbol
        self.left = (block * v + self.right) * v                          # … and with room for another's
        where = torch.arange(d, device=x.device)[:, None] * self.b * v
        single = torch.bincount((where + block * v + self.right).flatten(), minlength=d * self.b * v)
        self.single = single.view(d, self.b, v) / self.size[:, 0]

    def covariances(self, pairs: Tensor) -> Tensor:
        """Return the blocks' covariances, mean over the pairs, ``(b, v²)``."""
        width = self.b * self.v**2
        count, step = self.left.new_zeros(width), max(1, _MAX_ENTRIES // len(pairs))
        for left, right in zip(self.left.split(step, 1), self.right.split(step, 1)):
            codes = left.index_select(0, pairs[:, 0]) + right.index_select(0, pairs[:, 1])
            count += torch.bincount(codes.flatten(), minlength=width)
        joint = count.view(self.b, self.v, self.v) / self.size
        alone = self.single[pairs[:, 0]].permute(1, 2, 0) @ self.single[pairs[:, 1]].transpose(0, 1)
        return (self.size / (self.size - 1) * (joint - alone) / len(pairs)).flatten(1)


def _gram(pairs: Sequence[Tensor], v: int, **strings: Tensor) -> tuple[Tensor, list[int]]:
    """Return K of all blocks of all sets of strings, float64 ``(groups, Σ b, Σ b)``, and their numbers of blocks."""
    v, (first, *_, last) = checks.integer("v", v, low=2), [*strings.values()] * 2
    for name, x in strings.items():
        kind = (tuple(x.shape), x.dtype) if isinstance(x, Tensor) else type(x).__name__
        checks.require(isinstance(x, Tensor) and x.ndim == 2 and x.dtype == torch.int64, name, kind,
                       "an int64 tensor of shape (n, d)")
        checks.require(len(x) >= 8, f"len({name})", len(x), "at least 8 strings")
        span = (int(x.min()), int(x.max()))
        checks.require(span[0] >= 0 and span[1] < v, name, span, f"symbols in 0 … {v - 1}")
    d, groups = last.shape[1], list(pairs)
    checks.require(first.shape[1] == d, "x.shape[1]", first.shape[1], f"that of the reference, {d}")
    checks.require(len(groups) > 0 and all(isinstance(p, Tensor) and p.ndim == 2 and p.shape[1] == 2 and len(p) > 0
                                           and p.dtype == torch.int64 for p in groups), "pairs",
                   [getattr(p, "shape", p) for p in groups],
                   "a non-empty list of int64 tensors of shape (k, 2) with k at least 1")
    span = (min(int(p.min()) for p in groups), max(int(p.max()) for p in groups))
    checks.require(span[0] >= 0 and span[1] < d, "pairs", span, f"positions in 0 … {d - 1}")
    sets = [_Blocks(x.to(first.device), v) for x in strings.values()]
    found = [torch.cat([each.covariances(group.to(first.device)) for each in sets]) for group in groups]
    return torch.stack([c @ c.T for c in found]), [each.b for each in sets]


def _correlation(gram: Tensor) -> Correlation:
    """Return estimate and error from K ``(groups, b, b)``."""
    b = gram.shape[-1]
    apart = gram - torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1))
    row = apart.sum(-1)
    total, rows, squares = row.sum(-1), row.square().sum(-1), apart.square().sum((-2, -1))
    two, three, four = b * (b - 1), b * (b - 1) * (b - 2), b * (b - 1) * (b - 2) * (b - 3)
    # Hoeffding: Var = [4 (b−2) ζ₁ + 2 ζ₂]/(b (b−1)), each ζ unbiased from K over blocks that all differ
    mean_square = (total.square() - 4 * rows + 2 * squares) / four
    zeta_1 = ((rows - squares) / three - mean_square).clamp_min(0)
    zeta_2 = (squares / two - mean_square).clamp_min(0)
    return Correlation(total / two, ((4 * (b - 2) * zeta_1 + 2 * zeta_2) / two).sqrt())


def at_distance(d: int, r: int) -> Int[Tensor, "k 2"]:
    """Return all pairs (i, i + r) of positions in a string of length d, int64 ``(d − r, 2)``.

    Raises
    ------
    ValueError
        Unless 1 ≤ r < d.
    """
    d = checks.integer("d", d, low=2)
    r = checks.integer("r", r, low=1, high=d - 1)
    return torch.stack([torch.arange(d - r), torch.arange(r, d)], 1)


def by_distance(x: Int[Tensor, "n d"], v: int, distances: Sequence[int]) -> Correlation:
    """Estimate ‖C(r)‖² = Σ_{μν} [P_r(μ, ν) − P(μ) P(ν)]² at each distance r, free of bias, with standard errors.

    All pairs of positions at one distance are pooled: the strings are windows of a text at random places, so every
    position is like any other. They must be independent of each other; the positions inside one need not be. Source:
    Cagnetta, Wyart 2024 (the covariance); Hoeffding 1948 (U-statistics).

    Parameters
    ----------
    x
        Strings, int64 ``(n, d)`` with symbols 0 … v−1, in an order that does not matter.
    v
        Number of symbols.
    distances
        As :func:`at_distance` has them; one result for each.

    Raises
    ------
    ValueError
        For fewer than 8 strings, symbols outside 0 … v−1, or distances outside the string.
    """
    return _correlation(_gram([at_distance(x.shape[-1], r) for r in distances], v, x=x)[0])


def pair_overlap(
    x: Int[Tensor, "n d"], reference: Int[Tensor, "N d"], pairs: Sequence[Tensor], v: int
) -> Overlap:
    """Estimate ⟨C_x, C_reference⟩/‖C_reference‖²: which part of the reference's correlations the strings `x` have.

    It is the slope of the regression of C_x on C_reference. The numerator is linear in the sample, and sample and
    reference are independent, so it has no floor to begin with; correlations of the wrong kind do not count. The
    quotient is as good as unbiased where the reference is resolved, square > 3 error.

    Parameters
    ----------
    x
        Strings to judge, generated ones say, int64 ``(n, d)``.
    reference
        Strings of the data, int64 ``(N, d)``, other ones than those `x` was fitted to.
    pairs
        Groups of position pairs (i, j), each int64 ``(k, 2)``; those of a group are pooled.
    v
        Number of symbols.

    Raises
    ------
    ValueError
        As :func:`by_distance`, for either set, and for positions outside the string or strings of two lengths.
    """
    gram, (a, b) = _gram(pairs, v, x=x, reference=reference)
    cross, own = gram[..., :a, a:], gram[..., a:, a:]
    apart = own.sum(-1) - own.diagonal(dim1=-2, dim2=-1)                     # (…, b), Σ over the other blocks
    total, square = cross.sum((-2, -1)), apart.sum(-1)
    value = total / (a * b) / (square / (b * (b - 1)))
    without_x = (total[..., None] - cross.sum(-1)) / ((a - 1) * b) / (square / (b * (b - 1)))[..., None]
    without_reference = ((total[..., None] - cross.sum(-2)) / (a * (b - 1))
                         / ((square[..., None] - 2 * apart) / ((b - 1) * (b - 2))))
    left_out = torch.cat([without_x, without_reference], -1).movedim(-1, 0)
    return Overlap(value, jackknife(left_out, (a, b)))


def jackknife(left_out: Float[Tensor, "both *groups"], blocks: tuple[int, int]) -> Float[Tensor, "*groups"]:
    """Return the standard error of a quantity from its values without one block, the blocks being of two sets.

    `left_out` holds the values without each block of the first set, ``blocks[0]`` of them, then without each of the
    second. Source: Efron, Stein 1981.
    """
    parts = left_out.split(list(blocks))
    return sum((len(p) - 1) / len(p) * (p - p.mean(0)).square().sum(0) for p in parts).sqrt()
