"""Samplers of discrete diffusion: ancestral, token by token in any order, and there and back (U-turns).

All draws are made on the CPU, so that a seed gives the same strings on every device as far as the denoiser does.
"""

import torch

from hierlib.diffusion.discrete.base import Denoiser, Process, logits_of, masked_likelihood, symbols
from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["ancestral", "any_order", "forward_backward"]


def categorical(p: Float[Tensor, "*shape k"], uniform: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Draw from the distributions `p` (any scale) by inversion of the cumulative sums at `uniform`, float64 in [0, 1).

    An entry of probability 0 is never drawn, even where the sums are rounded. −1: `p` is NaN, infinite, or all 0.
    """
    possible = p > 0
    below = p.double().cumsum(-1)
    total = torch.where(possible, below, 0.0).amax(-1)
    drawn = (possible & (below > (uniform * total)[..., None])).to(torch.uint8).argmax(-1)
    return torch.where((below[..., -1] > 0) & (below[..., -1] < torch.inf), drawn, -1)


def _logits(denoiser: Denoiser, likelihood: Tensor, failed: Tensor, first: bool) -> Tensor:
    """Return the denoiser's logits; where it refuses what was drawn here, after the first call, say so."""
    try:
        return logits_of(denoiser, likelihood)
    except ValueError as error:
        if first:                                   # it refuses what the caller gave
            raise
        _all_drawn(failed)
        raise ValueError("the denoiser refuses a string that was drawn on the way: tokens that are drawn in one step "
                         "are independent of each other, and together they may be what it rules out. Draw fewer in a "
                         "step: any_order with per_step=1 makes no such error, a process with more steps fewer "
                         f"(the denoiser says: {error})") from error


def _all_drawn(failed: Tensor) -> None:
    """Raise where there was nothing to draw from; called once, at the end, as the program has to wait for a GPU."""
    if failed.any():
        raise ValueError(f"denoiser(likelihood): must be logits without NaN or +∞, and not −∞ only, but for the token "
                         f"{tuple(failed.nonzero()[0].tolist())} of {tuple(failed.shape)} no symbol could be drawn")


@torch.no_grad()
def ancestral(
    process: Process, denoiser: Denoiser, shape: tuple[int, ...] | None = None, *,
    x: Int[Tensor, "*lead d"] | None = None, t: int | None = None, seed: Seed,
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32,
) -> Int[Tensor, "..."]:
    """Run the reverse process from time `t` to 0, a call of the denoiser per step.

    The last state is drawn from p(x_0 | x_1) and returned as it is. With ᾱ_0 < 1 it is a string at that noise level:
    a share 1 − ᾱ_0 of its tokens is redrawn or, in :class:`Masked`, still masked; so is the sample in the code of
    Favero et al. (ᾱ_0 = 0.999). Source: Austin et al. 2021.

    Parameters
    ----------
    process
        :class:`Uniform` or :class:`Masked`.
    denoiser
        Maps the likelihood ``(..., d, v)`` to logits of the same shape.
    shape
        ``(..., d)``: start from pure noise of this shape, on `device`; it stands for x_T as far as ᾱ_T is 0.
    x
        Start from these states, int64 ``(..., d)``, in place of `shape`.
    t
        Time of the start in 0 … T; by default T.
    seed
        Integer or CPU ``torch.Generator``.
    dtype
        Of the likelihood that the denoiser is given.

    Returns
    -------
    int64 ``(..., d)``

    Raises
    ------
    ValueError
        When not exactly one of `shape` and `x` is given, for states or a time outside the process, for logits of
        another shape or that are NaN, and when the denoiser refuses a string that was drawn on the way: exact inference
        does where tokens that were drawn in one step contradict each other.
    """
    gen = generator(seed, "ancestral")
    checks.require((shape is None) != (x is None), "shape", shape, "given, or else x, but not both")
    x = process.stationary(shape, seed=gen).to(device) if x is None else x
    symbols("x", x, process.states, wait=True)
    t = checks.integer("t", process.T if t is None else t, low=0, high=process.T)
    failed = torch.zeros_like(x, dtype=torch.bool)
    for time in range(t, 0, -1):
        p0 = _logits(denoiser, process.likelihood(x, time, dtype=dtype), failed, time == t).softmax(-1)
        p = process.posterior(x, time, p0)
        drawn = categorical(p, torch.rand(x.shape, generator=gen, dtype=torch.float64).to(x.device))
        failed |= drawn < 0
        x = drawn.clamp(min=0)
    _all_drawn(failed)
    return x


@torch.no_grad()
def any_order(
    denoiser: Denoiser, x: Int[Tensor, "*lead d"], v: int, *, seed: Seed, per_step: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Int[Tensor, "*lead d"]:
    """Fill the masked tokens of `x` in random order, `per_step` of each string at a time; visible ones stay.

    One token at a time there is no error of discretisation: with the exact posterior the strings are exact samples.
    Tokens that are filled at once are drawn independently of each other. The denoiser is called ⌈k/per_step⌉ times, k
    being the largest number of masked tokens in a string. Source: Hoogeboom et al. 2022 (autoregressive diffusion,
    alg. 1).

    Parameters
    ----------
    denoiser
        Maps the likelihood ``(..., d, v)`` to logits of the same shape.
    x
        int64 ``(..., d)``, masked where it is v; ``torch.full((n, d), v)`` generates from nothing.
    v
        Number of symbols.
    seed
        Integer or CPU ``torch.Generator``; drawn row by row, so that a split of the batch into two calls with one
        generator changes no sample.
    per_step
        Tokens filled at a time (≥ 1).
    dtype
        Of the likelihood that the denoiser is given.

    Returns
    -------
    int64 ``(..., d)``
        A new tensor; nothing is masked in it.

    Raises
    ------
    ValueError
        For symbols outside 0 … v, ``per_step < 1``, logits of another shape or that are NaN, and when the denoiser
        refuses a string that was drawn on the way, as in :func:`ancestral`.
    """
    v, per_step = checks.integer("v", v, low=2), checks.integer("per_step", per_step, low=1)
    symbols("x", x, v + 1, wait=True)
    draws = torch.rand(*x.shape, 2, generator=generator(seed, "any_order"), dtype=torch.float64).to(x.device)
    masked = x == v
    order = torch.where(masked, draws[..., 0], 2.0).argsort(-1)            # the masked ones first
    left, x, failed = masked.sum(-1, keepdim=True), x.clone(), torch.zeros_like(masked)
    for start in range(0, int(left.max()) if x.numel() else 0, per_step):
        places = order[..., start:start + per_step]
        logits = _logits(denoiser, masked_likelihood(x, v, dtype), failed, start == 0)
        logits = logits.gather(-2, places[..., None].expand(*places.shape, v))
        drawn = categorical(logits.softmax(-1), draws[..., 1].gather(-1, places))
        active = torch.arange(start, start + places.shape[-1], device=x.device) < left
        failed.scatter_(-1, places, active & (drawn < 0))
        x.scatter_(-1, places, torch.where(active, drawn.clamp(min=0), x.gather(-1, places)))
    _all_drawn(failed)
    return x


def forward_backward(
    process: Process, denoiser: Denoiser, x0: Int[Tensor, "*lead d"], t: int, *, seed: Seed,
    dtype: torch.dtype = torch.float32,
) -> Int[Tensor, "*lead d"]:
    """Noise strings to time `t` and run the reverse process back: a U-turn.

    Parameters and errors as :func:`ancestral`; `x0` holds symbols 0 … v−1. Source: Sclocchi, Favero, Wyart 2025.
    """
    gen = generator(seed, "forward_backward")
    x_t = process.noised(x0, t, seed=gen)
    return ancestral(process, denoiser, x=x_t, t=t, seed=gen, dtype=dtype)
