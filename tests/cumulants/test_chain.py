import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats

from hierlib.cumulants import simulate
from hierlib.cumulants.model import LATENTS, MixedCumulantModel
from hierlib.cumulants.neuron import TiedNeuron, cosine, relu, sine
from hierlib.cumulants.simulate import Plan, chain, psgd, scaled_sde
from hierlib.cumulants.theory import growth_rate, rates
from tests.cumulants.common import batch_v, drift

NEURON = TiedNeuron()
MIXED = TiedNeuron(sine() + 0.5 * cosine())


def samples_v(d: int, batch: int | None = None, delta0: float = 3.2, **kwargs):
    """Return a run on the fourth-cumulant spike alone, from the typical overlap 1/√d."""
    batch = batch or batch_v(d, delta0)
    options = {"samples": 40 * d**3, "replicas": 192, "fraction": 0.65, "records": 10} | kwargs
    return chain(MixedCumulantModel(d, 0.0), NEURON, Plan(
        delta0 * batch / d**2, batch, start=(0, 1 / math.sqrt(d)), target="v", **options))


def median(run) -> float:
    return float(np.median(run.hit))


@pytest.mark.parametrize("latents", LATENTS)
@pytest.mark.parametrize("start", [(0.5, -0.6), (0.0, 0.7), (-0.9, 0.1)], ids=str)
def test_mean_step_is_minus_the_gradient_of_the_population_loss(latents, start):
    model, step = MixedCumulantModel(5, latents=latents), 1e-4
    run = chain(model, MIXED, Plan(step, 200, 200, replicas=2000, start=start))
    moved = (torch.stack([run.alpha_u[-1], run.alpha_v[-1]]) - torch.tensor(start).double()[:, None]) / step
    z = (moved.mean(1) - drift(model, MIXED, *start)) / moved.std(1) * math.sqrt(2000)
    assert float(z.abs().max()) < 5, z


@pytest.mark.parametrize("phi", [sine(), relu(-0.5), sine() + 0.5 * cosine()], ids=["odd", "relu", "mixed"])
@pytest.mark.parametrize(("latents", "d", "beta_u"), [
    ("independent", 3, 1.0), ("sign", 4, 2.0), ("abs", 5, 0.5), ("laplace", 12, 1.0), ("independent", 5, 0.0),
    ("laplace", 3, 0.0),
])
def test_one_large_step_has_the_law_of_psgd(phi, latents, d, beta_u):
    """In few dimensions, where every degree of freedom counts, and with steps at which the norm matters."""
    model, neuron = MixedCumulantModel(d, beta_u, latents=latents), TiedNeuron(phi, kappa=1.0)
    plan = Plan(1.5, 3, 3, replicas=6000, start=(0.4, 0.6))
    full, reduced = psgd(model, neuron, plan), chain(model, neuron, plan)
    for found, expected in ((reduced.alpha_u, full.alpha_u), (reduced.alpha_v, full.alpha_v),
                            (reduced.alpha_u - reduced.alpha_v, full.alpha_u - full.alpha_v)):
        # rounded: where φ = 0 for a whole batch w stays at its start, which psgd keeps in float32
        laws = [x[-1].numpy().round(5) for x in (found, expected)]
        assert stats.ks_2samp(*laws).pvalue > 1e-3                                          # 54 of these


def test_hitting_times_of_v_have_the_law_of_psgd():
    d, batch = 12, 16
    model = MixedCumulantModel(d, 0.0)
    full = psgd(model, NEURON, Plan(3.2 * batch / d**2, batch, 8 * d**3, replicas=160, seed=1,
                                    start=(0, 1 / math.sqrt(d)), target="v"))
    reduced = samples_v(d, batch, samples=8 * d**3, replicas=320, fraction=1.0)
    ends = [np.minimum(run.hit.numpy(), 8 * d**3 + batch) for run in (full, reduced)]
    assert stats.ks_2samp(*ends).pvalue > 0.01
    assert 0.6 < full.fraction_hit < 0.99


@pytest.mark.parametrize(("latents", "target", "threshold"), [("independent", "u", 0.5), ("sign", "v", 0.3)])
def test_hitting_times_of_u_and_of_correlated_latents_have_the_law_of_psgd(latents, target, threshold):
    d = 24
    model = MixedCumulantModel(d, latents=latents)
    plan = Plan(0.2 * 3 / d, 3, 300 * d, replicas=200, records=10, target=target, threshold=threshold)
    full, reduced = psgd(model, NEURON, plan), chain(model, NEURON, plan)
    assert min(full.fraction_hit, reduced.fraction_hit) > 0.95
    ends = [run.hit.clamp(max=301 * d).numpy() for run in (full, reduced)]
    assert stats.ks_2samp(*ends).pvalue > 0.01


@pytest.mark.parametrize("latents", ["independent", "sign", "abs"])
def test_the_shortcut_without_signs_has_the_same_law(latents, monkeypatch):
    model = MixedCumulantModel(5, 0.0, latents=latents)
    assert simulate._signless(model, NEURON)
    assert not simulate._signless(MixedCumulantModel(5, latents=latents), NEURON)
    assert not simulate._signless(model, MIXED) and not simulate._signless(model, TiedNeuron(relu()))
    assert not simulate._signless(MixedCumulantModel(5, 0.0, latents="laplace"), NEURON)
    plan = Plan(1.5, 3, 3, replicas=6000, start=(0.4, 0.6))
    short = chain(model, NEURON, plan)
    monkeypatch.setattr(simulate, "_signless", lambda *_: False)
    plain = chain(model, NEURON, dataclasses.replace(plan, seed=1))
    assert not torch.equal(short.alpha_v, plain.alpha_v)
    assert stats.ks_2samp(short.alpha_v[-1].numpy(), plain.alpha_v[-1].numpy()).pvalue > 0.01
    w, x, noise = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    even = [NEURON.gradient(w / w.norm(), sign * x[None], sign * noise[None]) for sign in (1, -1)]
    assert torch.allclose(*even, atol=1e-14)               # why: a sample's gradient is even


