"""Forward–backward experiments: which nodes a U-turn changes, and how the changes are correlated.

A U-turn noises a string x0 and draws x̂ from the exact posterior, as an ideal diffusion model does that is run
forward to a noise level and back. σ_i = +1 where x̂ keeps the symbol of x0, −1 where it changes it.
Source: Sclocchi, Favero, Levi, Wyart 2025, *Probing the latent hierarchical structure of data via diffusion
models*.
"""

import torch

from hierlib.lab import checks
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Bool, Float, Int, Tensor
from hierlib.rhm.belief import sample_posterior
from hierlib.rhm.grammar import Grammar, check_depth, check_trees

__all__ = ["correlations", "kept", "susceptibility", "u_turn"]


def u_turn(
    g: Grammar, trees: list[Int[Tensor, "n _"]], likelihood: Float[Tensor, "n d v"], *, samples: int = 1,
    seed: Seed = 0,
) -> list[Bool[Tensor, "n samples _"]]:
    """Draw posterior samples and return which nodes of the original trees they keep.

    Source: Sclocchi et al. 2025.

    Parameters
    ----------
    g, trees
        Grammar and the n original derivations, as from :meth:`Grammar.sample`.
    likelihood
        float ``(n, d, v)``: what the noise leaves to know of each original.
    samples
        Posterior samples per original, all for the same noise.
    seed
        Integer or CPU ``torch.Generator``.

    Returns
    -------
    list of L + 1 boolean tensors
        ``(n, samples, s**(L-l))``, true where the node keeps its symbol.

    Raises
    ------
    ValueError
        For ``samples < 1``, trees and likelihood of different lengths, or as :func:`hierlib.rhm.marginals`.
    """
    samples = checks.integer("samples", samples, low=1)
    check_trees(g, trees, len(likelihood))
    drawn = sample_posterior(g, likelihood.repeat_interleave(samples, 0), seed=seed)
    return kept([t.repeat_interleave(samples, 0) for t in trees], drawn, samples=samples)


def kept(
    trees: list[Int[Tensor, "k _"]], drawn: list[Int[Tensor, "k _"]], *, samples: int = 1
) -> list[Bool[Tensor, "n samples _"]]:
    """Return level by level which nodes agree, ``(n, samples, nodes)`` with k = n · samples rows: σ_i = +1."""
    return [(a == b).view(-1, samples, a.shape[1]) for a, b in zip(trees, drawn, strict=True)]


def _block_sums(same: Bool[Tensor, "n samples d"], s: int) -> tuple[Float[Tensor, " levels"], int]:
    """Return V_l = Σ C_ij over the pairs (i, j) that share their ancestor at level l = 0 … L, mean over rows; and s.

    C_ij = ⟨σ_i σ_j⟩ − ⟨σ_i⟩⟨σ_j⟩ over the samples of a row (unbiased). V_l is the variance of σ summed over blocks
    of s^l leaves, so that no d × d matrix is needed: V_0 = Σ_i C_ii and V_L = Σ_ij C_ij.
    """
    s, L = check_depth("same", same.shape[-1], s)
    checks.require(same.shape[1] >= 2, "samples", same.shape[1], "at least 2, for a covariance")
    blocks = [(2.0 * same.double() - 1).unflatten(-1, (-1, s**level)).sum(-1) for level in range(L + 1)]
    return torch.stack([sums.var(1).sum(-1).mean() for sums in blocks]), s


def correlations(same: Bool[Tensor, "n samples d"], s: int) -> Float[Tensor, " levels"]:
    """Return C_l, the covariance of σ of two leaves with common ancestor at level l, averaged over rows and pairs.

    l = 0 gives the variance of one leaf; leaves at distance r ~ s^l in the string have l = log_s r. Source: Sclocchi
    et al. 2025 (C_ij).

    Parameters
    ----------
    same
        Boolean ``(n, samples, d)``, leaves kept; at least 2 samples; d a power of s.
    s
        Branching.

    Returns
    -------
    float64 ``(L + 1,)``

    Raises
    ------
    ValueError
        For fewer than 2 samples, or d not a power of s.
    """
    (V, s), d = _block_sums(same, s), same.shape[-1]
    pairs = [d] + [d * (s - 1) * s**below for below in range(len(V) - 1)]
    return V.diff(prepend=V.new_zeros(1)) / V.new_tensor(pairs)


def susceptibility(same: Bool[Tensor, "n samples d"], s: int) -> float:
    """Return χ = Σ_ij C_ij / Σ_i C_ii (1 for independent leaves, d when all change together); NaN if none changes.

    Parameters and errors as :func:`correlations`. Source: Sclocchi et al. 2025.
    """
    V, _ = _block_sums(same, s)
    return float(V[-1] / V[0])
