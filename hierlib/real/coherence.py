"""Correlations of text against the distance, and the length up to which generated text has those of the data.

A text's own correlations fall off like a power of the distance r and have no length of their own. A model that has
learnt the lower levels only writes text whose correlations follow the data's at short distance and are missing
beyond; the length where they part is what grows with training. It is read from the overlap
ρ(r) = ⟨C_generated(r), C_data(r)⟩/‖C_data(r)‖² of the covariances of tokens at distance r
(:mod:`hierlib.lab.correlation`): a ratio, so that the data's decay drops out, and linear in the generated text, so
that it has no noise floor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hierlib.lab import checks
from hierlib.lab.correlation import Correlation, Overlap, jackknife, pair_correlation, pair_overlap
from hierlib.lab.types import Int, Tensor

__all__ = ["Coherence", "at_distance", "coherence", "correlation"]

_RESOLVED = 3.0               # standard errors of the data's squared correlation


@dataclass(frozen=True, eq=False)
class Coherence:
    """Up to which distance generated text is coherent; returned by :func:`coherence`.

    Explained in the chapter *Hierarchical clustering*; source: this book, after Favero et al. 2025.

    Parameters
    ----------
    distances
        int64 ``(R,)``, those asked for.
    overlap
        The overlap ρ and the correlations of both texts at these distances.
    resolved
        How many of the distances, from the first on, are resolved: at all of them the squared correlation of the
        data exceeds three standard errors, and two standard errors of ρ fit between 1 and the threshold, so that
        a coherent text is not taken for an incoherent one.
    length
        Distance at which ρ first falls to the threshold, interpolated linearly, with ρ(0) = 1; the last resolved
        distance where it never does.
    error
        Standard error of `length`, by the delete-one-block jackknife over generated strings and data.
    censored
        Whether ρ stays over the threshold at all resolved distances: then `length` is a lower bound.
    """

    distances: Int[Tensor, " R"]
    overlap: Overlap
    resolved: int
    length: float
    error: float
    censored: bool


def at_distance(d: int, r: int) -> Int[Tensor, "k 2"]:
    """Return all pairs (i, i + r) of positions in a string of length d, int64 ``(d − r, 2)``.

    Used in the chapter *Hierarchical clustering*; source: this book.

    Raises
    ------
    ValueError
        Unless 1 ≤ r < d.
    """
    d = checks.integer("d", d, low=2)
    r = checks.integer("r", r, low=1, high=d - 1)
    left = torch.arange(d - r)
    return torch.stack([left, left + r], 1)


def _pairs(d: int, distances: Sequence[int] | None) -> tuple[Tensor, list[Tensor]]:
    chosen = list(range(1, d // 2 + 1)) if distances is None else [int(r) for r in distances]
    checks.require(len(chosen) > 0 and chosen == sorted(set(chosen)), "distances", chosen, "increasing integers")
    return torch.tensor(chosen), [at_distance(d, r) for r in chosen]


def correlation(
    x: Int[Tensor, "n d"], v: int, distances: Sequence[int] | None = None, *, blocks: int | None = None
) -> Correlation:
    """Estimate the squared token–token correlation ‖C(r)‖² = Σ_{μν} [P_r(μ, ν) − P(μ) P(ν)]² against the distance.

    All pairs of positions at one distance are pooled: the strings are windows of a text at random places, so every
    position is like any other. Explained in the chapter *Hierarchical clustering*; source: the covariance is that of
    Cagnetta, Wyart 2024, the estimator this book.

    Parameters
    ----------
    x
        Independent strings of tokens, int64 ``(n, d)``.
    v
        Number of symbols.
    distances
        Increasing integers in 1 … d − 1; by default 1 … d/2.
    blocks
        As in :func:`hierlib.lab.correlation.pair_correlation`.

    Returns
    -------
    Correlation
        With tensors of shape (number of distances,).

    Raises
    ------
    ValueError
        As :func:`hierlib.lab.correlation.pair_correlation`, and for distances that do not fit into the strings.
    """
    return pair_correlation(x, _pairs(x.shape[-1], distances)[1], v, blocks=blocks)


def _crossing(distances: Tensor, value: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return where the columns of ``(R, …)`` first fall to the threshold, and whether they do not."""
    below = value <= threshold
    never = ~below.any(0)
    k = torch.where(never, len(value) - 1, below.int().argmax(0))
    padded_r = torch.cat([distances.new_zeros(1), distances]).to(value)
    padded = torch.cat([torch.ones_like(value[:1]), value])
    low, high = padded.gather(0, k[None])[0], padded.gather(0, k[None] + 1)[0]
    part = torch.where(never, 1.0, (low - threshold) / (low - high))
    return padded_r[k] + part * (padded_r[k + 1] - padded_r[k]), never


def coherence(
    generated: Int[Tensor, "n d"], data: Int[Tensor, "N d"], v: int, distances: Sequence[int] | None = None, *,
    threshold: float = 0.5, blocks: int | None = None,
) -> Coherence:
    """Measure the coherence length: up to which distance generated text has the correlations of the data.

    It is the first distance where the overlap ρ(r) is down to the threshold. The first, as what lies beyond a gap is
    not coherent with what lies before it; ρ rather than a ratio of norms, as a norm also counts correlations of the
    wrong kind and is pushed up by noise where it is small. Explained in the chapter *Hierarchical clustering*;
    source: this book, after Favero et al. 2025, who compare the correlations of generated and real text.

    Parameters
    ----------
    generated, data
        Strings, int64 ``(n, d)`` and ``(N, d)``; the data are best a held-out text, larger than `generated`.
    v
        Number of symbols.
    distances
        Increasing integers in 1 … d − 1; by default 1 … d/2.
    threshold
        In [0.05, 0.95].
    blocks
        As in :func:`hierlib.lab.correlation.pair_correlation`.

    Raises
    ------
    ValueError
        As :func:`hierlib.lab.correlation.pair_overlap`, for distances that do not fit, or when not even the first
        distance is resolved.
    """
    threshold = checks.real("threshold", threshold, 0.05, 0.95)
    chosen, groups = _pairs(generated.shape[-1], distances)
    overlap = pair_overlap(generated, data, groups, v, blocks=blocks)
    hidden = overlap.reference.square <= _RESOLVED * overlap.reference.error
    hidden |= 2 * overlap.error > 1 - threshold
    resolved = int(hidden.int().argmax()) if hidden.any() else len(chosen)
    checks.require(resolved > 0, "(generated, data)", f"{len(generated)} and {len(data)} strings", "enough strings "
                   "to resolve the correlation at the first distance")
    place = chosen[:resolved].to(overlap.value.device)
    length, never = _crossing(place, overlap.value[:resolved, None], threshold)
    without, _ = _crossing(place, overlap.left_out[:, :resolved].T, threshold)
    return Coherence(chosen, overlap, resolved, float(length), float(jackknife(without, overlap.blocks)), bool(never))
