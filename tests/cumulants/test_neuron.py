import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from torch.nn import functional as F

from hierlib.cumulants.hermite import hermite_coefficients, hermite_polynomials, kinks_of, normal_mean, panels
from hierlib.cumulants.neuron import TiedNeuron, cosine, relu, sine, tanh, value_and_derivative
from tests.cumulants.common import short_loss

MIXED = sine(1.5) + 0.5 * cosine(1.5)
ACTIVATIONS = {"sine": sine(), "mixed": MIXED, "tanh": tanh(), "relu": relu(), "biased": relu(-0.5) + tanh(0.7) * -2,
               "gelu": F.gelu, "silu": torch.nn.SiLU()}
activations = pytest.mark.parametrize("phi", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def directions(*shape: int) -> torch.Tensor:
    return F.normalize(normal(*shape, seed=7), dim=-1)


# ---- activations


def test_activations_are_the_functions_they_are_named_after():
    s = normal(50)
    assert torch.equal(sine(1.2)(s), torch.sin(1.2 * s)) and torch.equal(cosine(0.7)(s), torch.cos(0.7 * s))
    assert torch.equal(tanh(2.0)(s), torch.tanh(2 * s)) and torch.equal(relu(-0.5)(s), torch.clamp(s - 0.5, min=0))
    assert torch.allclose((sine(1.5) + 0.5 * cosine(1.5))(s), torch.sin(1.5 * s) + 0.5 * torch.cos(1.5 * s))
    assert torch.equal((tanh() * -3)(s), -3 * tanh()(s)) and relu(-0.5).kinks == (0.5,) and sine().kinks == ()
    assert sine() == sine(1.5) and hash(sine()) == hash(sine(1.5)) and sine() != sine(1.4)
    assert pickle.loads(pickle.dumps(MIXED)) == MIXED


@activations
def test_derivative_is_that_of_autograd(phi):
    s = normal(3, 40).requires_grad_()
    value, slope = value_and_derivative(phi, s.detach())
    (expected,) = torch.autograd.grad(phi(s).sum(), s)
    assert torch.equal(value, phi(s.detach()))
    assert torch.allclose(slope, expected, rtol=0, atol=1e-14) and not slope.requires_grad
    assert slope.std() > 0.1


def test_bad_activations():
    for make in (lambda: sine(math.inf), lambda: cosine(1j), lambda: tanh("2"), lambda: relu(math.nan),
                 lambda: math.inf * sine()):
        with pytest.raises(ValueError, match="must be"):
            make()
    with pytest.raises(TypeError):
        sine() + torch.tanh
    with pytest.raises(ValueError, match="elementwise"):
        value_and_derivative(lambda s: s[:2], normal(3))


# ---- the neuron


@given(alpha_bar=st.floats(0.01, 0.99), kappa=st.floats(-2, 2))
def test_denoiser_and_loss_are_the_formulas(alpha_bar, kappa):
    neuron = TiedNeuron(tanh(), kappa, alpha_bar)
    a, b = neuron.a, neuron.b
    assert a > 0 and b > 0 and math.isclose(a * a, alpha_bar) and math.isclose(a * a + b * b, 1)
    w, x0, noise = directions(4), normal(6, 4), normal(6, 4, seed=1)
    losses, rest = [], []
    for x, eps in zip(x0.numpy(), noise.numpy(), strict=True):
        x_t = math.sqrt(alpha_bar) * x + math.sqrt(1 - alpha_bar) * eps
        D = math.sqrt(alpha_bar) * x_t + kappa * w.numpy() * np.tanh(2 * (w.numpy() @ x_t))
        assert np.allclose(neuron(w, torch.from_numpy(x_t)[None])[0], D, rtol=0, atol=1e-13)
        losses.append(((x - D) ** 2).sum() / 2)
        rest.append(((x - math.sqrt(alpha_bar) * x_t) ** 2).sum() / 2)
    assert math.isclose(neuron.loss(w, x0, noise), np.mean(losses), rel_tol=1e-12)
    short = short_loss(neuron, w, x0, noise)
    assert math.isclose(short, np.mean(losses) - np.mean(rest), rel_tol=0, abs_tol=1e-12)


@activations
@pytest.mark.parametrize("shared", [True, False], ids=["shared samples", "own samples"])
def test_gradient_is_that_of_autograd(phi, shared):
    neuron = TiedNeuron(phi, 0.8, 0.6)
    S, n, d = 5, 30, 7
    w = directions(S, d).requires_grad_()
    shape = (n, d) if shared else (S, n, d)
    x0, noise = normal(*shape), normal(*shape, seed=1)
    g = neuron.gradient(w.detach(), x0, noise)
    (expected,) = torch.autograd.grad(short_loss(neuron, w, x0, noise).sum(), w)
    assert g.shape == (S, d) and torch.allclose(g, expected, rtol=0, atol=1e-12)
    (whole,) = torch.autograd.grad(neuron.loss(w, x0, noise).sum(), w)

    def on_sphere(h: torch.Tensor) -> torch.Tensor:
        return (h - (h * w).sum(-1, keepdim=True) * w).detach()

    assert torch.allclose(on_sphere(g), on_sphere(whole), rtol=0, atol=1e-12) and g.abs().max() > 0.01
    for i in range(S):                                    # replicas do not see each other
        x, eps = (x0, noise) if shared else (x0[i], noise[i])
        assert torch.allclose(neuron.gradient(w[i].detach(), x, eps), g[i], rtol=0, atol=1e-13)
        assert torch.allclose(neuron.loss(w[i], x, eps), neuron.loss(w, x0, noise)[i], rtol=0, atol=1e-13)
        assert torch.allclose(neuron(w[i], x), neuron(w, x0)[i], rtol=0, atol=1e-13)


def test_precision_and_defaults():
    neuron = TiedNeuron()
    assert neuron == TiedNeuron(sine(1.5), np.float64(0.5), np.float64(0.7))
    w, x = directions(3).float(), normal(5, 3).float()
    assert neuron(w, x).dtype == neuron.gradient(w, x, x).dtype == neuron.loss(w, x, x).dtype == torch.float32


@pytest.mark.untyped
def test_bad_neurons():
    for arguments in ({"phi": 3}, {"kappa": math.nan}, {"alpha_bar": 0}, {"alpha_bar": 1}, {"alpha_bar": -0.1},
                      {"kappa": True}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            TiedNeuron(**arguments)
    with pytest.raises(ValueError, match=r"x = \(5, 4\)"):
        TiedNeuron()(directions(3), normal(5, 4))


# ---- Hermite coefficients


def test_hermite_polynomials():
    s = normal(4, 5)
    he = hermite_polynomials(s, 9)
    assert he.shape == (10, 4, 5) and hermite_polynomials(s, 0).shape == (1, 4, 5)
    for m in range(10):
        expected = np.polynomial.hermite_e.hermeval(s.numpy(), [0] * m + [1])
        assert np.allclose(he[m], expected, rtol=1e-12, atol=1e-12)
    gram = normal_mean(lambda t: hermite_polynomials(t, 9)[:, None] * hermite_polynomials(t, 9))
    norms = torch.tensor([math.factorial(m) for m in range(10)], dtype=torch.float64)
    assert torch.allclose(gram / norms, torch.eye(10, dtype=torch.float64), rtol=0, atol=1e-10)


@given(omega=st.floats(0.1, 3))
def test_coefficients_of_sine_and_cosine(omega):
    k = np.arange(13)
    size = omega**k * math.exp(-(omega**2) / 2) / np.array([math.factorial(i) for i in k], dtype=float)
    assert np.allclose(hermite_coefficients(sine(omega), 12), size * np.sin(np.pi * k / 2), rtol=0, atol=1e-12)
    assert np.allclose(hermite_coefficients(cosine(omega), 12), size * np.cos(np.pi * k / 2), rtol=0, atol=1e-12)


def test_coefficients_with_kinks():
    closed = np.array([1, math.sqrt(math.pi / 2), 1 / 2, 0, -1 / 24, 0, 1 / 240]) / math.sqrt(2 * math.pi)
    for phi in (relu(), torch.relu):
        assert np.allclose(hermite_coefficients(phi, 6), closed, rtol=0, atol=1e-12)
    bias = -0.537
    c = hermite_coefficients(relu(bias), 5)
    for k in range(6):
        He = np.polynomial.hermite_e.HermiteE.basis(k)
        mean, _ = quad(lambda s, He=He: (s + bias) * He(s) * math.exp(-s * s / 2), -bias, 12, epsabs=1e-13)
        assert math.isclose(c[k], mean / math.sqrt(2 * math.pi) / math.factorial(k), abs_tol=1e-12)
    hidden = hermite_coefficients(lambda s: torch.relu(s + bias), 5)
    told = hermite_coefficients(lambda s: torch.relu(s + bias), 5, kinks=(-bias,))
    assert np.allclose(told, c, rtol=0, atol=1e-12) and 1e-9 < np.abs(hidden - c).max() < 1e-4


@activations
def test_parseval(phi):
    c = hermite_coefficients(phi, 40)
    total = sum(c[k] ** 2 * math.factorial(k) for k in range(41))
    square = float(normal_mean(lambda s: phi(s).square(), kinks_of(phi)))
    assert total <= square * (1 + 1e-12) and math.isclose(total, square, rel_tol=6e-3)


def test_panels_integrate_between_kinks():
    s, weight = panels(-2, 3, 0.7, (0.3, 5.0, -2.0))
    assert math.isclose(float(weight.sum()), 5) and bool((s[1:] > s[:-1]).all())
    assert math.isclose(float(weight @ (s - 0.3).abs()), (2.3**2 + 2.7**2) / 2, rel_tol=1e-12)


def test_bad_hermite_input():
    for order in (-1, 41, 1.5):
        with pytest.raises(ValueError, match="order"):
            hermite_coefficients(sine(), order)
    with pytest.raises(ValueError, match="phi"):
        hermite_coefficients(lambda s: torch.exp(s.square() * 10), 3)
