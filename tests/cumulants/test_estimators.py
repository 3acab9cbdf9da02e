import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from hierlib.cumulants.estimators import hermite_moments, joint_k_statistic, k_statistic


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- k-statistics

@given(n=st.integers(4, 60), order=st.integers(2, 4), seed=st.integers(0, 99), shift=st.floats(-5, 5))
def test_k_statistic_against_scipy(n, order, seed, shift):
    y = normal(n, 3, seed=seed).exp() + shift
    exact = [stats.kstat(column, order) for column in y.T.numpy()]
    assert np.allclose(k_statistic(y, order), exact, rtol=1e-9, atol=1e-8)
    assert np.isclose(k_statistic(y[:, 0], order), exact[0], rtol=1e-9, atol=1e-8)


@given(order=st.integers(2, 4), seed=st.integers(0, 99))
def test_joint_k_statistic_by_polarisation(order, seed):
    # oracle: multilinearity; κ(y1, …, yk) k! = Σ over subsets of ± k-statistics of the sum of the subset
    ys = [column**2 - column for column in normal(12, 4, seed=seed).T[:order]]
    total = 0.0
    for k in range(1, order + 1):
        for subset in itertools.combinations(ys, k):
            total += (-1) ** (order - k) * stats.kstat(sum(subset).numpy(), order)
    assert float(joint_k_statistic(*ys)) == pytest.approx(total / math.factorial(order), rel=1e-8, abs=1e-8)


def test_covariance_and_symmetry():
    y = normal(30, 4)
    assert torch.allclose(joint_k_statistic(y[:, :, None], y[:, None, :]), torch.cov(y.T), atol=1e-13)
    for order in (3, 4):
        ys = [normal(9, seed=k).exp() for k in range(order)]
        values = [float(joint_k_statistic(*p)) for p in itertools.permutations(ys)]
        assert np.ptp(values) < 1e-11 * max(map(abs, values)) and abs(values[0]) > 1e-3


@pytest.mark.parametrize("order", [2, 3, 4])
def test_exactly_unbiased(order):
    # oracle: the average over all 3^5 samples of five draws from a law on three points is that law's cumulant
    points = np.array([[0.0, 1.0, -2.0, 0.5], [1.0, 3.0, 0.0, 0.0], [2.5, -1.0, 1.0, 4.0]])
    weight = np.array([0.2, 0.5, 0.3])
    which = torch.tensor(list(itertools.product(range(3), repeat=5)))
    samples = torch.tensor(points)[which].transpose(0, 1)                                          # (5, 243, 4)
    estimate = joint_k_statistic(*(samples[..., i] for i in range(order)))
    c = points - weight @ points
    def moment(*i):
        return weight @ c[:, i].prod(1)
    exact = moment(*range(order))
    if order == 4:
        exact -= sum(moment(*a) * moment(*b) for a, b in (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))))
    assert float(estimate @ torch.tensor(weight[which].prod(1))) == pytest.approx(exact, abs=1e-12)


def test_single_precision_far_from_zero():
    y = (torch.rand(20_000, generator=torch.Generator().manual_seed(0)) + 1000).float()
    assert float(k_statistic(y, 4)) == pytest.approx(stats.kstat(y.double().numpy() - 1000.5, 4), rel=1e-8)
    assert float(k_statistic(y, 4)) == pytest.approx(-1 / 120, abs=5e-4)                           # of a uniform law


# ---- Hermite moments

def test_hermite_polynomials_against_scipy():
    s = 2 * normal(50, 2)
    orders = [6, 0, 1, 4]
    value, error = hermite_moments(s, orders)
    assert value.shape == error.shape == (4, 2)
    for k, m in enumerate(orders):
        y = special.eval_hermitenorm(m, s.numpy())
        assert np.allclose(value[k], y.mean(0), rtol=1e-11, atol=1e-12)
        assert np.allclose(error[k], stats.sem(y), rtol=1e-11, atol=1e-12)


def test_gaussian_projections_have_none():
    s = normal(100_000)
    value, error = hermite_moments(s, range(1, 7))
    assert (value / error).abs().max() < 5
    spread = torch.tensor([math.factorial(m) for m in range(1, 4)], dtype=torch.float64).sqrt()        # closed form
    assert torch.allclose(error[:3] * math.sqrt(len(s)), spread, rtol=0.08)
    value, error = hermite_moments(1.2 * s, (2, 4))                              # closed form: (σ² − 1)^{m/2} (m−1)!!
    assert ((value - torch.tensor([0.44, 3 * 0.44**2], dtype=torch.float64)) / error).abs().max() < 5


def test_groups_are_left_out_together():
    # oracle: the jackknife as a loop, on groups of unequal size and arbitrary names
    s, groups = normal(60, 2), torch.tensor([7, 7, -1, 1000, 7, 5] * 10)
    value, error = hermite_moments(s, (2, 3), groups)
    y = np.stack([special.eval_hermitenorm(m, s.numpy()) for m in (2, 3)])
    left_out = np.array([y[:, groups != g].mean(1) for g in groups.unique()])
    exact = np.sqrt(3 / 4 * ((left_out - y.mean(1)) ** 2).sum(0))
    assert np.allclose(error, exact, rtol=1e-11) and np.allclose(value, y.mean(1))
    assert np.allclose(hermite_moments(s, (2, 3), torch.arange(60))[1], hermite_moments(s, (2, 3))[1])


def test_errors_of_dependent_samples():
    # blocks of 20 copies: the error must be that of the independent blocks, not √20 smaller
    blocks = normal(400, 500)
    s = blocks.repeat_interleave(20, 0)
    value, error = hermite_moments(s, [2], torch.arange(400).repeat_interleave(20))
    assert torch.allclose(error, hermite_moments(blocks, [2])[1], rtol=1e-10)
    assert 0.9 < float((value / error).std()) < 1.1 < 3 < float((value / hermite_moments(s, [2])[1]).std())


@pytest.mark.parametrize(("call", "message"), [
    (lambda y: k_statistic(y, 5), "order = 5"), (lambda y: k_statistic(y[:3], 4), "at least 4"),
    (lambda y: k_statistic(y, 1), "order = 1"), (lambda y: k_statistic(y[0], 2), "y.shape"),
    (lambda y: joint_k_statistic(y), "number of columns = 1"), (lambda y: joint_k_statistic(*[y] * 5), "columns = 5"),
    (lambda y: joint_k_statistic(y, y[:5]), "same n"), (lambda y: joint_k_statistic(y[:1], y[:1]), "n = 1"),
    (lambda y: hermite_moments(y, []), "orders"), (lambda y: hermite_moments(y, [-1]), "orders = -1"),
    (lambda y: hermite_moments(y, [21]), "orders = 21"),
    (lambda y: hermite_moments(y[:1], [2]), "n = 1"), (lambda y: hermite_moments(y, [2], torch.zeros(10).long()),
                                                        "number of groups = 1"),
    (lambda y: hermite_moments(y, [2], torch.zeros(9).long()), "groups"),
])
@pytest.mark.untyped
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(normal(10))
