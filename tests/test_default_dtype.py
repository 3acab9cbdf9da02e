"""With torch.set_default_dtype(float64) data are the same, and networks, then in float64, work on them."""

import math

import pytest
import torch

from hierlib import bumps, cumulants, lab, nets, rhm, sim
from hierlib.bumps import geometry, images, labels
from hierlib.cumulants.estimators import hermite_moments
from hierlib.diffusion import discrete, gaussian, ideal, schedule
from hierlib.sim.concepts import Concepts, classes

G = rhm.Grammar.random(4, 2, 2, 2, seed=0)
X = G.sample(16, seed=0)[0]
Q = rhm.channels.masking(X, 0.5, 4, seed=0)
IMAGES = torch.randn(20, 1, 4, 4, generator=lab.generator(0, "test"), dtype=torch.float32)
MODEL, NEURON = cumulants.MixedCumulantModel(8), cumulants.TiedNeuron()
PLAN = cumulants.Plan(step=0.1, batch=4, samples=32, replicas=3, target="u")
PROCESSES = discrete.Uniform(4, discrete.linear_alpha_bar(20)), discrete.Masked(4, 1 - torch.arange(9) / 8)
NETS = {
    "TreeUNet": lambda seed: nets.TreeUNet(4, 2, 2, 8, seed), "TokenMLP": lambda seed: nets.TokenMLP(4, 4, 16, 2, seed),
    "Transformer": lambda seed: nets.Transformer(4, 4, 16, 2, 1, seed),
    "ConvNet": lambda seed: nets.ConvNet(4, 8, (1,), seed),
}


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


DATA = {
    "grammar": lambda: [rhm.Grammar.random(4, 2, 2, 2, seed=0).rules, *G.sample(9, seed=1)],
    "channels": lambda: [getattr(rhm.channels, name)(X, 0.5, 4, seed=0) for name in rhm.channels.__all__],
    "belief": lambda: [*rhm.marginals(G, Q), *rhm.sample_posterior(G, Q, seed=0), rhm.log_evidence(G, Q)],
    "pools": lambda: list(rhm.population.upward_pools(G, rhm.channels.uniform, 0.3, size=8)),
    "contexts": lambda: [rhm.contexts.population_covariance(G, rhm.contexts.Pair(1))],
    "clustering": lambda: [rhm.clustering.fit(X, 4, 2).generate(5)],
    "mixture": lambda: rhm.controls.FlatMixture.random(4, 2, 4).sample(9),
    "noised strings": lambda: [process.noised(X, 3, seed=0) for process in PROCESSES],
    "exact samplers": lambda: [
        discrete.any_order(lambda q: rhm.marginals(G, q)[0].log(), torch.full((9, 4), 4), 4, seed=0),
        discrete.ancestral(PROCESSES[0], lambda q: rhm.cavity(G, q)[0].log(), (9, 4), seed=0),
        discrete.any_order_loss(lambda q: rhm.marginals(G, q)[0].log(), X, 4, seed=0)],
    "levels": lambda: [schedule.draw_alpha_bar(9, 0, stratified=True), schedule.grid(4)],
    "gaussian samplers": lambda: [
        gaussian.forward_backward(ideal.Wiener.fit(IMAGES), IMAGES, 0.5, 4),
        gaussian.sample(ideal.Empirical(IMAGES), IMAGES, schedule.grid(4), eta=1.0)],
    "cumulants": lambda: [
        MODEL.sample(9), *MODEL.with_surrogate(9), *MODEL.latent_quadrature(), *cumulants.whiten(IMAGES)[:1],
        cumulants.gaussian_surrogate(IMAGES), hermite_moments(IMAGES, [3])[0]],
    "neurons": lambda: [run.alpha_u for run in (
        cumulants.psgd(MODEL, NEURON, PLAN), cumulants.chain(MODEL, NEURON, PLAN))],
    "population loss": lambda: [torch.as_tensor(cumulants.theory.population_loss(MODEL, NEURON, 0.1, 0.2))],
    "sim": lambda: [sim.Task([1.0, 2.0], 0.1).sample(9), sim.phase_grid([0.4], [0.9], 0.01),
                    sim.flow(0.1 * torch.eye(2, dtype=torch.float64), torch.tensor([0.5, 1.0]), [0.0, 1.0]).W],
    "concepts": lambda: [*Concepts(0.1).render(classes("01", "10")), Concepts(0.1).mean(classes("01", "10"))],
    "bumps": lambda: [images.bump(labels.uniform(9, 16), 16), labels.lattice(16),
                      labels.stripes(bumps.Domain(16, margin=1)), bumps.percolation.threshold(3.0, 4).times],
}


def test_data_are_the_same(request):
    plain = {name: make() for name, make in DATA.items()}
    request.getfixturevalue("double")
    for name, make in DATA.items():
        for a, b in zip(plain[name], make(), strict=True):
            assert a.dtype == b.dtype and torch.equal(a, b), name


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_token_networks(double, make):
    net, untrained = make(0), math.log(4)
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    loss = discrete.any_order_loss(net, X, 4, seed=0)
    assert loss.dtype == torch.float64 and torch.allclose(loss, torch.full_like(loss, untrained), rtol=1e-14)
    for process in PROCESSES:
        assert discrete.variational_loss(process, net, X, seed=0).isfinite().all()
        assert discrete.ancestral(process, net, (5, 4), seed=0).max() <= 4
    *_, report = lab.train(net, lambda model, rng: discrete.any_order_loss(model, X, 4, seed=rng).mean(), steps=30)
    assert report.frame()["loss"].iloc[-1] < untrained - 0.1
    ensemble = nets.Ensemble([make(0), make(1)])
    assert discrete.any_order(ensemble, torch.full((2, 5, 4), 4), 4, seed=0).max() < 4


def test_networks_of_images_and_their_chapters(double):
    network = nets.UNet(widths=(8,))
    denoiser, x = gaussian.Denoiser(network, "velocity"), IMAGES.double()
    assert gaussian.loss(denoiser, x, schedule.draw_alpha_bar(20, 0), torch.randn_like(x)).dtype == torch.float64
    assert gaussian.sample(denoiser, x, schedule.grid(3)).dtype == torch.float64
    assert nets.Skip(nets.MLP(16, 16))(x.flatten(1)).dtype == torch.float64
    assert float(geometry.measures(geometry.clifford_torus(6))["f_add"]) == pytest.approx(1, abs=1e-12)
    concepts = sim.ConceptDenoisers([Concepts(0.1, pixels=4)], seeds=1, images=8, batch=4, samples=4, pairs=4, steps=2)
    assert concepts.follow(3, at=[3])[["loss", "ood"]].notna().all(axis=None)
    torus = bumps.Domain(8, torus=True)
    examples = bumps.Examples.of(labels.lattice(torus, 2.0), lambda mu: images.bump(mu, torus),
                                 lambda mu: labels.fourier(mu, 8))
    found = bumps.BumpDenoisers([examples], batch=4, steps=2).follow(examples, 3, torus=True)
    assert found[["loss", "fidelity"]].notna().all(axis=None)
