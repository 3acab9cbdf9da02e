"""Noise channels of the Random Hierarchy Model as leaf likelihoods ν(a) ∝ P(observation | token = a).

Each is called as ``channel(x0, level, v, seed=…)`` and returns a float ``(n, d, v)`` tensor for
:mod:`hierlib.rhm.belief`.
Randomness is drawn on the CPU; the same seed gives the same draws at every noise level, so that curves against
the noise are smooth. The ε-process alone is not a Bayes channel: it tells every leaf's true value with one and
the same strength, without any draw.
"""

import torch

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Int, Tensor
from hierlib.rhm.grammar import check_strings

__all__ = ["epsilon_process", "gaussian", "masking", "uniform"]

Tokens, Likelihood, Noise = Int[Tensor, "n d"], Float[Tensor, "n d v"], float | Tensor


def _prepare(x0: Tensor, level: Noise, name: str, top: float, v: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, int]:
    """Return one-hot x0 ``(n, d, v)``, the noise level as ``(n or 1, 1, 1)``, and v, all checked."""
    v, dtype = checks.integer("v", v, low=2), checks.one_of("dtype", dtype, (torch.float32, torch.float64))
    check_strings("x0", x0, v=v)
    per_row = isinstance(level, Tensor) and level.ndim > 0
    if per_row:
        checks.require(level.shape == (len(x0),), name, tuple(level.shape), f"a number or of shape ({len(x0)},)")
    ends = (level,) if not per_row else map(float, level.aminmax()) if len(x0) else ()
    plain = [checks.real(name, end, 0.0, top) for end in ends]
    level = level.to(x0.device, dtype) if per_row else torch.tensor(plain, dtype=dtype, device=x0.device)
    hot = torch.zeros(*x0.shape, v, dtype=dtype, device=x0.device).scatter_(-1, x0.unsqueeze(-1), 1.0)
    return hot, level.view(-1, 1, 1), v


def epsilon_process(
    x0: Tokens, epsilon: Noise, v: int, *, seed: Seed = 0, dtype: torch.dtype = torch.float32
) -> Likelihood:
    """The paper's ε-process: belief 1 − ε + ε/v in each leaf's true value, ε/v in every other.

    Source: Sclocchi, Favero, Wyart 2024.

    Parameters
    ----------
    x0
        Strings, int64 ``(n, d)``.
    epsilon
        Noise in [0, 1], one number or one per row.
    v
        Number of symbols.
    seed
        Not used, as there is no randomness; taken so that all channels are called alike.
    dtype
        float32 or float64.

    Raises
    ------
    ValueError
        For symbols outside 0 … v−1 or a noise level outside [0, 1].
    """
    hot, epsilon, v = _prepare(x0, epsilon, "epsilon", 1.0, v, dtype)
    return (1 - epsilon) * hot + epsilon / v


def masking(x0: Tokens, epsilon: Noise, v: int, *, seed: Seed = 0, dtype: torch.dtype = torch.float32) -> Likelihood:
    """Absorbing channel: each leaf is hidden with probability ε (belief 1/v), else seen exactly.

    Parameters as in :func:`epsilon_process`, and the `seed` of the draws. Errors as there. Source: Sclocchi, Favero,
    Levi, Wyart 2025 (masking diffusion).
    """
    hot, epsilon, v = _prepare(x0, epsilon, "epsilon", 1.0, v, dtype)
    draw = torch.rand(x0.shape, generator=generator(seed, "masking"), dtype=torch.float64).to(x0.device)
    hidden = (draw < epsilon.squeeze(-1)).unsqueeze(-1)
    return torch.where(hidden, 1.0 / v, hot)


def uniform(x0: Tokens, epsilon: Noise, v: int, *, seed: Seed = 0, dtype: torch.dtype = torch.float32) -> Likelihood:
    """Uniform channel (multinomial diffusion): with probability ε a leaf is redrawn among all v symbols.

    One observes y and has ν(a) = (1 − ε) δ(a, y) + ε/v; ᾱ = 1 − ε in the notation of discrete diffusion.
    Parameters and errors as in :func:`masking`. Source: Austin et al. 2021 (D3PM).
    """
    _, epsilon, v = _prepare(x0, epsilon, "epsilon", 1.0, v, dtype)
    gen = generator(seed, "uniform")
    draw = torch.rand(x0.shape, generator=gen, dtype=torch.float64).to(x0.device)
    other = torch.randint(v, x0.shape, generator=gen).to(x0.device)
    y = torch.where(draw < epsilon.squeeze(-1), other, x0)
    return epsilon_process(y, epsilon.view(-1).expand(len(x0)), v, dtype=dtype)


def gaussian(x0: Tokens, alpha_bar: Noise, v: int, *, seed: Seed = 0, dtype: torch.dtype = torch.float32) -> Likelihood:
    """Gaussian diffusion of one-hot tokens: x_t = √ᾱ x0 + √(1−ᾱ) z, so that ν(a) ∝ exp(x_t(a) √ᾱ/(1−ᾱ)).

    `alpha_bar` in [0, 1) is the signal that is left, one number or one per row; the other parameters are those
    of :func:`masking`. Source: Ho, Jain, Abbeel 2020, eq. 4, and Bayes' rule.

    Raises
    ------
    ValueError
        As :func:`epsilon_process`, and for ᾱ = 1 (no noise: the likelihood is a point mass).
    """
    hot, alpha_bar, _ = _prepare(x0, alpha_bar, "alpha_bar", 1.0 - 1e-6, v, dtype)
    noise = torch.randn(hot.shape, generator=generator(seed, "gaussian"), dtype=torch.float64).to(x0.device, dtype)
    x_t = alpha_bar.sqrt() * hot + (1 - alpha_bar).sqrt() * noise
    return torch.softmax(x_t * alpha_bar.sqrt() / (1 - alpha_bar), -1)
