"""Forward processes of discrete diffusion, uniform and masked, with their exact one-step posteriors.

At time t = 0 … T a token still holds its value with probability ᾱ_t, else it was redrawn among all v symbols
(:class:`Uniform`) or masked (:class:`Masked`). All is in closed form; no table of transitions is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from hierlib.diffusion.discrete.base import Process, Time, cross_entropy, masked_likelihood, normalised, symbols
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["Masked", "Uniform"]


def _columns(x: Tensor, dtype: torch.dtype, *numbers: Tensor) -> Sequence[Tensor]:
    """Return float64 `numbers` (...) of the CPU, each as (..., 1) beside the states `x` (..., d)."""
    if numbers[0].numel() == 1:                   # filled in: a GPU would be waited for at each copy, here none or one
        return [torch.full((*n.shape, 1), n.item(), dtype=dtype, device=x.device) for n in numbers]
    return torch.stack(numbers)[..., None].to(x.device, dtype).unbind()


@dataclass(frozen=True, eq=False)
class Uniform(Process):
    """Uniform ("multinomial") diffusion: a token that is lost is redrawn among all v symbols.

    The reverse step is p(x_{t−1} | x_t) ∝ [a_t δ(x_{t−1}, x_t) + (1−a_t)/v] · [ᾱ_{t−1} p0(x_{t−1}) + (1−ᾱ_{t−1})/v]
    with a_t = ᾱ_t/ᾱ_{t−1}, as in the code of Favero et al. With p0 = onehot(x0) it is the bridge. With a model's
    output it is the exact law of each token if and only if p0 is the **leave-one-out posterior**, p(x0_i | all of
    x_t but token i), because the first factor already holds what x_t says of its own token. At the leaves
    ``rhm.cavity`` gives it, and :func:`variational_loss` teaches it to a network. The plain posterior p(x0_i | x_t),
    ``rhm.marginals``, which a cross-entropy teaches, counts that evidence twice and generates worse strings.

    For a model of the **full posterior** p(x0_i | x_t) the exact step is Σ_x0 q(x_{t−1} | x_t, x0) p0(x0). It is the
    step above with p0(a)/λ(a) in the place of p0(a), up to a factor, as q(x_{t−1} | x_t, x0) is the product of the two
    brackets at p0 = onehot(x0), divided by λ(x0) = P(x_t | x0). So `full` divides p0 by the likelihood.

    Parameters and errors as :class:`Process`. Source: Hoogeboom
    et al. 2021 (multinomial diffusion); Austin et al. 2021, eq. 3.

    Parameters
    ----------
    full
        Whether p0, or softmax(logits), is the posterior given all tokens, its own included.
    """

    full: bool = False

    @property
    def states(self) -> int:
        """Number of states of a token, v."""
        return self.v

    def _noise(self, uniform: Tensor) -> Tensor:
        return (uniform * self.v).long().clamp(max=self.v - 1)

    def likelihood(
        self, x_t: Int[Tensor, "*lead d"], t: Time, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "*lead d v"]:
        """Return ᾱ_t δ(a, x_t) + (1 − ᾱ_t)/v; see :meth:`Process.likelihood`."""
        symbols("x_t", x_t, self.v)
        signal = self.alpha_bar[self.time(t, x_t)][..., None]
        return self._mix(F.one_hot(x_t, self.v), signal, dtype)

    def _mix(self, p: Tensor, signal: Tensor, dtype: torch.dtype) -> Tensor:
        """Return signal · p + (1 − signal)/v for p (..., d, v) and signal (..., 1)."""
        signal, rest = _columns(p, dtype, signal, (1 - signal) / self.v)
        return signal * p + rest

    def _others(self, x_t: Tensor, t: Time, logits: Tensor) -> Tensor:
        """Return the logits of a full posterior without what each token of x_t says of itself."""
        own = self.likelihood(x_t, t, dtype=logits.dtype)
        return logits - own.clamp_min(torch.finfo(logits.dtype).tiny).log()

    @staticmethod
    def _step(now: Tensor, before: Tensor) -> Tensor:
        """Return a_t; 1 where nothing happens, so also where both ᾱ are 0."""
        return torch.where(now == before, 1.0, now / before)

    def posterior(
        self, x_t: Int[Tensor, "*lead d"], t: Time, p0: Float[Tensor, "*lead d v"]
    ) -> Float[Tensor, "*lead d states"]:
        """Return the reverse step of the class's formula; see :meth:`Process.posterior`."""
        now, before = self._checked(x_t, t, p0, "p0")
        a, hot = self._step(now, before)[..., None], F.one_hot(x_t, self.v).to(p0.dtype)
        p0 = self._others(x_t, t, p0.log()).softmax(-1) if self.full else normalised(p0)
        prior = self._mix(p0, before[..., None], p0.dtype)
        p = self._mix(hot, a, p0.dtype) * prior
        keep, = _columns(x_t, p0.dtype, a)              # 1: no noise, x_{t−1} = x_t, whatever p0 says
        return torch.where(keep == 1, hot, p / p.sum(-1, keepdim=True))

    def divergence(
        self, x0: Int[Tensor, "*lead d"], x_t: Int[Tensor, "*lead d"], t: Time, logits: Float[Tensor, "*lead d v"]
    ) -> Float[Tensor, "*lead d"]:
        """Return the KL divergence of every token; see :meth:`Process.divergence`.

        Both laws are step · prior / Z, and Z = a_t prior(x_t) + (1−a_t)/v. The factor `step` cancels in the
        logarithm, and the bridge has one value q for all symbols but x0 (q_0) and x_t (q_t): what is left is one plain
        sum of log prior over the symbols, two gathered terms, and log Z of either law.
        """
        now, before = self._checked(x_t, t, logits, "logits", x0)
        a, dtype, v, same = self._step(now, before), logits.dtype, self.v, x0 == x_t
        off, on, low, high, keep, signal = _columns(
            x_t, dtype, (1 - a) / v, a + (1 - a) / v, (1 - before) / v, before + (1 - before) / v, a, before)
        logits = self._others(x_t, t, logits) if self.full else logits
        prior = torch.logaddexp(logits.log_softmax(-1) + signal.log()[..., None], low.log()[..., None])   # (..., d, v)
        at_0, at_t = (prior.gather(-1, x[..., None]).squeeze(-1) for x in (x0, x_t))
        z = keep * torch.where(same, high, low) + off
        q_0, q_t, q = torch.where(same, on, off) * high / z, torch.where(same, 0.0, on * low / z), off * low / z
        gap_0, gap_t = high.log() - at_0, low.log() - at_t
        others = (low.log()[..., None] - prior).sum(-1) - (low.log() - at_0) - torch.where(same, 0.0, gap_t)
        log_z = torch.logaddexp(keep.log() + at_t, off.log())
        kl = log_z - z.log()
        for weight, gap in ((q_0, gap_0), (q_t, gap_t), (q, others)):
            kl = kl + torch.where(weight > 0, weight * gap, 0.0)      # 0 log 0 = 0
        return torch.where(keep == 1, 0.0, kl)


