"""pSGD of one neuron on the mixed cumulant model as a Markov chain of the two overlaps, at a cost without d.

A step needs the gradient only along three directions orthogonal to w, and its length outside of them. Let
v = α_v w + ρ_v f, so that f is the tangent direction towards v; let u = α_u w + u_f f + u_h h. A sample enters its own
weight in the gradient through x_0·w and ε·w alone,

    x_0·w = α_u √β_u λ + α_v r ν + √V n₁,   ε·w = n₂,   V = 1 − r² α_v²,   n₁, n₂ ~ N(0, 1).

With s = w·x_t, e = x_0 − a x_t, A = (e·w − κφ)φ', the gradient is −κ/B Σ (P x_0 + R ε), P = aA + b²φ, R = b(A − aφ).
Given all n₁, n₂, λ, ν of the batch, the rest of x_0 and ε is Gaussian, so that the sum is Gaussian too:

    along f     mean Σ P (ρ_v r ν + u_f √β_u λ − r² α_v ρ_v n₁/√V),  variance (1 − r²)/V Σ P² + Σ R²
    along h     mean Σ P u_h √β_u λ,                                 variance Σ P² + Σ R²
    elsewhere   d − 3 components of mean 0,                          variance Σ P² + Σ R² each

This costs two normal numbers and the latents per sample, and three numbers per step.
"""

import math
from collections.abc import Iterator

import torch

from hierlib.cumulants.model import MixedCumulantModel
from hierlib.cumulants.neuron import TiedNeuron, value_and_derivative
from hierlib.cumulants.run import Run, Schedule, device_generator
from hierlib.lab import checks, generator
from hierlib.lab.types import Float, Tensor

__all__ = ["chain"]

_BLOCK = 32              # steps whose few numbers per replica are drawn at once


