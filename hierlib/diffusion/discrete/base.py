"""What all processes of discrete diffusion share: time, schedule, forward noise, and the checks of input.

Source: Austin, Johnson, Ho, Tarlow, van den Berg, *Structured denoising diffusion models in discrete state-spaces*,
NeurIPS 2021.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["Process", "linear_alpha_bar"]

Denoiser = Callable[[Tensor], Tensor]
Time = int | Tensor


def linear_alpha_bar(T: int = 200) -> Float[Tensor, " times"]:
    """Return ᾱ_0 … ᾱ_T = Π_{s ≤ t} (1 − β_s), with β_0 … β_T linear from 0.001 to 0.1.

    The index starts at 0, so that ᾱ_0 = 0.999: even the last state of the reverse chain is slightly noised, as in the
    code of Favero et al. ValueError for T < 1. Source: Favero et al. 2025 (schedule), Ho, Jain, Abbeel 2020.
    """
    return (1 - torch.linspace(1e-3, 0.1, checks.integer("T", T, low=1) + 1, dtype=torch.float64)).cumprod(0)


def symbols(name: str, x: Tensor, states: int, *, wait: bool = False) -> None:
    """Raise unless `x` is an int64 tensor (..., d), d ≥ 1, of states 0 … `states` − 1.

    Values on a GPU are looked at only if the program may `wait` for them: not in what each step of a loop calls.
    """
    good = isinstance(x, Tensor) and x.dtype == torch.int64 and x.ndim >= 1 and x.shape[-1] >= 1
    checks.require(good, name, (tuple(x.shape), x.dtype) if isinstance(x, Tensor) else type(x).__name__,
                   "an int64 torch tensor of shape (..., d) with d ≥ 1")
    if x.numel() and (wait or x.device.type == "cpu"):
        low, high = (int(end) for end in torch.aminmax(x))
        checks.require(low >= 0 and high < states, name, (low, high), f"symbols in 0 … {states - 1}")


def logits_of(denoiser: Denoiser, likelihood: Tensor) -> Tensor:
    """Return the denoiser's logits, at least as precise as `likelihood`; raise when their shape is not its shape."""
    logits = denoiser(likelihood)
    checks.require(logits.shape == likelihood.shape, "denoiser(likelihood).shape", tuple(logits.shape),
                   f"that of the likelihood, {tuple(likelihood.shape)}")
    return logits.to(torch.promote_types(logits.dtype, likelihood.dtype))       # autocast makes them bfloat16


def normalised(p: Tensor) -> Tensor:
    """Return non-negative weights of any scale, (..., k), as probabilities."""
    p = p / p.amax(-1, keepdim=True)
    return p / p.sum(-1, keepdim=True)


def cross_entropy(logits: Tensor, x0: Tensor) -> Tensor:
    """Return −log softmax(logits)[x0] of every token, ``(..., d)``."""
    # torch's own cross_entropy is 4 times slower on a CPU where symbols are fewer than 16
    return logits.logsumexp(-1) - logits.gather(-1, x0.unsqueeze(-1)).squeeze(-1)


def masked_likelihood(x: Tensor, v: int, dtype: torch.dtype) -> Tensor:
    """Return the likelihood of partly masked strings: one-hot where visible, 1/v where masked."""
    masked = torch.full((1, v), 1.0 / v, dtype=dtype, device=x.device)
    return F.embedding(x, torch.cat([torch.eye(v, dtype=dtype, device=x.device), masked]))


