import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib.rhm import Grammar, contexts, theory
from hierlib.rhm.contexts import Pair
from hierlib.rhm.grammar import encode

TINY = [(4, 2, 2, 3), (3, 3, 3, 2), (3, 2, 3, 2), (5, 1, 2, 3)]
G = Grammar.random(32, 4, 2, 3, seed=0)


def pairs(g):
    for k in range(1, g.L):
        for node, level in itertools.product(range(g.s ** (g.L - k - 1)), range(k + 1)):
            for child, sibling in itertools.permutations(range(g.s), 2):
                for slot in range(g.s ** (k - level)):
                    yield Pair(k, node, child, sibling, level, slot)


@pytest.mark.parametrize("parameters", TINY)
def test_joint_law_is_that_of_all_strings(parameters):
    g = Grammar.random(*parameters, seed=1)
    trees = g.parse(g.enumerate())
    checked = 0
    for pair in pairs(g):
        counts = contexts.counts(g, trees, pair)
        assert int(counts.sum()) == g.n_strings
        assert (counts.double() / g.n_strings - contexts.joint(g, pair)).abs().max() < 1e-12
        assert (contexts.covariance(counts) - contexts.population_covariance(g, pair)).abs().max() < 1e-12
        checked += 1
    assert checked >= 12


def test_pooled_pairs_are_the_mean_of_all_nodes():
    g = Grammar.random(4, 2, 2, 3, seed=1)
    trees = g.sample(50, seed=2)
    for k, slot in ((1, 1), (2, 3)):
        each = [Pair(k, node, slot=slot) for node in range(g.s ** (g.L - k - 1))]
        law = torch.stack([contexts.joint(g, pair) for pair in each]).mean(0)
        assert (contexts.joint(g, Pair(k, None, slot=slot)) - law).abs().max() < 1e-12
        counts = contexts.counts(g, trees, Pair(k, None, slot=slot))
        assert torch.equal(counts, sum(contexts.counts(g, trees, pair) for pair in each))


def test_counts_by_hand():
    # pair: node 1 of level 2; its right child writes the tuple, the context is the left child's second token
    g = Grammar.random(4, 3, 2, 3, seed=0)
    trees = g.sample(50, seed=0)
    expected = torch.zeros(12, 4, dtype=torch.int64)
    for x in trees[0].tolist():
        for a, r in itertools.product(range(4), range(3)):
            if g.rules[0, a, r].tolist() == x[6:8]:
                expected[3 * a + r, x[5]] += 1
    assert torch.equal(contexts.counts(g, trees, Pair(1, node=1, child=1, sibling=0, slot=1)), expected)


def test_covariance_sums_to_zero_and_needs_counts():
    C = contexts.covariance(torch.randint(9, (3, 6, 4), generator=torch.Generator().manual_seed(0)))
    assert C.sum(-1).abs().max() < 1e-12 and C.sum(-2).abs().max() < 1e-12
    independent = torch.outer(torch.arange(1, 4), torch.arange(1, 6))
    assert contexts.covariance(independent).abs().max() < 1e-12


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_contingency_of_a_batch(n, rows, columns, seed):
    gen = torch.Generator().manual_seed(seed)
    mu, nu = torch.randint(rows, (2, 3, n), generator=gen), torch.randint(columns, (2, 3, n), generator=gen)
    table = contexts.contingency(mu, nu, rows, columns)
    for i, j in itertools.product(range(2), range(3)):
        for a, b in itertools.product(range(rows), range(columns)):
            assert table[i, j, a, b] == ((mu[i, j] == a) & (nu[i, j] == b)).sum()
    assert contexts.contingency(mu[..., :0], nu[..., :0], rows, columns).sum() == 0


def test_draws_are_multinomial_and_nested():
    law = contexts.joint(G, Pair(1))
    sizes = [100, 1000, 400_000]
    counts = contexts.draws(law, sizes, seed=0)
    assert counts.sum((-2, -1)).tolist() == sizes and (counts.diff(dim=0) >= 0).all()
    assert (counts[:, law == 0] == 0).all()
    expected = sizes[-1] * law[law > 0]
    chi2, freedom = float(((counts[-1][law > 0] - expected) ** 2 / expected).sum()), expected.numel() - 1
    assert abs(chi2 - freedom) < 4.5 * (2 * freedom) ** 0.5
    assert torch.equal(counts, contexts.draws(law, sizes, seed=0))
    assert not torch.equal(counts, contexts.draws(law, sizes, seed=1))


@pytest.mark.parametrize("node", [1, None])
def test_draws_stand_for_strings(node):
    # R of real strings and of drawn counts: same mean
    P = round(theory.sample_complexity(2, v=32, m=4, s=2) / 2)
    parents = torch.arange(32).repeat_interleave(4)
    strings, drawn = [], []
    for seed in range(12):
        counts = contexts.counts(G, G.sample(P, seed=seed), Pair(1, node=node))
        strings.append(float(contexts.distance_ratio(contexts.covariance(counts), parents)))
        drawn.append(float(contexts.ratios(G, Pair(1, node=node), [P], seed=seed)[0]))
    error = (np.var(strings, ddof=1) / 12 + np.var(drawn, ddof=1) / 12) ** 0.5
    assert abs(np.mean(strings) - np.mean(drawn)) < 3.5 * error and error < 0.02


def test_distance_ratio_by_all_pairs():
    gen = torch.Generator().manual_seed(0)
    parents = torch.tensor([3, 0, 0, 7, 3, 3, 0, 5])                         # groups of 3, 3, 1, 1
    C = 5 + torch.randn(2, 8, 4, generator=gen, dtype=torch.float64)
    for one, ratio in zip(C, contexts.distance_ratio(C, parents).tolist()):
        same, other = [], []
        for i, j in itertools.combinations(range(8), 2):
            (same if parents[i] == parents[j] else other).append(float((one[i] - one[j]).square().sum()))
        assert ratio == pytest.approx(np.mean(same) / np.mean(other), rel=1e-12)


