"""How strongly tokens at two positions depend on each other, measured from strings without the noise's share.

For a pair p = (i, j) of positions let C_p(μ, ν) = P(x_i = μ, x_j = ν) − P(x_i = μ) P(x_j = ν), a v × v matrix.
Wanted is its squared Frobenius norm, averaged over a group of pairs that mean the same (one distance in a text, one
level of the lowest common ancestor in a tree). The plain estimate is biased: strings of independent tokens give
about (1 − Σ P²)²/n instead of 0, a floor under which the decay of correlations with distance is hidden.

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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from hierlib.lab import checks
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["Correlation", "Overlap", "at_distance", "by_distance", "jackknife", "pair_correlation", "pair_overlap"]

_MAX_BLOCKS = 100
_MAX_ENTRIES = 2**24          # of one temporary


@dataclass(frozen=True, eq=False)
class Correlation:
    """Squared correlation of one group of position pairs, or of several; shape () or (groups,), float64.

    Returned by :func:`pair_correlation` and :func:`by_distance`.

    Parameters
    ----------
    square
        Unbiased estimate of ‖C‖² = Σ_{μν} C(μ, ν)²; it is negative in about half of the cases where C = 0.
    error
        Standard error of `square` from the spread over blocks.
    floor
        What the plain estimate would show on top of ‖C‖² at this number of strings; already taken off.
    """

    square: Float[Tensor, "..."]
    error: Float[Tensor, "..."]
    floor: Float[Tensor, "..."]

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


@dataclass(frozen=True, eq=False)
class Overlap:
    """How much of a reference's correlations a sample has, group by group of position pairs; float64.

    Returned by :func:`pair_overlap`.

    Parameters
    ----------
    value
        ⟨C_sample, C_reference⟩/‖C_reference‖²: 1 where they agree, 0 where the sample has none of them.
    error
        Standard error of `value`, by the delete-one-block jackknife over both sets.
    reference
        The squared correlations of the reference.
    left_out
        `value` without one block of the sample (rows 0 … B−1, `blocks[0]` of them), then without one block of the
        reference (`blocks[1]` rows): for the error of anything that is computed from `value`, see :func:`jackknife`.
    blocks
        Number of blocks of sample and reference.
    """

    value: Float[Tensor, "..."]
    error: Float[Tensor, "..."]
    reference: Correlation
    left_out: Float[Tensor, "both ..."]
    blocks: tuple[int, int]


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

    def _joint(self, pairs: Tensor, pool: bool) -> Tensor:
        """Return frequencies ``(c, b, v, v)`` of two symbols, c pairs one by one, or c = 1 for the sum over all."""
        c, width = 1 if pool else len(pairs), self.b * self.v**2
        offset = torch.arange(c, device=pairs.device)[:, None] * width
        count = self.left.new_zeros(c * width)
        step = max(1, _MAX_ENTRIES // len(pairs))
        for left, right in zip(self.left.split(step, 1), self.right.split(step, 1)):
            codes = left.index_select(0, pairs[:, 0]) + right.index_select(0, pairs[:, 1])
            count += torch.bincount((codes if pool else codes + offset).flatten(), minlength=c * width)
        return count.view(c, self.b, self.v, self.v) / self.size

    def covariances(self, pairs: Tensor, pool: bool) -> Iterator[Tensor]:
        """Yield pieces ``(b, …)`` of the blocks' covariances; the Gram matrices of the pieces add up to K."""
        unbias = self.size / (self.size - 1)
        if pool:                                     # one matrix per block, the mean over the pairs
            alone = self.single[pairs[:, 0]].permute(1, 2, 0) @ self.single[pairs[:, 1]].transpose(0, 1)
            yield (unbias * (self._joint(pairs, True)[0] - alone) / len(pairs)).flatten(1)
            return
        for part in pairs.split(max(1, _MAX_ENTRIES // (self.b * self.v**2))):
            alone = self.single[part[:, 0], :, :, None] * self.single[part[:, 1], :, None, :]     # (c, b, v, v)
            yield (unbias * (self._joint(part, False) - alone)).transpose(0, 1).flatten(1) / len(pairs)**0.5


def _gram(pairs: Tensor | Sequence[Tensor], v: int, pool: bool, **strings: Tensor) -> tuple[Tensor, list[int]]:
    """Return K of all blocks of all sets of strings, float64 ``([groups,] Σ b, Σ b)``, and their numbers of blocks."""
    v, one, (first, *_, last) = checks.integer("v", v, low=2), isinstance(pairs, Tensor), [*strings.values()] * 2
    for name, x in strings.items():
        kind = (tuple(x.shape), x.dtype) if isinstance(x, Tensor) else type(x).__name__
        checks.require(isinstance(x, Tensor) and x.ndim == 2 and x.dtype == torch.int64, name, kind,
                       "an int64 tensor of shape (n, d)")
        checks.require(len(x) >= 8, f"len({name})", len(x), "at least 8 strings")
        span = (int(x.min()), int(x.max()))
        checks.require(span[0] >= 0 and span[1] < v, name, span, f"symbols in 0 … {v - 1}")
    d, groups = last.shape[1], [pairs] if one else list(pairs)
    checks.require(first.shape[1] == d, "x.shape[1]", first.shape[1], f"that of the reference, {d}")
    checks.require(len(groups) > 0 and all(isinstance(p, Tensor) and p.ndim == 2 and p.shape[1] == 2 and len(p) > 0
                                           and p.dtype == torch.int64 for p in groups), "pairs",
                   [getattr(p, "shape", p) for p in groups],
                   "a (k, 2) tensor or a non-empty list of them: int64 of shape (k, 2) with k at least 1")
    span = (min(int(p.min()) for p in groups), max(int(p.max()) for p in groups))
    checks.require(span[0] >= 0 and span[1] < d, "pairs", span, f"positions in 0 … {d - 1}")
    sets, grams = [_Blocks(x.to(first.device), v) for x in strings.values()], []
    for group in groups:
        parts = zip(*(s.covariances(group.to(first.device), pool) for s in sets))
        grams.append(sum(piece @ piece.T for piece in map(torch.cat, parts)))
    return grams[0] if one else torch.stack(grams), [s.b for s in sets]


def _correlation(gram: Tensor) -> Correlation:
    """Return estimate, error and floor from K ``(groups, b, b)``."""
    b = gram.shape[-1]
    diagonal = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    apart = gram - torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1))
    row = apart.sum(-1)
    total, rows, squares = row.sum(-1), row.square().sum(-1), apart.square().sum((-2, -1))
    two, three, four = b * (b - 1), b * (b - 1) * (b - 2), b * (b - 1) * (b - 2) * (b - 3)
    square = total / two
    # Hoeffding: Var = [4 (b−2) ζ₁ + 2 ζ₂]/(b (b−1)), each ζ unbiased from K over blocks that all differ
    mean_square = (total.square() - 4 * rows + 2 * squares) / four
    zeta_1 = ((rows - squares) / three - mean_square).clamp_min(0)
    zeta_2 = (squares / two - mean_square).clamp_min(0)
    return Correlation(square, ((4 * (b - 2) * zeta_1 + 2 * zeta_2) / two).sqrt(), (diagonal / b - square) / b)


