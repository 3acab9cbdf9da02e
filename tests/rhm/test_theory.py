import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from hierlib import rhm
from hierlib.rhm import Grammar, channels, contexts, dynamics, theory
from hierlib.rhm.contexts import Pair
from hierlib.rhm.messages import combine

RHM = {"v": 12, "m": 3, "s": 2}                                # f = 1/4
INSIDE = [(32, 8, 2), (16, 4, 2), (8, 3, 2), (32, 100, 3), (8, 20, 3), (8, 50, 4), (16, 600, 4)]


@pytest.mark.parametrize(("v", "m"), [(32, 8), (16, 4), (8, 3), (64, 20)])
def test_slope_at_the_transition_in_closed_form(v, m):
    p_star = theory.transition(v=v, m=m, s=2).p_star
    closed = 2 * (m - 1) * (v - m) * (v + 1) / (m * (v - 1) ** 2)
    assert theory.upward_slope(p_star, v=v, m=m, s=2) == pytest.approx(closed, rel=1e-12)


def test_known_transitions():
    # (8, 3, 2): p* = 2/5, eps* = 3/5 * 8/7 = 24/35 by hand
    assert theory.transition(v=8, m=3, s=2) == pytest.approx((0.4, 24 / 35), abs=1e-12)
    assert theory.transition(v=32, m=8, s=2).eps_star == pytest.approx(0.731183, abs=1e-6)
    assert theory.exponent(v=32, m=8, s=2) == pytest.approx(1.8928, abs=1e-4)
    assert theory.transition(v=32, m=20, s=2) is None      # 20 > (v + 1)/2
    assert theory.transition(v=8, m=1, s=2) is None        # 1 < 2 v/(v + 1)


@pytest.mark.parametrize(("v", "m", "s"), INSIDE)
def test_fixed_points_slopes_and_stability(v, m, s):
    p_star, eps_star = theory.transition(v=v, m=m, s=s)
    for p in (1.0, 1 / v, p_star):
        assert theory.upward_map(p, v=v, m=m, s=s) == pytest.approx(p, abs=1e-12)
        h = 1e-6
        numeric = (theory.upward_map(p + h, v=v, m=m, s=s) - theory.upward_map(p - h, v=v, m=m, s=s)) / (2 * h)
        assert theory.upward_slope(p, v=v, m=m, s=s) == pytest.approx(float(numeric), rel=1e-6)
    assert theory.upward_slope(1.0, v=v, m=m, s=s) == pytest.approx(s * m * (v - 1) / (v**s - 1))
    assert theory.upward_slope(1 / v, v=v, m=m, s=s) == pytest.approx(s / m * (1 - 1 / v) * v**s / (v**s - 1))
    assert theory.upward_slope(p_star, v=v, m=m, s=s) > 1
    assert 1 - eps_star + eps_star / v == pytest.approx(p_star, abs=1e-12)
    # iterating from either side of eps* goes to the two phases
    for eps, limit in ((eps_star - 0.01, 1.0), (eps_star + 0.01, 1 / v)):
        end = theory.beliefs(eps, v=v, m=m, s=s, L=400).up[-1]
        assert end == pytest.approx(limit, abs=1e-6)


@given(v=st.integers(2, 1000), s=st.integers(2, 8), u=st.floats(0, 1))
def test_a_transition_exists_exactly_where_both_phases_are_stable(v, s, u):
    m = round(v ** ((s - 1) * u))
    slopes = [float(theory.upward_slope(p, v=v, m=m, s=s)) for p in (1.0, 1 / v)]
    assume(all(abs(x - 1) > 1e-5 for x in slopes))
    found = theory.transition(v=v, m=m, s=s)
    assert (found is not None) == all(x < 1 for x in slopes)
    if found:
        assert 1 / v < found.p_star < 1
        assert theory.upward_map(found.p_star, v=v, m=m, s=s) == pytest.approx(found.p_star, rel=1e-10)


@given(v=st.integers(3, 64), s=st.integers(2, 4), u=st.floats(0.02, 0.98), p=st.floats(0.001, 1))
def test_duality_conjugates_the_maps(v, s, u, p):
    m = v ** ((s - 1) * u)                       # real m: the map is analytic in it
    dual = v ** (s - 1) / m
    left = theory.upward_map(1 / (v * p), v=v, m=dual, s=s)
    assert left == pytest.approx(1 / (v * theory.upward_map(p, v=v, m=m, s=s)), rel=1e-9)
    if theory.transition(v=v, m=m, s=s):
        assert theory.exponent(v=v, m=m, s=s) == pytest.approx(theory.exponent(v=v, m=dual, s=s), rel=1e-6)