def test_ratio_goes_from_one_to_zero_as_the_data_grow():
    expected = theory.sample_complexity(2, v=32, m=4, s=2)
    sizes = [round(expected * x) for x in (1 / 100, 0.5, 1, 2, 100)]
    curves = np.array([contexts.ratios(Grammar.random(32, 4, 2, 2, q), Pair(1), sizes, seed=q) for q in range(20)])
    error = curves.std(0, ddof=1) / 20**0.5
    assert abs(curves.mean(0)[0] - 1) < 3.5 * error[0] and error[0] < 0.03
    assert curves.mean(0)[1:4] == pytest.approx([2 / 3, 1 / 2, 1 / 3], abs=0.05)       # 1/(1 + P/P*)
    assert curves[:, 4].max() < 0.02
    parents = torch.arange(32).repeat_interleave(4)
    assert contexts.distance_ratio(contexts.population_covariance(G, Pair(2)), parents) < 1e-12


@pytest.mark.parametrize(("k", "level", "power"), [(1, 0, 3), (2, 0, 4), (2, 1, 3), (3, 2, 3), (2, 2, 2)])
def test_thresholds_scale_with_the_number_of_synonyms(k, level, power):
    ms = np.array([2, 4, 8])
    found = np.array([[
        contexts.threshold(Grammar.random(32, int(m), 2, k + 1, q), Pair(k, level=level), seed=q) for q in range(6)
    ] for m in ms])
    scaled = np.log(found * (1 - ms / 32)[:, None]).mean(1)
    assert np.polyfit(np.log(ms), scaled, 1)[0] == pytest.approx(power, abs=0.15)
    assert np.exp(scaled) / (32.0 * ms**power) == pytest.approx(1.0, abs=0.2)


def test_threshold_elsewhere_on_the_curve():
    at = {level: contexts.threshold(G, Pair(2), at=level, seed=0) for level in (0.25, 0.5, 0.75)}
    assert at[0.25] / at[0.5] == pytest.approx(3, rel=0.3) and at[0.5] / at[0.75] == pytest.approx(3, rel=0.4)
    assert np.isnan(contexts.threshold(G, Pair(2), at=1e-6))


def loss_gradient(mu, nu, bias, g):
    """Autograd's gradient of the cross-entropy of the masked token at W = 0."""
    W = torch.zeros(g.v * g.m, g.v, dtype=torch.float64, requires_grad=True)
    bias = bias.clone().requires_grad_()
    torch.nn.functional.cross_entropy(W[mu] + bias, nu).backward()
    return W.grad, bias.grad


def test_one_gradient_step_writes_the_covariance():
    g = Grammar.random(6, 2, 2, 3, seed=0)
    trees, pair = g.sample(300, seed=0), Pair(2, slot=3)
    counts = contexts.counts(g, trees, pair)
    codes = encode(g.rules[1], g.v).flatten()
    mu = (encode(trees[1][:, :2], g.v)[:, None] == codes).long().argmax(1)
    nu = trees[0][:, 7]
    zero = torch.zeros(6, dtype=torch.float64)
    random = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trained = counts.sum(0).double().log()
    C, law = contexts.covariance(counts), counts.double() / counts.sum()
    for bias in (zero, random, trained):                                      # the last is the trained one
        gradient, slope = loss_gradient(mu, nu, bias, g)
        frequencies = torch.outer(law.sum(1), law.sum(0) - bias.softmax(-1))
        assert (gradient + C + frequencies).abs().max() < 1e-12
    assert slope.abs().max() < 1e-12 and (gradient + C).abs().max() < 1e-12


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: contexts.joint(G, Pair(3)), "k = 3"),
    (lambda: contexts.joint(G, Pair(1, node=2)), "node = 2"),
    (lambda: contexts.joint(G, Pair(1, sibling=0)), "sibling = 0"),
    (lambda: contexts.joint(G, Pair(1, child=2)), "child = 2"),
    (lambda: contexts.joint(G, Pair(1, level=2)), "level = 2"),
    (lambda: contexts.joint(G, Pair(2, slot=4)), "slot = 4"),
    (lambda: contexts.counts(G, G.sample(5)[:2], Pair(1)), "trees"),
    (lambda: contexts.counts(G, [torch.zeros_like(t) for t in G.sample(5)], Pair(1)), "trees"),
    (lambda: contexts.counts(G, [t + 32 * (t == t[0, 0]) for t in G.sample(5)], Pair(1)), "trees"),
    (lambda: contexts.counts(G, [-t for t in G.sample(5)], Pair(1)), "trees"),
    (lambda: contexts.draws(torch.ones(2, 2), [5, 5]), "sizes"),
    (lambda: contexts.draws(torch.ones(2, 2), []), "sizes"),
    (lambda: contexts.draws(-torch.ones(2, 2), [5]), "law"),
    (lambda: contexts.draws(torch.full((2, 2), torch.inf), [5]), "law"),
    (lambda: contexts.covariance(torch.zeros(2, 2)), "counts"),
    (lambda: contexts.distance_ratio(torch.ones(3, 2), torch.arange(3)), "parents"),
    (lambda: contexts.distance_ratio(torch.ones(3, 2), torch.zeros(3).long()), "parents"),
    (lambda: contexts.threshold(G, Pair(1), at=1.0), "at = 1.0"),
    (lambda: contexts.threshold(Grammar.random(3, 3, 2, 2), Pair(1)), "m = 3"),
    (lambda: contexts.threshold(Grammar.random(8, 1, 2, 2), Pair(1)), "parents"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
