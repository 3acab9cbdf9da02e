import math

import pytest
import torch
from scipy import stats

from hierlib.cumulants import simulate
from hierlib.cumulants.model import LATENTS, MixedCumulantModel
from hierlib.cumulants.neuron import TiedNeuron, cosine, sine
from hierlib.cumulants.simulate import Plan, psgd
from hierlib.cumulants.theory import rates
from tests.cumulants.common import drift

NEURON = TiedNeuron()
SPEED = {"step": 0.01, "batch": 4, "samples": 40}


@pytest.mark.parametrize("latents", LATENTS)
def test_mean_step_is_minus_the_gradient_of_the_population_loss(latents):
    model = MixedCumulantModel(5, latents=latents)
    neuron = TiedNeuron(sine() + 0.5 * cosine())
    step, start = 1e-3, (0.5, -0.6)
    run = psgd(model, neuron, Plan(step, 400, 400, replicas=400, start=start, dtype=torch.float64))
    moved = (torch.stack([run.alpha_u[-1], run.alpha_v[-1]]) - torch.tensor(start)[:, None].double()) / step
    z = (moved.mean(1) - drift(model, neuron, *start)) / moved.std(1) * math.sqrt(400)
    assert float(z.abs().max()) < 5, z


def test_noise_of_a_step_is_sigma():
    model, B = MixedCumulantModel(6), 8
    plan = Plan(1e-3, B, B, replicas=4000, start=(0.0, 0.0), dtype=torch.float64)
    run = psgd(model, NEURON, plan)
    sigma2 = rates(model, NEURON).sigma2
    found = run.alpha_v[-1].square().mean() * 1e6 * B
    assert abs(float(found) / sigma2 - 1) < 5 * math.sqrt(2.5 / 4000)     # kurtosis of a mean of 8: a little above 3
    wide = psgd(MixedCumulantModel(6, 3.0), NEURON, Plan(1e-3, B, B, replicas=4000, start=(0.0, 0.0)))
    assert float(wide.alpha_u[-1].square().mean()) > 1.1 * float(run.alpha_v[-1].square().mean())    # x·u is wider


def test_weights_stay_on_the_sphere_and_overlaps_are_theirs():
    gen = torch.Generator().manual_seed(0)
    u, v = torch.linalg.qr(torch.randn(7, 2, generator=gen, dtype=torch.float64))[0].T
    model = MixedCumulantModel(7, u=u, v=v)
    run = psgd(model, NEURON, Plan(replicas=5, **SPEED))
    assert run.w.shape == (5, 7) and torch.allclose(run.w.norm(dim=1), torch.ones(5), atol=1e-6)
    assert torch.allclose(run.w.double() @ u, run.alpha_u[-1], atol=1e-7)
    assert torch.allclose(run.w.double() @ v, run.alpha_v[-1], atol=1e-7)
    assert torch.equal(run.n, 4.0 * torch.arange(11)) and run.alpha_u.shape == (11, 5)
    still = psgd(model, NEURON, Plan(replicas=5, **(SPEED | {"step": 0.0})))
    assert torch.allclose(still.alpha_u, still.alpha_u[:1].expand(11, 5), atol=1e-6)
    assert bool((run.alpha_u[-1] - still.alpha_u[-1]).abs().min() > 1e-5)
    assert torch.allclose(still.alpha_u[0], run.alpha_u[0])                      # the same start for the same seed


def test_chunks_of_replicas_change_nothing_but_the_draws(monkeypatch):
    monkeypatch.setattr(simulate, "_CHUNK", 3 * 4 * 6)
    model, counts = MixedCumulantModel(6), []
    draw = model.draw
    monkeypatch.setattr(model, "draw", lambda count, *more: counts.append(count) or draw(count, *more))
    run = psgd(model, NEURON, Plan(replicas=8, **SPEED))
    assert counts == 10 * [12, 12, 8] and run.w.shape == (8, 6)                    # 3, 3 and 2 replicas


