"""Diffusion with Gaussian noise: x_t = √ᾱ x0 + √(1−ᾱ) ε, what networks predict of it, their loss, one sampler.

The noise level is the signal ᾱ (`alpha_bar`) that is left, in [0, 1]: 1 is clean data, 0 pure noise. It is a number
for all samples or a tensor of one per sample, ``(n,)``. A **denoiser** is any callable ``(x_t, alpha_bar,
*condition) -> x̂0``, an estimate of E[x0 | x_t]: a :class:`Denoiser` around a network, or an exact one of
:mod:`hierlib.diffusion.ideal`.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import nn

from hierlib.diffusion import schedule as schedules
from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Tensor

__all__ = ["KINDS", "Denoiser", "amplitudes", "convert", "forward_backward", "loss", "noised", "sample", "trajectory"]

KINDS = ("data", "noise", "velocity")           # x0, ε, v = √ᾱ ε − √(1−ᾱ) x0
Level = float | Float[Tensor, "..."]


def amplitudes(alpha_bar: Level, x: Float[Tensor, "..."]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Return a = √ᾱ and b = √(1−ᾱ), with trailing axes of length 1 such that they multiply `x`.

    Source: Ho, Jain, Abbeel 2020, eq. 4.

    Parameters
    ----------
    alpha_bar
        A number, or a tensor whose axes are the first ones of `x`: ``(n,)`` for samples, ``(E, n)`` for an ensemble's.
    x
        The tensor to be multiplied.

    Raises
    ------
    ValueError
        For ᾱ outside [0, 1] or of another shape. The values of a tensor on a GPU are not looked at, as the program
        would have to wait for them.
    """
    if not isinstance(alpha_bar, Tensor):
        alpha_bar = checks.real("alpha_bar", alpha_bar, 0.0, 1.0)
        a, b = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
        return torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)   # numbers to any x
    checks.require(alpha_bar.shape == x.shape[:alpha_bar.ndim], "alpha_bar", tuple(alpha_bar.shape),
                   f"a number or of a shape that x, {tuple(x.shape)}, begins with")
    if alpha_bar.device.type == "cpu":
        checks.require(bool(((alpha_bar >= 0) & (alpha_bar <= 1)).all()), "alpha_bar", alpha_bar, "in [0, 1]")
    alpha_bar = alpha_bar[(...,) + (None,) * (x.ndim - alpha_bar.ndim)]
    return alpha_bar.sqrt().to(x), (1 - alpha_bar).sqrt().to(x)


