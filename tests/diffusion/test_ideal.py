"""Exact denoisers against matrix inversion, automatic derivatives of log p (Tweedie), quadrature and simulation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from hierlib import lab
from hierlib.diffusion import gaussian
from hierlib.diffusion.ideal import Empirical, Wiener

D64 = torch.float64


def normal(*shape, seed=0, dtype=D64):
    return torch.randn(*shape, generator=lab.generator(seed, "test_ideal"), dtype=dtype)


def covariance(d, rank=None, seed=0):
    root = normal(d, rank or d, seed=seed)
    return root @ root.T / d


@given(d=st.integers(1, 6), alpha_bar=st.floats(0.0, 0.999), seed=st.integers(0, 99))
def test_wiener_is_the_matrix_formula(d, alpha_bar, seed):
    m, C, x = normal(d, seed=seed), covariance(d, seed=seed), normal(4, d, seed=seed + 1)
    a, noise = math.sqrt(alpha_bar), (1 - alpha_bar) * torch.eye(d, dtype=D64)
    gain = a * C @ torch.linalg.inv(a**2 * C + noise)
    wiener = Wiener(m, C)
    assert torch.allclose(wiener(x, alpha_bar), m + (x - a * m) @ gain.T, rtol=1e-8, atol=1e-9)
    left = C - a * gain @ C
    assert wiener.mmse(alpha_bar) == pytest.approx(float(left.trace()) / d, rel=1e-7)


def test_wiener_error_is_the_mmse_for_any_data_of_this_covariance():
    """Simulated for skewed, non-Gaussian data: an affine denoiser sees mean and covariance only."""
    n, mixing, mean = 100_000, normal(3, 3), torch.tensor([1.0, 0.0, -3.0], dtype=D64)
    uniform = torch.rand(n, 3, generator=lab.generator(1, "uniform"), dtype=D64)
    x0 = mean - (1 + uniform.log()) @ mixing.T              # exponential latents of unit variance
    wiener = Wiener(mean, mixing @ mixing.T)
    for alpha_bar in (0.2, 0.8, 0.95):
        x_t = gaussian.noised(x0, alpha_bar, normal(n, 3, seed=2))
        error = ((wiener(x_t, alpha_bar) - x0) ** 2).mean(1)
        assert abs(float(error.mean()) - wiener.mmse(alpha_bar)) < 5 * float(error.std()) / math.sqrt(n)


@pytest.mark.parametrize("alpha_bar", [0.1, 0.6, 0.9])
def test_wiener_beats_every_affine_perturbation(alpha_bar):
    """Population loss of D(x) = A x + c, exact for mean m and covariance C: tr of the error's second moment."""
    m, C, d = normal(4), covariance(4), 4
    a = math.sqrt(alpha_bar)
    wiener = Wiener(m, C)
    c = wiener(torch.zeros(1, d, dtype=D64), alpha_bar)[0]
    A = (wiener(torch.eye(d, dtype=D64), alpha_bar) - c).T

    def loss(A, c):
        K = torch.eye(d, dtype=D64) - a * A
        bias = K @ m - c
        return float((K @ C @ K.T + (1 - alpha_bar) * A @ A.T).trace() + bias @ bias) / d

    best = loss(A, c)
    assert best == pytest.approx(wiener.mmse(alpha_bar), rel=1e-10)
    for seed in range(20):
        dA, dc = 1e-3 * normal(d, d, seed=seed), 1e-3 * normal(d, seed=seed + 50)
        assert loss(A + dA, c + dc) > best + 1e-9
        slope = loss(A + dA, c + dc) - loss(A - dA, c - dc)     # of a quadratic form at its minimum
        assert abs(slope) < 1e-12


def test_wiener_fitted_is_the_best_affine_denoiser_of_the_sample():
    x = 5 + normal(40, 2, 3, dtype=torch.float32).exp()
    wiener = Wiener.fit(x)
    flat = x.flatten(1).double().numpy()
    again = Wiener(torch.from_numpy(flat.mean(0)).reshape(2, 3), torch.from_numpy(np.cov(flat.T, bias=True)))
    found = wiener(x, 0.7)
    assert found.shape == x.shape and found.dtype == torch.float32
    assert torch.allclose(found.double(), again(x.double(), 0.7), atol=1e-5)
    assert wiener.mmse(0.7) == pytest.approx(again.mmse(0.7), rel=1e-10)
    # the least-squares oracle: the sample, each point with noise that is exactly white and centred
    noise = torch.cat([torch.eye(6, dtype=D64), -torch.eye(6, dtype=D64)]) * math.sqrt(6)
    x0 = torch.from_numpy(flat).repeat_interleave(12, 0)
    x_t = gaussian.noised(x0, 0.7, noise.repeat(40, 1))
    design = torch.cat([x_t, torch.ones(len(x_t), 1, dtype=D64)], 1)
    left = x0 - design @ torch.linalg.lstsq(design, x0).solution
    assert float((left**2).mean()) == pytest.approx(wiener.mmse(0.7), rel=1e-9)


