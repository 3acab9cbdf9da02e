import math
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hierlib import rhm
from hierlib.rhm import Grammar, channels, messages

CASES = [(3, 2, 2, 3), (4, 3, 2, 2), (3, 2, 3, 2), (4, 1, 2, 3), (5, 2, 2, 2), (2, 8, 4, 1), (3, 9, 3, 1)]


def enumerate_posterior(g, likelihood):
    """Oracle: marginals of all nodes and evidence, by summing over every string of the language."""
    x = g.enumerate()
    trees = g.parse(x)
    weight = torch.stack([likelihood[:, i, x[:, i]] for i in range(g.d)]).prod(0)
    out = []
    for tree in trees:
        p = torch.einsum("nk,kia->nia", weight, torch.nn.functional.one_hot(tree, g.v).to(weight))
        out.append(p / p.sum(-1, keepdim=True))
    return out, weight.mean(1)


def random_likelihood(g, n, seed, power=3):
    gen = torch.Generator().manual_seed(seed)
    return torch.rand(n, g.d, g.v, dtype=torch.float64, generator=gen) ** power


@pytest.mark.parametrize("p", CASES)
def test_marginals_and_evidence_equal_enumeration(p):
    g = Grammar.random(*p, seed=1)
    likelihood = random_likelihood(g, 5, seed=2)
    expected, evidence = enumerate_posterior(g, likelihood)
    found = rhm.marginals(g, likelihood, block=2)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and (a - b).abs().max() < 1e-12
    assert torch.allclose(rhm.log_evidence(g, likelihood), evidence.log(), atol=1e-12, rtol=0)


@given(v=st.integers(2, 4), s=st.integers(2, 3), m=st.integers(1, 3), L=st.integers(1, 2), seed=st.integers(0, 999))
def test_marginals_equal_enumeration_on_any_small_grammar(v, s, m, L, seed):
    g = Grammar.random(v, min(m, v ** (s - 1)), s, L, seed=seed)
    if g.n_strings > 5000:
        return
    likelihood = random_likelihood(g, 2, seed)
    likelihood[:, 0] = 0
    likelihood[:, 0, g.sample(1, seed=seed)[0][0, 0]] = 1.0      # one leaf seen exactly: hard zeros
    expected, evidence = enumerate_posterior(g, likelihood)
    for a, b in zip(rhm.marginals(g, likelihood), expected, strict=True):
        assert (a - b).abs().max() < 1e-12
    assert torch.allclose(rhm.log_evidence(g, likelihood), evidence.log(), atol=1e-12, rtol=0)


@pytest.mark.filterwarnings("ignore")      # the other library's own
def test_agreement_with_an_independent_junction_tree():
    pytest.importorskip("pgmpy")
    from pgmpy.factors.discrete import DiscreteFactor
    from pgmpy.inference import BeliefPropagation
    from pgmpy.models import DiscreteMarkovNetwork

    g = Grammar.random(3, 2, 2, 2, seed=5)
    likelihood = random_likelihood(g, 1, seed=6)
    name = {(l, i): f"n{l}_{i}" for l in range(3) for i in range(2 ** (2 - l))}
    net = DiscreteMarkovNetwork()
    for level in range(2):
        table = torch.zeros(3, 3, 3)
        for a in range(3):
            for left, right in g.rules[level, a].tolist():
                table[a, left, right] = 1
        for i in range(2 ** (1 - level)):
            family = [name[level + 1, i], name[level, 2 * i], name[level, 2 * i + 1]]
            net.add_edges_from([(family[0], family[1]), (family[0], family[2]), (family[1], family[2])])
            net.add_factors(DiscreteFactor(family, [3, 3, 3], table.numpy()))
    for i in range(4):
        net.add_factors(DiscreteFactor([name[0, i]], [3], likelihood[0, i].numpy()))
    tree = BeliefPropagation(net)
    found = rhm.marginals(g, likelihood)
    for (level, i), node in name.items():
        answer = tree.query([node], show_progress=False)
        assert torch.allclose(torch.as_tensor(answer.values), found[level][0, i], atol=1e-12)


