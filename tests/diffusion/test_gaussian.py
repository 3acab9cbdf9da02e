"""Gaussian diffusion against closed forms of Gaussian data, and samplers against recursions of the variance."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from hierlib import lab, nets
from hierlib.diffusion import gaussian, ideal, schedule
from hierlib.diffusion.gaussian import KINDS, Denoiser

D64 = torch.float64


def normal(*shape, seed=0, dtype=D64):
    return torch.randn(*shape, generator=lab.generator(seed, "test_gaussian"), dtype=dtype)


def truth(kind, x0, alpha_bar, noise):
    """What an all-knowing network of this kind predicts, sample by sample."""
    rows = []
    for k, x in enumerate(x0):
        s = float(alpha_bar[k]) if isinstance(alpha_bar, torch.Tensor) else alpha_bar
        rows.append({"data": x, "noise": noise[k],
                     "velocity": math.sqrt(s) * noise[k] - math.sqrt(1 - s) * x}[kind])
    return torch.stack(rows)


@given(shape=st.sampled_from([(3,), (3, 2), (3, 1, 2, 2)]), low=st.floats(0.01, 0.99), single=st.booleans())
def test_kinds_convert_exactly(shape, low, single):
    x0, noise = normal(*shape), normal(*shape, seed=1)
    alpha_bar = low if single else torch.linspace(low, 0.99, 3, dtype=D64)
    x_t = gaussian.noised(x0, alpha_bar, noise)
    for kind in KINDS:
        known = truth(kind, x0, alpha_bar, noise)
        for to in KINDS:
            found = gaussian.convert(known, x_t, alpha_bar, kind, to)
            assert torch.allclose(found, truth(to, x0, alpha_bar, noise), rtol=0, atol=1e-11)


def test_noised_keeps_the_variance():
    x0, noise = normal(4, 50_000), normal(4, 50_000, seed=1)
    alpha_bar = torch.tensor([0.0, 0.3, 0.9, 1.0], dtype=D64)
    x_t = gaussian.noised(x0, alpha_bar, noise)
    assert torch.equal(x_t[0], noise[0]) and torch.equal(x_t[3], x0[3])
    correlation = (x_t * x0).mean(1)                        # its variance is (1 + ᾱ)/n
    z = (correlation - alpha_bar.sqrt()) / ((1 + alpha_bar) / 50_000).sqrt()
    assert z.abs().max() < 5
    assert torch.equal(gaussian.noised(x0[None], alpha_bar[None], noise[None])[0], x_t)       # (E, n) with (E, n, …)


class Spy(torch.nn.Module):
    """A network without weights that remembers how it was called."""

    def forward(self, *args):
        self.args = args
        return torch.zeros_like(args[0])


@pytest.mark.parametrize("kind", KINDS)
def test_denoiser_of_each_kind_is_the_same_filter(kind):
    """Networks that say the Wiener filter's answer as noise or velocity give it back, and ε̂ fits x̂0."""
    C = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=D64)
    wiener = ideal.Wiener(torch.tensor([1.0, -1.0], dtype=D64), C)
    denoiser = Denoiser(lambda x, s: gaussian.convert(wiener(x, s), x, s, "data", kind), kind)
    x = normal(5, 2)
    for alpha_bar in (0.3, torch.linspace(0.1, 0.9, 5, dtype=D64)):
        x0 = denoiser(x, alpha_bar)
        noise = gaussian.convert(denoiser.predict(x, alpha_bar), x, alpha_bar, kind, "noise")
        assert torch.allclose(x0, wiener(x, alpha_bar), atol=1e-12)
        assert torch.allclose(gaussian.noised(x0, alpha_bar, noise), x, atol=1e-12)