@pytest.mark.parametrize(("v", "m", "s"), [(4, 2, 2), (3, 2, 3), (5, 4, 2)])
def test_upward_map_is_the_ratio_of_averages_over_rule_sets(v, m, s):
    p, n = 0.6, 1500
    message = torch.full((v,), (1 - p) / (v - 1), dtype=torch.float64)
    weight = torch.zeros(n, v, dtype=torch.float64)
    for seed in range(n):
        rules = Grammar.random(v, m, s, 1, seed=seed).rules[0]
        child = message.repeat(s, 1)                         # true symbols of the children: rule 0 of symbol 0
        child[torch.arange(s), rules[0, 0]] = p
        weight[seed] = combine(child[None, ..., None], rules.flatten(0, 1).T)[0, :, 0]
    top, bottom = weight[:, 0], weight.sum(1)
    predicted = float(theory.upward_map(p, v=v, m=m, s=s))
    ratio = top.mean() / bottom.mean()
    error = (top - ratio * bottom).std() / bottom.mean() / math.sqrt(n)
    assert abs(ratio - predicted) < 4 * error and error < 0.015


@pytest.mark.parametrize(("v", "m", "s"), [(4, 2, 2), (3, 2, 3)])
def test_downward_map_is_the_ratio_of_averages_over_rule_sets(v, m, s):
    p, q, n = 0.6, 0.45, 1500
    up, down = (torch.full((v,), (1 - x) / (v - 1), dtype=torch.float64) for x in (p, q))
    down[0] = q                                              # true parent: symbol 0, true rule: its rule 0
    top, bottom = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    for seed in range(n):
        rules = Grammar.random(v, m, s, 1, seed=seed).rules[0]
        child = up.repeat(s, 1)
        child[torch.arange(s), rules[0, 0]] = p
        siblings = torch.stack([child[j][rules[..., j]] for j in range(1, s)]).prod(0)        # (v, m)
        weight = down[:, None] * siblings
        bottom[seed], top[seed] = weight.sum(), weight[rules[..., 0] == rules[0, 0, 0]].sum()
    ratio = top.mean() / bottom.mean()
    error = (top - ratio * bottom).std() / bottom.mean() / math.sqrt(n)
    assert abs(ratio - float(theory.downward_map(q, p, v=v, m=m, s=s))) < 4 * error and error < 0.015


def test_downward_map_and_marginal_at_hand_computed_points():
    # siblings known (p = 1): the tuple is the true rule, or one of the others that agree there
    v, m, s = 4, 2, 2
    k = ((m - 1) * 0.5 + m * 0.5) / (m * v - 1)              # chance that a wrong tuple is a rule, weighted by q
    phi = (m * v - 1) / (v**s - 1)
    assert theory.downward_map(0.5, 1.0, v=v, m=m, s=s) == pytest.approx(0.5 / (0.5 + phi * k * (v - 1)), rel=1e-12)
    up, down, marginal = theory.beliefs(0.4, v=v, m=m, s=s, L=3)
    for level in range(4):
        nu = [np.r_[x, np.full(v - 1, (1 - x) / (v - 1))] for x in (up[level], down[level])]
        assert marginal[level] == pytest.approx((nu[0] * nu[1] / (nu[0] @ nu[1]))[0], rel=1e-12)
    assert up[0] == pytest.approx(0.7) and down[3] == pytest.approx(0.25)


def test_mean_field_describes_exact_inference_at_large_v():
    gaps = {}
    for v, m in ((16, 4), (64, 16)):
        eps_star = theory.transition(v=v, m=m, s=2).eps_star
        grid = eps_star + torch.tensor([-0.3, -0.1, 0.0, 0.06])
        exact = torch.zeros(4, 5)
        for seed in range(4):
            g = Grammar.random(v, m, 2, 4, seed=seed)
            trees = [t.repeat(4, 1) for t in g.sample(32, seed=seed)]
            p = rhm.marginals(g, channels.epsilon_process(trees[0], grid.repeat_interleave(32), v))
            for level, (belief, tree) in enumerate(zip(p, trees, strict=True)):
                exact[:, level] += belief.gather(-1, tree[..., None]).view(4, -1).mean(1) / 4
        gaps[v] = np.abs(exact.numpy() - theory.beliefs(grid.numpy(), v=v, m=m, s=2, L=4).marginal.T).max()
    assert gaps[64] < 0.02 and gaps[64] < gaps[16]