def noised(x0: Float[Tensor, "*shape"], alpha_bar: Level, noise: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return x_t = √ᾱ x0 + √(1−ᾱ) ε, for standard Gaussian `noise` ε of the shape of `x0`.

    ValueError for ᾱ outside [0, 1], or whose shape `x0` does not begin with. Source: Ho, Jain, Abbeel 2020, eq. 4.
    """
    a, b = amplitudes(alpha_bar, x0)
    return a * x0 + b * noise


def convert(
    prediction: Float[Tensor, "*shape"], x_t: Float[Tensor, "*shape"], alpha_bar: Level, kind: str, to: str
) -> Float[Tensor, "*shape"]:
    """Return what a `prediction` of one of :data:`KINDS` says of another, given the noised `x_t`.

    With a = √ᾱ and b = √(1−ᾱ), x_t = a x0 + b ε and v = a ε − b x0; data and noise follow from the velocity without
    a division. Source: Salimans, Ho 2022, appendix D.

    Raises
    ------
    ValueError
        For an unknown `kind` or `to`, ᾱ outside [0, 1], ᾱ = 0 when the prediction is noise (which is then x_t and
        says nothing else), or ᾱ = 1 when it is data. On a GPU a tensor ᾱ of 0 or 1 gives nan.
    """
    kind, to = checks.one_of("kind", kind, KINDS), checks.one_of("to", to, KINDS)
    a, b = amplitudes(alpha_bar, x_t)
    if kind == to:
        return prediction
    divisor = {"data": b, "noise": a, "velocity": None}[kind]
    if divisor is not None and divisor.device.type == "cpu":
        checks.require(bool((divisor > 0).all()), "alpha_bar", alpha_bar, "below 1 where the prediction is data"
                       if kind == "data" else "positive where the prediction is noise (start at 1e-4, say)")
    match kind, to:
        case "data", "noise":
            return (x_t - a * prediction) / b
        case "data", "velocity":
            return (a * x_t - prediction) / b
        case "noise", "data":
            return (x_t - b * prediction) / a
        case "noise", "velocity":
            return (prediction - b * x_t) / a
        case "velocity", "data":
            return a * x_t - b * prediction
    return b * x_t + a * prediction             # the noise from the velocity


class Denoiser(nn.Module):
    """A network that predicts data, noise or velocity, as a denoiser ``(x_t, alpha_bar, *condition) -> x̂0``.

    Source: Salimans, Ho 2022 (parametrisations).

    Parameters
    ----------
    network
        ``network(x_t, alpha_bar, *condition)`` returns the shape of `x_t`; it is always given ᾱ as a tensor ``(n,)``
        of x_t's dtype. A module (then its parameters are the denoiser's), or any function.
    predicts
        One of :data:`KINDS`.
    batch_dims
        Number of leading axes of x_t that count samples: 1, or 2 for an ensemble's ``(E, n, …)``, whose network is
        given ᾱ as ``(E, n)``.

    Raises
    ------
    ValueError
        For another kind or other `batch_dims`; when called, for ᾱ as :func:`amplitudes`, or a prediction of another
        shape than x_t.

    Examples
    --------
    >>> denoiser = Denoiser(lambda x, alpha_bar: torch.zeros_like(x), "noise")
    >>> denoiser(torch.ones(2, 3), 0.25)[0]
    tensor([2., 2., 2.])
    """

    def __init__(self, network: Callable[..., Tensor], predicts: str = "noise", batch_dims: int = 1) -> None:
        super().__init__()
        self.network = network
        self.predicts = checks.one_of("predicts", predicts, KINDS)
        self.batch_dims = checks.integer("batch_dims", batch_dims, low=1, high=2)

    def extra_repr(self) -> str:
        """Return what is predicted, for print."""
        return f"predicts={self.predicts!r}"

    def predict(self, x_t: Float[Tensor, "*shape"], alpha_bar: Level, *condition: Tensor) -> Float[Tensor, "*shape"]:
        """Return the network's own output."""
        lead = x_t.shape[:self.batch_dims]
        # a number is filled in, not copied, for which a GPU would be waited for
        alpha_bar = alpha_bar.to(x_t) if isinstance(alpha_bar, Tensor) else x_t.new_full((), float(alpha_bar))
        checks.require(alpha_bar.shape in ((), lead), "alpha_bar", tuple(alpha_bar.shape),
                       f"a number or of shape {tuple(lead)}")
        out = self.network(x_t, alpha_bar.expand(lead), *condition)
        checks.require(out.shape == x_t.shape, "network", f"output of shape {tuple(out.shape)}",
                       f"of x_t's, {tuple(x_t.shape)}")
        return out

    def forward(self, x_t: Float[Tensor, "*shape"], alpha_bar: Level, *condition: Tensor) -> Float[Tensor, "*shape"]:
        """Return the denoised x̂0."""
        return convert(self.predict(x_t, alpha_bar, *condition), x_t, alpha_bar, self.predicts, "data")


def loss(
    denoiser: Denoiser, x0: Float[Tensor, "*shape"], alpha_bar: Level, noise: Float[Tensor, "*shape"],
    *condition: Tensor,
) -> Float[Tensor, "..."]:
    """Return the mean squared error, per component, of what `denoiser` predicts of `x0` noised with `noise`.

    Source: Ho, Jain, Abbeel 2020, eq. 14 (noise); Salimans, Ho 2022 (data, velocity).

    Parameters
    ----------
    denoiser
        A :class:`Denoiser`; the error is that of its kind, so that of the noise, say, is ᾱ/(1−ᾱ) times that of x̂0.
    x0, alpha_bar, noise
        As in :func:`noised`.
    condition
        Handed on to the network.

    Returns
    -------
    scalar; with two `batch_dims`, ``(E,)``: as :func:`hierlib.lab.train` wants it

    Raises
    ------
    ValueError
        For shapes that do not fit, or ᾱ outside [0, 1].
    """
    match denoiser.predicts:
        case "data":
            wanted = x0
        case "noise":
            wanted = noise
        case "velocity":
            wanted = noised(noise, alpha_bar, -x0)
    error = (denoiser.predict(noised(x0, alpha_bar, noise), alpha_bar, *condition) - wanted) ** 2
    return error.flatten(denoiser.batch_dims - 1).mean(-1)