def test_losses_of_the_kinds_differ_by_known_factors_and_equal_the_mmse():
    n = 40_000
    C = torch.diag(torch.tensor([4.0, 1.0, 0.25], dtype=D64))
    wiener = ideal.Wiener(torch.zeros(3, dtype=D64), C)
    x0, noise = normal(n, 3) @ C.sqrt(), normal(n, 3, seed=1)
    s = 0.7
    found = {kind: float(gaussian.loss(Denoiser(
        lambda x, level, kind=kind: gaussian.convert(wiener(x, level), x, level, "data", kind), kind), x0, s, noise))
        for kind in KINDS}
    variances = torch.diag(C) * (1 - s) / (s * torch.diag(C) + 1 - s)
    assert wiener.mmse(s) == pytest.approx(float(variances.mean()), rel=1e-12)
    error = math.sqrt(2 * float((variances**2).sum()) / n) / 3              # of a mean of squares of Gaussians
    assert abs(found["data"] - wiener.mmse(s)) < 5 * error
    assert found["noise"] == pytest.approx(found["data"] * s / (1 - s), rel=1e-10)
    assert found["velocity"] == pytest.approx(found["data"] / (1 - s), rel=1e-10)


def test_network_is_told_levels_and_conditions():
    spy = Spy()
    denoiser = Denoiser(spy, "noise")
    x, label = normal(5, 3, dtype=torch.float32), torch.arange(5)
    denoiser(x, 0.25, label)
    seen, alpha_bar, condition = spy.args
    assert seen is x and condition is label
    assert alpha_bar.shape == (5,) and alpha_bar.dtype == x.dtype and (alpha_bar == 0.25).all()
    gaussian.sample(denoiser, x, schedule.grid(3, start=0.5), label)
    assert spy.args[2] is label
    gaussian.loss(denoiser, x, torch.full((5,), 0.5, dtype=D64), x, label)
    assert spy.args[1].dtype == x.dtype and spy.args[2] is label
    assert "noise" in repr(denoiser) and list(Denoiser(nets.MLP(3, 3)).parameters())


def test_an_ensemble_has_the_losses_of_its_members_and_trains():
    members = [nets.MLP(3, 3, width=8, depth=1, seed=k).double() for k in range(3)]
    ensemble = nets.Ensemble(members)
    x0, noise = normal(3, 7, 2), normal(3, 7, 2, seed=1)
    alpha_bar = torch.linspace(0.1, 0.9, 21, dtype=D64).reshape(3, 7)

    def with_level(net):
        return lambda x, s: net(torch.cat([x, s[..., None]], -1))[..., :2]

    together = gaussian.loss(Denoiser(with_level(ensemble), "velocity", 2), x0, alpha_bar, noise)
    alone = [gaussian.loss(Denoiser(with_level(net), "velocity"), x0[k], alpha_bar[k], noise[k])
             for k, net in enumerate(members)]
    assert torch.allclose(together, torch.stack(alone), rtol=1e-12)

    def batch_loss(net, rng):
        z = torch.randn(3, 64, 2, generator=rng, dtype=D64)
        return gaussian.loss(Denoiser(with_level(net), "data", 2), torch.ones_like(z), 0.5, z)

    *_, last = lab.train(ensemble, batch_loss, steps=60)
    with torch.no_grad():
        assert last.step == 60 and batch_loss(ensemble, lab.generator(9)).max() < 0.3       # it starts near 1


def test_probability_flow_of_a_gaussian():
    """DDIM with the exact denoiser converges, to first order, to the closed form of the flow."""
    m, C = 1.5, 0.25
    wiener = ideal.Wiener(torch.tensor([m], dtype=D64), torch.tensor([[C]], dtype=D64))
    start, x = 0.05, torch.linspace(-2, 2, 9, dtype=D64)[:, None]
    exact = m + math.sqrt(C / (start * C + 1 - start)) * (x - math.sqrt(start) * m)
    errors = [float((gaussian.sample(wiener, x, schedule.grid(k, start=start)) - exact).abs().max())
              for k in (100, 200, 400)]
    assert errors[2] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.05) and errors[1] / errors[2] == pytest.approx(2, abs=0.05)