@pytest.mark.parametrize(("v", "m", "s", "L", "eps"), [(8, 3, 2, 3, 0.6), (6, 5, 3, 2, 0.5), (3, 2, 4, 1, 0.4)])
def test_correlations_equal_a_sum_over_all_patterns(v, m, s, L, eps):
    # oracle: enumerate kept/changed of every node, with the weights of the docstring, and sum
    c = (m - 1) / (v**s - 1)
    p_up = theory.beliefs(eps, v=v, m=m, s=s, L=L).up
    states = {(1,): float(p_up[L]), (0,): 1 - float(p_up[L])}
    for level in range(L - 1, -1, -1):
        p = float(p_up[level])
        options = {1: {}, 0: {}}
        for pattern in itertools.product((1, 0), repeat=s):
            w = p ** sum(pattern) * (1 - p) ** (s - sum(pattern))
            options[1][pattern] = w if all(pattern) else c * w
            options[0][pattern] = 0.0 if all(pattern) else w
        for o in options.values():
            total = sum(o.values())
            o.update({k: w / total for k, w in o.items()})
        new = {}
        for parents, weight in states.items():
            for choice in itertools.product(*[options[k].items() for k in parents]):
                key = sum((pattern for pattern, _ in choice), ())
                new[key] = new.get(key, 0.0) + weight * math.prod(w for _, w in choice)
        states = new
    sigma = 2 * np.array(list(states)) - 1.0
    weight = np.array(list(states.values()))
    mean = weight @ sigma
    C = (sigma * weight[:, None]).T @ sigma - np.outer(mean, mean)
    found = theory.correlations(eps, v=v, m=m, s=s, L=L)
    assert weight.sum() == pytest.approx(1, abs=1e-12)
    for level in range(L + 1):
        assert found[level] == pytest.approx(C[0, 0 if level == 0 else s ** (level - 1)], abs=1e-12)
    assert theory.susceptibility(eps, v=v, m=m, s=s, L=L) == pytest.approx(C.sum() / np.trace(C), rel=1e-12)
    kept, changed = theory.survival(eps, v=v, m=m, s=s, L=L)
    assert p_up[L] * kept[0] + (1 - p_up[L]) * changed[0] == pytest.approx((1 + mean[0]) / 2, abs=1e-12)
    assert (kept[L], changed[L]) == (1, 0) and (kept > changed).all()


@pytest.mark.parametrize(("v", "m", "s"), [(32, 8, 2), (64, 8, 2), (32, 100, 3)])
def test_correlations_decay_with_the_predicted_power(v, m, s):
    found = theory.transition(v=v, m=m, s=s)
    C = theory.correlations(found.eps_star, v=v, m=m, s=s, L=24)
    rate = float(theory.upward_slope(found.p_star, v=v, m=m, s=s)) / s
    assert C[8] / C[7] == pytest.approx(rate**2, rel=0.02)
    exponent = theory.correlation_exponent(v=v, m=m, s=s)
    assert math.log(C[8] / C[7]) / math.log(1 / s) == pytest.approx(exponent, rel=0.03)


@pytest.mark.parametrize(("v", "m", "expected"), [(32, 8, True), (64, 8, True), (16, 4, False), (24, 8, False)])
def test_susceptibility_diverges_where_the_criterion_says(v, m, expected):
    assert (theory.exponent(v=v, m=m, s=2) <= 2) is expected
    found = theory.transition(v=v, m=m, s=2)
    ratio = float(theory.upward_slope(found.p_star, v=v, m=m, s=2)) ** 2 / 2
    chi = [float(theory.susceptibility(found.eps_star, v=v, m=m, s=2, L=L)) for L in (27, 28, 29, 30)]
    steps = np.diff(chi)
    assert (steps > 0).all() and steps[2] / steps[1] == pytest.approx(ratio, rel=0.02)
    assert (ratio > 1) is expected


def test_susceptibility_of_exact_inference():
    g = Grammar.random(32, 8, 2, 5, seed=0)
    trees = g.sample(24, seed=0)
    for eps in (0.6, 0.72, 0.9):
        same = dynamics.u_turn(g, trees, channels.epsilon_process(trees[0], eps, 32), samples=48, seed=1)[0]
        expected = float(theory.susceptibility(eps, v=32, m=8, s=2, L=5))
        assert dynamics.susceptibility(same, 2) == pytest.approx(expected, rel=0.15)


def test_susceptibility_without_noise_is_that_of_single_changes():
    # one changed leaf at most: chi -> 1 for eps -> 0 if siblings rarely change together
    assert theory.susceptibility(1.0, v=32, m=8, s=2, L=7) < 1.5
    assert theory.correlations(1e-3, v=32, m=8, s=2, L=3).shape == (4,)