def test_posterior_samples_have_the_exact_distribution():
    pvalues = []
    for seed, p in enumerate(CASES[:4]):
        g = Grammar.random(*p, seed=seed)
        likelihood = random_likelihood(g, 1, seed, power=1)
        strings, n = g.enumerate(), 30_000
        weight = torch.stack([likelihood[0, i, strings[:, i]] for i in range(g.d)]).prod(0)
        trees = rhm.sample_posterior(g, likelihood.expand(n, -1, -1), seed=seed)
        assert all(torch.equal(a, b) for a, b in zip(trees, g.parse(trees[0]), strict=True))
        powers = g.v ** torch.arange(g.d)
        order, index = (strings * powers).sum(1).sort()
        counts = torch.bincount(torch.searchsorted(order, (trees[0] * powers).sum(1)), minlength=len(strings))
        expected = n * (weight / weight.sum())[index]
        # pool rare strings, so that the chi-square approximation holds
        rare = expected < 8
        pooled = [torch.cat([t[~rare].double(), t[rare].double().sum()[None]]) for t in (counts, expected)]
        keep = pooled[1] > 0
        pvalues.append(stats.chisquare(pooled[0][keep].numpy(), pooled[1][keep].numpy()).pvalue)
    assert stats.combine_pvalues(pvalues).pvalue > 1e-3, pvalues


def test_results_do_not_depend_on_blocks_or_batch_split():
    g = Grammar.random(6, 3, 2, 4, seed=0)
    likelihood = random_likelihood(g, 9, seed=1).float()
    for function in (rhm.marginals, rhm.cavity):
        for a, b in zip(function(g, likelihood, block=9), function(g, likelihood, block=2), strict=True):
            assert (a - b).abs().max() < 1e-6
    gen = torch.Generator().manual_seed(3)
    split = [rhm.sample_posterior(g, part, seed=gen) for part in (likelihood[:4], likelihood[4:])]
    whole = rhm.sample_posterior(g, likelihood, seed=torch.Generator().manual_seed(3), block=2)
    for parts, w in zip(zip(*split, strict=True), whole, strict=True):
        assert torch.equal(torch.cat(parts), w)