def test_v_takes_of_order_d_cubed_samples_as_the_diffusion_says():
    runs = {d: samples_v(d, batch, fraction=0.6) for d, batch in ((16, 8), (32, 32))}       # both with steps of 0.1
    times = {d: median(run) / d**3 for d, run in runs.items()}
    C = rates(MixedCumulantModel(16, 0.0), NEURON)
    limit = scaled_sde(C.C4, C.sigma2, 3.2, replicas=4000).median()
    exponent = math.log2(median(runs[32]) / median(runs[16]))
    assert abs(exponent - 3) < 0.5                         # standard error near 0.15
    assert all(abs(time / float(limit) - 1) < 0.25 for time in times.values()), times


def test_the_batch_does_not_matter_at_a_fixed_step_per_sample():
    small, large = samples_v(12, 4, replicas=256), samples_v(12, 16, replicas=256)
    assert abs(math.log(median(small) / median(large))) < 0.4        # standard error near 0.1


def test_u_takes_of_order_d_log_d_samples():
    ds = (32, 256)
    medians = []
    for d in ds:
        run = chain(MixedCumulantModel(d), NEURON, Plan(
            0.2 / 8, d // 8, 400 * d, replicas=256, start=(1 / math.sqrt(d), 0), target="u", threshold=0.5,
            fraction=0.6))
        medians.append(median(run) / d)
    slope = (medians[1] - medians[0]) / math.log(ds[1] / ds[0])
    assert slope * 2 * float(growth_rate(rates(MixedCumulantModel(32), NEURON), 0.2)) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize(("latents", "kappa"), [("independent", 0.5), ("laplace", -0.5)])
def test_sign_rule(latents, kappa):
    """The sign of κ₄ has to fit the sign of κ: with the other one the neuron avoids v."""
    d = 12
    for sign in (1, -1):
        model = MixedCumulantModel(d, 0.0, latents=latents)
        run = chain(model, TiedNeuron(kappa=sign * kappa), Plan(
            1.6 * 16 / d**2, 16, 10 * d**3, replicas=64, start=(0, 1 / math.sqrt(d)), target="v"))
        if sign == 1:
            assert run.fraction_hit > 0.5
        else:
            assert run.fraction_hit == 0 and float(run.alpha_v[-1].square().mean()) < 1.5 / d


def test_v_is_found_by_way_of_u_when_the_third_cumulant_is_seen():
    d = 128
    plan, model = Plan(0.2 * 16 / d, 16, 250 * d, threshold=0.25), MixedCumulantModel(d, 2.0, latents="abs")
    seen, odd = chain(model, MIXED, dataclasses.replace(plan, target="v")), chain(model, NEURON, plan)
    assert seen.fraction_hit > 0.9
    assert float((odd.alpha_v[-1].abs() > 0.25).double().mean()) < 0.05 and float(odd.alpha_u[-1].abs().mean()) > 0.5


def test_starts():
    model = MixedCumulantModel(9)
    run = chain(model, NEURON, Plan(0.0, 1, 1, replicas=4000))
    u, v = run.alpha_u, run.alpha_v
    assert stats.kstest(u[0].square().numpy(), stats.beta(0.5, 4).cdf).pvalue > 0.01
    assert stats.kstest((u[0].square() + v[0].square()).numpy(), stats.beta(1, 3.5).cdf).pvalue > 0.01
    assert torch.allclose(u[0], u[1]) and torch.allclose(v[0], v[1])
    for edge in ((1.0, 0.0), (0.0, -1.0), (0.6, 0.8), (0.1, 0.2)):
        run = chain(model, NEURON, Plan(0.3, 4, 400, start=edge, replicas=4))
        assert [run.alpha_u[0].tolist(), run.alpha_v[0].tolist()] == [4 * [alpha] for alpha in edge]
        length = run.alpha_u.square() + run.alpha_v.square()
        assert bool((length <= 1 + 1e-6).all()) and float(length[-1].max()) < 0.999    # no pole is a trap


def test_seeds_and_types():
    model, kwargs = MixedCumulantModel(6), {"step": 0.1, "batch": 2, "samples": 20, "replicas": 3}
    state = torch.get_rng_state()
    a, b, c = (chain(model, NEURON, Plan(seed=seed, **kwargs)) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state()) and a.w is None
    assert torch.equal(a.alpha_v, b.alpha_v) and not torch.allclose(a.alpha_v, c.alpha_v)
    assert a.alpha_v.shape == (11, 3) and a.alpha_v.dtype == torch.float64
    assert chain(model, NEURON, Plan(dtype=torch.float64, **kwargs)).alpha_v.dtype == torch.float64


@pytest.mark.untyped
@pytest.mark.parametrize(("bad", "name"), [
    ({"step": -0.1}, "step"), ({"replicas": 0}, "replicas"), ({"batch": 0}, "batch"), ({"start": (0.8, 0.8)}, "start"),
    ({"start": torch.ones(3, 3)}, "start"), ({"seed": -1}, "seed"),
], ids=str)
def test_bad_input(bad, name):
    with pytest.raises(ValueError, match=name):
        chain(MixedCumulantModel(6), NEURON, Plan(**({"step": 0.1, "batch": 1, "samples": 2} | bad)))
    with pytest.raises(ValueError, match="d = 2"):
        chain(MixedCumulantModel(2), NEURON, Plan(0.1, 1, 2))