def pair_correlation(
    x: Int[Tensor, "n d"], pairs: Int[Tensor, "k 2"] | Sequence[Tensor], v: int, *, pool: bool = True
) -> Correlation:
    """Estimate ‖C‖² for a group of position pairs, free of bias, with its standard error and the floor taken off.

    The strings must be independent of each other; the positions inside one need not be. Source: Cagnetta, Wyart 2024
    (the covariance); Hoeffding 1948 (U-statistics).

    Parameters
    ----------
    x
        Strings, int64 ``(n, d)`` with symbols 0 … v−1, in an order that does not matter.
    pairs
        int64 ``(k, 2)``, positions (i, j) that are taken together; or a list of such groups, one result for each.
    v
        Number of symbols.
    pool
        True: ‖mean over pairs of C_p‖², where C_p is the same for all pairs (text, at one distance) and pooling
        lowers the noise. False: mean over pairs of ‖C_p‖², where C_p differs (tokens of a tree, at one level of the
        lowest common ancestor).

    Raises
    ------
    ValueError
        For fewer than 8 strings, symbols outside 0 … v−1, or positions outside the string.
    """
    return _correlation(_gram(pairs, v, pool, x=x)[0])


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
    """Estimate ‖C(r)‖² = Σ_{μν} [P_r(μ, ν) − P(μ) P(ν)]² at each distance r, with tensors ``(len(distances),)``.

    All pairs of positions at one distance are pooled: the strings are windows of a text at random places, so every
    position is like any other. Parameters and errors as :func:`pair_correlation` and :func:`at_distance` have them.
    """
    return pair_correlation(x, [at_distance(x.shape[-1], r) for r in distances], v)


def pair_overlap(
    x: Int[Tensor, "n d"], reference: Int[Tensor, "N d"], pairs: Int[Tensor, "k 2"] | Sequence[Tensor], v: int, *,
    pool: bool = True,
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
    pairs, v, pool
        As for :func:`pair_correlation`.

    Raises
    ------
    ValueError
        As :func:`pair_correlation`, for either set, and when the strings differ in length.
    """
    gram, (a, b) = _gram(pairs, v, pool, x=x, reference=reference)
    cross, own = gram[..., :a, a:], gram[..., a:, a:]
    apart = own.sum(-1) - own.diagonal(dim1=-2, dim2=-1)                     # (…, b), Σ over the other blocks
    total, square = cross.sum((-2, -1)), apart.sum(-1)
    value = total / (a * b) / (square / (b * (b - 1)))
    without_x = (total[..., None] - cross.sum(-1)) / ((a - 1) * b) / (square / (b * (b - 1)))[..., None]
    without_reference = ((total[..., None] - cross.sum(-2)) / (a * (b - 1))
                         / ((square[..., None] - 2 * apart) / ((b - 1) * (b - 2))))
    left_out = torch.cat([without_x, without_reference], -1).movedim(-1, 0)
    return Overlap(value, jackknife(left_out, (a, b)), _correlation(own), left_out, (a, b))


def jackknife(left_out: Float[Tensor, "both *groups"], blocks: tuple[int, int]) -> Float[Tensor, "*groups"]:
    """Return the standard error of a quantity from its values without one block, the blocks being of two sets.

    `left_out` holds the values without each block of the first set, then without each of the second, as
    :class:`Overlap` has them. Source: Efron, Stein 1981.
    """
    parts = left_out.split(list(blocks))
    return sum((len(p) - 1) / len(p) * (p - p.mean(0)).square().sum(0) for p in parts).sqrt()
