import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, stats

from hierlib.cumulants.estimators import k_statistic
from hierlib.cumulants.surrogate import gaussian_surrogate, whiten


def skewed(n: int, d: int, seed: int = 0) -> torch.Tensor:
    gen = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=gen, dtype=torch.float64)
    return torch.randn(n, d, generator=gen, dtype=torch.float64).exp() @ mix + 3


@given(d=st.integers(1, 6), extra=st.integers(2, 30), seed=st.integers(0, 50))
def test_surrogate_has_exactly_the_mean_and_covariance(d, extra, seed):
    x = skewed(d + extra, d, seed)
    surrogate = gaussian_surrogate(x, seed)
    scale = torch.cov(x.T).reshape(d, d).diagonal().max()
    assert surrogate.shape == x.shape and not torch.allclose(surrogate, x)
    assert torch.allclose(surrogate.mean(0), x.mean(0), atol=1e-9 * float(scale.sqrt()))
    assert torch.allclose(torch.cov(surrogate.T), torch.cov(x.T), atol=1e-9 * float(scale))


def test_surrogate_is_gaussian():
    x = skewed(20_000, 5)
    white, surrogate = whiten(x)[0], whiten(gaussian_surrogate(x))[0]
    error = torch.tensor([6 / 20_000, 24 / 20_000], dtype=torch.float64).sqrt()
    for k, order in enumerate((3, 4)):
        assert k_statistic(white, order).abs().max() > 50 * error[k]
        assert k_statistic(surrogate, order).abs().max() < 5 * error[k]
    assert min(stats.kstest(column.numpy(), stats.norm.cdf).pvalue for column in surrogate.T) > 1e-3


def test_affine_denoisers_cannot_tell_them_apart():
    # the loss of any affine map on x + b ε, with the average over ε done exactly
    x, gen = skewed(300, 4), torch.Generator().manual_seed(7)
    weight, bias = torch.randn(4, 4, generator=gen, dtype=torch.float64), torch.randn(4, generator=gen).double()
    losses = [(y - y @ weight - bias).square().sum(1).mean() for y in (x, gaussian_surrogate(x, 1))]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-9)
    losses = [torch.tanh(y - bias).square().sum(1).mean() for y in (x, gaussian_surrogate(x, 1))]
    assert abs(losses[0] / losses[1] - 1) > 0.01


def test_independent_draws():
    x, n = skewed(2000, 3), 50_000
    y = gaussian_surrogate(x, 3, n=n)
    C = torch.cov(x.T)
    assert y.shape == (n, 3)
    assert ((y.mean(0) - x.mean(0)) / (C.diagonal() / n).sqrt()).abs().max() < 5
    spread = ((C**2 + torch.outer(C.diagonal(), C.diagonal())) / n).sqrt()                  # of a Gaussian's covariance
    z = (torch.cov(y.T) - C) / spread
    assert z.abs().max() < 5 and z.abs().max() > 0.05                                         # drawn, not matched
    assert gaussian_surrogate(x, n=2).shape == (2, 3) and gaussian_surrogate(x, n=0).shape == (0, 3)


def test_images_and_precision():
    x = skewed(200, 24).view(200, 2, 3, 4)
    surrogate = gaussian_surrogate(x, 5)
    assert surrogate.shape == x.shape
    assert torch.equal(surrogate.flatten(1), gaussian_surrogate(x.flatten(1), 5))
    single = gaussian_surrogate(x.float(), 5)
    assert single.dtype == torch.float32 and torch.allclose(single.double(), surrogate, rtol=1e-3, atol=1e-3)
    scale = torch.cov(x.flatten(1).T).diagonal().max()
    assert (torch.cov(single.flatten(1).T.double()) - torch.cov(x.flatten(1).T)).abs().max() < 1e-5 * scale
    z, transform = whiten(x.float())
    assert z.shape == x.shape and z.dtype == torch.float32
    assert torch.allclose(transform.invert(z), x.float(), rtol=1e-4, atol=1e-3)


def test_seeds():
    x, gen = skewed(20, 3), torch.Generator().manual_seed(0)
    assert torch.equal(gaussian_surrogate(x, 1), gaussian_surrogate(x, 1))
    assert not torch.allclose(gaussian_surrogate(x, 1), gaussian_surrogate(x, 2))
    assert not torch.allclose(gaussian_surrogate(x, gen), gaussian_surrogate(x, gen))


def test_whitening_is_symmetric():
    x = skewed(500, 6)
    z, transform = whiten(x)
    eye = torch.eye(6, dtype=torch.float64)
    assert torch.allclose(torch.cov(z.T), eye, atol=1e-10) and z.mean(0).abs().max() < 1e-11
    assert np.allclose(transform.root, linalg.sqrtm(torch.cov(x.T).numpy()), rtol=1e-9, atol=1e-9)       # oracle: scipy
    assert torch.allclose(transform.root @ transform.inverse, eye, atol=1e-9)
    other = skewed(7, 6, seed=3)
    assert torch.allclose(transform.invert(transform.apply(other)), other, atol=1e-9)
    # nearest white data: turning z moves it away from x, in the least-squares sense
    upper = torch.triu(torch.ones(6, 6, dtype=torch.float64))
    turned = z @ torch.linalg.matrix_exp(0.1 * (upper - upper.T))
    centred = x - x.mean(0)
    assert (turned - centred).square().sum() > (z - centred).square().sum()


def constant(x):
    x = x.clone()
    x[:, 2] = 4.0
    return x


@pytest.mark.parametrize(("make", "message"), [
    (lambda x: x[:5], "n = 5, d = 5"), (lambda x: x[:0], "n = 0"), (constant, "strongest in component 2"),
    (lambda x: torch.cat([x, x[:, :1] - x[:, 1:2]], 1), "smallest variance is"), (lambda x: x[:, 0], "x = "),
    (lambda x: torch.where(x > 5, math.inf, x), "finite"), (lambda x: torch.ones_like(x), "smallest variance is 0"),
    (lambda x: torch.cat([x, x.sum(1, keepdim=True)], 1).float(), "add a little noise"),
    (lambda x: x.long(), "floating"),
])
@pytest.mark.parametrize("call", [gaussian_surrogate, whiten])
@pytest.mark.untyped
def test_bad_data(call, make, message):
    with pytest.raises(ValueError, match=message):
        call(make(skewed(40, 5)))


def test_bad_calls():
    x = skewed(40, 5)
    with pytest.raises(ValueError, match="n = -1"):
        gaussian_surrogate(x, n=-1)
    with pytest.raises(ValueError, match="5 numbers per sample"):
        whiten(x)[1].apply(x[:, :4])