def chain(
    model: MixedCumulantModel,
    neuron: TiedNeuron,
    *,
    step: float,
    batch: int,
    samples: float,
    replicas: int = 64,
    start: tuple[float, float] | Float[Tensor, "S 2"] | None = None,
    target: str | None = None,
    threshold: float = 0.8,
    seed: int = 0,
    records: int = 100,
    fraction: float = 1.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Run:
    """Draw the overlaps (α_u, α_v) of S replicas of pSGD exactly, without ever making a vector of length d.

    The law of the trajectories is that of :func:`hierlib.cumulants.psgd.psgd` on the same model; its cost does not
    grow with d. Explained in the chapter *Simplicity bias*; source: this book (reconstruction of Bardone, Merger,
    Goldt 2026).

    Parameters
    ----------
    model
        The data, in d ≥ 3 dimensions.
    neuron
        The denoiser, whose weights are trained.
    step
        η ≥ 0 per batch.
    batch, samples, target, threshold, records, fraction
        See :class:`hierlib.cumulants.run.Schedule`.
    replicas
        S; with a start ``(S, 2)`` that one counts.
    start
        None: w uniform on the sphere. A pair (α_u, α_v), or one pair per replica ``(S, 2)``.
    seed
        Integer. The start is the same on every device; the samples are drawn on the device and are not.
    device, dtype
        Where (None: the CPU) and in what type the samples are. The overlaps are kept in float64.

    Returns
    -------
    Run
        Without w.

    Raises
    ------
    ValueError
        For numbers out of range, d below 3, or overlaps that no unit vector has.
    """
    schedule = Schedule(batch, samples, target, threshold, records, fraction)
    eta, d = checks.real("step", step, 0.0), checks.integer("d", model.d, low=3)
    rng = device_generator(seed, "chain", device)
    alpha, batch = _start(start, d, checks.integer("replicas", replicas, low=1), seed).to(rng.device), schedule.batch
    shape = (batch, alpha.shape[1])                       # replicas last: their numbers stand along the rows
    r2, r, strength = model.r2, math.sqrt(model.r2), math.sqrt(model.beta_u)
    scale = eta * neuron.kappa / batch                    # the step is + scale · Σ (P x_0 + R ε)
    fixed, tangent = _signless(model, neuron), _tangent(shape[1], d - 3, rng)
    terms = torch.empty(5 if strength else 4, *shape, dtype=dtype, device=rng.device)
    p_p, r_r, p_n, p_nu, p_lam = (*terms, None) if not strength else terms

    def one() -> Tensor:
        nonlocal alpha
        u, v = alpha
        n1, n2 = torch.randn(2, *shape, generator=rng, device=rng.device, dtype=dtype)
        lam, nu = (None, None) if fixed else model.draw_latents(shape, rng, dtype)
        v2 = v * v
        V = torch.rsub(v2, 1, alpha=r2)
        root, rho = V.sqrt(), torch.rsub(v2, 1).clamp_(min=1e-24).sqrt_()
        x = torch.addcmul((r * v).to(dtype), root.to(dtype), n1) if fixed else (
            (root.to(dtype) * n1).addcmul_((r * v).to(dtype), nu))                     # x_0·w
        if strength:
            x.addcmul_((strength * u).to(dtype), lam)
        P, R = _weights(neuron, x, n2)
        torch.mul(P, P, out=p_p)
        torch.mul(R, R, out=r_r)
        torch.mul(P, n1, out=p_n)
        p_nu.copy_(P) if fixed else torch.mul(P, nu, out=p_nu)
        if strength:
            torch.mul(P, lam, out=p_lam)
        s_pp, s_rr, s_n, s_nu, *s_lam = terms.sum(1).double().unbind()
        every = s_pp + s_rr
        extra, chi2 = next(tangent)
        f = (r * s_nu - r2 * v / root * s_n) * rho + ((1 - r2) / V * s_pp + s_rr).sqrt_() * extra[0]
        h = every.sqrt() * extra[1]
        u_f = -u * v / rho
        u_h = (1 - u * u - u_f * u_f).clamp_(min=0).sqrt_()
        if strength:
            f += strength * u_f * s_lam[0]
            h += strength * u_h * s_lam[0]
        norm = ((f * f + h * h).addcmul_(every, chi2) * scale**2 + 1).sqrt_()
        alpha = (alpha + scale * torch.stack([f * u_f + h * u_h, f * rho])) / norm
        return alpha

    return Run(*schedule.follow(one, alpha))


def _tangent(S: int, dof: int, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, per step, two normal numbers and a chi-squared one of `dof` degrees of freedom for each of S replicas."""
    half = torch.full((_BLOCK, S), dof / 2, dtype=torch.float64, device=rng.device)
    while True:
        extra = torch.randn(_BLOCK, 2, S, generator=rng, dtype=half.dtype, device=half.device)
        yield from zip(extra, 2 * torch._standard_gamma(half, generator=rng))


def _weights(neuron: TiedNeuron, x: Tensor, n2: Tensor) -> tuple[Tensor, Tensor]:
    """Return P and R, the weights of x_0 and ε in −1/κ times the gradient of a sample with x_0·w = x and ε·w = n₂."""
    a, b = neuron.a, neuron.b
    value, slope = value_and_derivative(neuron.phi, a * x + b * n2)
    A = torch.add(x, n2, alpha=-a / b).mul_(b * b).sub_(value, alpha=neuron.kappa).mul_(slope)
    return (a * A).add_(value, alpha=b * b), (b * A).sub_(value, alpha=a * b)


def _signless(model: MixedCumulantModel, neuron: TiedNeuron) -> bool:
    """Whether ν = 1 has the same law as ν = ±1: without λ, and for odd φ, where gradients are even in (x_0, ε)."""
    s = torch.linspace(0.01, 6.0, 101, dtype=torch.float64)
    plus, minus = neuron.phi(s), neuron.phi(-s)
    odd = bool((plus + minus).abs().max() <= 1e-12 * plus.abs().max())
    return model.beta_u == 0 and model.latents != "laplace" and odd


def _start(start: tuple[float, float] | Tensor | None, d: int, replicas: int, seed: int) -> Tensor:
    """Return the first overlaps, ``(2, S)`` float64."""
    if start is None:
        rng = generator(seed, "chain.start")
        first = torch.randn(2, replicas, generator=rng, dtype=torch.float64)
        other = 2 * torch._standard_gamma(torch.full((replicas,), (d - 2) / 2, dtype=torch.float64), generator=rng)
        return first / (first.square().sum(0) + other).sqrt()
    alpha = start.double().cpu().T if isinstance(start, Tensor) else torch.tensor(start, dtype=torch.float64)[:, None]
    checks.require(alpha.ndim == 2 and len(alpha) == 2, "start", tuple(alpha.shape), "a pair of overlaps, or (S, 2)")
    longest = float(alpha.square().sum(0).max())
    checks.require(longest <= 1 + 1e-6, "start: α_u² + α_v²", longest, "at most 1")
    return alpha.clone() if isinstance(start, Tensor) else alpha.expand(2, replicas).clone()