@dataclass(frozen=True, eq=False)
class Masked(Process):
    """Masked ("absorbing") diffusion: a token that is lost becomes the mask, state v.

    In the reverse step a masked token takes a value, drawn from p0, with probability (ᾱ_{t−1} − ᾱ_t)/(1 − ᾱ_t); a
    visible one stays. A masked token says nothing of itself: its posterior is its leave-one-out posterior, so that
    a cross-entropy teaches the right one (in contrast to :class:`Uniform`), and the divergence is that cross-entropy
    times the same probability.

    Parameters and errors as :class:`Process`. Source: Austin et
    al. 2021; Shi et al. 2024.
    """

    @property
    def states(self) -> int:
        """Number of states of a token, v + 1."""
        return self.v + 1

    def _noise(self, uniform: Tensor) -> Tensor:
        return torch.full(uniform.shape, self.v)

    def likelihood(
        self, x_t: Int[Tensor, "*lead d"], t: Time, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "*lead d v"]:
        """Return one-hot rows where tokens are visible, 1/v where masked, at any t; see :meth:`Process.likelihood`."""
        symbols("x_t", x_t, self.states)
        self.time(t, x_t)
        return masked_likelihood(x_t, self.v, dtype)

    @staticmethod
    def _unmasked(now: Tensor, before: Tensor) -> Tensor:
        """Return the probability that a masked token takes a value in this step."""
        return torch.where(now == before, 0.0, (before - now) / (1 - now))

    def posterior(
        self, x_t: Int[Tensor, "*lead d"], t: Time, p0: Float[Tensor, "*lead d v"]
    ) -> Float[Tensor, "*lead d states"]:
        """Return the reverse step of the class's formula; see :meth:`Process.posterior`."""
        now, before = self._checked(x_t, t, p0, "p0")
        w = self._unmasked(now, before)[..., None]
        w, stay = _columns(x_t, p0.dtype, w, 1 - w)
        masked = torch.cat([w * normalised(p0), stay.expand(*x_t.shape, 1)], -1)
        return torch.where((x_t == self.v)[..., None], masked, F.one_hot(x_t, self.states).to(p0.dtype))

    def divergence(
        self, x0: Int[Tensor, "*lead d"], x_t: Int[Tensor, "*lead d"], t: Time, logits: Float[Tensor, "*lead d v"]
    ) -> Float[Tensor, "*lead d"]:
        """Return the weighted cross-entropy of every masked token, 0 where visible; see :meth:`Process.divergence`."""
        w, = _columns(x_t, logits.dtype, self._unmasked(*self._checked(x_t, t, logits, "logits", x0)))
        return torch.where((x_t == self.v) & (w > 0), w * cross_entropy(logits, x0), 0.0)
