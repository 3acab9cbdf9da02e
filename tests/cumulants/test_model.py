import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from hierlib.cumulants.estimators import joint_k_statistic
from hierlib.cumulants.model import LATENTS, MixedCumulantModel, latent_moment
from tests.cumulants.common import joint_cumulant

N = 160_000
MEDIAN = stats.norm.ppf(0.75)
each = pytest.mark.parametrize("latents", LATENTS)


def model(latents: str, d: int = 8) -> MixedCumulantModel:
    axes = torch.linalg.qr(torch.randn(d, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    return MixedCumulantModel(d, 1.5, 6.0, latents, u=axes[:, 0], v=axes[:, 1])


def mean(g, latents: str) -> float:
    """E g(λ, ν) by adaptive quadrature, for the oracle."""
    if latents in ("sign", "abs"):
        nu = np.sign if latents == "sign" else lambda lam: np.sign(abs(lam) - MEDIAN)
        ends = [-9, -MEDIAN, 0, MEDIAN, 9]
        return sum(integrate.quad(lambda lam: stats.norm.pdf(lam) * g(lam, nu(lam)), a, b, epsabs=1e-12)[0]
                   for a, b in itertools.pairwise(ends))

    def inner(lam: float) -> float:
        if latents == "independent":
            return (g(lam, 1) + g(lam, -1)) / 2
        return integrate.quad(lambda t: math.exp(-t) * (g(lam, t / 2**0.5) + g(lam, -t / 2**0.5)) / 2, 0, 50,
                              epsabs=1e-12)[0]

    return integrate.quad(lambda lam: stats.norm.pdf(lam) * inner(lam), -9, 9, epsabs=1e-11)[0]


def z_scores(estimate, exact: float, n: int = 40) -> float:
    """Deviation of the mean over blocks from the exact value, in standard errors."""
    return float((estimate.mean() - exact) / (estimate.std() / math.sqrt(n)))


def covariance_z(m: MixedCumulantModel, x: torch.Tensor) -> torch.Tensor:
    """Deviations of E[x xᵀ] from the covariance in standard errors, on axes the first two of which are u and v."""
    rest = torch.randn(m.d, m.d - 2, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    axes = torch.linalg.qr(torch.cat([torch.stack([m.u, m.v], 1), rest], 1))[0]
    y = x @ axes
    products = (y[:, :, None] * y[:, None, :]).view(40, -1, m.d, m.d).mean(1)
    return (products.mean(0) - axes.T @ m.covariance() @ axes) / (products.std(0) / math.sqrt(40))


# ---- closed forms

@each
def test_latent_moments_against_quadrature(latents):
    for p, q in [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (0, 4), (4, 0), (1, 3), (4, 1), (0, 6)]:
        assert latent_moment(latents, p, q) == pytest.approx(mean(lambda a, b, p=p, q=q: a**p * b**q, latents),
                                                                   abs=1e-8), (p, q)
    assert latent_moment(latents, 0, 1) == pytest.approx(0, abs=1e-12)       # mean 0 and variance 1, all of them
    assert [latent_moment(latents, *pq) for pq in ((0, 2), (2, 0))] == pytest.approx([1, 1])


@each
def test_latent_quadrature_of_a_wave(latents):
    lam, nu, weight = model(latents).latent_quadrature()
    assert lam.dtype == nu.dtype == weight.dtype == torch.float64 and (weight > 0).all()
    exact = mean(lambda a, b: math.cos(0.7 + 1.3 * a + 0.8 * b), latents)
    assert float((weight * torch.cos(0.7 + 1.3 * lam + 0.8 * nu)).sum()) == pytest.approx(exact, abs=1e-9)
    for p, q in itertools.product(range(7), repeat=2):
        moment = latent_moment(latents, p, q)
        assert float((weight * lam**p * nu**q).sum()) == pytest.approx(moment, rel=1e-11, abs=1e-11)


def test_characteristic_functions_of_the_quadrature():
    # oracle: closed forms, e^{−s²/2} cos t for the coin and e^{−s²/2}/(1 + t²/2) for Laplace
    s, t = 1.7, 0.9
    for latents, exact in (("independent", math.cos(t)), ("laplace", 1 / (1 + t**2 / 2))):
        lam, nu, weight = model(latents).latent_quadrature(48)
        found = complex((weight * torch.exp(1j * (s * lam + t * nu))).sum())
        assert found == pytest.approx(math.exp(-(s**2) / 2) * exact, abs=1e-13)


@each
def test_known_cumulants(latents):
    r, density = math.sqrt(10 / 11), stats.norm.pdf(MEDIAN)                      # E[λ²ν] = 4 m φ(m), by parts
    m = MixedCumulantModel(4, 1.0, 10.0, latents)
    assert m.r2 == pytest.approx(10 / 11) and m.cross == pytest.approx(joint_cumulant(m, 1, 1))
    assert m.cross == pytest.approx(r * math.sqrt(2 / math.pi) * (latents == "sign"))
    assert m.fourth_cumulant == pytest.approx(joint_cumulant(m, 0, 4)) == pytest.approx(
        {"laplace": 3}.get(latents, -2) * r**4)
    assert joint_cumulant(m, 2, 1) == pytest.approx(r * 4 * MEDIAN * density * (latents == "abs"), abs=1e-12)
    assert joint_cumulant(m, 0, 2) == pytest.approx(1) and joint_cumulant(m, 2, 0) == pytest.approx(1 + m.beta_u)


# ---- draws

@each
def test_samples_have_the_covariance(latents):
    m = model(latents)
    x = m.sample(N, seed=5, dtype=torch.float64)
    z = covariance_z(m, x)
    assert z.abs().max() < 5 and 0.7 < z[tuple(torch.triu_indices(m.d, m.d))].std() < 1.4
    z = x.view(40, -1, m.d).mean(1)
    assert (z.mean(0) / (z.std(0) / math.sqrt(40))).abs().max() < 5


@each
def test_samples_have_the_joint_cumulants(latents):
    m = model(latents)
    x = m.sample(N, seed=6, dtype=torch.float64)
    other = torch.linalg.qr(torch.stack([m.u, m.v, torch.ones(m.d, dtype=torch.float64)], 1))[0][:, 2]
    y = torch.stack([x @ m.u, x @ m.v, x @ other], 1).view(40, -1, 3).transpose(0, 1)
    for order in (2, 3, 4):
        for which in itertools.combinations_with_replacement(range(3), order):
            exact = 0.0 if 2 in which else joint_cumulant(m, which.count(0), which.count(1))
            exact = 1.0 if which == (2, 2) else exact
            assert abs(z_scores(joint_k_statistic(*(y[..., i] for i in which)), exact)) < 5, which


@each
def test_samples_follow_the_formula(latents):
    m = model(latents)
    white = MixedCumulantModel(m.d, 0.0, 0.0, latents, u=m.u, v=m.v)
    x, z = (one.sample(2000, seed=9, dtype=torch.float64) for one in (m, white))
    S = torch.eye(m.d, dtype=torch.float64) - 6 / (7 + math.sqrt(7)) * torch.outer(m.v, m.v)
    assert torch.allclose(S @ (6 * torch.outer(m.v, m.v) + torch.eye(m.d, dtype=torch.float64)) @ S,
                          torch.eye(m.d, dtype=torch.float64), atol=1e-12)                # S whitens
    signal = x - z @ S
    lam, nu = signal @ m.u / math.sqrt(1.5), signal @ m.v / math.sqrt(6 / 7)
    assert torch.allclose(signal, torch.outer(math.sqrt(1.5) * lam, m.u) + math.sqrt(6) * torch.outer(nu, S @ m.v),
                          atol=1e-12)
    if latents != "laplace":
        assert torch.allclose(nu.abs(), torch.ones(2000, dtype=torch.float64), atol=1e-12)
    if latents in ("sign", "abs"):
        assert torch.equal(nu.sign(), lam.sign() if latents == "sign" else (lam.abs() - MEDIAN).sign())


@each
def test_laws_of_the_latents(latents):
    lam, nu = MixedCumulantModel(2, latents=latents).draw_latents((40_000,), torch.Generator().manual_seed(3),
                                                                   torch.float64)
    assert stats.kstest(lam.numpy(), stats.norm.cdf).pvalue > 1e-3
    if latents == "laplace":
        assert stats.kstest(nu.numpy(), stats.laplace(scale=2**-0.5).cdf).pvalue > 1e-3
    else:
        assert set(nu.unique().tolist()) == {-1.0, 1.0} and abs(nu.sum()) < 5 * 200
    if latents == "sign":
        assert torch.equal(nu, lam.sign())
    elif latents == "abs":
        assert torch.equal(nu, (lam.abs() - MEDIAN).sign())
    else:
        assert stats.ks_2samp(lam[nu > 0], lam[nu < 0]).pvalue > 1e-3


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_seeds_and_shapes(latents, dtype):
    m = model(latents)
    x = m.sample(100, seed=2, dtype=dtype)
    assert x.shape == (100, 8) and x.dtype == dtype and m.sample(0).shape == (0, 8)
    for n in (1, 3, 16, 37):                                           # fewer are the first ones
        assert torch.allclose(m.sample(n, seed=2, dtype=dtype), x[:n], rtol=0, atol=3e-6)
    assert not torch.equal(m.sample(100, seed=3, dtype=dtype), x)
    rng = torch.Generator().manual_seed(0)
    assert not torch.equal(m.sample(5, rng), m.sample(5, rng))         # a generator goes on
    lam, nu = m.draw_latents((2, 3), rng, dtype)
    assert lam.shape == nu.shape == (2, 3) and lam.dtype == nu.dtype == dtype


@each
def test_draws_where_one_computes_have_the_law_of_samples(latents):
    m, rng = model(latents), torch.Generator().manual_seed(7)
    x = m.draw(N, rng, torch.float64)
    assert x.dtype == torch.float64 and m.draw(3, rng).dtype == torch.float32
    assert covariance_z(m, x).abs().max() < 5
    y = torch.stack([x @ m.u, x @ m.v], 1).view(40, -1, 2).transpose(0, 1)
    for p, q in ((2, 1), (0, 4), (1, 3)):
        assert abs(z_scores(joint_k_statistic(*[y[..., 0]] * p, *[y[..., 1]] * q), joint_cumulant(m, p, q))) < 5, (p, q)


@each
def test_pairs(latents):
    m = model(latents)
    x, surrogate = m.with_surrogate(N, seed=4, dtype=torch.float64)
    assert torch.equal(x, m.sample(N, seed=4, dtype=torch.float64))
    assert torch.allclose(surrogate[:7], m.with_surrogate(7, seed=4, dtype=torch.float64)[1], rtol=0, atol=1e-13)
    differ = x - surrogate
    assert (differ - torch.outer(differ @ m.v, m.v)).abs().max() < 1e-12 and (differ @ m.v).std() > 0.3
    assert abs(covariance_z(m, surrogate)).max() < 5
    y = torch.stack([surrogate @ m.u, surrogate @ m.v], 1).view(40, -1, 2).transpose(0, 1)
    for which in [(0, 0, 1), (1, 1, 0), (1, 1, 1), (1, 1, 1, 1), (0, 0, 1, 1), (0, 1, 1, 1)]:
        assert abs(z_scores(joint_k_statistic(*(y[..., i] for i in which)), 0.0)) < 5, which


@given(d=st.integers(2, 12), beta_u=st.floats(0, 20), beta_v=st.floats(0, 50), latents=st.sampled_from(LATENTS))
def test_covariance_of_any_model(d, beta_u, beta_v, latents):
    m = MixedCumulantModel(d, beta_u, beta_v, latents)
    value = torch.linalg.eigvalsh(m.covariance())
    block = np.array([[1 + m.beta_u, m.cross], [m.cross, 1]])
    assert value[0] > 0 and np.allclose(np.sort(np.r_[np.linalg.eigvalsh(block), np.ones(d - 2)]), value, atol=1e-10)


def test_without_spikes_it_is_white_noise():
    m = MixedCumulantModel(3, 0.0, 0.0)
    assert m.fourth_cumulant == 0 and torch.equal(m.covariance(), torch.eye(3, dtype=torch.float64))
    assert stats.kstest(m.sample(20_000, 1, dtype=torch.float64).flatten().numpy(), stats.norm.cdf).pvalue > 1e-3


def test_directions_of_single_precision_are_made_orthonormal():
    axes = torch.linalg.qr(torch.randn(50, 2, generator=torch.Generator().manual_seed(0)))[0]
    m = MixedCumulantModel(50, u=axes[:, 0], v=axes[:, 1])
    gram = torch.stack([m.u, m.v]) @ torch.stack([m.u, m.v]).T
    assert (gram - torch.eye(2, dtype=torch.float64)).abs().max() < 1e-12 and m.u.dtype == torch.float64


@pytest.mark.parametrize(("arguments", "message"), [
    ({"d": 1}, "d = 1"), ({"d": 2.5}, "d = 2.5"), ({"beta_u": -1.0}, "beta_u = -1.0"),
    ({"beta_v": math.inf}, "beta_v = inf"), ({"beta_v": math.nan}, "beta_v"), ({"latents": "cosine"}, "'sign'"),
    ({"u": torch.ones(4)}, r"v·v = \(4.0, 1.0, 1.0\)"), ({"v": torch.ones(3) / 3**0.5}, r"v = \(3,\)"),
    ({"v": torch.eye(4)[0]}, r"v·v = \(1.0, 1.0, 1.0\): must be 1, 0, 1"), ({"u": [1, 0, 0, 0]}, "tensor of shape"),
])
@pytest.mark.untyped
def test_bad_models(arguments, message):
    with pytest.raises(ValueError, match=message):
        MixedCumulantModel(**({"d": 4} | arguments))


def test_bad_calls():
    m = MixedCumulantModel(4)
    for call, message in [
        (lambda: m.sample(-1), "n = -1"), (lambda: m.sample(3, seed=-2), "seed = -2"),
        (lambda: m.sample(3, dtype=torch.int64), "dtype"), (lambda: m.latent_quadrature(1), "order = 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
