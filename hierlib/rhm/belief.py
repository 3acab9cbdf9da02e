"""Exact inference on the Random Hierarchy Model: sum-product on the tree, the exact denoiser of this data.

A leaf likelihood λ_i(a) ∝ P(observation i | token i = a) is all that a noise channel enters with
(:mod:`hierlib.rhm.channels`). One sweep up and one down the tree (:mod:`hierlib.rhm.messages`) give every
posterior marginal, p(b) ∝ λ(b) π(b). Source: Sclocchi, Favero, Wyart 2024.

Rows of the batch go through in blocks small enough to stay in cache; a block that underflows float32 is done
again in float64.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Int, Tensor
from hierlib.rhm.grammar import Grammar, kind
from hierlib.rhm.messages import Block

__all__ = ["cavity", "log_evidence", "marginals", "sample_posterior", "truncated"]

Likelihood = Float[Tensor, "n d v"]
# bytes of the largest temporary per block; no power of 2, as torch compiles anew when rows are equal to another size
_CACHE = {"cpu": 7 * 2**19, "cuda": 7 * 2**26}


def _check(g: Grammar, likelihood: Tensor) -> None:
    checks.require(
        isinstance(likelihood, Tensor) and likelihood.shape[1:] == (g.d, g.v)
        and likelihood.dtype in (torch.float32, torch.float64), "likelihood", kind(likelihood),
        f"a torch tensor of shape (n, {g.d}, {g.v}) for {g}, float32 or float64")
    low, high = map(float, likelihood.detach().aminmax()) if len(likelihood) else (0.0, 1.0)      # NaN if one is
    if not (low >= 0 and high < torch.inf):
        _name_wrong(likelihood)


def _name_wrong(likelihood: Tensor) -> None:
    """Raise for the first entry that no likelihood has, if there is one."""
    for wrong, what in (
        (~torch.isfinite(likelihood).all(-1), "a NaN or an infinity"),
        ((likelihood < 0).any(-1), "a negative number"),
        (likelihood.amax(-1) <= 0, "zeros only, which rules out every symbol"),
    ):
        if wrong.any():
            row, leaf = wrong.nonzero()[0].tolist()
            raise ValueError(f"likelihood[{row}, {leaf}] holds {what}: must be non-negative, finite and not all zero")


def _run(
    g: Grammar, likelihood: Tensor, block: int | None, compiled: bool, out: list[Tensor],
    work: Callable[[Block, slice], Iterable[tuple[int, Tensor]]], top: int,
) -> list[Tensor]:
    """Fill `out` with what ``work(block, rows)`` yields for each level, in float64 where float32 underflows."""
    if block is None:
        largest = g.v * (4 if compiled else g.m) * (g.d // g.s) * likelihood.element_size()       # per row
        block = max(1, _CACHE.get(likelihood.device.type, _CACHE["cuda"]) // largest)
    block = checks.integer("block", block, low=1)
    # in inference mode a view is a tensor of its own, for which compiled code need not be compiled anew
    with torch.inference_mode(compiled or torch.is_inference_mode_enabled()), torch.no_grad():
        for start in range(0, len(likelihood), block):
            rows = slice(start, start + block)
            for dtype in dict.fromkeys((likelihood.dtype, torch.float64)):
                part = Block(g, likelihood[rows].to(dtype), top, compiled=compiled and dtype == likelihood.dtype)
                for level, found in work(part, rows):                                    # (…, rows)
                    out[level][rows].view(part.b, -1).copy_(found.flatten(0, -2).T)
                lost = part.lost_rows()
                if not len(lost):
                    break
            else:
                _name_wrong(likelihood)
                raise ValueError(f"likelihood[{start + int(lost[0])}] is contradictory: it rules out every string of "
                                 f"{g} (or allows them with a probability below the range of float64)")
    return out


def _sweep(
    g: Grammar, likelihood: Tensor, top: int, above: Tensor | None = None, *, leave_out: bool = False,
    block: int | None = None, compiled: bool = False,
) -> list[Tensor]:
    _check(g, likelihood)
    out = [likelihood.new_empty(len(likelihood), width, g.v) for width in g.widths[:top + 1]]
    return _run(g, likelihood, block, compiled, out, lambda part, _: part.descend(above, leave_out=leave_out), top)


def marginals(
    g: Grammar, likelihood: Likelihood, *, block: int | None = None, compiled: bool = False
) -> list[Float[Tensor, "n _ v"]]:
    """Return the exact posterior of every node of the tree. Source: Sclocchi, Favero, Wyart 2024.

    Parameters
    ----------
    g
        The grammar.
    likelihood
        float ``(n, d, v)``, ``likelihood[k, i, a]`` ∝ P(what is observed of leaf i | it is a): non-negative, on
        any scale.
    block
        Rows at a time; by default as many as keep the working set in cache. It changes speed, not results.
    compiled
        Whether torch compiles the steps: two to three times as fast in the end (`make bench`), after some 20 s for each
        new (m, s) of grammar, so that it pays from about 10⁵ strings. Results agree to rounding. It needs what
        ``torch.compile`` does: a C++ compiler, on a GPU Triton.

    Returns
    -------
    list of L + 1 float tensors
        ``(n, s**(L-l), v)`` for level l = 0 (leaves) … L (root), on the device and in the dtype of `likelihood`.

    Raises
    ------
    ValueError
        For another shape or dtype; and, naming the row, for NaN, infinite or negative entries, a leaf with zeros
        only, or evidence that contradicts every string.
    """
    return _sweep(g, likelihood, g.L, block=block, compiled=compiled)


def cavity(
    g: Grammar, likelihood: Likelihood, *, block: int | None = None, compiled: bool = False
) -> list[Float[Tensor, "n _ v"]]:
    """Return the leave-one-out posterior of every node: given all leaves but those below the node itself.

    These are the downward messages. At the leaves they are what a discrete diffusion model's network has to
    predict for its reverse step to be the exact one. Parameters, shapes and errors as :func:`marginals`.
    Source: Sclocchi, Favero, Wyart 2024.
    """
    return _sweep(g, likelihood, g.L, leave_out=True, block=block, compiled=compiled)


def truncated(g: Grammar, likelihood: Likelihood, level: int, **options: Any) -> Float[Tensor, "n d v"]:
    """Return the posteriors of the leaves by inference that is cut off above `level`: BP_k, k = `level`.

    Every subtree of this level is taken on its own, with the law that the grammar gives its root: each leaf is
    inferred from the s^k leaves of its own subtree. Level 0 knows nothing but the leaf itself and the frequencies of
    symbols at its place, level L is the leaves' part of :func:`marginals`, whose options and errors these are.
    ValueError for a level outside 0 … L, too. Source: after Garnier-Brun, Mézard, Moscato, Saglietti 2025
    (filtered data).
    """
    top = checks.integer("level", level, 0, g.L)
    law = None if top == g.L else marginals(g, torch.ones(1, g.d, g.v, device="cpu").double())[top][0, ..., None]
    return _sweep(g, likelihood, top, law, **options)[0]


def sample_posterior(
    g: Grammar, likelihood: Likelihood, *, seed: Seed = 0, block: int | None = None, compiled: bool = False
) -> list[Int[Tensor, "n _"]]:
    """Draw one exact posterior sample of the whole tree per row: root first, then rule after rule.

    Source: Sclocchi, Favero, Wyart 2024.

    Parameters
    ----------
    g, likelihood, block, compiled
        As for :func:`marginals`.
    seed
        Integer or CPU ``torch.Generator``. Draws are made row by row in float64, so neither `block` nor a split
        of the batch into two calls with one generator changes a sample.

    Returns
    -------
    list of L + 1 int64 tensors
        ``(n, s**(L-l))``, as from :meth:`Grammar.sample`.

    Raises
    ------
    ValueError
        As :func:`marginals`, or for a bad seed.
    """
    _check(g, likelihood)
    n, gen = len(likelihood), generator(seed, "sample_posterior")
    uniforms = torch.rand((n, 1 + g.n_rules), generator=gen, dtype=torch.float64).to(likelihood.device)
    out = [torch.empty(n, width, dtype=torch.int64, device=likelihood.device) for width in g.widths]
    return _run(g, likelihood, block, compiled, out, lambda part, rows: part.draw(uniforms[rows]), g.L)


def log_evidence(
    g: Grammar, likelihood: Likelihood, *, block: int | None = None, compiled: bool = False
) -> Float[Tensor, " n"]:
    """Return log Σ_x P(x) Π_i likelihood_i(x_i), the logarithm of the evidence of every row.

    P is uniform over the strings of the grammar. float64 ``(n,)`` whatever the dtype of `likelihood`, as it
    grows with d. Parameters and errors as :func:`marginals`. Source: the normalisations of the upward sweep,
    Mézard, Montanari 2009, ch. 14.
    """
    _check(g, likelihood)
    out = torch.empty(len(likelihood), 1, dtype=torch.float64, device=likelihood.device)
    return _run(g, likelihood, block, compiled, [out], lambda part, _: [(0, part.log_z[None])], g.L)[0][:, 0]
