"""The Random Hierarchy Model on the device."""

import numpy as np
import torch

from hierlib import rhm
from hierlib.rhm import belief, channels, clustering, coherence, contexts, controls, dynamics, population, validity
from tests.drawn import gen
from tests.simgpu.compare import both, counted, grows

G = rhm.Grammar.random(v=5, m=3, s=2, L=3, seed=0)


def noisy(d, n=12, dtype=torch.float32):
    return channels.uniform(G.sample(n, seed=1)[0].to(d), 0.4, G.v, seed=2, dtype=dtype)


def check_grammar():
    there = G.to("cuda")
    assert there.rules.is_cuda and there.to("cuda") is there and there.to("cuda:0") is there and G.to("cpu") is G
    trees = both(lambda d: G.to(d).sample(20, seed=1))
    both(lambda d: G.to(d).sample(20, seed=1, replace=False))
    both(lambda d: rhm.Grammar.random(2, 1, 2, 6).to(d).sample(2, seed=1, replace=False))
    both(lambda d: rhm.Grammar.random(2, 2, 2, 7).to(d).sample(9, seed=1, replace=False))      # more than 2⁶² strings
    for g in (G, there):                          # the rules may stay on the CPU
        assert all(torch.equal(a, b) for a, b in zip(g.parse(trees[0]), trees, strict=True))
        assert bool(g.is_valid(trees[0]).all()) and g.is_valid(trees[0]).is_cuda
        both(lambda d: g.climb(trees[0].to(d).flip(1)))
        for synonym in (True, False):
            both(lambda d: g.exchange([t.to(d) for t in trees], 1, node=2, synonym=synonym, seed=3))
    both(lambda d: rhm.Grammar.random(2, 2, 2, 2).to(d).enumerate())
    for g in (G, there):
        try:
            g.parse(trees[0].flip(1))
        except ValueError as error:
            assert "not in the grammar" in str(error)


def check_channels():
    for channel in (channels.epsilon_process, channels.masking, channels.uniform, channels.gaussian):
        both(lambda d: channel(G.sample(6, seed=1)[0].to(d), 0.3, G.v, seed=2))
        both(lambda d: channel(G.sample(6, seed=1)[0].to(d), torch.linspace(0, 0.9, 6), G.v, seed=2))
        both(lambda d: channel(G.sample(6, seed=1)[0].to(d), torch.linspace(0, 0.9, 6).to(d), G.v, seed=2))


def check_belief():
    for g in (lambda d: G, G.to):                 # the rules may stay on the CPU
        for dtype in (torch.float32, torch.float64):
            for law in (rhm.marginals, belief.cavity, rhm.log_evidence, rhm.sample_posterior):
                both(lambda d: law(g(d), noisy(d, dtype=dtype)))
    both(lambda d: rhm.truncated(G, noisy(d), 1))
    both(lambda d: rhm.marginals(G, noisy(d) * 1e-30))                             # again, in float64
    both(lambda d: rhm.log_evidence(G, noisy(d) * 1e-30, block=5))
    for bad in (torch.zeros(2, G.d, G.v), torch.eye(G.v)[torch.tensor([[0, 1] * 4, [2, 2] * 4])]):
        try:
            rhm.marginals(G, bad.to("cuda"))
        except ValueError as error:
            assert "likelihood[" in str(error)
        else:
            raise AssertionError("a contradiction was not seen")