def test_starts():
    model = MixedCumulantModel(9)
    run = psgd(model, NEURON, Plan(start=(0.3, -0.4), replicas=6, **SPEED))
    assert torch.allclose(run.alpha_u[0], torch.tensor(0.3).double(), atol=1e-6)
    assert torch.allclose(run.alpha_v[0], torch.tensor(-0.4).double(), atol=1e-6)
    run = psgd(model, NEURON, Plan(0.0, 1, 1, replicas=4000))
    squared = run.alpha_u[0].square().numpy()              # of a direction uniform on the sphere: Beta(1/2, 4)
    assert stats.kstest(squared, stats.beta(0.5, 4).cdf).pvalue > 0.01
    assert abs(float(run.alpha_u[0].mean())) < 5 / math.sqrt(9 * 4000)


def test_data_of_finite_size_as_source():
    gen = torch.Generator().manual_seed(3)
    data = torch.randn(5000, 8, generator=gen) * torch.tensor([1.5, 1, 1, 1, 1, 1, 1, 1])
    plan = Plan(0.05, 16, 16000, replicas=40)
    found = psgd(data, NEURON, plan).w[:, 0].abs()         # the direction of the larger variance, by itself
    assert float(found.min()) > 0.6
    drawn = psgd(MixedCumulantModel(8, 1.25, 0.0), NEURON, plan).alpha_u[-1].abs()
    assert stats.ks_2samp(found.double(), drawn).pvalue > 0.01
    blind = psgd(data, NEURON, Plan(**SPEED))
    assert blind.alpha_u.isnan().all() and blind.hit.isinf().all() and not blind.w.isnan().any()
    # one row only: every batch is that row with noise, and all replicas find the same overlap with it, up to sign
    row = torch.nn.functional.normalize(torch.ones(1, 8)) * 3
    run = psgd(row, NEURON, Plan(0.05, 16, 8000, replicas=20))
    overlap = (run.w @ row[0]).abs()                       # 2.0 ± 0.03; of random directions 0.9 ± 0.6
    assert float(overlap.min()) > 1.7 and float(overlap.std()) < 0.1


def test_seeds_and_types():
    model = MixedCumulantModel(6)
    state = torch.get_rng_state()
    a, b, c = (psgd(model, NEURON, Plan(seed=seed, replicas=3, **SPEED)) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(a.w, b.w) and not torch.allclose(a.w, c.w, atol=1e-3)
    assert a.w.dtype == torch.float32 and a.alpha_u.dtype == torch.float64
    assert psgd(model, NEURON, Plan(dtype=torch.float64, **SPEED)).w.dtype == torch.float64


@pytest.mark.untyped
@pytest.mark.parametrize(("bad", "name"), [
    ({"step": -0.1}, "step"), ({"replicas": 0}, "replicas"), ({"batch": 1.5}, "batch"), ({"seed": -1}, "seed"),
    ({"start": (0.8, 0.8)}, "start"), ({"start": torch.eye(5)}, "start"),
], ids=str)
def test_bad_input(bad, name):
    with pytest.raises(ValueError, match=name):
        psgd(MixedCumulantModel(6), NEURON, Plan(**(SPEED | bad)))


@pytest.mark.untyped
def test_bad_sources():
    data = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    for bad, name in (({"target": "u"}, "target"), ({"start": (0.1, 0.1)}, "start"), ({"start": [0.1, 0.1]}, "start")):
        with pytest.raises(ValueError, match=name):
            psgd(data, NEURON, Plan(**SPEED, **bad))
    for wrong in (data[:0], data[None]):
        with pytest.raises(ValueError, match="source"):
            psgd(wrong, NEURON, Plan(**SPEED))
    with pytest.raises(ValueError, match="d = 2"):
        psgd(MixedCumulantModel(2), NEURON, Plan(start=(0.1, 0.1), **SPEED))
