"""How one neuron finds a direction: pSGD in all d dimensions, its overlaps alone as a Markov chain, and d → ∞.

Projected stochastic gradient descent takes a fresh batch of B samples per replica and step: w ← (w − η P_w g_B)/‖·‖
with P_w = 1 − w wᵀ. :func:`psgd` does just that, for any data. :func:`chain` draws the two overlaps for the mixed
cumulant model, of the same law and at a cost without d: a step needs the gradient only along three directions
orthogonal to w, and its length outside of them. Let v = α_v w + ρ_v f, so that f is the tangent direction to v; let
u = α_u w + u_f f + u_h h. A sample enters its own weight in the gradient through x_0·w and ε·w alone,

    x_0·w = α_u √β_u λ + α_v r ν + √V n₁,   ε·w = n₂,   V = 1 − r² α_v²,   n₁, n₂ ~ N(0, 1).

With s = w·x_t, e = x_0 − a x_t, A = (e·w − κφ)φ', the gradient is −κ/B Σ (P x_0 + R ε), P = aA + b²φ, R = b(A − aφ).
Given all n₁, n₂, λ, ν of the batch, the rest of x_0 and ε is Gaussian, so that the sum is Gaussian too:

    along f     mean Σ P (ρ_v r ν + u_f √β_u λ − r² α_v ρ_v n₁/√V),  variance (1 − r²)/V Σ P² + Σ R²
    along h     mean Σ P u_h √β_u λ,                                 variance Σ P² + Σ R²
    elsewhere   d − 3 components of mean 0,                          variance Σ P² + Σ R² each

This costs two normal numbers and the latents per sample, and three numbers per step.

For a fourth-cumulant spike alone the limit d → ∞ is a diffusion, :func:`scaled_sde`. With x = α_v √d, a step of δ₀/d²
per sample and time τ = n/d³,

    dx = (4 C₄ δ₀ x³ − ½ δ₀² σ² x) dτ + δ₀ σ dW.

The drift attracts to 0 below the saddle x_s = √(δ₀σ²/(8C₄)) and blows up in finite time above it.

Source: this book (reconstruction of Bardone, Merger, Goldt 2026).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from hierlib.cumulants.model import MixedCumulantModel
from hierlib.cumulants.neuron import TiedNeuron, value_and_derivative
from hierlib.lab import checks, generator
from hierlib.lab.types import Float, Tensor

__all__ = ["Plan", "Trajectories", "chain", "device_generator", "psgd", "scaled_sde"]

_CHUNK = 2**22           # psgd: entries of one batched array of samples
_BLOCK = 32              # chain: steps whose few numbers per replica are drawn at once
_LOOK = 32               # steps between looks at who has hit: each look makes a GPU wait
_CHECK = 16              # scaled_sde: steps between looks at which paths are still under way
_LEVEL = 20.0            # |x| that stands for a finite overlap: from there to infinity takes 0.3 % of the time from 1
_RESOLUTION = 0.1        # time step in units of the fastest local time scale: a relative error below 1 %


# ---- how many replicas are trained, and what they leave

@dataclass(frozen=True, eq=False)
class Trajectories:
    """Overlaps and hitting times of S replicas, on the CPU.

    Parameters
    ----------
    n
        Samples that each replica has seen at each record, ``(K,)``.
    alpha_u, alpha_v
        Overlaps w·u and w·v at the records, ``(K, S)``; NaN where the source has no such directions.
    hit
        Samples until the overlap with the target first reached the threshold, in modulus, ``(S,)``; infinite for
        replicas that did not by the end (or when there is no target).
    w
        Final directions ``(S, d)``; None for the reduced chain.
    """

    n: Float[Tensor, "K"]
    alpha_u: Float[Tensor, "K S"]
    alpha_v: Float[Tensor, "K S"]
    hit: Float[Tensor, "S"]
    w: Float[Tensor, "S d"] | None = None

    @property
    def fraction_hit(self) -> float:
        """Fraction of replicas that have hit."""
        return float(self.hit.isfinite().double().mean())


@dataclass(frozen=True, eq=False)
class Plan:
    """Steps, start, end and records of a training by pSGD, in all dimensions or as a reduced chain.

    Parameters
    ----------
    step
        η ≥ 0 per batch. As η/batch per sample of order 1/d it finds a covariance spike in of order d ln d samples, of
        order 1/d² a fourth cumulant in of order d³ (scaling of Ben Arous, Gheissari, Jagannath 2021).
    batch
        Samples per step and replica.
    samples
        Samples per replica after which the run ends at the latest, rounded up to whole steps.
    start
        None: w uniform on the sphere. A pair (α_u, α_v): these overlaps, and a random direction orthogonal to u and v
        for the rest.
    target
        The overlap whose threshold crossing is timed: ``"u"``, ``"v"``, or None.
    threshold
        Overlap, in modulus, that counts as a hit, in (0, 1].
    fraction
        The run ends when this fraction of replicas has hit (looked at every 32 steps). More than ½ gives the median.
    records
        The number of records lies between this and twice this (or the number of steps): the distance between them
        doubles as the run goes on.
    replicas
        S, their number.
    seed
        Integer. The start is the same on every device; the samples are drawn on the device and are not.
    device, dtype
        Where (None: the CPU) and in what type the samples are; `dtype` is also that of weights (overlaps are float64).

    Raises
    ------
    ValueError
        For numbers out of range, or overlaps that no unit vector has.
    """

    step: float
    batch: int
    samples: float
    start: tuple[float, float] | None = None
    target: str | None = None
    threshold: float = 0.8
    fraction: float = 1.0
    records: int = 100
    replicas: int = 64
    seed: int = 0
    device: torch.device | str | None = None
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        given = vars(self)                                  # frozen for users: replaced by plain numbers here, once
        given |= {name: checks.real(name, given[name], low) for name, low in (("step", 0.0), ("samples", 1.0))}
        given |= {name: checks.positive(name, given[name], 1.0) for name in ("threshold", "fraction")}
        given |= {name: checks.integer(name, given[name], low=1) for name in ("batch", "records", "replicas")}
        given["target"] = checks.one_of("target", self.target, (None, "u", "v"))
        checks.require(self.start is None or (len(self.start) == 2 and math.hypot(*self.start) <= 1 + 1e-12), "start",
                       self.start, "a pair of overlaps with α_u² + α_v² ≤ 1")

    def follow(self, advance: Callable[[], Tensor], start: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Call `advance` until the run ends.

        Parameters
        ----------
        advance
            Does one step and returns the overlaps with u and v after it, ``(2, S)``.
        start
            Overlaps before the first step, ``(2, S)``.

        Returns
        -------
        n, alpha_u, alpha_v, hit
            As in :class:`Trajectories`.
        """
        steps, row = math.ceil(self.samples / self.batch), 1 if self.target == "v" else 0
        done, stride, kept, last = 0, 1, [(0, start)], start
        hit = torch.full_like(start[0], math.inf, dtype=torch.float64)
        if self.target is not None:
            hit[start[row].abs() >= self.threshold] = 0.0
        while done < steps and not float(hit.isfinite().double().mean()) >= self.fraction:
            block = []
            for _ in range(min(_LOOK, steps - done)):
                last = advance()
                done += 1
                block.append(last[row])
                if done % stride == 0:
                    kept.append((done, last))
                    if len(kept) > 2 * self.records:
                        kept, stride = kept[::2], 2 * stride
            if self.target is not None:
                above = torch.stack(block).abs() >= self.threshold
                first = (done - len(block) + 1 + above.byte().argmax(0)).double() * self.batch
                hit = torch.minimum(hit, torch.where(above.any(0), first, math.inf))
        if kept[-1][0] < done:
            kept.append((done, last))
        n = torch.tensor([k for k, _ in kept], dtype=torch.float64) * self.batch
        alpha = torch.stack([alpha for _, alpha in kept]).cpu()
        return n, alpha[:, 0], alpha[:, 1], hit.cpu()