def test_sampler_stops_at_the_last_level():
    wiener = ideal.Wiener(torch.zeros(1, dtype=D64), torch.tensor([[4.0]], dtype=D64))
    grid = torch.linspace(0, 0.6, 1001, dtype=D64)
    x = gaussian.sample(wiener, torch.ones(1, 1, dtype=D64), grid)
    assert float(x) == pytest.approx(math.sqrt(0.6 * 4 + 0.4), rel=3e-3)     # scale of the flow from ᾱ = 0


def variance(C, grid, eta):
    """Recursion for the variance of an eigenvector's component, sampler of Song, Meng, Ermon 2021 (eq. 12)."""
    V = 1.0
    for s, t in pairwise(grid):
        gain = math.sqrt(s) * C / (s * C + 1 - s)
        sigma2 = eta**2 * (1 - t) / (1 - s) * (1 - s / t)
        step = math.sqrt(t) * gain + math.sqrt(1 - t - sigma2) * (1 - math.sqrt(s) * gain) / math.sqrt(1 - s)
        V = step**2 * V + sigma2
    return V


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_samples_have_the_mean_and_covariance_of_the_data(eta):
    n, variances = 20_000, torch.tensor([4.0, 1.0, 0.1], dtype=D64)
    angle = torch.linalg.qr(normal(3, 3, seed=3))[0]
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=D64)
    wiener = ideal.Wiener(mean, angle @ torch.diag(variances) @ angle.T)
    for steps in (8, 100):
        grid = schedule.grid(steps, start=1e-6)
        x = gaussian.sample(wiener, normal(n, 3), grid, eta=eta, seed=1)
        y = (x - mean) @ angle
        predicted = torch.tensor([variance(float(C), grid.tolist(), eta) for C in variances], dtype=D64)
        z = (y.var(0) / predicted - 1) / math.sqrt(2 / n)
        assert z.abs().max() < 5
        z = (y.mean(0) / predicted.sqrt()) * math.sqrt(n)       # the mean at ᾱ = 1e-6 is 1e-3 m away from 0
        assert z.abs().max() < 5
        correlation = torch.corrcoef(y.T) - torch.eye(3)
        assert correlation.abs().max() < 5 / math.sqrt(n)
    assert ((predicted / variances - 1).abs() < 0.12).all()      # of order 1/steps, seen: up to .098
    finer = [variance(0.1, schedule.grid(k, start=1e-6).tolist(), eta) / 0.1 - 1 for k in (1000, 2000)]
    assert finer[0] / finer[1] == pytest.approx(2, abs=0.1)


