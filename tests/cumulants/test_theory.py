import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from hierlib.cumulants import theory
from hierlib.cumulants.model import LATENTS, MixedCumulantModel
from hierlib.cumulants.neuron import TiedNeuron, cosine, relu, sine, tanh
from tests.cumulants.common import hermite_moment, joint_cumulant, loss_expansion, short_loss

REFERENCE = TiedNeuron()                                   # sin(1.5 s), κ = ½, a² = 0.7
MIXED = TiedNeuron(sine(1.5) + 0.5 * cosine(1.5))
strength = st.floats(0, 10)
overlap = st.floats(-0.7, 0.7)
latents = pytest.mark.parametrize("latents", LATENTS)


def model(latents: str = "independent", beta_u: float = 1.0, beta_v: float = 10.0, d: int = 3) -> MixedCumulantModel:
    return MixedCumulantModel(d, beta_u, beta_v, latents)


# ---- constants


def test_reference_constants():
    ell = theory.loss_coefficients(REFERENCE)
    assert np.allclose(ell[[2, 4]], [-0.08418, 0.03040], rtol=0, atol=5e-6) and np.abs(ell[[1, 3]]).max() < 1e-12
    c = theory.rates(model(), REFERENCE)
    assert np.allclose([c.C2, c.C4, c.sigma2], [0.05893, 0.02462, 0.13997], rtol=0, atol=5e-6)
    c = theory.rates(model(), TiedNeuron(tanh(2.0)))
    assert np.allclose([c.C2, c.C4, c.sigma2], [0.0781, 0.01156, 0.1365], rtol=0, atol=5e-5)
    c = theory.rates(model("laplace"), REFERENCE)
    assert np.allclose([c.C2, c.C4], [0.0589283, -1.5 * 0.0246191], rtol=1e-5)