@given(d=st.integers(1, 5), alpha_bar=st.floats(0.01, 0.98), seed=st.integers(0, 99))
def test_tweedie(d, alpha_bar, seed):
    """√ᾱ x̂0 = x_t + (1−ᾱ) ∇ log p(x_t), with torch's density and automatic derivative."""
    m, C, a = 2 * normal(d, seed=seed), covariance(d, seed=seed), math.sqrt(alpha_bar)
    x = normal(6, d, seed=seed + 1).requires_grad_()
    density = MultivariateNormal(a * m, a**2 * C + (1 - alpha_bar) * torch.eye(d, dtype=D64))
    score, = torch.autograd.grad(density.log_prob(x).sum(), x)
    expected = (x + (1 - alpha_bar) * score).detach() / a
    assert torch.allclose(Wiener(m, C)(x.detach(), alpha_bar), expected, rtol=1e-8, atol=1e-8)


def test_two_clusters_along_a_line():
    """x0 = r ν + √(1−r²) z with ν = ±1, as along v in the mixed cumulant model: the posterior mean wins over it."""
    r, alpha_bar = math.sqrt(10 / 11), 0.7
    a, b2 = math.sqrt(alpha_bar), 1 - alpha_bar
    x = np.linspace(-3, 3, 13)
    x0 = np.linspace(-4, 4, 4001)
    prior = sum(np.exp(-(x0 - nu * r) ** 2 / (2 * (1 - r**2))) for nu in (1, -1))
    joint = prior * np.exp(-(x[:, None] - a * x0) ** 2 / (2 * b2))
    expected = (joint * x0).sum(1) / joint.sum(1)            # trapezoidal: the ends do not count
    wiener = Wiener(torch.zeros(1, dtype=D64), torch.eye(1, dtype=D64))      # the same mean and variance
    density = joint.sum(1) / joint.sum()
    gap = (density * (expected - wiener(torch.from_numpy(x)[:, None], alpha_bar)[:, 0].numpy()) ** 2).sum()
    assert gap > 0.01                                        # what only higher cumulants can win


def test_levels_per_sample_and_limits():
    data, C = normal(6, 3), covariance(3, rank=1)
    x = normal(4, 3, seed=1)
    alpha_bar = torch.tensor([0.0, 0.3, 0.9, 1.0], dtype=D64)
    wiener = Wiener(data[0], C)
    rows = torch.cat([wiener(x[k:k + 1], float(s)) for k, s in enumerate(alpha_bar)])
    assert torch.allclose(wiener(x, alpha_bar), rows, atol=1e-9)
    assert wiener(x[:0], 0.5).shape == (0, 3)
    full = Wiener(data[0], covariance(3))
    assert torch.allclose(full(x, 1.0), x, atol=1e-8) and full.mmse(1.0) == pytest.approx(0, abs=1e-11)
    assert full.mmse(0.0) == pytest.approx(float(covariance(3).trace()) / 3, rel=1e-12)
    thin = Wiener(torch.zeros(2, dtype=D64), torch.diag(torch.tensor([1.0, 1e-8], dtype=D64)))
    assert torch.allclose(thin(x[:, :2], 1.0), x[:, :2], rtol=1e-3, atol=0)          # a small variance is not 0
    line = Wiener(data[0], C)                                # singular: nothing leaves the line
    direction = torch.linalg.eigh(C)[1][:, 2]
    offset = line(x, 1.0) - data[0]
    assert torch.allclose(offset, (offset @ direction)[:, None] * direction, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, D64])
@pytest.mark.parametrize("level", [float, lambda s: torch.full((4,), s), None])
@pytest.mark.parametrize("s", [0.0, 1.0])
def test_limits_in_every_dtype(dtype, level, s):
    data, C = normal(6, 3).to(dtype), torch.diag(torch.tensor([2.0, 0.5, 0.0])).to(dtype)
    x, alpha_bar = normal(4, 3, seed=1).to(dtype), torch.full((4,), s, dtype=dtype) if level is None else level(s)
    filtered = torch.cat([x[:, :2], data[:1, 2:].expand(4, 1)], 1) if s else data[:1].expand(4, 3)
    rounding = max(2 * torch.finfo(dtype).eps, 1e-11)               # 1e-12 of the variance at ᾱ = 1
    found = Wiener(data[0], C)(x, alpha_bar)
    assert found.dtype == dtype and torch.allclose(found.double(), filtered.double(), rtol=rounding, atol=rounding)