@dataclass(frozen=True, eq=False)
class Process(ABC):
    """A forward process that acts on each token alone, fixed by v and by the signal ᾱ_t that is left at time t.

    Base of :class:`Uniform` and :class:`Masked`. Source: Austin et al. 2021.

    Parameters
    ----------
    v
        Number of symbols (≥ 2).
    alpha_bar
        ᾱ_0 … ᾱ_T: tensor, array or list of T + 1 ≥ 2 numbers in [0, 1] that do not increase; kept in float64 on the
        CPU. Any schedule of :mod:`hierlib.diffusion.schedule` will do, evaluated at t/T; 1 − t/T is that of masking.

    Raises
    ------
    ValueError
        For v < 2, or ᾱ of another shape, outside [0, 1] or increasing. The methods look at the values of states on the
        CPU only: on a GPU, the program would have to wait for them at each step.
    """

    v: int
    alpha_bar: Float[Tensor, " times"] | np.ndarray | list[float]

    def __post_init__(self) -> None:
        table = torch.as_tensor(self.alpha_bar, dtype=torch.float64).detach().cpu().clone()
        good = table.ndim == 1 and len(table) >= 2 and bool(((table >= 0) & (table <= 1)).all())
        checks.require(good and bool((table.diff() <= 0).all()), "alpha_bar", table.tolist(),
                       "of shape (T + 1,) with T ≥ 1, in [0, 1] and non-increasing in t")
        object.__setattr__(self, "v", checks.integer("v", self.v, low=2))
        object.__setattr__(self, "alpha_bar", table)

    @property
    def T(self) -> int:
        """Number of steps."""
        return len(self.alpha_bar) - 1

    @property
    @abstractmethod
    def states(self) -> int:
        """Number of states of a token; v, and one more where there is a mask."""

    def time(self, t: Time, x: Int[Tensor, "*lead d"], low: int = 0) -> Tensor:
        """Return `t` as an int64 tensor on the CPU: one time in `low` … T, or one per string of `x`.

        Raises
        ------
        ValueError
            For a time that is no integer, outside the range or of another shape.
        """
        if not isinstance(t, Tensor):
            return torch.tensor(checks.integer("t", t, low=low, high=self.T), device="cpu")
        checks.require(t.dtype == torch.int64 and t.shape in ((), x.shape[:-1]), "t", (tuple(t.shape), t.dtype),
                       f"an integer, or int64 of shape {tuple(x.shape[:-1])}")
        t = t.cpu()
        for end in map(int, torch.aminmax(t)) if t.numel() else ():
            checks.require(low <= end <= self.T, "t", end, f"an integer in [{low}, {self.T}]")
        return t

    def noised(self, x0: Int[Tensor, "*lead d"], t: Time, *, seed: Seed) -> Int[Tensor, "*lead d"]:
        """Return x_t ~ q(x_t | x0): each token keeps its value with probability ᾱ_t, else it becomes noise.

        For a given seed the noise is nested: what is lost at one time is lost at all later ones, to the same noise.

        Parameters
        ----------
        x0
            Strings, int64 ``(..., d)``.
        t
            Time in 0 … T, one integer or int64 ``(...)``, one per string.
        seed
            Integer or CPU ``torch.Generator``; drawn row by row.

        Raises
        ------
        ValueError
            For symbols outside 0 … v−1, or a time outside 0 … T or of another shape.
        """
        symbols("x0", x0, self.v)
        keep = self.alpha_bar[self.time(t, x0)][..., None]
        draws = torch.rand(*x0.shape, 2, generator=generator(seed, "Process.noised"), dtype=torch.float64)
        return torch.where((draws[..., 0] < keep).to(x0.device), x0, self._noise(draws[..., 1]).to(x0.device))

    def stationary(self, shape: tuple[int, ...], *, seed: Seed) -> Int[Tensor, "..."]:
        """Return int64 strings of this shape that are pure noise, the state at ᾱ = 0, on the CPU."""
        draws = torch.rand(shape, generator=generator(seed, "Process.stationary"), dtype=torch.float64)
        return self._noise(draws)

    @abstractmethod
    def _noise(self, uniform: Tensor) -> Tensor:
        """Turn draws from [0, 1) into noise tokens."""

    @abstractmethod
    def likelihood(
        self, x_t: Int[Tensor, "*lead d"], t: Time, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "*lead d v"]:
        """Return λ_i(a) ∝ P(x_t | x0_i = a), normalised to sum 1 over a: what a denoiser takes.

        ValueError for states or times (0 … T) outside the process, or a time of another shape.
        """

    @abstractmethod
    def posterior(
        self, x_t: Int[Tensor, "*lead d"], t: Time, p0: Float[Tensor, "*lead d v"]
    ) -> Float[Tensor, "*lead d states"]:
        """Return the probabilities of x_{t−1} given x_t when x0_i ~ p0_i: one reverse step, token by token.

        With p0 = onehot(x0) it is the exact bridge q(x_{t−1} | x_t, x0). What p0 has to be for the step of an ideal
        model: see :class:`Uniform` and :class:`Masked`.

        Parameters
        ----------
        x_t
            States at time t, int64 ``(..., d)``.
        t
            Time in 1 … T, one integer or int64 ``(...)``.
        p0
            float ``(..., d, v)``, non-negative, on any scale.

        Raises
        ------
        ValueError
            For states or times outside the process, or shapes that do not fit.
        """

    @abstractmethod
    def divergence(
        self, x0: Int[Tensor, "*lead d"], x_t: Int[Tensor, "*lead d"], t: Time, logits: Float[Tensor, "*lead d v"]
    ) -> Float[Tensor, "*lead d"]:
        """Return KL(q(x_{t−1} | x_t, x0) ‖ p(x_{t−1} | x_t)) of every token in nats; p0 = softmax(logits) makes p.

        In closed form and differentiable in the logits. Shapes, times and errors as :meth:`posterior`.
        """

    def _checked(self, x_t: Tensor, t: Time, p0: Tensor, name: str, x0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return ᾱ_t and ᾱ_{t−1}, float64 on the CPU, and raise for what does not fit together."""
        if x0 is not None:
            symbols("x0", x0, self.v)
            checks.require(x0.shape == x_t.shape, "x0.shape", tuple(x0.shape), f"that of x_t, {tuple(x_t.shape)}")
        symbols("x_t", x_t, self.states)
        checks.require(p0.shape == (*x_t.shape, self.v), name, tuple(p0.shape),
                       f"of shape {(*x_t.shape, self.v)}, that of x_t and v")
        t = self.time(t, x_t, 1)
        return self.alpha_bar[t], self.alpha_bar[t - 1]
