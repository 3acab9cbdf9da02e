"""Data with a dial for each cumulant, and the searches for a direction, on the device."""

import torch

from hierlib import cumulants
from hierlib.cumulants import LATENTS, MixedCumulantModel, Plan, TiedNeuron, estimators, hermite, theory
from tests.drawn import gen
from tests.simgpu.compare import both, counted, grows

MODEL = MixedCumulantModel(6, latents="sign")


def check_model():
    for latents in LATENTS:
        m = MixedCumulantModel(6, latents=latents)
        for dtype in (torch.float32, torch.float64):
            both(lambda d: m.sample(9, seed=1, device=d, dtype=dtype))
            both(lambda d: m.with_surrogate(9, seed=1, device=d, dtype=dtype))
        x = m.draw(20_000, torch.Generator("cuda").manual_seed(0))                 # drawn there, of the same law
        assert x.is_cuda and (x.T @ x / len(x) - m.covariance().to(x)).abs().max() < 0.1
    axes = torch.eye(6, device="cuda")
    there = MixedCumulantModel(6, latents="sign", u=axes[0], v=axes[1])
    assert torch.equal(there.sample(5), MODEL.sample(5))


def check_surrogates():
    x = MODEL.sample(60, seed=1)
    both(lambda d: cumulants.gaussian_surrogate(x.to(d), seed=1), tolerance=1e-4)
    both(lambda d: cumulants.gaussian_surrogate(x.view(60, 1, 2, 3).to(d), seed=1, n=7))
    white, host = cumulants.whiten(x)
    _, there = both(lambda d: cumulants.whiten(x.to(d)), tolerance=1e-4)
    for fitted, d in ((host, "cuda"), (there, "cpu")):                             # fitted on one, applied on the other
        assert fitted.apply(x.to(d)).device.type == fitted.invert(white.to(d)).device.type == d
        assert torch.allclose(fitted.apply(x.to(d)).cpu(), white, atol=1e-5)
        assert torch.allclose(fitted.invert(white.to(d)).cpu(), x, atol=1e-5)


def check_estimators():
    x = MODEL.sample(50, seed=1)
    groups = torch.arange(50) // 5
    for order in (2, 3, 4):
        both(lambda d: estimators.k_statistic(x.to(d), order))
    both(lambda d: estimators.joint_k_statistic(x.to(d)[:, :, None], x.to(d)[:, None]))
    both(lambda d: estimators.hermite_moments(x.to(d), [1, 3]))
    both(lambda d: estimators.hermite_moments(x.to(d), [1, 3], groups.to(d)))
    both(lambda d: estimators.hermite_moments(x.to(d), [1, 3], groups))
    both(lambda d: hermite.hermite_polynomials(x.to(d), 5))


def check_neuron():
    x, noise, w = (torch.randn(*shape, generator=gen(k)) for k, shape in enumerate(
        ((9, 6), (9, 6), (3, 6))))
    for phi in (cumulants.sine(), cumulants.tanh() + 0.5 * cumulants.cosine(), cumulants.relu(0.5), torch.tanh):
        neuron = TiedNeuron(phi)
        both(lambda d: [neuron(w.to(d), x.to(d)), neuron.loss(w.to(d), x.to(d), noise.to(d)),
                        neuron.gradient(w.to(d), x.to(d), noise.to(d))])


def check_searches():
    neuron = TiedNeuron()
    for source in (MODEL, MODEL.sample(50), MODEL.sample(50, device="cuda")):
        for start in (None, (0.1, 0.2)) if source is MODEL else (None,):
            target = "v" if source is MODEL else None
            plan = Plan(0.1, 4, 40, replicas=3, start=start, target=target, device="cuda", records=5)
            run = cumulants.psgd(source, neuron, plan)
            assert run.w.device.type == run.hit.device.type == run.alpha_u.device.type == "cpu"
    for latents in LATENTS:
        model = MixedCumulantModel(6, latents=latents)
        for start in (None, (0.1, 0.2)):
            plan = Plan(0.1, 4, 40, replicas=3, start=start, target="u", device="cuda", records=5)
            run = cumulants.chain(model, neuron, plan)
            assert run.alpha_u.device.type == "cpu" and run.alpha_u.isfinite().all()
    # without noise the path is the same on every device: starts are drawn on the CPU
    both(lambda d: cumulants.chain(MODEL, neuron, Plan(0.0, 4, 40, replicas=3, device=d)), host=True)
    both(lambda d: cumulants.scaled_sde(0.5, 0.0, [1.0, 2.0], replicas=3, x0=2.0, device=d), host=True)
    assert cumulants.scaled_sde(0.5, 1.0, torch.tensor([1.0, 2.0], device="cuda"), replicas=3, device="cuda").shape \
        == (2, 3)


def check_searches_wait_every_32_steps():
    options = {"device": "cuda", "target": "v", "threshold": 1.0, "replicas": 2}
    for search in (cumulants.psgd, cumulants.chain):
        grows(lambda n: search(MODEL, TiedNeuron(), Plan(0.1, 2, 64 * n, **options)), waits=1, n=1)


def check_closed_forms():
    neuron = TiedNeuron()
    theory.population_loss(MODEL, neuron, 0.1, 0.2), theory.rates(MODEL, neuron)
    assert counted(lambda: theory.loss_coefficients(neuron)) == (0, 0)