def test_autocast_does_not_round():
    wiener, x = Wiener(normal(3).float(), covariance(3).float()), normal(4, 3, seed=1).float()
    plain = wiener(x, 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(wiener(x, 0.5), plain)


def test_images_and_precision():
    data, x = 100 + normal(50, 2, 2, 2), normal(5, 2, 2, 2, seed=1)
    x_t, wiener = gaussian.noised(data[:5] + 0.1 * x, 0.9, x), Wiener.fit(data)
    exact = wiener(x_t, torch.full((5,), 0.9, dtype=D64))
    assert exact.shape == x_t.shape and torch.allclose(exact, wiener(x_t, 0.9))
    single = Wiener.fit(data.float())(x_t.float(), 0.9)             # the mean is taken out before anything is squared
    assert single.dtype == torch.float32 and (single - exact).abs().max() < 1e-3


POINT, SQUARE = torch.zeros(2), torch.eye(2)


@pytest.mark.parametrize(("call", "name"), [
    (lambda: Wiener(POINT, torch.eye(3)), "covariance"),
    (lambda: Wiener(POINT, torch.tensor([[1.0, 0.2], [0.0, 1.0]])), "covariance"),
    (lambda: Wiener(POINT, torch.tensor([[1.0, 2.0], [2.0, 1.0]])), "covariance"),
    (lambda: Wiener(POINT, torch.tensor([[1.0, math.nan], [math.nan, 1.0]])), "covariance"),
    (lambda: Wiener(torch.zeros(0), torch.zeros(0, 0)), "covariance"),
    (lambda: Wiener.fit(torch.zeros(0, 2)), "x"),
    (lambda: Wiener(POINT, SQUARE)(torch.zeros(1, 3), 0.5), "x_t"),
    (lambda: Wiener(POINT, SQUARE)(torch.zeros(1, 2), 1.5), "alpha_bar"),
    (lambda: Wiener(POINT, SQUARE)(torch.zeros(1, 2), torch.full((2,), 0.5)), "alpha_bar"),
    (lambda: Wiener(POINT, SQUARE).mmse(-0.1), "alpha_bar"),
])
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name} = "):
        call()


@given(K=st.integers(1, 5), d=st.integers(1, 5), alpha_bar=st.floats(0.01, 0.98), seed=st.integers(0, 99))
def test_empirical_obeys_tweedie(K, d, alpha_bar, seed):
    """√ᾱ x̂0 = x_t + (1−ᾱ) ∇ log p(x_t), with automatic derivatives of the mixture's density."""
    data, a, b2 = 2 * normal(K, d, seed=seed), math.sqrt(alpha_bar), 1 - alpha_bar
    x = normal(6, d, seed=seed + 1).requires_grad_()
    log_p = (-(x[:, None] - a * data).square().sum(-1) / (2 * b2)).logsumexp(1)
    score, = torch.autograd.grad(log_p.sum(), x)
    expected = (x + b2 * score).detach() / a
    assert torch.allclose(Empirical(data)(x.detach(), alpha_bar), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, D64])
@pytest.mark.parametrize("level", [float, lambda s: torch.full((4,), s)])
@pytest.mark.parametrize("s", [0.0, 1.0])
def test_empirical_at_the_ends_in_every_dtype(dtype, level, s):
    data, x = (100 + normal(6, 3)).to(dtype), (100 + normal(4, 3, seed=1)).to(dtype)
    wide = data.double()
    right = wide[torch.cdist(x.double(), wide).argmin(1)] if s else wide.mean(0).expand(4, 3)
    found = Empirical(data)(x, level(s))
    assert found.dtype == dtype and torch.allclose(found.double(), right, rtol=2 * torch.finfo(dtype).eps, atol=1e-11)


@pytest.mark.untyped
def test_empirical_refuses_what_does_not_fit():
    for call, message in ((lambda: Empirical(torch.zeros(0, 2)), r"data = \(0, 2\)"),
                          (lambda: Empirical(torch.ones(2, 3))(torch.ones(1, 2), 0.5), r"x_t = \(1, 2\)"),
                          (lambda: Empirical(torch.ones(2, 3))(torch.ones(1, 3), 1.5), "alpha_bar")):
        with pytest.raises(ValueError, match=message):
            call()