def test_scale_of_the_likelihood_matters_to_the_evidence_alone():
    g = Grammar.random(5, 2, 2, 3, seed=0)
    likelihood = random_likelihood(g, 3, seed=1)
    scale = torch.rand(3, g.d, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    for a, b in zip(rhm.marginals(g, likelihood), rhm.marginals(g, likelihood * scale), strict=True):
        assert (a - b).abs().max() < 1e-12
    shift = rhm.log_evidence(g, likelihood * scale) - rhm.log_evidence(g, likelihood)
    assert torch.allclose(shift, scale.log().sum((1, 2)), atol=1e-12)


@pytest.mark.parametrize(("scale", "dtype"), [
    (1e-293, torch.float64), (1e-310, torch.float64), (1e307, torch.float64), (1e-37, torch.float32),
    (1e-40, torch.float32), (1e38, torch.float32), ("per leaf", torch.float64), ("per leaf", torch.float32)])
def test_any_scale_at_all(scale, dtype):
    """Oracle: the same numbers, brought to the order of 1 by powers of 2, which are exact."""
    g = Grammar.random(5, 3, 2, 3, seed=0)
    if scale == "per leaf":
        scale = torch.logspace(-35, 37, g.d, dtype=torch.float64)[:, None]
    scaled = (random_likelihood(g, 40, seed=1, power=1) * scale).to(dtype)
    half = (scaled.double().amax(-1, keepdim=True).log2() / 2).floor()
    plain = scaled.double() / 2**half / 2**half                     # by halves: 2^-1030 is no normal number
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    for function in (rhm.marginals, rhm.cavity):
        for a, b in zip(function(g, scaled), function(g, plain), strict=True):
            assert a.dtype == dtype and (a - b).abs().max() < tolerance
    for a, b in zip(rhm.sample_posterior(g, scaled, seed=0), rhm.sample_posterior(g, plain, seed=0), strict=True):
        assert torch.equal(a, b)
    shift = rhm.log_evidence(g, scaled) - rhm.log_evidence(g, plain)
    assert torch.allclose(shift, 2 * half.sum((1, 2)) * math.log(2), rtol=1e-14, atol=10 * tolerance)


def test_evidence_of_a_visible_string_is_its_probability():
    g = Grammar.random(32, 8, 2, 5, seed=0)
    x = g.sample(4, seed=0)[0]
    seen = channels.masking(x, 0.0, g.v, dtype=torch.float64)
    log_p = -torch.log(torch.tensor(float(g.v))) - g.n_rules * torch.log(torch.tensor(float(g.m)))
    assert torch.allclose(rhm.log_evidence(g, seen), log_p.double(), atol=1e-5)
    hidden = channels.masking(x, 1.0, g.v)
    assert torch.allclose(rhm.log_evidence(g, hidden), torch.full((4,), -g.d * 3.4657359).double(), atol=1e-4)
    for level, (p, tree) in enumerate(zip(rhm.marginals(g, seen), g.parse(x), strict=True)):
        assert (p.gather(-1, tree[..., None]) > 1 - 1e-12).all(), level


def test_cavity_leaves_the_node_out():
    g = Grammar.random(4, 2, 2, 3, seed=2)
    likelihood = random_likelihood(g, 2, seed=4)
    without = likelihood.clone()
    without[:, 5] = 1.0
    assert torch.allclose(rhm.cavity(g, likelihood)[0][:, 5], rhm.marginals(g, without)[0][:, 5], atol=1e-12)
    assert torch.allclose(rhm.cavity(g, likelihood)[3], torch.full((2, 1, 4), 0.25, dtype=torch.float64))


@pytest.mark.parametrize("channel", [
    lambda x, v: channels.masking(x, 0.5, v, seed=1, dtype=torch.float64),
    lambda x, v: channels.uniform(x, 0.3, v, seed=1, dtype=torch.float64),
    lambda x, v: channels.gaussian(x, 0.7, v, seed=1, dtype=torch.float64),
])
def test_bayes_channels_obey_the_nishimori_identity(channel):
    # under the true posterior, the truth is distributed as a posterior sample: E[p(truth)] = E[sum p^2]
    g = Grammar.random(6, 2, 2, 4, seed=0)
    trees = g.sample(4000, seed=0)
    for p, tree in zip(rhm.marginals(g, channel(trees[0], g.v)), trees, strict=True):
        gap = (p.gather(-1, tree[..., None])[..., 0] - p.pow(2).sum(-1)).mean(1)
        assert abs(gap.mean()) < 4 * gap.std() / len(gap) ** 0.5 + 1e-12


def test_epsilon_process_is_no_bayes_channel():
    g = Grammar.random(6, 2, 2, 4, seed=0)
    trees = g.sample(500, seed=0)
    p = rhm.marginals(g, channels.epsilon_process(trees[0], 0.5, g.v))[0]
    gap = (p.gather(-1, trees[0][..., None])[..., 0] - p.pow(2).sum(-1)).mean(1)
    assert gap.mean() > 10 * gap.std() / len(gap) ** 0.5


def test_float32_agrees_and_falls_back_to_float64_when_it_underflows():
    g = Grammar.random(4, 2, 2, 3, seed=0)
    likelihood = random_likelihood(g, 6, seed=0)
    for a, b in zip(rhm.marginals(g, likelihood.float()), rhm.marginals(g, likelihood), strict=True):
        assert a.dtype == torch.float32 and (a - b).abs().max() < 2e-6
    # peaked on a string outside the language: every product of two messages is below float32's range
    x = g.sample(1, seed=1)[0].repeat(1, 1)
    table = {tuple(t) for t in g.rules[0].flatten(0, 1).tolist()}
    x[0, 0], x[0, 1] = next((a, b) for a in range(4) for b in range(4) if (a, b) not in table)
    peaked = torch.full((1, g.d, g.v), 1e-35).scatter_(-1, x[..., None], 1.0)
    peaked[0, 2:] = torch.tensor([1e-30, 1.0, 1e-30, 1e-30])
    exact = enumerate_posterior(g, peaked.double())[0]
    for a, b in zip(rhm.marginals(g, peaked), exact, strict=True):
        assert a.dtype == torch.float32 and (a - b).abs().max() < 1e-5


def test_float32_does_not_lose_its_digits_before_it_falls_back():
    g = Grammar(torch.tensor([[[[0, 1]], [[1, 0]], [[0, 0]]]]))
    for off in (1e-19, 1e-21, 1e-22, 5e-23, 1e-30):
        likelihood = torch.tensor([[[off, 2 * off, 1.0], [3 * off, off, 1.0]]], dtype=torch.float32)
        exact = enumerate_posterior(g, likelihood.double())[0]
        for a, b in zip(rhm.marginals(g, likelihood), exact, strict=True):
            assert (a - b).abs().max() < 1e-6, off


def test_huge_entries_and_the_callers_tensor():
    g = Grammar.random(3, 2, 2, 1, seed=0)
    likelihood = random_likelihood(g, 2, seed=0)
    huge = (likelihood / likelihood.max() * 3e38).float()
    assert (rhm.marginals(g, huge)[1] - rhm.marginals(g, likelihood)[1]).abs().max() < 1e-6
    turned = likelihood.permute(2, 1, 0).contiguous().permute(2, 1, 0)      # already in the order of the messages
    before = turned.clone()
    rhm.marginals(g, turned)
    assert torch.equal(turned, before)
    assert not rhm.marginals(g, likelihood.clone().requires_grad_())[0].requires_grad


def test_functions_called_with_one_seed_draw_independently():
    g = Grammar.random(4, 2, 2, 1, seed=0)
    x = g.sample(20_000, seed=1)
    belief = [], []
    for posterior_seed, out in zip((0, 12345), belief, strict=True):
        likelihood = channels.masking(x[0], 0.5, 4, dtype=torch.float64)                  # default seed 0
        drawn = rhm.sample_posterior(g, likelihood, seed=posterior_seed)
        p = rhm.marginals(g, likelihood)
        for a, b, q in zip(drawn, x, p, strict=True):
            kept, truth = (a == b).double(), q.gather(-1, b[..., None])[..., 0]
            out.append(float((kept - truth).mean() / (truth * (1 - truth)).mean().sqrt() * kept.numel() ** 0.5))
    assert max(abs(z) for z in belief[0] + belief[1]) < 4, belief


@pytest.mark.untyped
@pytest.mark.parametrize("function", [rhm.marginals, rhm.cavity, rhm.sample_posterior, rhm.log_evidence])
def test_bad_rows_are_named(function):
    g = Grammar.random(4, 2, 2, 2, seed=0)
    good = torch.ones(5, 4, 4, dtype=torch.float64)
    for value, what in ((float("nan"), "NaN"), (float("inf"), "infinity"), (-0.1, "negative")):
        bad = good.clone()
        bad[3, 1, 2] = value
        with pytest.raises(ValueError, match=rf"likelihood\[3, 1\].*{what}"):
            function(g, bad)
    bad = good.clone()
    bad[4, 2] = 0
    with pytest.raises(ValueError, match=r"likelihood\[4, 2\].*zeros"):
        function(g, bad)
    table = {tuple(t) for t in g.rules[0].flatten(0, 1).tolist()}
    a, b = next((a, b) for a in range(4) for b in range(4) if (a, b) not in table)
    bad = good.float()
    bad[2, :2] = torch.eye(4)[[a, b]]
    with pytest.raises(ValueError, match=r"likelihood\[2\] is contradictory"):
        function(g, bad, block=2)
    with pytest.raises(ValueError, match="of shape"):
        function(g, good[:, :3])
    with pytest.raises(ValueError, match="a torch tensor"):
        function(g, good.numpy())
    with pytest.raises(ValueError, match="float32 or float64"):
        function(g, good.half())
    with pytest.raises(ValueError, match="block = 0"):
        function(g, good, block=0)


def test_empty_batch():
    g = Grammar.random(4, 2, 2, 2, seed=0)
    assert rhm.marginals(g, torch.ones(0, 4, 4))[1].shape == (0, 2, 4)
    assert rhm.log_evidence(g, torch.ones(0, 4, 4)).shape == (0,)
    assert rhm.sample_posterior(g, torch.ones(0, 4, 4))[2].shape == (0, 1)


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")       # from inside of torch.compile
@pytest.mark.parametrize(("p", "dtype", "tolerance"), [
    ((5, 2, 2, 3), torch.float32, 1e-5), ((5, 2, 2, 3), torch.float64, 1e-12), ((3, 2, 3, 2), torch.float64, 1e-12)])
def test_compiled_steps_agree(p, dtype, tolerance, monkeypatch):
    if dtype == torch.float64:                                            # what torch would compile: half a minute less
        monkeypatch.setattr(messages, "_compiled", lambda: (messages.combine_unrolled, messages.spread_unrolled))
    for seed in (2, 3) if dtype == torch.float32 else range(4):           # of one K, to be compiled once, or of two
        g = Grammar.random(*p, seed=seed)
        likelihood = random_likelihood(g, 7, seed)                        # in blocks of 6 rows and of 1
        strings = torch.randint(g.v, (1000, g.d), generator=torch.Generator().manual_seed(0))
        peaked = torch.nn.functional.one_hot(strings[~g.is_valid(strings)][0], g.v).double()
        likelihood[3] = peaked.clamp(min=1e-30)                           # beyond float32, which starts again
        given = likelihood.to(dtype)
        for a, b in zip(rhm.marginals(g, given, compiled=True, block=6), enumerate_posterior(g, likelihood)[0],
                        strict=True):
            assert a.dtype == dtype and (a - b).abs().max() < tolerance
        for a, b in zip(rhm.cavity(g, given, compiled=True), rhm.cavity(g, likelihood), strict=True):
            assert (a - b).abs().max() < tolerance
        evidence = rhm.log_evidence(g, given, compiled=True)
        assert torch.allclose(evidence, rhm.log_evidence(g, likelihood), rtol=tolerance)
        drawn = [rhm.sample_posterior(g, given, seed=1, compiled=compiled) for compiled in (False, True)]
        assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
        given[2] = peaked
        with pytest.raises(ValueError, match=r"likelihood\[2\] is contradictory"):
            rhm.cavity(g, given, compiled=True)


@given(p=st.sampled_from(CASES[:5]), power=st.integers(0, 60), seed=st.integers(0, 999))
def test_float32_loses_no_digits_at_any_contrast(p, power, seed):
    """What float32 drops in one message, of no weight there, may be all that is left after the next."""
    g = Grammar.random(*p, seed=seed)
    strings = torch.randint(g.v, (3, g.d), generator=torch.Generator().manual_seed(seed))
    likelihood = torch.nn.functional.one_hot(strings, g.v).double().clamp(min=10.0 ** (-power / 2))
    likelihood = (likelihood * (0.5 + random_likelihood(g, 3, seed, power=1))).float()
    exact = enumerate_posterior(g, likelihood.double())[0]
    for a, b in zip(rhm.marginals(g, likelihood), exact, strict=True):
        assert (a - b).abs().max() < 1e-5
    for a, b in zip(rhm.cavity(g, likelihood), rhm.cavity(g, likelihood.double()), strict=True):
        assert (a - b).abs().max() < 1e-5


def test_results_can_be_trained_on():
    g = Grammar.random(4, 2, 2, 2, seed=0)
    weight = torch.ones((), requires_grad=True)
    (rhm.marginals(g, random_likelihood(g, 2, seed=0))[0] * weight).sum().backward()
    assert weight.grad == pytest.approx(2 * g.d)


@pytest.mark.parametrize("parameters", [(4, 3, 2, 2), (3, 2, 3, 2), (3, 2, 2, 3)])
def test_truncated_inference_reads_one_subtree_only(parameters):
    g = Grammar.random(*parameters, seed=1)
    likelihood = random_likelihood(g, 5, seed=2)
    for level in range(g.L + 1):
        found, width = rhm.truncated(g, likelihood, level), g.s**level
        for start in range(0, g.d, width):
            own = slice(start, start + width)
            alone = torch.ones_like(likelihood)
            alone[:, own] = likelihood[:, own]
            assert (found[:, own] - enumerate_posterior(g, alone)[0][0][:, own]).abs().max() < 1e-12
    assert torch.equal(found, rhm.marginals(g, likelihood)[0])
    with pytest.raises(ValueError, match="level = 4"):
        rhm.truncated(g, likelihood, 4)


def test_truncated_inference_does_not_mind_what_is_wrong_above_its_level():
    g = Grammar.random(8, 3, 2, 3, seed=0)
    halves = g.sample(400, seed=1)[0].unflatten(1, (2, 4))
    x = torch.stack([halves[:, 0], halves.flip(0)[:, 1]], 1).flatten(1)           # right up to level 2, rarely above
    x = x[~g.is_valid(x)]
    likelihood = torch.nn.functional.one_hot(x, g.v).double()
    assert len(x) > 100 and torch.equal(rhm.truncated(g, likelihood, 2).argmax(-1), x)
    with pytest.raises(ValueError, match="contradictory"):
        rhm.truncated(g, likelihood, 3)


def test_truncated_inference_learns_with_the_level():
    # the mean log loss falls by the mutual information that a level adds
    g = Grammar.random(8, 3, 2, 3, seed=0)
    x = g.sample(2000, seed=1)[0]
    likelihood = channels.masking(x, 0.5, g.v, seed=2)
    p = torch.stack([rhm.truncated(g, likelihood, level) for level in range(4)]).double()
    loss = -p.gather(-1, x[None, ..., None].expand(4, -1, -1, 1)).log().mean((1, 2, 3))
    between = (p[1:] * (p[1:].clamp(min=1e-30) / p[:-1].clamp(min=1e-30)).log()).sum(-1).mean((1, 2))
    assert (-loss.diff()).tolist() == pytest.approx(between.tolist(), rel=0.12) and between.min() > 0.02
