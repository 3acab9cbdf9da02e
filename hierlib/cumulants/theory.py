"""What one tied neuron sees of its data, order by order: population loss, rates, information exponent, escape times.

Since E[x₀|x_t] − a x_t = (b²/a)(x_t + ∇ log p_t) (Tweedie), an integration by parts leaves of the loss only the law of
the noised projection s = w·x_t,

    L(w) = const − κ(b²/a) E[sφ(s) − φ'(s)] + ½κ² E[φ(s)²] = Σ_m ℓ_m a^m E He_m(w·x₀),
    ℓ_m = −κ(b²/a) c_{m−1} + ½κ² q_m,      φ = Σ c_k He_k,   φ² = Σ q_k He_k,

with E He_m(w·x₀) = Σ_{p+q=m} C(m, p) h_pq α_u^p α_v^q, h_pq = β_u^{p/2} r^q E[λ^p He_q(ν)], as white noise adds
nothing to Hermite moments. Everything here is computed in float64 on the CPU and returned as numbers or numpy arrays.

Source: this book (reconstruction of Bardone, Merger, Goldt 2026, of which only the abstract is used).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from hierlib.cumulants.hermite import hermite_coefficients, kinks_of, normal_mean, panels
from hierlib.cumulants.model import MixedCumulantModel, latent_moment
from hierlib.cumulants.neuron import TiedNeuron, value_and_derivative
from hierlib.lab import checks
from hierlib.lab.types import Numbers

__all__ = [
    "Rates", "escape_time", "growth_rate", "information_exponent", "loss_coefficients", "population_loss", "rates",
]

_ZERO = 1e-9                     # below it ℓ_m and E He_p(x·u) He_q(x·v) count as zero


@dataclass(frozen=True)
class Rates:
    """Constants of learning near w ⟂ u, v: L ≈ −C₂α_u² − C₄α_v⁴, and the noise σ² of the gradient.

    Parameters
    ----------
    C2
        Gain along u (along the top eigenvector of the covariance, where λ and ν are correlated); negative: repelled.
    C4
        Gain along v; negative: repelled.
    sigma2
        Variance of one component of one sample's projected gradient, away from u and v.
    """

    C2: float
    C4: float
    sigma2: float


def loss_coefficients(neuron: TiedNeuron, order: int = 4) -> np.ndarray:
    """Return ℓ_0, …, ℓ_order, ``(order + 1,)``: what the loss charges for each Hermite moment of the projection.

    ValueError for an order outside [0, 40].
    """
    phi, a, b, kappa = neuron.phi, neuron.a, neuron.b, neuron.kappa
    c = hermite_coefficients(phi, order)
    q = hermite_coefficients(lambda s: phi(s).square(), order, kinks=kinks_of(phi))
    return kappa**2 / 2 * q - kappa * b**2 / a * np.concatenate([[0.0], c[:-1]])


def _mixed_moment(model: MixedCumulantModel, p: int, q: int) -> float:
    """Return h_pq = E He_p(x·u) He_q(x·v) = β_u^{p/2} r^q E[λ^p He_q(ν)]."""
    powers = np.polynomial.hermite_e.herme2poly([0] * q + [1])
    mean = sum(c * latent_moment(model.latents, p, j) for j, c in enumerate(powers) if c)
    return model.beta_u ** (p / 2) * model.r2 ** (q / 2) * mean


def population_loss(model: MixedCumulantModel, neuron: TiedNeuron, alpha_u: Numbers, alpha_v: Numbers) -> Numbers:
    """Return L(α) − L(0) by quadrature, over overlaps α_u = w·u and α_v = w·v that broadcast.

    Given (λ, ν), s = w·x_t is Gaussian with mean a(α_u√β_u λ + α_v r ν) and variance 1 − a²α_v²r².

    Parameters
    ----------
    model, neuron
        Data and denoiser. The error is near 1e-12, but 1e-5 if φ has kinks other than at 0 and in ``phi.kinks``,
        and up to 1e-6 with Laplace latents if φ oscillates fast.
    alpha_u, alpha_v
        Numbers or arrays, α_u² + α_v² ≤ 1.

    Raises
    ------
    ValueError
        For overlaps outside the disc.
    """
    alpha_u, alpha_v = _overlaps(alpha_u, alpha_v)
    a, b, kappa = neuron.a, neuron.b, neuron.kappa
    lam, nu, weight = (x.numpy() for x in model.latent_quadrature(48))
    lam, nu, weight = (x[weight > 1e-18] for x in (lam, nu, weight))
    u, v = (np.append(alpha.ravel(), 0.0) for alpha in (alpha_u, alpha_v))                      # the last one is L(0)
    mean = a * (math.sqrt(model.beta_u) * u[:, None] * lam + math.sqrt(model.r2) * v[:, None] * nu)  # (I, K)
    variance = 1 - a**2 * model.r2 * v**2
    far = float(np.abs(mean).max()) + 9.0
    s, ds = panels(-far, far, min(0.5, math.sqrt(variance.min())), kinks_of(neuron.phi))
    value, slope = value_and_derivative(neuron.phi, s)
    f = ds * (kappa**2 / 2 * value.square() - kappa * b**2 / a * (s * value - slope))
    mean, variance, weight = (torch.from_numpy(x) for x in (mean, variance, weight))
    loss, step = [], max(1, 2**22 // (len(weight) * len(s)))
    for m, V in zip(mean.split(step), variance.split(step)):
        bell = (s - m[..., None]).square_().div_(-2 * V[:, None, None]).exp_()                     # (i, K, M)
        loss.append((bell @ f) @ weight / torch.sqrt(2 * math.pi * V))
    total = torch.cat(loss).numpy()
    return (total[:-1] - total[-1]).reshape(alpha_u.shape)[()]


def rates(model: MixedCumulantModel, neuron: TiedNeuron) -> Rates:
    """Return C₂ = −ℓ₂a²λ₁, C₄ = −ℓ₄a⁴κ₄(v) and σ² = E[κ²(b² + κ²φ²)φ'² + b²κ²φ²] over s ~ N(0, 1).

    λ₁ = ½(β_u + √(β_u² + 4c²)) is the largest excess of a variance over 1, β_u where c = Cov(x·u, x·v) = 0.
    """
    a, b, kappa = neuron.a, neuron.b, neuron.kappa
    ell = loss_coefficients(neuron, 4)

    def variance(s: torch.Tensor) -> torch.Tensor:
        value, slope = value_and_derivative(neuron.phi, s)                # with e·w = b q, E q² = 1, e ⟂ x_t
        return kappa**2 * ((b**2 + (kappa * value) ** 2) * slope**2 + (b * value) ** 2)

    excess = (model.beta_u + math.hypot(model.beta_u, 2 * model.cross)) / 2
    return Rates(-float(ell[2]) * a**2 * excess, -float(ell[4]) * a**4 * model.fourth_cumulant,
                 float(normal_mean(variance, kinks_of(neuron.phi))))


def information_exponent(
    model: MixedCumulantModel, neuron: TiedNeuron, direction: str = "v", *, order: int = 6,
) -> int | None:
    """Return the lowest order m at which the loss depends on the direction, None if there is none up to `order`.

    That is the least m with ℓ_m ≠ 0 and a term of E He_m(w·x₀) that holds the overlap with the direction, alone or
    times the other one. With an odd φ only even m count, so v has 4 for independent and ``"abs"`` latents. It has 2
    for ``"sign"`` (the term 2cα_uα_v), and 3 for ``"abs"`` with a φ that is not odd: 3κ(u,u,v)α_u²α_v, which is of
    first order in α_v once u is learnt. Source: this book (our definition of what Bardone, Merger, Goldt 2026 call
    diffusion information exponent).

    Parameters
    ----------
    model, neuron
        Data and denoiser.
    direction
        ``"u"`` or ``"v"``.
    order
        Highest order looked at, in [1, 12].

    Raises
    ------
    ValueError
        For another direction, or an order out of range.
    """
    direction, order = checks.one_of("direction", direction, ("u", "v")), checks.integer("order", order, 1, 12)
    ell, which = loss_coefficients(neuron, order), ("u", "v").index(direction)

    def said(m: int) -> bool:
        powers = ((p, m - p) for p in range(m + 1))
        return any(pq[which] and abs(_mixed_moment(model, *pq)) > _ZERO for pq in powers)

    return next((m for m in range(1, order + 1) if abs(ell[m]) > _ZERO and said(m)), None)


def growth_rate(constants: Rates, delta: Numbers) -> Numbers:
    """Return ρ = δ(2C₂ − δσ²/2), with which ⟨α_u⟩ ∝ exp(ρ n/d) grows after n samples at the step δ/d per sample.

    The second term is what the noise of the steps takes away through the normalisation of w; from δ = 4C₂/σ² on u is
    not learnt. ValueError unless δ > 0.
    """
    delta = checks.positive_array("delta", delta)
    return (delta * (2 * constants.C2 - delta * constants.sigma2 / 2))[()]


def escape_time(constants: Rates, delta0: Numbers, x0: Numbers = 1.0) -> Numbers:
    """Return τ = n/d³ = 1/(8C₄δ₀x₀²) to leave the equator along v without noise, from α_v = x₀/√d at the step δ₀/d².

    Infinite where C₄ ≤ 0. With noise the time is random: its median comes from the stochastic equation
    (:func:`hierlib.cumulants.simulate.scaled_sde`), is shorter for small δ₀ x₀, and longer by about exp(δ₀σ²/(32C₄)),
    Kramers' factor of the barrier, for large δ₀. ValueError unless δ₀, x₀ > 0.
    """
    delta0, x0 = checks.positive_array("delta0", delta0), checks.positive_array("x0", x0)
    return (1 / (8 * constants.C4 * delta0 * x0**2) if constants.C4 > 0 else np.full_like(delta0 * x0, np.inf))[()]


def _overlaps(alpha_u: Numbers, alpha_v: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Return both as arrays of one shape, inside the unit disc."""
    alpha_u, alpha_v = np.broadcast_arrays(np.asarray(alpha_u, dtype=float), np.asarray(alpha_v, dtype=float))
    square = alpha_u**2 + alpha_v**2
    checks.require(bool(np.all(square <= 1 + 1e-9)), "alpha_u² + alpha_v²", square, "at most 1")
    return alpha_u, alpha_v
