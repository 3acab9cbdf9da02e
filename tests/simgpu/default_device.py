"""``torch.set_default_device("cuda")`` around hierlib: what draws refuses, with a reason; all else works as without."""

import torch

from hierlib import bumps, cumulants, lab, nets, real, rhm, sim
from hierlib.bumps import geometry, labels, lattice, percolation, readout
from hierlib.cumulants import estimators, hermite
from hierlib.cumulants import theory as cumulant_theory
from hierlib.diffusion import discrete, gaussian, ideal, schedule
from hierlib.real import images as photographs
from hierlib.real import text
from hierlib.rhm import belief, channels, clustering, coherence, contexts, controls, dynamics, population, validity
from hierlib.sim import Task, concepts
from hierlib.sim import theory as sim_theory
from tests.simgpu.compare import parts

G = rhm.Grammar.random(5, 3, 2, 3)
TREES = G.sample(60)
X, PAIR = TREES[0][:9], contexts.Pair(2)
LIKELIHOOD = channels.masking(X, 0.3, G.v)
FLAT = controls.FlatMixture.random(4, 2, 6)
MODEL, NEURON, TASK = cumulants.MixedCumulantModel(6), cumulants.TiedNeuron(), Task((1.0, 2.0), 0.3, d=3)
POINTS, STARTS = MODEL.sample(40), 0.1 * torch.eye(3, dtype=torch.float64)
LABELS, SITES = labels.uniform(6, 8, seed=1), lattice.occupy(torch.tensor([0.5]), 9, n=2)
TOKENS, ALL = torch.arange(30).view(6, 5) % 4, torch.arange(60) % 3
MLPS, NET = [nets.MLP(3, 2, 8, seed=k) for k in range(2)], nets.UNet(condition=2)
PROCESSES = [discrete.Masked(4, 1 - torch.arange(6) / 5), discrete.Uniform(4, discrete.linear_alpha_bar(5))]
CLUSTERS = clustering.fit(TREES[0], 5, 2)


def works(d):
    """Return what no random number is needed for, with data on `d`."""
    trees, x, likelihood = [t.to(d) for t in TREES], X.to(d), LIKELIHOOD.to(d)
    g, points, W, task_a = G.to(d), POINTS.to(d), STARTS.to(d), TASK.second_moment()
    at, sites, tokens, same = LABELS.to(d), SITES.to(d), TOKENS.to(d), (X > 1).view(3, 3, 8).to(d)
    yield [g.parse(x), g.is_valid(x), rhm.marginals(g, likelihood), rhm.log_evidence(g, likelihood),
           belief.cavity(g, likelihood), channels.epsilon_process(x, 0.3, g.v)]
    yield FLAT.class_posterior(x[:, :6] % 4, x[:, :6] >= 0)
    yield [validity.accuracies(g, x), validity.copies(x, x), dynamics.correlations(same, 2)]
    yield [contexts.joint(g, PAIR), contexts.counts(g, trees, PAIR), contexts.population_covariance(g, PAIR)]
    yield [clustering.fit(trees[0], 5, 2).labels, CLUSTERS.parse(x), CLUSTERS.score(G)]
    yield coherence.by_level(trees[0], trees[0].flip(0), v=5, s=2).value
    made = cumulants.MixedCumulantModel(6)
    yield [cumulants.whiten(points)[0], NEURON(points[0], points)]
    yield [cumulant_theory.population_loss(MODEL, NEURON, 0.1, 0.2), cumulant_theory.loss_coefficients(NEURON),
           hermite.hermite_coefficients(cumulants.relu(0.5), 4)]
    yield [estimators.k_statistic(points, 3), estimators.hermite_moments(points, [1, 3])]
    closed = [task_a, TASK.probe, TASK.family(), Task((1.0, 2.0), 0.3).mu, made.covariance(), made.latent_quadrature(),
              schedule.grid(4)]
    assert all(t.device.type == "cpu" for _, t in parts(closed))              # as documented
    yield closed
    yield [sim.one_layer(W, task_a, 0.5), sim.flow(W, task_a, [0.5, 1.0]).W, sim.deep([W, W], task_a, [0.5]).W,
           sim_theory.learning_times(W, task_a)]
    yield [sim.phase_grid([0.3], [0.5], 0.05, device=d), sim.ascents(points.abs())]
    images = concepts.Concepts(0.1)
    yield [images.mean(torch.tensor([[0, 1]])), images.signals(), concepts.classes("01")]
    yield [bumps.bump(at, 8), labels.lattice(8), labels.stripes(bumps.Domain(8, margin=1)), labels.fourier(at, 8),
           readout.position(bumps.bump(at, 8)), lattice.neighbours(5.0), geometry.measures(geometry.torus_3d(5))]
    yield [[lattice.clusters(s, R2) for R2 in (2.0, 5.0) for s in (sites, sites.cpu())],
           [percolation.components(p, 1.5, 8.0) for p in (at, at.cpu())]]
    yield [gaussian.noised(points, 0.3, points), ideal.Empirical(points)(points, 0.3),
           ideal.Wiener.fit(points)(points, 0.3), gaussian.loss(gaussian.Denoiser(lambda x, a: x), points, 0.3, points)]
    for process in PROCESSES:
        p = process.likelihood(tokens, 3)
        yield [p, process.posterior(tokens, 3, p), process.divergence(tokens, tokens, 3, p)]
    images = points[:16, :4].reshape(1, 1, 8, 8)
    yield [nets.Ensemble(MLPS).to(d)(points[:, :3], shared=True), NET.to(d)(images, 0.5, points[:1, :2])]
    yield [real.Vocabulary.characters("abcab").encode("abc"), real.correlation.by_distance(trees[0], 5, [1, 2])]
    yield [lab.spawn(0, 3), lab.sweep(lambda k: {"y": 2 * k}, {"k": [1, 2]})]