def check_the_device_is_waited_for_once_a_block():
    x = noisy("cuda")
    for law in (rhm.marginals, belief.cavity, rhm.log_evidence, rhm.sample_posterior):
        law(G, x)                                 # tables are made
        grows(lambda k: law(G, x, block=-(-len(x) // k)), waits=1, n=3)
        shallow, deep = (rhm.Grammar.random(3, 2, 2, L) for L in (2, 6))
        for g in (shallow, deep):
            law(g, torch.ones(1, g.d, 3, device="cuda"))
        few, many = (counted(lambda: law(g, torch.ones(1, g.d, 3, device="cuda"))) for g in (shallow, deep))
        assert few == many, (law, few, many)


def check_controls():
    m = controls.FlatMixture.random(4, 2, 6, seed=0)
    x, _ = m.sample(9, seed=1)
    hidden = torch.rand(9, 6, generator=gen()) < 0.5
    for there in (lambda d: m, m.to):             # its table may stay on the CPU
        both(lambda d: there(d).class_posterior(x.to(d), hidden.to(d)))
        both(lambda d: there(d).u_turn(x.to(d), hidden.to(d), samples=3, seed=2))
    both(lambda d: m.to(d).sample(9, seed=1))
    assert m.to("cuda").to("cuda").allowed.is_cuda


def check_population():
    for channel in (channels.uniform, channels.masking, channels.epsilon_process):
        both(lambda d: list(population.upward_pools(G.to(d), channel, 0.4, size=8, seed=1)))
    deep = [rhm.Grammar.random(3, 2, 2, L).to("cuda") for L in (3, 6)]
    few, many = (counted(lambda: list(population.upward_pools(g, channels.uniform, 0.4, size=4)))[0] for g in deep)
    assert many - few == 3                        # one a level: what is yielded has been looked at


def check_dynamics():
    trees = G.sample(6, seed=1)
    both(lambda d: dynamics.u_turn(G.to(d), [t.to(d) for t in trees], noisy(d, 6), samples=3, seed=1))
    same = dynamics.u_turn(G, trees, noisy("cpu", 6), samples=4, seed=1)[0]
    both(lambda d: dynamics.correlations(same.to(d), 2))
    both(lambda d: dynamics.susceptibility(same.to(d), 2))


def check_validity():
    x = G.sample(40, seed=1)[0]
    wrong = x.roll(1, 1)
    for g in (lambda d: G, G.to):
        both(lambda d: [validity.accuracies(g(d), wrong.to(d)), validity.conditional(g(d), wrong.to(d))])
    both(lambda d: validity.copies(x[:20].to(d), x[10:].to(d)))
    assert validity.copies(x[:20].to("cuda"), x[10:]) == 0.5                       # a training set on the CPU


def check_contexts():
    pair = contexts.Pair(2)
    both(lambda d: contexts.joint(G.to(d), pair))
    for g in (lambda d: G, G.to):
        both(lambda d: contexts.counts(g(d), [t.to(d) for t in G.sample(50, seed=1)], pair))
    law = contexts.joint(G, pair)
    draws = both(lambda d: contexts.draws(law.to(d), [10, 100], seed=1))
    both(lambda d: contexts.covariance(draws.to(d)))
    both(lambda d: contexts.population_covariance(G.to(d), pair))
    both(lambda d: contexts.ratios(G.to(d), pair, [10, 100, 1000], seed=1))
    both(lambda d: contexts.threshold(G.to(d), contexts.Pair(1), seed=1))


def check_clustering():
    x = G.sample(400, seed=1)[0]
    for context in ("latent", "token"):
        found = both(lambda d: clustering.fit(x.to(d), G.v, 2, context=context))
        host = clustering.fit(x, G.v, 2, context=context)
        for g in (G, G.to("cuda")):
            assert np.array_equal(found.score(g), host.score(G))
        both(lambda d: [each.parse(x[:9].to(d)) for each in (host, found)])          # wherever it was found
        both(lambda d: (host if d == "cpu" else found).generate(9, seed=1))
    both(lambda d: clustering._adjusted_rand(x[:, 0].to(d), x[:, 1].to(d)))


def check_coherence():
    x, y = G.sample(60, seed=1)[0], G.sample(80, seed=2)[0]
    both(lambda d: coherence.by_level(x.to(d), y.to(d), v=G.v, s=2))
    coherence.by_level(x.to("cuda"), y, v=G.v, s=2)