@torch.no_grad()
def trajectory(
    denoiser: Callable[..., Tensor], x_T: Float[Tensor, "*shape"], alpha_bars: Float[Tensor, "steps"],
    *condition: Tensor, eta: float = 0.0, seed: Seed = 0,
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Yield (ᾱ, x at that level, x̂0 it was made of) after each step of the reverse process.

    Parameters and errors as :func:`sample`, which returns the last x. Source: Song, Meng, Ermon 2021, eqs. 12, 16.
    """
    eta = checks.real("eta", eta, 0.0, 1.0)
    grid = torch.as_tensor(alpha_bars).tolist()
    checks.require(len(grid) > 1 and grid[0] >= 0 and all(s < t <= 1 for s, t in pairwise(grid)), "alpha_bars", grid,
                   "two levels or more, increasing, in [0, 1]")
    gen, x = generator(seed, "sample"), x_T
    for now, then in pairwise(grid):
        x0 = denoiser(x, now, *condition)
        noise = convert(x0, x, now, "data", "noise")
        # σ = η √((1−ᾱ')/(1−ᾱ)) √(1−ᾱ/ᾱ'), and the rest of the noise level is filled with ε̂
        sigma = eta * math.sqrt((1 - then) / (1 - now) * (1 - now / then))
        x = math.sqrt(then) * x0 + math.sqrt(max(1 - then - sigma**2, 0.0)) * noise
        if sigma > 0:
            x = x + sigma * torch.randn(x.shape, generator=gen, dtype=x.dtype).to(x.device)
        yield then, x, x0


def sample(
    denoiser: Callable[..., Tensor], x_T: Float[Tensor, "*shape"], alpha_bars: Float[Tensor, "steps"],
    *condition: Tensor, eta: float = 0.0, seed: Seed = 0,
) -> Float[Tensor, "*shape"]:
    """Run the reverse process from `x_T` along increasing signals `alpha_bars`, one call of the denoiser per step.

    Special cases: η = 0 is DDIM, deterministic, a solver of the probability-flow equation; η = 1 is the ancestral
    sampler of DDPM; a single step to ᾱ = 1 returns x̂0 itself. The steps are first order: the error of the sampled
    distribution falls as 1/steps. Source: Song, Meng, Ermon 2021, eqs. 12, 16.

    Parameters
    ----------
    denoiser
        ``(x_t, alpha_bar, *condition) -> x̂0``.
    x_T
        States at the level alpha_bars[0], ``(n, …)``: standard Gaussian noise, if that is (nearly) 0.
    alpha_bars
        ``(steps + 1,)``, as :func:`hierlib.diffusion.schedule.grid` makes them. The state at the last one is
        returned; with 1 it is clean.
    condition
        Handed on to the denoiser.
    eta
        Share η in [0, 1] of fresh noise.
    seed
        Integer or CPU ``torch.Generator``; nothing is drawn with η = 0.

    Raises
    ------
    ValueError
        For signals that do not increase or lie outside [0, 1], or η outside [0, 1].
    """
    steps = trajectory(denoiser, x_T, alpha_bars, *condition, eta=eta, seed=seed)
    return deque(steps, maxlen=1)[0][1]


def forward_backward(
    denoiser: Callable[..., Tensor], x0: Float[Tensor, "*shape"], alpha_bar: float, steps: int, *condition: Tensor,
    schedule: str | Callable = "cosine", eta: float = 1.0, seed: Seed = 0,
) -> Float[Tensor, "*shape"]:
    """Noise `x0` to the signal `alpha_bar` and run the reverse process back in `steps` steps: a U-turn.

    With an exact denoiser and many steps, x0 and the result are two independent samples of the posterior given x_t.
    Parameters and errors otherwise as :func:`sample`, `schedule` as for :func:`hierlib.diffusion.schedule.grid`.
    Source: Sclocchi, Favero, Wyart 2025.
    """
    checks.require(0 <= alpha_bar < 1, "alpha_bar", alpha_bar, "in [0, 1): at 1 there is nothing to do")
    grid, gen = schedules.grid(steps, schedule, start=alpha_bar), generator(seed, "forward_backward")
    noise = torch.randn(x0.shape, generator=gen, dtype=x0.dtype).to(x0.device)
    return sample(denoiser, noised(x0, alpha_bar, noise), grid, *condition, eta=eta, seed=gen)