def test_sampling_is_seeded_and_draws_only_with_eta():
    wiener = ideal.Wiener(torch.zeros(2, dtype=D64), torch.eye(2, dtype=D64))
    x, grid = normal(4, 2), schedule.grid(5)
    state = (gen := lab.generator(0)).get_state()
    gaussian.sample(wiener, x, grid, seed=gen)
    assert torch.equal(gen.get_state(), state)
    one, same, other = (gaussian.sample(wiener, x, grid, eta=1.0, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.allclose(one, other)


def test_trajectory_and_single_step():
    wiener = ideal.Wiener(torch.tensor([3.0], dtype=D64), torch.tensor([[2.0]], dtype=D64))
    x = normal(50, 1)
    grid = schedule.grid(6)
    path = list(gaussian.trajectory(wiener, x, grid, eta=0.5, seed=3))
    assert [level for level, _, _ in path] == grid[1:].tolist()
    assert torch.equal(path[-1][1], gaussian.sample(wiener, x, grid, eta=0.5, seed=3))
    assert torch.allclose(path[-1][1], path[-1][2], atol=1e-12)              # at ᾱ = 1 the state is x̂0
    one = gaussian.sample(wiener, x, torch.tensor([0.2, 1.0]), eta=1.0)
    assert torch.allclose(one, wiener(x, float(torch.tensor(0.2))), atol=1e-12)


def test_u_turn_of_a_gaussian_gives_a_second_sample_of_the_posterior():
    n, C, s = 20_000, 2.0, 0.4
    wiener = ideal.Wiener(torch.zeros(1, dtype=D64), torch.tensor([[C]], dtype=D64))
    x0 = math.sqrt(C) * normal(n, 1)
    back = gaussian.forward_backward(wiener, x0, s, 200, seed=5)
    rho = s * C / (s * C + 1 - s)                             # the correlation of two posterior samples
    found = float(torch.corrcoef(torch.cat([x0, back], 1).T)[0, 1])
    assert abs(found - rho) < 5 * (1 - rho**2) / math.sqrt(n)
    assert float(back.var()) == pytest.approx(C, rel=5 * math.sqrt(2 / n) + 0.01)


def test_u_turn_of_the_memorising_denoiser():
    """At little noise each point comes back to itself; from pure noise every point is as likely."""
    data = 3 * torch.eye(4, dtype=D64)
    x0 = data.repeat(500, 1)

    def memory(x, s):
        return (-(x[:, None] - math.sqrt(s) * data).square().sum(-1) / (2 * (1 - s))).softmax(-1) @ data

    back = gaussian.forward_backward(memory, x0, 0.95, 20, seed=1)
    assert torch.allclose(back, x0, atol=1e-9)
    back = gaussian.forward_backward(memory, x0, 1e-5, 200, seed=1)
    nearest = torch.cdist(back, data)
    assert nearest.amin(1).max() < 1e-6
    assert chisquare(np.bincount(nearest.argmin(1), minlength=4)).pvalue > 1e-4
    assert 0.2 < (nearest.argmin(1) == torch.arange(4).repeat(500)).double().mean() < 0.3       # memory is lost


X, WIENER = torch.zeros(3, 2), ideal.Wiener(torch.zeros(2), torch.eye(2))


@pytest.mark.parametrize(("call", "name"), [
    (lambda: gaussian.noised(X, 1.5, X), "alpha_bar"),
    (lambda: gaussian.noised(X, math.nan, X), "alpha_bar"),
    (lambda: gaussian.noised(X, torch.tensor([0.1, -0.2, 0.3]), X), "alpha_bar"),
    (lambda: gaussian.noised(X, torch.full((2,), 0.5), X), "alpha_bar"),
    (lambda: gaussian.convert(X, X, 0.5, "score", "data"), "kind"),
    (lambda: gaussian.convert(X, X, 0.5, "data", "score"), "to"),
    (lambda: gaussian.convert(X, X, 0.0, "noise", "data"), "alpha_bar"),
    (lambda: gaussian.convert(X, X, torch.ones(3), "data", "velocity"), "alpha_bar"),
    (lambda: Denoiser(WIENER, "score"), "predicts"),
    (lambda: Denoiser(WIENER, "data", 3), "batch_dims"),
    (lambda: Denoiser(WIENER, "data")(X, torch.full((3, 2), 0.5)), "alpha_bar"),
    (lambda: Denoiser(lambda x, s: x[:1])(X, 0.5), "network"),
    (lambda: gaussian.sample(WIENER, X, torch.tensor([0.5])), "alpha_bars"),
    (lambda: gaussian.sample(WIENER, X, torch.tensor([1.0, 0.5])), "alpha_bars"),
    (lambda: gaussian.sample(WIENER, X, torch.tensor([0.5, 1.5])), "alpha_bars"),
    (lambda: gaussian.sample(WIENER, X, schedule.grid(3), eta=2.0), "eta"),
    (lambda: gaussian.sample(Denoiser(Spy(), "noise"), X, schedule.grid(3)), "alpha_bar"),
    (lambda: gaussian.forward_backward(WIENER, X, 1.0, 3), "alpha_bar"),
])
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name} = "):
        call()
