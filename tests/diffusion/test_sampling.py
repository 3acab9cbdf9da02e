"""Samplers of discrete diffusion: exact laws where they are known, the bridge with the exact denoiser, extremes."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare

from hierlib import rhm
from hierlib.diffusion.discrete import (
    Masked,
    Uniform,
    ancestral,
    any_order,
    forward_backward,
    linear_alpha_bar,
    variational_loss,
)
from hierlib.diffusion.discrete.sampling import categorical
from hierlib.nets import Transformer
from hierlib.rhm.validity import accuracies

TINY = rhm.Grammar.random(v=3, m=2, s=2, L=2, seed=0)
STRINGS = TINY.enumerate()
P0 = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64)       # law of independent tokens; symbol 3 never occurs


def masking(T):
    return 1 - torch.arange(T + 1, dtype=torch.float64) / T


def exact(g):
    return lambda q: rhm.marginals(g, q)[0].log()


def forgiving(g):
    """The exact denoiser, a little unsure of what it sees: it does not raise for a string outside the grammar."""
    return lambda q: rhm.marginals(g, 0.999 * q + 0.001 / g.v)[0].log()


def leave_one_out(g):
    return lambda q: rhm.cavity(g, q)[0].log()


def independent(q):
    """The exact denoiser of independent tokens for Uniform (all but the token itself say nothing of it)."""
    return P0.to(q.dtype).log().expand_as(q)


def calls(denoiser, record):
    def counted(q):
        record.append(q)
        return denoiser(q)
    return counted


def untouchable(q):
    raise AssertionError("the denoiser is not needed here")


# drawing

def test_categorical_inverts_the_cumulative_sums():
    p = torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0])
    u = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-53], dtype=torch.float64)
    assert categorical(p.expand(6, 6), u).tolist() == [1, 1, 3, 3, 4, 4]
    assert categorical(7 * p.double().expand(6, 6), u).tolist() == [1, 1, 3, 3, 4, 4]       # any scale


def test_categorical_never_draws_the_impossible():
    rng = torch.Generator().manual_seed(0)
    p = torch.rand(20_000, 50, generator=rng) * (torch.rand(20_000, 50, generator=rng) < 0.2)
    p[:, 17] += 1e-30                                        # at least one, and a tiny one
    for u in (torch.zeros(20_000), torch.full((20_000,), 1 - 2**-53), torch.rand(20_000, generator=rng)):
        drawn = categorical(p, u.double().clamp(max=1 - 2**-53))
        assert (p.gather(-1, drawn[:, None]) > 0).all()


def test_categorical_frequencies():
    u = torch.rand(40_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert chisquare(torch.bincount(categorical(P0.expand(40_000, 4), u))[:3], P0[:3] * 40_000).pvalue > 1e-3


# any order

def test_any_order_samples_the_grammar_exactly():
    n, record = 200 * len(STRINGS), []
    x = any_order(calls(exact(TINY), record), torch.full((n, 4), 3), 3, seed=0)
    assert len(record) == 4 and TINY.is_valid(x).all()
    code = (STRINGS * 3 ** torch.arange(4)).sum(-1)
    counts = torch.bincount(torch.searchsorted(code.sort().values, (x * 3 ** torch.arange(4)).sum(-1)))
    assert chisquare(counts).pvalue > 1e-3


def test_any_order_is_valid_on_deep_grammars_and_parallel_filling_is_not():
    g = rhm.Grammar.random(v=12, m=3, s=2, L=3, seed=0)
    start, record = torch.full((300, g.d), 12), []
    assert g.is_valid(any_order(exact(g), start, 12, seed=0)).all()
    some = any_order(calls(forgiving(g), record), start, 12, seed=0, per_step=3)
    assert len(record) == 3 and 0.05 < g.is_valid(some).double().mean() < 0.9
    once = any_order(calls(forgiving(g), record), start, 12, seed=0, per_step=99)
    assert len(record) == 4 and (once < 12).all() and g.is_valid(once).double().mean() < 0.05


def test_any_order_keeps_what_is_visible_and_completes_it_uniformly():
    x = torch.full((3000, 4), 3)
    x[:, 2] = STRINGS[5, 2]
    x[:1000, 0] = STRINGS[5, 0]                               # rows with different numbers of gaps
    record = []
    filled = any_order(calls(exact(TINY), record), x, 3, seed=0)
    assert len(record) == 3 and torch.equal(filled[x < 3], x[x < 3]) and TINY.is_valid(filled).all()
    for rows, given in ((slice(0, 1000), [0, 2]), (slice(1000, 3000), [2])):
        allowed = STRINGS[(STRINGS[:, given] == STRINGS[5, given]).all(1)]
        hits = (filled[rows, None] == allowed).all(-1).sum(0)
        assert hits.sum() == len(filled[rows]) and chisquare(hits).pvalue > 1e-3


def test_any_order_visits_every_place_first_equally_often():
    record = []
    any_order(calls(torch.zeros_like, record), torch.full((6000, 5), 4), 4, seed=0)
    first = (record[1].amax(-1) == 1)
    assert (first.sum(1) == 1).all() and chisquare(first.sum(0)).pvalue > 1e-3
    for step, q in enumerate(record):                         # one more at every step
        assert ((q.amax(-1) == 1).sum(1) == step).all()


def test_nothing_masked_nothing_called():
    assert torch.equal(any_order(untouchable, STRINGS, 3, seed=0), STRINGS)
    empty = torch.zeros(0, 4, dtype=torch.int64)
    assert any_order(untouchable, empty, 3, seed=0).shape == (0, 4)
    assert torch.equal(ancestral(Uniform(3, [1.0, 0.0]), untouchable, x=STRINGS, t=0, seed=0), STRINGS)
    assert torch.equal(forward_backward(Masked(3, [1.0, 0.0]), untouchable, STRINGS, 0, seed=0), STRINGS)


def test_any_order_draws_row_by_row_and_takes_ensembles():
    x = torch.full((2, 6, 5), 4)

    def toy(q):
        return 5 * q.roll(1, -2) + torch.linspace(0, 1, 4)

    rng = torch.Generator().manual_seed(3)
    loop = torch.stack([any_order(lambda q, a=a: a * toy(q), part, 4, seed=rng) for a, part in zip((1.0, -1.0), x)])
    both = any_order(lambda q: toy(q) * torch.tensor([1.0, -1.0]).view(2, 1, 1, 1), x, 4,
                     seed=torch.Generator().manual_seed(3))
    assert torch.equal(loop, both) and (x == 4).all()         # and the input is not written to
    assert not torch.equal(any_order(toy, x, 4, seed=0), any_order(toy, x, 4, seed=1))


def test_no_graph_is_kept():
    weight = torch.ones((), requires_grad=True)
    any_order(calls(lambda q: q * weight, []), torch.full((2, 3), 4), 4, seed=0)

    def watch(q):
        assert not (q * weight).requires_grad
        return q

    any_order(watch, torch.full((2, 3), 4), 4, seed=0)
    ancestral(Masked(4, [1.0, 0.5, 0.0]), watch, (2, 3), seed=0)


# ancestral

@pytest.mark.parametrize("process", [
    Uniform(4, [1.0, 0.9, 0.5, 0.5, 0.1, 0.0]), Masked(4, [1.0, 0.9, 0.5, 0.5, 0.1, 0.0]),
    Uniform(4, [1.0, 1.0, 0.0, 0.0]), Masked(4, [1.0, 1.0, 0.0, 0.0]), Uniform(4, [1.0, 0.0]), Masked(4, [1.0, 0.0]),
])
def test_independent_tokens_come_out_with_their_law(process):
    record = []
    x = ancestral(process, calls(independent, record), (5000, 2), seed=0)
    assert len(record) == process.T and x.shape == (5000, 2)
    counts = torch.bincount(x.flatten(), minlength=4)
    assert counts[3] == 0 and len(counts) == 4
    assert chisquare(counts[:3], P0[:3] * 10_000).pvalue > 1e-3


def test_last_state_is_noised_by_the_first_signal():
    for process, law in ((Uniform(4, [0.8, 0.3, 0.0]), 0.8 * P0 + 0.2 / 4),
                         (Masked(4, [0.8, 0.3, 0.0]), torch.cat([0.8 * P0, torch.tensor([0.2])]))):
        counts = torch.bincount(ancestral(process, independent, (10_000, 1), seed=0).flatten(), minlength=len(law))
        assert (counts[law == 0] == 0).all()
        assert chisquare(counts[law > 0], law[law > 0].double() / law.double().sum() * 10_000).pvalue > 1e-3


def test_masked_ancestral_tends_to_the_grammar():
    g = rhm.Grammar.random(v=12, m=3, s=2, L=3, seed=0)
    drawn = (ancestral(Masked(12, masking(T)), forgiving(g), (600, 8), seed=0) for T in (1, 4, 16, 64))
    valid = [float(g.is_valid(x).double().mean()) for x in drawn]
    assert valid[0] < 0.05 and valid[0] < valid[1] < valid[2] < valid[3] and valid[3] > 0.85


def test_the_bridge_needs_the_leave_one_out_posterior():
    # T = 200; five grammars of 1000 strings each: A_1, A_2, A_3 = 0.9975(3), 0.993(1), 0.986(2) with it and 0.64(1),
    # 0.38(1), 0.18(1) with the plain posterior. The noise of the last state, ᾱ_0 = 0.999, is about half of the errors.
    g, process = rhm.Grammar.random(v=12, m=3, s=2, L=3, seed=0), Uniform(12, linear_alpha_bar(200))
    right, plain = (accuracies(g, ancestral(process, f(g), (600, 8), seed=1)) for f in (leave_one_out, exact))
    assert ((right - torch.tensor([0.9975, 0.993, 0.986])).abs() < torch.tensor([0.0025, 0.007, 0.015])).all()
    assert ((plain - torch.tensor([0.64, 0.38, 0.18])).abs() < 0.09).all()


# U-turns

@pytest.mark.parametrize("process", [Uniform(4, [1.0, 0.9, 0.5, 0.1]), Masked(4, [1.0, 0.9, 0.5, 0.1])])
@pytest.mark.parametrize("t", [1, 2, 3])
def test_forward_backward_of_independent_tokens(process, t):
    # oracle: Σ_{x_t} q(x_t | x0) P(x0' | x_t), Bayes' rule with the prior P0
    forward = float(process.alpha_bar[t]) * torch.eye(process.states)[:4].double()
    noise = torch.ones(process.states) / 4 if process.states == 4 else F.one_hot(torch.tensor(4), 5)
    forward = forward + (1 - float(process.alpha_bar[t])) * noise.double()
    joint = P0[:, None] * forward
    law = forward @ (joint / joint.sum(0).clamp(min=1e-300)).T
    for a in range(3):
        x0 = torch.full((2500, 2), a)
        x = forward_backward(process, independent, x0, t, seed=a)
        counts = torch.bincount(x.flatten(), minlength=4)
        assert counts[3] == 0 and chisquare(counts[:3], law[a, :3] / law[a].sum() * 5000).pvalue > 1e-3
    record = []
    forward_backward(process, calls(independent, record), x0, t, seed=0)
    assert len(record) == t


@pytest.mark.parametrize("process", [Uniform(4, [1.0, 0.5, 0.0]), Masked(4, [1.0, 0.5, 0.0])])
def test_samplers_are_seeded(process):
    for sampler in (lambda seed: ancestral(process, independent, (50, 3), seed=seed),
                    lambda seed: forward_backward(process, independent, torch.zeros(50, 3).long(), 2, seed=seed)):
        assert torch.equal(sampler(3), sampler(3)) and not torch.equal(sampler(3), sampler(4))


def test_ancestral_takes_leading_dimensions_and_double_precision():
    process, record = Uniform(4, [1.0, 0.5, 0.0]), []
    x = ancestral(process, calls(independent, record), (2, 3, 5), seed=0, dtype=torch.float64)
    assert x.shape == (2, 3, 5) and record[0].shape == (2, 3, 5, 4) and record[0].dtype == torch.float64
    assert torch.equal(x.view(6, 5), ancestral(process, independent, (6, 5), seed=0, dtype=torch.float64))
    assert ancestral(process, independent, (0, 5), seed=0).shape == (0, 5)


@pytest.mark.parametrize("bad", [[math.nan, 1, 1], [1, 1, math.nan], [math.inf, 1, 1], [0, 0, 0]])
def test_nothing_is_drawn_from_no_weights(bad):
    p = torch.tensor([bad, [0.2, 0.3, 0.5]], dtype=torch.float32)
    assert categorical(p, torch.tensor([0.6, 0.6]).double()).tolist() == [-1, 2]


def broken(value, call):
    """Independent tokens; at one call the logits of the last token of string 1 are all `value`."""
    record = []

    def denoiser(q):
        record.append(q)
        logits = independent(q).clone()
        logits[1, -1] = value if len(record) == call else logits[1, -1]
        return logits
    return denoiser


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sampler", [
    lambda denoiser: any_order(denoiser, torch.full((3, 4), 4), 4, per_step=4, seed=0),
    lambda denoiser: ancestral(Uniform(4, [1.0, 0.5, 0.0]), denoiser, (3, 4), seed=0),
    lambda denoiser: ancestral(Masked(4, [1.0, 0.0]), denoiser, (3, 4), seed=0),
    lambda denoiser: forward_backward(Uniform(4, [1.0, 0.5]), denoiser, torch.zeros(3, 4).long(), 1, seed=0),
])
def test_logits_that_are_no_numbers_are_an_error_and_not_symbol_0(sampler, value):
    with pytest.raises(ValueError, match=r"denoiser\(likelihood\): must be logits without NaN.*\(1, 3\) of \(3, 4\)"):
        sampler(broken(value, 1))


def test_logits_that_are_not_drawn_from_may_be_anything():
    x = torch.full((3, 4), 4)
    x[1, -1] = 2                                              # visible
    for call in (1, 4):                                       # at the fourth, string 1 has nothing left to draw
        assert any_order(broken(math.nan, call), x, 4, seed=0)[1, -1] == 2
    assert ancestral(Masked(4, [1.0, 0.0]), broken(math.nan, 1), x=x, seed=0)[1, -1] == 2
    a, b = (any_order(denoiser, torch.full((3, 4), 4), 4, seed=0) for denoiser in (broken(math.nan, 9), independent))
    assert torch.equal(a, b)


@pytest.mark.parametrize("sampler", [
    lambda g: ancestral(Masked(12, masking(3)), exact(g), (200, 8), seed=0),
    lambda g: any_order(exact(g), torch.full((200, 8), 12), 12, per_step=3, seed=0),
])
def test_parallel_draws_that_contradict_the_grammar_are_named(sampler):
    g = rhm.Grammar.random(v=12, m=3, s=2, L=3, seed=0)
    with pytest.raises(ValueError, match=r"^the denoiser refuses a string that was drawn.*in one step") as info:
        sampler(g)
    assert "contradictory" in str(info.value.__cause__)
    x = torch.full((1, 8), 12)
    x[0, :2] = next(ab for ab in torch.cartesian_prod(torch.arange(12), torch.arange(12))
                    if not (g.rules[0] == ab).all(-1).any())
    with pytest.raises(ValueError, match=r"^likelihood\[0\] is contradictory"):       # it came with the caller's string
        any_order(exact(g), x, 12, seed=0)


@pytest.mark.parametrize("around", [torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_samplers_within_inference_mode_and_autocast(around):
    net, gen = Transformer(3, 4, 8, 2, 1), torch.Generator().manual_seed(0)
    torch.nn.init.normal_(net.readout.weight, generator=gen)
    for sampler in (lambda f: any_order(f, torch.full((50, 4), 3), 3, seed=0),
                    lambda f: ancestral(Uniform(3, linear_alpha_bar(9)), f, (50, 4), seed=0),
                    lambda f: ancestral(Masked(3, masking(9)), f, (50, 4), seed=0)):
        plain, record = [sampler(f) for f in (net, forgiving(TINY))], []
        with around():
            found = [sampler(f) for f in (calls(net, record), forgiving(TINY))]
        assert torch.equal(plain[1], found[1]), "exact inference is exact"
        assert (plain[0] == found[0]).double().mean() > 0.9 and record[0].dtype == torch.float32
    plain = variational_loss(Uniform(3, linear_alpha_bar(9)), net, STRINGS, seed=0)
    with around():
        found = variational_loss(Uniform(3, linear_alpha_bar(9)), net, STRINGS, seed=0)
    assert found.dtype == torch.float32 and torch.allclose(found, plain, rtol=0.1, atol=0.01)      # bfloat16 within net


U, X = Uniform(4, [1.0, 0.5, 0.0]), torch.zeros(2, 3, dtype=torch.int64)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: ancestral(U, independent, seed=0), "shape"),
    (lambda: ancestral(U, independent, (2, 3), x=X, seed=0), "shape"),
    (lambda: ancestral(U, independent, x=X + 4, seed=0), "x = "),
    (lambda: ancestral(U, independent, x=X, t=3, seed=0), "t = 3"),
    (lambda: ancestral(U, independent, x=X, t=-1, seed=0), "t = -1"),
    (lambda: ancestral(U, lambda q: q[..., :2], x=X, seed=0), "denoiser"),
    (lambda: any_order(independent, X + 5, 4, seed=0), "x = "),
    (lambda: any_order(independent, X - 1, 4, seed=0), "x = "),
    (lambda: any_order(independent, X, 4, seed=0, per_step=0), "per_step = 0"),
    (lambda: any_order(lambda q: q[..., 0], X + 4, 4, seed=0), "denoiser"),
    (lambda: forward_backward(U, independent, X + 4, 1, seed=0), "x0"),
    (lambda: forward_backward(U, independent, X, 3, seed=0), "t = 3"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
