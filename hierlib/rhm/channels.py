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

__all__ = ["epsilon_process", "gaussian", "masking", "uniform"]


def _prepare(
    x0: Tensor, level: float | Tensor, name: str, high: float, v: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, int]:
    """Return one-hot x0 ``(n, d, v)``, the noise level as ``(n or 1, 1, 1)``, and v, all checked."""
    v = checks.integer("v", v, low=2)
    checks.require(x0.ndim == 2 and x0.dtype == torch.int64, "x0", (tuple(x0.shape), x0.dtype),
                   "an int64 tensor of shape (n, d)")
    checks.require(not x0.numel() or (int(x0.min()) >= 0 and int(x0.max()) < v), "x0",
                   (int(x0.min()), int(x0.max())) if x0.numel() else None, f"symbols in 0 … {v - 1}")
    checks.require(dtype in (torch.float32, torch.float64), "dtype", dtype, "torch.float32 or torch.float64")
    if isinstance(level, Tensor) and level.ndim:
        checks.require(level.shape == (len(x0),), name, tuple(level.shape), f"a number or of shape ({len(x0)},)")
        for extreme in map(float, torch.aminmax(level)) if len(x0) else ():
            checks.require(0 <= extreme <= high, name, extreme, f"a finite number in [0, {high:g}]")
        level = level.to(x0.device, dtype)
    else:
        level = torch.tensor([checks.real(name, level, 0.0, high)], dtype=dtype, device=x0.device)
    hot = torch.zeros(*x0.shape, v, dtype=dtype, device=x0.device).scatter_(-1, x0.unsqueeze(-1), 1.0)
    return hot, level.view(-1, 1, 1), v


def epsilon_process(
    x0: Int[Tensor, "n d"], epsilon: float | Tensor, v: int, *, seed: Seed = 0,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n d v"]:
    """The paper's ε-process: belief 1 − ε + ε/v in each leaf's true value, ε/v in every other.

    Explained in the chapter *Phase transition*; source: Sclocchi, Favero, Wyart 2024.

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


def masking(
    x0: Int[Tensor, "n d"], epsilon: float | Tensor, v: int, *, seed: Seed = 0,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n d v"]:
    """Absorbing channel: each leaf is hidden with probability ε (belief 1/v), else seen exactly.

    Parameters as in :func:`epsilon_process`, and the `seed` of the draws. Explained in the chapter *Phase
    transition*; source: Sclocchi, Favero, Levi, Wyart 2025 (masking diffusion).

    Raises
    ------
    ValueError
        As :func:`epsilon_process`.
    """
    hot, epsilon, v = _prepare(x0, epsilon, "epsilon", 1.0, v, dtype)
    draw = torch.rand(x0.shape, generator=generator(seed, "masking"), dtype=torch.float64).to(x0.device)
    hidden = (draw < epsilon.squeeze(-1)).unsqueeze(-1)
    return torch.where(hidden, 1.0 / v, hot)


def uniform(
    x0: Int[Tensor, "n d"], epsilon: float | Tensor, v: int, *, seed: Seed = 0,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n d v"]:
    """Uniform channel (multinomial diffusion): with probability ε a leaf is redrawn among all v symbols.

    One observes y and has ν(a) = (1 − ε) δ(a, y) + ε/v; ᾱ = 1 − ε in the notation of discrete diffusion.
    Parameters as in :func:`masking`. Explained in the chapter *Phase transition*; source: Austin et al. 2021
    (D3PM).

    Raises
    ------
    ValueError
        As :func:`epsilon_process`.
    """
    _, epsilon, v = _prepare(x0, epsilon, "epsilon", 1.0, v, dtype)
    gen = generator(seed, "uniform")
    draw = torch.rand(x0.shape, generator=gen, dtype=torch.float64).to(x0.device)
    other = torch.randint(v, x0.shape, generator=gen).to(x0.device)
    y = torch.where(draw < epsilon.squeeze(-1), other, x0)
    return epsilon_process(y, epsilon.view(-1).expand(len(x0)), v, dtype=dtype)


def gaussian(
    x0: Int[Tensor, "n d"], alpha_bar: float | Tensor, v: int, *, seed: Seed = 0,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n d v"]:
    """Gaussian diffusion of one-hot tokens: x_t = √ᾱ x0 + √(1−ᾱ) z, so that ν(a) ∝ exp(x_t(a) √ᾱ/(1−ᾱ)).

    `alpha_bar` in [0, 1) is the signal that is left, one number or one per row; the other parameters are those
    of :func:`masking`. Explained in the chapter *Phase transition*; source: Ho, Jain, Abbeel 2020, eq. 4, and
    Bayes' rule.

    Raises
    ------
    ValueError
        As :func:`epsilon_process`, and for ᾱ = 1 (no noise: the likelihood is a point mass).
    """
    hot, alpha_bar, _ = _prepare(x0, alpha_bar, "alpha_bar", 1.0 - 1e-6, v, dtype)
    noise = torch.randn(hot.shape, generator=generator(seed, "gaussian"), dtype=torch.float64).to(x0.device, dtype)
    x_t = alpha_bar.sqrt() * hot + (1 - alpha_bar).sqrt() * noise
    return torch.softmax(x_t * alpha_bar.sqrt() / (1 - alpha_bar), -1)
