"""Losses of discrete diffusion: any-order masked cross-entropy, and the variational bound of D3PM.

Both are in nats per token and return one number per string, so that a held-out loss has an error bar and an
ensemble, with leading dimensions (E, n), an own loss for every member.
"""

import torch

from hierlib.diffusion.discrete.base import (
    Denoiser,
    Process,
    Time,
    cross_entropy,
    logits_of,
    masked_likelihood,
    symbols,
)
from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["any_order_loss", "variational_loss"]


def any_order_loss(
    denoiser: Denoiser, x0: Int[Tensor, "*lead d"], v: int, *, seed: Seed, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "*lead"]:
    """Masked-diffusion loss in its any-order form, nats per token, one number per string.

    The number of masked tokens is drawn uniformly in 1 … d, then which ones; the loss is the mean cross-entropy of
    the masked tokens. Its expectation times d is an upper bound on −log p(x0), the one of masked diffusion with
    infinitely many steps; with the exact posterior it equals the entropy, ln(number of strings) for a grammar.
    Source: Hoogeboom et al. 2022 (autoregressive diffusion,
    eq. 5); Shi et al. 2024.

    Parameters
    ----------
    denoiser
        Maps the likelihood ``(..., d, v)`` to logits of the same shape.
    x0
        Strings, int64 ``(..., d)``.
    v
        Number of symbols.
    seed
        Integer or CPU ``torch.Generator``; drawn row by row.
    dtype
        Of the likelihood that the denoiser is given.

    Raises
    ------
    ValueError
        For symbols outside 0 … v−1, or logits of another shape.
    """
    v = checks.integer("v", v, low=2)
    symbols("x0", x0, v)
    d = x0.shape[-1]
    gen = generator(seed, "any_order_loss")
    draws = torch.rand(*x0.shape[:-1], 1 + d, generator=gen, dtype=torch.float32).to(x0.device)
    count = (draws[..., :1] * d).long().clamp(max=d - 1) + 1
    first = torch.arange(d, device=x0.device) < count
    masked = torch.zeros_like(x0, dtype=torch.bool).scatter(-1, draws[..., 1:].argsort(-1), first)
    logits = logits_of(denoiser, masked_likelihood(x0.masked_fill(masked, v), v, dtype))
    return torch.where(masked, cross_entropy(logits, x0), 0.0).sum(-1) / count.squeeze(-1)


def variational_loss(
    process: Process, denoiser: Denoiser, x0: Int[Tensor, "*lead d"], *, seed: Seed, t: Time | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*lead"]:
    """One term of the variational bound: KL(q(x_{t−1} | x_t, x0) ‖ p(x_{t−1} | x_t)), mean over tokens, nats.

    A time is drawn for each string, uniformly in 1 … T, then x_t. Neither T nor d multiplies the result, as in the
    code of Favero et al.; T·d times its expectation, plus KL(q(x_T | x0) ‖ noise), is an upper bound on −log p(x0)
    if ᾱ_0 = 1 (else on that of the string noised to ᾱ_0). At t = 1 with ᾱ_0 = 1 the term is −log p(x0 | x_1). For
    :class:`Masked` it is the cross-entropy of the masked tokens times (ᾱ_{t−1} − ᾱ_t)/(1 − ᾱ_t), and 0 where none is
    masked. Source: Austin et al. 2021, eq. 1.

    Parameters
    ----------
    process
        :class:`Uniform` or :class:`Masked`.
    denoiser, x0, seed, dtype
        As for :func:`any_order_loss`.
    t
        Fixes the time: an integer in 1 … T or int64 ``(...)``.

    Raises
    ------
    ValueError
        For symbols outside 0 … v−1, a time outside 1 … T or of another shape, or logits of another shape.
    """
    symbols("x0", x0, process.v)
    gen = generator(seed, "variational_loss")
    t = torch.randint(1, process.T + 1, x0.shape[:-1], generator=gen) if t is None else process.time(t, x0, 1)
    x_t = process.noised(x0, t, seed=gen)
    return process.divergence(x0, x_t, t, logits_of(denoiser, process.likelihood(x_t, t, dtype=dtype))).mean(-1)
