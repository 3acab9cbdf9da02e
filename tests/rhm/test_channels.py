import math

import pytest
import torch

from hierlib.rhm import channels

X = torch.arange(6).repeat(200, 5) % 5


def test_epsilon_process():
    nu = channels.epsilon_process(X, 0.3, 5, dtype=torch.float64)
    truth = nu.gather(-1, X[..., None])
    assert torch.allclose(truth, torch.tensor(1 - 0.3 + 0.06).double()) and torch.allclose(nu.sum(-1), nu.new_ones(()))
    assert (nu.min() - 0.06).abs() < 1e-12


def test_masking_hides_a_fraction_epsilon():
    nu = channels.masking(X, 0.3, 5, seed=1, dtype=torch.float64)
    hidden = (nu - 0.2).abs().amax(-1) < 1e-12
    assert abs(hidden.double().mean() - 0.3) < 4 * math.sqrt(0.21 / X.numel())
    assert torch.equal(nu[~hidden].argmax(-1), X[~hidden]) and (nu[~hidden].amax(-1) == 1).all()


def test_uniform_observes_a_redrawn_symbol_with_probability_epsilon():
    nu = channels.uniform(X, 0.5, 5, seed=1, dtype=torch.float64)
    y = nu.argmax(-1)
    kept = (y == X).double().mean()                       # 1 - eps + eps/v
    assert abs(kept - 0.6) < 4 * math.sqrt(0.24 / X.numel())
    assert torch.allclose(nu.amax(-1), torch.tensor(0.6).double()) and (nu.amin(-1) - 0.1).abs().max() < 1e-12
    wrong = torch.bincount(((y - X) % 5)[y != X], minlength=5)[1:].double()
    assert ((wrong - wrong.mean()).abs() < 4.5 * wrong.mean().sqrt()).all()


def test_gaussian_is_the_posterior_of_the_forward_kernel():
    # oracle: Bayes with torch's Gaussian density, on the noisy one-hot rebuilt from the same seed
    alpha_bar, v = 0.6, 5
    nu = channels.gaussian(X, alpha_bar, v, seed=torch.Generator().manual_seed(2), dtype=torch.float64)
    noise = torch.randn(*X.shape, v, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x_t = alpha_bar**0.5 * torch.nn.functional.one_hot(X, v) + (1 - alpha_bar) ** 0.5 * noise
    kernel = torch.distributions.Normal(torch.eye(v).double() * alpha_bar**0.5, (1 - alpha_bar) ** 0.5)
    log_p = kernel.log_prob(x_t[..., None, :]).sum(-1)
    assert torch.allclose(log_p.softmax(-1), nu, atol=1e-10)
    # noise variance: differences of logits between two wrong symbols have variance 2 (1 - abar)
    other = x_t.gather(-1, (X[..., None] + 1) % v) - x_t.gather(-1, (X[..., None] + 2) % v)
    assert other.var() == pytest.approx(2 * (1 - alpha_bar), rel=0.06)
    lift = (x_t.gather(-1, X[..., None]) - x_t.gather(-1, (X[..., None] + 1) % v)).mean()
    assert lift == pytest.approx(alpha_bar**0.5, rel=0.03)


@pytest.mark.parametrize("channel", [channels.masking, channels.uniform, channels.gaussian])
def test_noise_is_seeded_coupled_and_per_row(channel):
    a, b = channel(X, 0.4, 5, seed=3), channel(X, 0.4, 5, seed=3)
    assert torch.equal(a, b) and not torch.equal(a, channel(X, 0.4, 5, seed=4))
    level = torch.linspace(0.1, 0.8, len(X))
    mixed = channel(X, level, 5, seed=3)
    assert torch.allclose(mixed[7], channel(X, float(level[7]), 5, seed=3)[7], atol=1e-6)
    assert a.dtype == torch.float32 and a.shape == (*X.shape, 5)


def test_masks_are_nested_along_the_noise():
    hidden = [channels.masking(X, eps, 5, seed=0).amax(-1) < 1 for eps in (0.2, 0.5, 0.9)]
    assert (hidden[0] <= hidden[1]).all() and (hidden[1] <= hidden[2]).all()


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: channels.epsilon_process(X, 1.2, 5), "epsilon = 1.2"),
    (lambda: channels.masking(X, -0.1, 5), "epsilon = -0.1"),
    (lambda: channels.uniform(X, float("nan"), 5), "epsilon = nan"),
    (lambda: channels.gaussian(X, 1.0, 5), "alpha_bar = 1.0"),
    (lambda: channels.epsilon_process(X, 0.1, 4), "x0"),
    (lambda: channels.epsilon_process(X.float(), 0.1, 5), "x0"),
    (lambda: channels.epsilon_process(X, torch.tensor([0.1, 0.2]), 5), "epsilon"),
    (lambda: channels.epsilon_process(X, 0.1, 5, dtype=torch.float16), "dtype"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