@pytest.mark.parametrize(("call", "name"), [
    (lambda: theory.upward_map(0.5, v=1, m=1, s=2), "v = 1"),
    (lambda: theory.upward_map(-0.5, v=8, m=2, s=2), "p ="),
    (lambda: theory.beliefs(0.5, v="8", m=2, s=2, L=2), "v = '8'"),
    (lambda: theory.upward_map(0.5, v=8, m=9, s=2), "m = 9"),
    (lambda: theory.transition(v=8, m=2, s=1), "s = 1"),
    (lambda: theory.beliefs(1.2, v=8, m=2, s=2, L=2), "epsilon"),
    (lambda: theory.beliefs(0.2, v=8, m=2, s=2, L=0), "L = 0"),
    (lambda: theory.exponent(v=32, m=20, s=2), "window"),
    (lambda: theory.sample_complexity(2, v=12, m=3, s=2, below=-1), "below = -1"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()



def mean_square(v, m, s, k, *, below=0, replicas=6, **place):
    """Measured variance of C(mu, nu) over tuples, tokens and grammars, of infinitely many strings."""
    grammars = (Grammar.random(v, m, s, k + 1 + below, seed) for seed in range(replicas))
    return np.mean([float(contexts.population_covariance(g, Pair(k, **place)).square().mean()) for g in grammars])


def test_sample_complexities_by_hand():
    assert [theory.sample_complexity(l, **RHM) for l in (1, 2, 3)] == pytest.approx([36, 432, 1296])
    assert theory.latent_sample_complexity(**RHM) == pytest.approx(432)
    assert theory.covariance_variance(2, **RHM) == pytest.approx(0.75 / (1728 * 243))
    assert theory.sampling_variance([1, 1000], **RHM) == pytest.approx([1 / 432, 1 / 432000])
    assert theory.covariance_variance(1, **RHM, below=2) == pytest.approx(0.75 / (1728 * 81) * (1 + 1 / 3 + 1 / 9))
    assert theory.sample_complexity(2, v=8, m=8, s=3) == pytest.approx(8**4 * 8 / 7)      # f = 8/64
    # below the root: 4 times the data for level 1, twice the data and 1 + 1/6 of the signal for level 2
    assert [theory.sample_complexity(l, **RHM, below=3 - l) for l in (1, 2, 3)] == pytest.approx([9, 432 * 3 / 7, 1296])
    assert theory.sample_complexity(2, **RHM, below=2) == pytest.approx(432 / 4 / (1 + 1 / 6 + 1 / 36))


@pytest.mark.parametrize("s", [2, 3])
@pytest.mark.parametrize("level", [2, 3, 4])
def test_signal_equals_noise_at_the_threshold(level, s):
    rhm = {"v": 32, "m": 8, "s": s}
    P = theory.sample_complexity(level, **rhm)
    assert theory.sampling_variance(P, **rhm) == pytest.approx(theory.covariance_variance(level - 1, **rhm))
    latent = theory.latent_sample_complexity(**rhm)
    assert theory.sampling_variance(latent, **rhm) == pytest.approx(theory.covariance_variance(1, **rhm))


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize(("v", "m", "s"), [(64, 8, 2), (128, 8, 2), (256, 16, 2), (64, 128, 3)])
def test_variance_of_tuple_and_token(v, m, s, k):
    measured = mean_square(v, m, s, k, sibling=s - 1, replicas=16 if v < 128 else 2)
    ratio = measured / theory.covariance_variance(k, v=v, m=m, s=s)
    assert 0.85 < ratio < 1.05
    assert ratio == pytest.approx(1 - (k + 2) / v, abs=0.05)              # as said in the module's docstring


@pytest.mark.parametrize("k", [2, 3])
def test_variance_with_latent_contexts(k):
    measured = mean_square(64, 8, 2, k, level=k - 1)
    assert measured / theory.covariance_variance(1, v=64, m=8, s=2) == pytest.approx(0.95, abs=0.06)


@pytest.mark.parametrize("m", [2, 4])
def test_an_ancestor_below_the_root_strengthens_the_signal(m):
    root = mean_square(64, m, 2, 1, replicas=40)
    for below in (1, 2):
        gain = mean_square(64, m, 2, 1, below=below, replicas=40) / root
        assert gain == pytest.approx(sum(m**-i for i in range(below + 1)), rel=0.06)
        predicted = [theory.covariance_variance(1, v=64, m=m, s=2, below=j) for j in (below, 0)]
        assert gain == pytest.approx(predicted[0] / predicted[1], rel=0.06)


@pytest.mark.parametrize(("m", "s"), [(2, 2), (4, 2), (6, 3)])
def test_pooling_over_the_nodes_of_a_level(m, s):
    def pooled(k, below, **of):
        return mean_square(32, m, s, k, below=below, node=None, **of)

    gain = [pooled(1, below, replicas=40) / pooled(1, 0, replicas=40) for below in (1, 2)]
    assert gain == pytest.approx([1 + 1 / (s * m), 1 + 1 / (s * m) + 1 / (s * m) ** 2], rel=0.05)
    # the number of strings falls by this and by the number of nodes
    for below in (1, 2):
        P = [contexts.threshold(Grammar.random(32, m, s, 2 + below, q), Pair(1, node=None), seed=q) for q in range(30)]
        ratio = np.array(P) / theory.sample_complexity(2, v=32, m=m, s=s, below=below)
        error = ratio.std(ddof=1) / 30**0.5
        assert abs(ratio.mean() - 1.04) < 3.5 * error and error < 0.06          # 1/(1 − 3/v) at this v, less for k = 1


def test_sampling_variance_is_that_of_counts():
    g, P = Grammar.random(32, 4, 2, 2, seed=0), 5000
    law = contexts.joint(g, Pair(1))
    errors = [(contexts.draws(law, [P], seed=seed)[0] / P - law).square().mean() for seed in range(5)]
    assert float(sum(errors) / 5) == pytest.approx(theory.sampling_variance(P, v=32, m=4, s=2), rel=0.02)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: theory.sample_complexity(0, **RHM), "level = 0"),
    (lambda: theory.sample_complexity(1.5, **RHM), "level = 1.5"),
    (lambda: theory.sample_complexity(2, v=8, m=8, s=2), "m = 8"),               # f = 1
    (lambda: theory.sample_complexity(1, v=8, m=9, s=2), "m = 9"),
    (lambda: theory.sample_complexity(2, v=1, m=1, s=2), "v = 1"),
    (lambda: theory.sample_complexity(2, v=8, m=2, s=1), "s = 1"),
    (lambda: theory.latent_sample_complexity(v=4, m=16, s=3), "m = 16"),
    (lambda: theory.covariance_variance(0, **RHM), "k = 0"),
    (lambda: theory.covariance_variance(1, **RHM, below=-1), "below = -1"),
    (lambda: theory.sampling_variance(0, **RHM), "P = "),
])
def test_bad_input_of_sample_complexities(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_without_correlations_tuples_can_still_be_counted():
    assert theory.sample_complexity(1, v=8, m=8, s=2) == 64
    assert theory.covariance_variance(1, v=8, m=8, s=2) == 0


@pytest.mark.parametrize("s", [2, 3, 4])
@pytest.mark.parametrize("mu", [0.25, 0.4, 0.6])
def test_the_limit_of_masking_is_dual_and_never_makes_the_susceptibility_diverge(mu, s):
    found, dual = theory.masking_limit(mu, s=s), theory.masking_limit(1 - mu, s=s)
    assert found.eps_star + dual.eps_star == pytest.approx(1, abs=1e-12)
    assert found.growth == pytest.approx(dual.growth, rel=1e-6)
    assert 1 < found.growth < s**0.5


def test_the_limit_of_masking_in_closed_form():
    # μ = 1/2: for s = 2 lists of 1, √v and v symbols, a third each; for s = 3 the vote of the majority
    assert theory.masking_limit(0.5, s=2) == pytest.approx((0.5, 4 / 3), abs=1e-9)
    assert theory.masking_limit(0.5, s=3) == pytest.approx((0.5, 3 / 2), abs=1e-9)
    for mu, end in (0.01, 1), (1.0, 0):
        found = theory.masking_limit(mu, s=2)
        assert found.eps_star == pytest.approx(end, abs=1e-5) and math.isnan(found.growth)
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="mu"):
            theory.masking_limit(wrong, s=2)
    with pytest.raises(ValueError, match="s = "):
        theory.masking_limit(0.5, s=1)


def test_the_limit_of_masking_is_approached_by_lists_that_are_counted():
    # v = 1024, m = 32 (μ = 1/2): one tree's lists, rules drawn anew at each node; 1/2 is the threshold
    v, m, gen, ends = 1024, 32, np.random.default_rng(0), []
    for eps in (0.4, 0.6):
        sizes = np.where(gen.random(2**9) < eps, v, 1)
        while len(sizes) > 1:
            pairs = sizes[::2] * sizes[1::2] - 1                  # besides the true one
            wrong = gen.binomial(pairs, m / v)                    # those that have a parent
            sizes = 1 + np.round((v - 1) * (1 - (1 - 1 / (v - 1)) ** wrong)).astype(int)
        ends.append(sizes[0])
    assert ends[0] < v / 100 and ends[1] > v / 2