@settings(max_examples=12)
@given(beta_u=strength, beta_v=strength, kappa=st.floats(-1, 1), alpha_bar=st.floats(0.1, 0.9))
def test_rates_are_the_curvatures_of_the_loss(beta_u, beta_v, kappa, alpha_bar):
    neuron = TiedNeuron(sine(1.5), kappa, alpha_bar)
    for latents in ("independent", "sign", "laplace"):
        data = model(latents, beta_u, beta_v)
        c, excess = theory.rates(data, neuron), data.covariance() - torch.eye(3)
        value, vector = torch.linalg.eigh(excess)
        u, v = vector[:2, -1].numpy()                       # along the top eigenvector α² is charged −C₂
        order2 = loss_expansion(data, neuron, 0.1 * u, 0.1 * v, order=2) / 0.01
        if beta_u > 1e-3:
            assert math.isclose(order2, -c.C2, rel_tol=1e-6, abs_tol=1e-12) and value[-1] > 0
        order4 = loss_expansion(data, neuron, 0.0, 0.3, order=4) / 0.3**4
        assert math.isclose(order4, -c.C4, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize("neuron", [REFERENCE, TiedNeuron(relu(0.4), -1.3, 0.5), TiedNeuron(tanh(), 1.0, 0.9)])
def test_sigma2_is_the_variance_of_the_projected_gradient(neuron):
    n, d = 60_000, 12
    x0 = model(d=d).sample(n, 3, dtype=torch.float64)[:, None]                           # one sample per replica
    noise = torch.randn(n, 1, d, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    w = F.normalize(F.pad(torch.arange(1.0, d - 1, dtype=torch.float64), (2, 0)), dim=0).expand(n, d)   # ⟂ u, v
    g = neuron.gradient(w, x0, noise)
    g = (g - (g * w).sum(-1, keepdim=True) * w)[:, 2:]
    square = g.square().sum(-1) / (d - 3)                                                # per direction ⟂ u, v, w
    error = square.std() / math.sqrt(n)
    assert error < 0.01 * square.mean()
    assert abs(square.mean() - theory.rates(model(), neuron).sigma2) < 4 * error


# ---- the loss


def closed_loss(data: MixedCumulantModel, omega: float, kappa: float, alpha_bar: float, u: float, v: float) -> float:
    """L(α) of the sine, for independent λ ~ N(0, 1) and ν = ±1: s is N(±m, V)."""
    a, r = math.sqrt(alpha_bar), math.sqrt(data.r2)
    m, V = a * v * r, 1 + a**2 * (u**2 * data.beta_u - v**2 * r**2)
    damping = math.exp(-(omega**2) * V / 2)
    stein = m * math.sin(omega * m) * damping + (V - 1) * omega * math.cos(omega * m) * damping
    square = (1 - math.cos(2 * omega * m) * math.exp(-2 * omega**2 * V)) / 2
    return -kappa * (1 - alpha_bar) / a * stein + kappa**2 / 2 * square


@given(beta_u=strength, beta_v=st.floats(0, 100), omega=st.floats(0.2, 3), kappa=st.floats(-2, 2),
       alpha_bar=st.floats(0.05, 0.98), u=overlap, v=overlap)
def test_loss_of_the_sine_in_closed_form(beta_u, beta_v, omega, kappa, alpha_bar, u, v):
    data = model(beta_u=beta_u, beta_v=beta_v)
    arguments = (data, omega, kappa, alpha_bar)
    loss = theory.population_loss(data, TiedNeuron(sine(omega), kappa, alpha_bar), u, v)
    assert math.isclose(loss, closed_loss(*arguments, u, v) - closed_loss(*arguments, 0, 0), abs_tol=1e-11)


@latents
@pytest.mark.parametrize("neuron", [TiedNeuron(tanh(), 1.0, 0.6), MIXED, TiedNeuron(relu(-0.3), -0.8, 0.8)],
                         ids=["tanh", "mixed", "relu"])
def test_identity_against_monte_carlo(latents, neuron):
    n = 200_000
    data = model(latents, beta_u=2.0)
    x0 = data.sample(n, 5, dtype=torch.float64)
    noise = torch.randn(n, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    base = theory.loss_coefficients(neuron, 0)[0]           # L(0) without the part that does not depend on w
    for u, v in ((0.6, 0.7), (0.0, 0.95), (0.7, -0.7)):
        w = torch.tensor([u, v, math.sqrt(1 - u**2 - v**2)], dtype=torch.float64)
        each = short_loss(neuron, w.expand(n, 3), x0[:, None], noise[:, None])
        exact = theory.population_loss(data, neuron, u, v)
        z = (each.mean() - base - exact) / (each.std() / math.sqrt(n))
        assert abs(z) < 4.5, (u, v, z)                      # 36 comparisons


@latents
def test_mean_gradient_is_the_slope_of_the_loss(latents):
    n, (u, v), h = 200_000, (0.6, 0.5), 1e-4
    data = model(latents)
    w = torch.tensor([u, v, math.sqrt(1 - u**2 - v**2)], dtype=torch.float64)
    noise = torch.randn(n, 1, 3, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    g = MIXED.gradient(w.expand(n, 3), data.sample(n, 9, dtype=torch.float64)[:, None], noise)
    g = (g - (g @ w)[:, None] * w)[:, :2]
    slopes = (theory.population_loss(data, MIXED, [u + h, u], [v, v + h])
              - theory.population_loss(data, MIXED, [u - h, u], [v, v - h])) / (2 * h)
    expected = slopes - np.array([u, v]) * (slopes @ [u, v])                          # projected on the sphere
    error = g.std(0).numpy() / math.sqrt(n)
    assert np.abs((g.mean(0).numpy() - expected) / error).max() < 4 and np.abs(expected / error).max() > 10


@latents
def test_expansion_converges_to_the_loss(latents):
    data, grid = model(latents), np.linspace(-0.6, 0.6, 7)
    u, v = grid[:, None], grid
    exact = theory.population_loss(data, MIXED, u, v)
    error = [np.abs(loss_expansion(data, MIXED, u, v, order) - exact).max() for order in (2, 4, 8, 24)]
    assert exact.shape == (7, 7) and abs(exact[3, 3]) < 1e-12 and np.abs(exact).max() > 0.01
    assert error[0] > error[1] > (0 if latents == "laplace" else error[2])
    if latents == "laplace":                               # asymptotic: cumulants of every order, growing as m!
        small = loss_expansion(data, MIXED, u / 4, v / 4) - theory.population_loss(data, MIXED, u / 4, v / 4)
        assert np.abs(small).max() < error[1] / 4**5
    else:
        assert error[3] < 1e-11


@settings(max_examples=15)
@given(beta_u=strength, beta_v=strength, u=overlap, v=overlap)
@latents
def test_hermite_moments_from_joint_cumulants(latents, beta_u, beta_v, u, v):
    data = model(latents, beta_u, beta_v)
    excess = np.zeros(7)                                   # cumulants of w·x0, less those of N(0, 1)
    for m in range(1, 7):
        excess[m] = sum(math.comb(m, p) * u**p * v ** (m - p) * (joint_cumulant(data, p, m - p) - (
            m == 2 and p != 1)) for p in range(m + 1))
    moment = [1.0]
    for m in range(1, 7):
        moment.append(sum(math.comb(m - 1, j - 1) * excess[j] * moment[m - j] for j in range(1, m + 1)))
        assert math.isclose(hermite_moment(data, u, v, m), moment[m], rel_tol=1e-8, abs_tol=1e-9)
    assert math.isclose(moment[2], data.beta_u * u**2 + 2 * data.cross * u * v, rel_tol=1e-9, abs_tol=1e-12)


def slope(loss, t: float = 0.01) -> float:
    return math.log2(abs(loss(2 * t) / loss(t)))


def test_slopes_two_along_u_and_four_along_v():
    assert slope(lambda t: theory.population_loss(model(), REFERENCE, t, 0), 0.1) == pytest.approx(1.967, abs=0.002)
    assert slope(lambda t: theory.population_loss(model(), REFERENCE, 0, t), 0.1) == pytest.approx(4.021, abs=0.002)
    assert slope(lambda t: theory.population_loss(model(), REFERENCE, t, 0)) == pytest.approx(2, abs=1e-3)
    assert slope(lambda t: theory.population_loss(model(), REFERENCE, 0, t), 0.03) == pytest.approx(4, abs=3e-3)


@pytest.mark.parametrize("phi", [relu(), torch.relu, F.leaky_relu])
@pytest.mark.parametrize("latents", ["independent", "laplace"])
def test_homogeneous_activations_are_blind(phi, latents):
    v, data = np.array([0.3, 0.8, 1.0]), model(latents)
    neuron = TiedNeuron(phi)
    assert np.abs(theory.population_loss(data, neuron, 0, v)).max() < 1e-12
    assert theory.information_exponent(data, neuron, "v", order=10) is None
    assert abs(theory.population_loss(data, REFERENCE, 0, 0.8)) > 0.01
    assert abs(theory.population_loss(data, neuron, 0.8, 0)) > 0.005                   # the variance is seen
    if latents == "independent":
        biased = theory.population_loss(data, TiedNeuron(relu(-0.5)), 0, 0.8)
        assert biased == pytest.approx(2.09e-3, abs=1e-5)


# ---- information exponents


@pytest.mark.parametrize(("latents", "neuron", "u", "v"), [
    ("independent", REFERENCE, 2, 4), ("sign", REFERENCE, 2, 2), ("abs", REFERENCE, 2, 4), ("laplace", REFERENCE, 2, 4),
    ("independent", MIXED, 2, 4), ("sign", MIXED, 2, 2), ("abs", MIXED, 2, 3), ("laplace", MIXED, 2, 4),
])
def test_information_exponent_is_the_order_of_the_loss(latents, neuron, u, v):
    data = model(latents)
    assert theory.information_exponent(data, neuron, "u") == u
    assert theory.information_exponent(data, neuron, "v") == v

    def part(t: float, base: tuple[float, float]) -> float:
        """Return what L(0.8 t, 0.6 t) has beyond L at the same overlaps without the direction's."""
        return theory.population_loss(data, neuron, 0.8 * t, 0.6 * t) - theory.population_loss(
            data, neuron, base[0] * t, base[1] * t)

    assert slope(lambda t: part(t, (0, 0.6)), 0.005) == pytest.approx(u, abs=0.05)
    assert slope(lambda t: part(t, (0.8, 0)), 0.02) == pytest.approx(v, abs=0.05)


def test_information_exponent_without_and_with_other_orders():
    assert theory.information_exponent(model(beta_u=0), REFERENCE, "u") is None
    assert theory.information_exponent(model(beta_v=0), REFERENCE, "v") is None
    assert theory.information_exponent(model(), REFERENCE, "v", order=3) is None
    assert theory.information_exponent(model(), TiedNeuron(torch.square)) == 4            # q₄ = 1
    assert theory.information_exponent(model(), TiedNeuron(lambda s: s)) is None          # linear: covariance only
    assert theory.information_exponent(model("sign"), TiedNeuron(lambda s: s)) == 2
    fifth = TiedNeuron(lambda s: s**5 - 10 * s**3 + 15 * s, 1e-7)                         # He₅ alone: c₃ = 0, κ → 0
    assert theory.information_exponent(model(), fifth, "v") == 6
    assert theory.information_exponent(model(), fifth, "u") == 6         # 15(E He₂)³


# ---- rates and times


def test_growth_rate_is_that_of_one_step():
    n, d, delta, alpha = 20_000, 40, 1.0, 0.1
    data = model(d=d)
    w = F.pad(torch.tensor([alpha, 0, math.sqrt(1 - alpha**2)], dtype=torch.float64), (0, d - 3)).expand(n, d)
    noise = torch.randn(n, 1, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    g = REFERENCE.gradient(w, data.sample(n, 1, dtype=torch.float64)[:, None], noise)
    g = delta / d * (g - (g * w).sum(-1, keepdim=True) * w)
    even = sum(F.normalize(w + sign * g, dim=-1)[:, 0] / alpha - 1 for sign in (1, -1)) * d / 2
    pull = -2 * theory.population_loss(data, REFERENCE, 1e-2, 0) / 1e-4 * delta         # −L'(α)/α, odd in δ
    noise, error = theory.growth_rate(theory.rates(data, REFERENCE), delta) - pull, float(even.std()) / math.sqrt(n)
    assert error < 0.02 * abs(noise)                        # the noise is −0.070, of a pull of 0.118
    assert abs(float(even.mean()) - noise) < 4 * error + 0.03 * abs(noise)           # corrections in α², 1/d


def test_growth_of_u_with_the_step():
    c = theory.rates(model(), REFERENCE)
    assert 1 / (2 * theory.growth_rate(c, 0.2)) == pytest.approx(24.07, abs=0.01)
    assert 1 / (2 * theory.growth_rate(theory.rates(model("sign"), REFERENCE), 0.2)) == pytest.approx(16.42, abs=0.01)
    limit = 4 * c.C2 / c.sigma2
    assert theory.growth_rate(c, limit) == pytest.approx(0, abs=1e-12)
    best = minimize_scalar(lambda delta: -theory.growth_rate(c, delta), bounds=(0.01, limit), method="bounded").x
    assert best == pytest.approx(limit / 2, rel=1e-3)


def test_escape_time_is_the_blow_up_of_the_noiseless_equation():
    c, delta0, x0 = theory.rates(model(), REFERENCE), 1.6, 0.9
    far = solve_ivp(lambda t, x: 4 * c.C4 * delta0 * x**3, (0, 100), [x0], rtol=1e-9, atol=1e-9,
                    events=_reached(1e4)).t_events[0][0]
    assert theory.escape_time(c, delta0, x0) == pytest.approx(far, rel=1e-6)
    assert np.allclose(theory.escape_time(c, np.array([1.0, 2.0])), [1 / (8 * c.C4), 1 / (16 * c.C4)])
    wrong = theory.rates(model("laplace"), REFERENCE)
    assert theory.escape_time(wrong, 1.0) == math.inf


def _reached(level: float):
    def event(t, x):
        return x[0] - level
    event.terminal = True
    return event


@pytest.mark.parametrize(("order", "constant"), [(2, "C2"), (4, "C4")])
@pytest.mark.parametrize("phi", [sine(), tanh()])
def test_best_noise_level_maximises_signal_over_noise(order, constant, phi):
    def fewer(alpha_bar: float) -> float:
        c = theory.rates(model(), TiedNeuron(phi, 1e-4, alpha_bar))
        return -getattr(c, constant) ** 2 / c.sigma2

    best = minimize_scalar(fewer, bounds=(0.05, 0.97), method="bounded").x
    assert best == pytest.approx((order - 1) / order, abs=2e-3)


def test_bad_input():
    c = theory.rates(model(), REFERENCE)
    for call, name in (
        (lambda: theory.population_loss(model(), REFERENCE, 0.8, 0.8), "alpha_u"),
        (lambda: theory.population_loss(model(), REFERENCE, [0.1, 1.1], 0.0), "alpha_u"),
        (lambda: theory.population_loss(model(), REFERENCE, math.nan, 0.0), "alpha_u"),
        (lambda: theory.loss_coefficients(REFERENCE, 41), "order"),
        (lambda: theory.information_exponent(model(), REFERENCE, "w"), "direction"),
        (lambda: theory.information_exponent(model(), REFERENCE, order=0), "order"),
        (lambda: theory.growth_rate(c, 0.0), "delta"),
        (lambda: theory.escape_time(c, -1.0), "delta0"),
        (lambda: theory.escape_time(c, 1.0, 0.0), "x0"),
        (lambda: theory.escape_time(c, math.inf), "delta0"),
    ):
        with pytest.raises(ValueError, match=name):
            call()