def device_generator(seed: int, key: str, device: torch.device | str | None) -> torch.Generator:
    """Return a generator on `device` (None: the CPU) for loops that draw where they compute.

    Its numbers differ from one kind of device to another.
    """
    start = torch.randint(2**62, (1,), generator=generator(seed, key, "device")).item()
    return torch.Generator(device or "cpu").manual_seed(start)


# ---- in all dimensions


def psgd(
    source: MixedCumulantModel | Float[Tensor, "N d"], neuron: TiedNeuron, plan: Plan
) -> Trajectories:
    """Train S replicas of one neuron, each on samples of its own, and record their overlaps with u and v.

    A step costs of order S·B·d; :func:`chain` has the same law for the mixed cumulant model at a cost without d.

    Parameters
    ----------
    source
        Where x_0 comes from: a model, or data ``(N, d)``, whose rows are drawn with replacement. Data have no u and v:
        overlaps are NaN, there is no target, and the start is random.
    neuron
        The denoiser, whose weights are trained.
    plan
        Steps, start, end and records.

    Raises
    ------
    ValueError
        For data of another shape, or a target or pair of overlaps for data.
    """
    rng = device_generator(plan.seed, "psgd", plan.device)
    if isinstance(source, MixedCumulantModel):
        d, axes = source.d, torch.stack([source.u, source.v]).to(rng.device)
    else:
        checks.require(source.ndim == 2 and len(source) > 0, "source", tuple(source.shape), "of shape (N, d)")
        checks.require(plan.target is None and plan.start is None, "target, start", (plan.target, plan.start),
                       "no target and no overlaps for data, which have no u and v")
        data, d = source.to(rng.device, plan.dtype), source.shape[1]
        axes = torch.full((2, d), torch.nan, dtype=torch.float64, device=rng.device)

    def draw(count: int) -> Tensor:
        if isinstance(source, MixedCumulantModel):
            return source.draw(count, rng, plan.dtype)
        return data[torch.randint(len(data), (count,), generator=rng, device=rng.device)]

    w = _first_directions(plan, axes.cpu()).to(rng.device, plan.dtype)
    size = max(1, _CHUNK // (plan.batch * d))

    def advance() -> Tensor:
        nonlocal w
        pieces = []
        for part in w.split(size):
            x0 = draw(len(part) * plan.batch).view(len(part), plan.batch, d)
            noise = torch.randn(x0.shape, generator=rng, device=rng.device, dtype=plan.dtype)
            pieces.append(neuron.gradient(part, x0, noise))
        g = torch.cat(pieces)
        w = normalize(w - plan.step * (g - (g * w).sum(-1, keepdim=True) * w), dim=-1)
        return axes @ w.T.double()

    return Trajectories(*plan.follow(advance, axes @ w.T.double()), w.cpu())


def _first_directions(plan: Plan, axes: Tensor) -> Tensor:
    """Return the first directions, ``(S, d)`` float64."""
    d = axes.shape[1]
    w = torch.randn(plan.replicas, d, generator=generator(plan.seed, "psgd.start"), dtype=torch.float64)
    if plan.start is not None:
        checks.require(d > 2, "d", d, "above 2 for a start with given overlaps")
        alpha = torch.tensor(plan.start, dtype=torch.float64)
        w = normalize(w - w @ axes.T @ axes, dim=-1)
        w = alpha @ axes + (1 - alpha @ alpha).clamp(min=0).sqrt() * w
    return normalize(w, dim=-1)


# ---- the overlaps alone


def chain(model: MixedCumulantModel, neuron: TiedNeuron, plan: Plan) -> Trajectories:
    """Draw the overlaps (α_u, α_v) of S replicas of pSGD exactly, without ever making a vector of length d.

    The law of the trajectories is that of :func:`psgd` on the same model; the cost does not grow with d.

    Parameters
    ----------
    model
        The data, in d ≥ 3 dimensions.
    neuron
        The denoiser, whose weights are trained.
    plan
        Steps, start, end and records.

    Returns
    -------
    Trajectories
        Without w.

    Raises
    ------
    ValueError
        For d below 3.
    """
    d, rng = checks.integer("d", model.d, low=3), device_generator(plan.seed, "chain", plan.device)
    alpha = _first_overlaps(plan, d).to(rng.device)
    shape = (plan.batch, alpha.shape[1])                  # replicas last: their numbers stand along the rows
    r2, r, spike = model.r2, math.sqrt(model.r2), math.sqrt(model.beta_u)
    scale = plan.step * neuron.kappa / plan.batch         # the step is + scale · Σ (P x_0 + R ε)
    signless, outside = _signless(model, neuron), _outside(shape[1], d - 3, rng)
    products = torch.empty(5 if spike else 4, *shape, dtype=plan.dtype, device=rng.device)

    def advance() -> Tensor:
        nonlocal alpha
        alpha_u, alpha_v = alpha
        # what each sample has along w, and its weights P and R
        n1, n2 = torch.randn(2, *shape, generator=rng, device=rng.device, dtype=plan.dtype)
        lam, nu = (None, 1.0) if signless else model.draw_latents(shape, rng, plan.dtype)
        V = torch.rsub(alpha_v * alpha_v, 1, alpha=r2)
        root_V, rho_v = V.sqrt(), (1 - alpha_v * alpha_v).clamp_(min=1e-24).sqrt_()
        along_v, width = (r * alpha_v).to(plan.dtype), root_V.to(plan.dtype)
        x0_w = torch.addcmul(along_v, width, n1) if signless else (width * n1).addcmul_(along_v, nu)
        if spike:
            x0_w.addcmul_((spike * alpha_u).to(plan.dtype), lam)
        P, R = _weights(neuron, x0_w, n2)
        # their sums over the batch
        for product, left, right in zip(products, (P, R, P, P, P), (P, R, n1, nu, lam)):
            torch.mul(left, right, out=product)
        sum_PP, sum_RR, sum_Pn1, sum_Pnu, *sum_Plam = products.sum(1).double().unbind()
        # the batch's gradient along f and h, and its length elsewhere
        (normal_f, normal_h), chi2 = next(outside)
        variance = sum_PP + sum_RR
        u_f = -alpha_u * alpha_v / rho_v
        u_h = (1 - alpha_u * alpha_u - u_f * u_f).clamp_(min=0).sqrt_()
        f = (r * sum_Pnu - r2 * alpha_v / root_V * sum_Pn1) * rho_v + (
            ((1 - r2) / V * sum_PP + sum_RR).sqrt_() * normal_f)
        h = variance.sqrt() * normal_h
        if spike:
            f += spike * u_f * sum_Plam[0]
            h += spike * u_h * sum_Plam[0]
        length = ((f * f + h * h).addcmul_(variance, chi2) * scale**2 + 1).sqrt_()
        alpha = (alpha + scale * torch.stack([f * u_f + h * u_h, f * rho_v])) / length
        return alpha

    return Trajectories(*plan.follow(advance, alpha))


def _outside(S: int, dof: int, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, per step, two normal numbers and a chi-squared one of `dof` degrees of freedom for each of S replicas."""
    half = torch.full((_BLOCK, S), dof / 2, dtype=torch.float64, device=rng.device)
    while True:
        normal = torch.randn(_BLOCK, 2, S, generator=rng, dtype=half.dtype, device=half.device)
        yield from zip(normal, 2 * torch._standard_gamma(half, generator=rng))


def _weights(neuron: TiedNeuron, x0_w: Tensor, noise_w: Tensor) -> tuple[Tensor, Tensor]:
    """Return P and R, the weights of x_0 and ε in −1/κ times the gradient of a sample with these x_0·w and ε·w."""
    a, b = neuron.a, neuron.b
    value, slope = value_and_derivative(neuron.phi, a * x0_w + b * noise_w)
    A = torch.add(x0_w, noise_w, alpha=-a / b).mul_(b * b).sub_(value, alpha=neuron.kappa).mul_(slope)
    return (a * A).add_(value, alpha=b * b), (b * A).sub_(value, alpha=a * b)


def _signless(model: MixedCumulantModel, neuron: TiedNeuron) -> bool:
    """Whether ν = 1 has the same law as ν = ±1: without λ, and for odd φ, where gradients are even in (x_0, ε)."""
    s = torch.linspace(0.01, 6.0, 101, dtype=torch.float64)
    plus, minus = neuron.phi(s), neuron.phi(-s)
    odd = bool((plus + minus).abs().max() <= 1e-12 * plus.abs().max())
    return model.beta_u == 0 and model.latents != "laplace" and odd


def _first_overlaps(plan: Plan, d: int) -> Tensor:
    """Return the first overlaps, ``(2, S)`` float64."""
    if plan.start is not None:
        return torch.tensor(plan.start, dtype=torch.float64)[:, None].repeat(1, plan.replicas)
    rng = generator(plan.seed, "chain.start")
    first = torch.randn(2, plan.replicas, generator=rng, dtype=torch.float64)
    half = torch.full((plan.replicas,), (d - 2) / 2, dtype=torch.float64)
    return first / (first.square().sum(0) + 2 * torch._standard_gamma(half, generator=rng)).sqrt()


# ---- the limit of high dimension


def scaled_sde(
    C4: float, sigma2: float, delta0: float | list[float] | Float[Tensor, "D"], *, replicas: int, x0: float = 1.0,
    horizon: float = 1e6, seed: int = 0, device: torch.device | str | None = None,
) -> Float[Tensor, "*D replicas"]:
    """Draw the times τ at which \\|x\\| first reaches 20, for one step size or several at once.

    Heun's scheme, of weak order 2 as the noise is additive, with a time step for each path that shrinks with the rates
    of drift and noise at its place.

    Parameters
    ----------
    C4, sigma2
        C₄ (negative when v repels) and σ² ≥ 0 of the neuron, see :func:`hierlib.cumulants.theory.rates`.
    delta0
        Step size δ₀ > 0, a number or ``(D,)``.
    replicas
        Paths per step size.
    x0
        Start; 1 is the typical overlap 1/√d of a random direction.
    horizon
        Paths that last longer have the time infinity.
    seed
        Integer. The noise is drawn on the device.
    device
        Where (None: the CPU).

    Returns
    -------
    times
        ``(replicas,)`` for a number δ₀, ``(D, replicas)`` for several; float64, on the CPU.

    Raises
    ------
    ValueError
        For numbers out of range.
    """
    C4, x0 = checks.reals(C4=C4, x0=x0)
    sigma2, horizon = checks.reals(0.0, sigma2=sigma2, horizon=horizon)
    deltas = torch.as_tensor(delta0, dtype=torch.float64)
    checks.require(deltas.ndim < 2 and bool((deltas.isfinite() & (deltas > 0)).all()), "delta0", delta0,
                   "a finite number above 0, or several")
    shape = (*deltas.shape, checks.integer("replicas", replicas, low=1))
    rng = device_generator(seed, "scaled_sde", device)
    delta = deltas[..., None].expand(shape).flatten().to(rng.device)
    x, tau = torch.full_like(delta, abs(x0)), torch.zeros_like(delta)
    times = torch.full_like(x, math.inf).masked_fill(x >= _LEVEL, 0.0)
    alive = torch.arange(x.numel(), device=rng.device)
    while True:
        under_way = times[alive].isinf() & (tau < horizon)
        alive, x, tau, delta = alive[under_way], x[under_way], tau[under_way], delta[under_way]
        if not len(alive):
            return times.view(shape).cpu()
        cubic, linear = 4 * C4 * delta, delta * delta * sigma2 / 2
        spread = linear.sqrt() * math.sqrt(2)              # δ₀σ
        scale2 = linear / cubic.abs().clamp(min=1e-300)    # x_s²
        for _ in range(_CHECK):
            x2 = x * x
            noise = 2 * linear / (x2 + scale2).clamp(min=1e-300)
            dt = _RESOLUTION / (3 * cubic.abs() * x2 + linear + noise)
            kick = spread * dt.sqrt() * torch.randn(x.shape, generator=rng, dtype=x.dtype, device=x.device)
            drift = (cubic * x2 - linear) * x
            ahead = x + drift * dt + kick
            x = (x + (drift + (cubic * ahead * ahead - linear) * ahead) * dt / 2 + kick).abs()
            tau = tau + dt
            now = (x >= _LEVEL) & times[alive].isinf() & (tau <= horizon)
            times[alive] = torch.where(now, tau, times[alive])
            x = x.clamp(max=_LEVEL)