REFUSES = {
    "Grammar.random": lambda: rhm.Grammar.random(5, 3, 2, 3), "Grammar.sample": lambda: G.sample(3),
    "masking": lambda: channels.masking(X, 0.3, 5), "sample_posterior": lambda: rhm.sample_posterior(G, LIKELIHOOD),
    "FlatMixture": lambda: FLAT.sample(3), "u_turn": lambda: dynamics.u_turn(G, G.parse(X), LIKELIHOOD),
    "pools": lambda: next(population.upward_pools(G, channels.uniform, 0.4)), "sample": lambda: MODEL.sample(3),
    "surrogate": lambda: cumulants.gaussian_surrogate(POINTS), "task": lambda: TASK.sample(3),
    "psgd": lambda: cumulants.psgd(MODEL, NEURON, cumulants.Plan(step=0.1, batch=2, samples=9, device="cuda")),
    "sde": lambda: cumulants.scaled_sde(0.5, 0.0, 1.0, replicas=2, device="cuda"),
    "initial": lambda: sim.initial("positive", 2, 3, 3, 0.1, device="cuda"),
    "render": lambda: concepts.Concepts(0.1).render(torch.tensor([[0, 1]])), "labels": lambda: labels.uniform(3, 8),
    "lattice": lambda: lattice.threshold(2.0, 6, n=3),
    "levels": lambda: schedule.draw_alpha_bar(4, 0, device="cuda"), "network": lambda: nets.MLP(3, 3),
    "ancestral": lambda: discrete.ancestral(PROCESSES[0], lambda q: 3 * q, (3, 5), seed=0, device="cuda"),
    "patches": lambda: photographs.natural(8, 4, n_test=4), "windows": lambda: text.windows(ALL, 4),
    "train": lambda: next(lab.train(MLPS[0], lambda model, rng: model(POINTS[:, :3]).sum(), steps=1)),
}


def check_what_does_not_draw_works():
    expected = [*works("cpu")]
    torch.set_default_device("cuda")
    try:
        found = [*works("cuda")]
    finally:
        torch.set_default_device(None)
    for (path, a), (_, b) in zip(parts(expected), parts(found), strict=True):
        a, b = (torch.as_tensor(x).detach().cpu() for x in (a, b))
        assert torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-6, equal_nan=True), path


def check_what_draws_refuses_with_a_reason():
    for way in (torch.set_default_device, None):
        for name, draw in REFUSES.items():
            torch.set_default_device("cuda" if way else None)
            try:
                if way:
                    draw()
                else:
                    with torch.device("cuda"):
                        draw()
            except ValueError as error:
                assert "get_default_device() = device(type='cuda'" in str(error), (name, error)
            else:
                raise AssertionError(f"not refused: {name}")
            finally:
                torch.set_default_device(None)
