import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hierlib.rhm import Grammar, grammar

PARAMETERS = [(2, 1, 2, 3), (3, 2, 2, 3), (4, 3, 2, 2), (3, 2, 3, 2), (5, 5, 2, 1), (2, 8, 4, 1)]


@st.composite
def parameters(draw):
    v, s = draw(st.integers(2, 6)), draw(st.integers(2, 3))
    m, L = draw(st.integers(1, v ** (s - 1))), draw(st.integers(1, 3))
    return v, m, s, L, draw(st.integers(0, 2**31))


@given(p=parameters(), n=st.integers(0, 9), seed=st.integers(0, 99))
def test_samples_obey_the_rules_and_parse_back(p, n, seed):
    g = Grammar.random(*p)
    trees = g.sample(n, seed=seed)
    assert [tuple(t.shape) for t in trees] == [(n, g.s ** (g.L - l)) for l in range(g.L + 1)]
    for level in range(g.L):
        tuples = trees[level].view(n, g.s ** (g.L - level - 1), 1, g.s)
        assert (g.rules[level][trees[level + 1]] == tuples).all(-1).any(-1).all()
    assert all(torch.equal(a, b) for a, b in zip(trees, g.parse(trees[0]), strict=True))
    assert g.is_valid(trees[0]).all()


@given(p=parameters())
def test_rules_are_distinct_tuples(p):
    g = Grammar.random(*p)
    for level in g.rules:
        assert len({tuple(t) for t in level.flatten(0, 1).tolist()}) == g.v * g.m


@pytest.mark.parametrize("p", PARAMETERS)
def test_enumeration_is_exactly_the_language(p):
    g = Grammar.random(*p, seed=3)
    strings = g.enumerate()
    assert g.n_strings == g.v * g.m ** ((g.s**g.L - 1) // (g.s - 1)) == len(strings)
    assert len(strings.unique(dim=0)) == len(strings) and g.is_valid(strings).all()
    if g.v**g.d <= 10_000:
        every = torch.tensor(list(itertools.product(range(g.v), repeat=g.d)))
        assert int(g.is_valid(every).sum()) == g.n_strings


def test_sampler_is_uniform_over_strings():
    g = Grammar.random(3, 2, 2, 3, seed=1)
    n = 40 * g.n_strings
    x = g.sample(n, seed=0)[0]
    powers = g.v ** torch.arange(g.d)
    order, place = (g.enumerate() * powers).sum(1).sort().values, (x * powers).sum(1)
    counts = torch.bincount(torch.searchsorted(order, place), minlength=g.n_strings)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_rule_sets_are_drawn_uniformly():
    # every tuple is a rule of a given parent with probability m / v**s, over grammars
    v, m, n = 3, 2, 1500
    counts = torch.zeros(v, v * v)
    for seed in range(n):
        codes = (Grammar.random(v, m, 2, 1, seed=seed).rules[0] * torch.tensor([v, 1])).sum(-1)
        counts.scatter_add_(1, codes, torch.ones(v, m))
    z = (counts - n * m / v**2) / math.sqrt(n * m / v**2 * (1 - m / v**2))
    assert z.abs().max() < 4.2      # 27 cells: P(beyond) = 7e-4


def test_tuples_as_numbers_and_back():
    tuples = torch.tensor([[1, 2, 3], [0, 0, 9]])
    codes = grammar.encode(tuples, 10)
    assert codes.tolist() == [123, 9] and torch.equal(grammar.decode(codes, 10, 3), tuples)
    place, known = grammar.find(torch.tensor([9, 100, 124]), tuples, 10)
    assert known.tolist() == [False, True] and place[1] == 0


def test_codes_drawn_one_by_one_are_distinct_and_uniform(monkeypatch):
    monkeypatch.setattr(grammar, "_SMALL", 0)
    gen = torch.Generator().manual_seed(0)
    draws = torch.stack([grammar._distinct_codes(3, 7, gen) for _ in range(4000)])
    assert all(len(set(row)) == 3 for row in draws.tolist())
    code = (draws * torch.tensor([49, 7, 1])).sum(1)
    counts = code.unique(return_counts=True)[1]
    assert len(counts) == 7 * 6 * 5 and stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_huge_alphabet_needs_no_table_of_all_tuples():
    g = Grammar.random(1000, 5, 6, 1, seed=0)
    assert g.is_valid(g.sample(4, seed=1)[0]).all()


def test_deep_grammar_of_the_paper():
    g = Grammar.random(v=32, m=8, s=2, L=10, seed=0)
    trees = g.sample(5, seed=0)
    assert trees[0].shape == (5, 1024) and all(torch.equal(a, b) for a, b in zip(trees, g.parse(trees[0])))
    shallow = Grammar.random(v=32, m=8, s=2, L=7, seed=0)
    assert torch.equal(shallow.rules, g.rules[:7]), "a deeper grammar extends a shallower one"
    assert not torch.equal(g.rules[0], g.rules[1]), "rules differ per level"
    levels = torch.cat([Grammar.random(32, 8, 2, 3, seed=seed).rules for seed in range(3)]).flatten(1)
    assert len(levels.unique(dim=0)) == 9, "no level is shared between seeds"


@pytest.mark.parametrize("L", [2, 8])
def test_no_strings_at_all(L):
    g = Grammar.random(32, 8, 2, L, seed=0)
    for replace in (True, False):
        assert [tuple(t.shape) for t in g.sample(0, replace=replace)] == [(0, width) for width in g.widths]
    assert torch.cat(g.parse(g.sample(0)[0]), 1).shape == (0, sum(g.widths))


def test_splitting_the_batch_changes_nothing():
    g = Grammar.random(5, 3, 2, 3, seed=0)
    gen = torch.Generator().manual_seed(5)
    parts = [g.sample(4, seed=gen), g.sample(7, seed=gen)]
    whole = g.sample(11, seed=torch.Generator().manual_seed(5))
    assert all(torch.equal(torch.cat(p), w) for p, w in zip(zip(*parts, strict=True), whole, strict=True))
    assert torch.equal(g.sample(9, seed=3)[0], g.sample(9, seed=3)[0])
    assert not torch.equal(g.sample(9, seed=3)[0], g.sample(9, seed=4)[0])


@pytest.mark.parametrize(("p", "name"), [
    ((4, 5, 2, 2), "m = 5"), ((4, 0, 2, 2), "m = 0"), ((1, 1, 2, 2), "v = 1"), ((4, 2, 1, 2), "s = 1"),
    ((4, 2, 2, 0), "L = 0"), ((2.5, 2, 2, 2), "v = 2.5"), ((4, True, 2, 2), "m = True"), ((4, "2", 2, 2), "m = '2'"),
    ((2**32, 2, 2, 1), r"v\*\*s"),
])
def test_impossible_parameters_are_named(p, name):
    with pytest.raises(ValueError, match=name):
        Grammar.random(*p)


def test_bad_rules_are_refused():
    with pytest.raises(ValueError, match="repeated tuple"):
        Grammar(torch.zeros(1, 2, 2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="symbols in 0 … 1"):
        Grammar(torch.tensor([[[[0, 2]], [[1, 1]]]]))


@pytest.mark.untyped
def test_other_things_than_tensors_are_refused():
    with pytest.raises(ValueError, match="rules = 'list'"):
        Grammar([[[[0, 1]]]])
    with pytest.raises(ValueError, match="x = 'list'"):
        Grammar.random(4, 2, 2, 1).parse([[0, 1]])


@pytest.mark.untyped
def test_strings_outside_the_grammar_are_named():
    g = Grammar.random(4, 2, 2, 3, seed=0)
    x = g.sample(6, seed=0)[0]
    bad = x.clone()
    bad[2, 0] = 7
    with pytest.raises(ValueError, match=r"x\[2\].*outside 0 … 3"):
        g.parse(bad)
    table = {tuple(t) for t in g.rules[0].flatten(0, 1).tolist()}
    bad[2, :2] = torch.tensor(next(t for t in itertools.product(range(4), repeat=2) if t not in table))
    assert g.is_valid(bad).tolist() == [True, True, False, True, True, True]
    with pytest.raises(ValueError, match=r"x\[2\].*level 1"):
        g.parse(bad)
    with pytest.raises(ValueError, match="shape"):
        g.parse(x[:, :3])
    with pytest.raises(ValueError, match="n_strings"):
        Grammar.random(8, 8, 2, 4).enumerate()
    with pytest.raises(ValueError, match="n = -1"):
        g.sample(-1)


@pytest.mark.parametrize("parameters", [(5, 3, 2, 3), (4, 2, 3, 2), (6, 6, 2, 2)])
def test_exchange_of_synonyms(parameters):
    g = Grammar.random(*parameters, seed=0)
    trees = g.sample(300, seed=1)
    for level in range(1, g.L + 1):
        for node in (0, g.widths[level] - 1):
            for synonym in (True, False):
                x = g.exchange(trees, level, node=node, synonym=synonym, seed=2)
                own = slice(node * g.s**level, (node + 1) * g.s**level)
                rest = [i for i in range(g.d) if not own.start <= i < own.stop]
                assert torch.equal(x[:, rest], trees[0][:, rest])
                symbols, ok = g.climb(x)[level]
                assert ok.all() and bool(((symbols == trees[level])[:, node] == synonym).all())
                new, old = (t[:, node * g.s:(node + 1) * g.s] for t in (g.climb(x)[level - 1][0], trees[level - 1]))
                assert (new != old).any(1).all()
                assert not synonym or g.is_valid(x).all()


def test_exchange_draws_all_other_rules_alike():
    g = Grammar.random(4, 4, 2, 1, seed=0)
    trees = [t.expand(12_000, -1) for t in g.sample(1, seed=3)]
    own, code = int(trees[1][0, 0]), grammar.encode(g.rules[0], 4)
    for synonym, n in ((True, 3), (False, 12)):
        seen = grammar.encode(g.exchange(trees, 1, synonym=synonym, seed=0), 4)
        of = code[own] if synonym else torch.cat([code[:own], code[own + 1:]])
        counts = torch.stack([(seen == c).sum() for c in of.flatten()])
        counts = counts[counts > 0]
        assert len(counts) == n and counts.sum() == len(seen)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda g: g.exchange(g.sample(3), 0), "level = 0"),
    (lambda g: g.exchange(g.sample(3), 2, node=1), "node = 1"),
    (lambda g: g.exchange(g.sample(3)[:1], 1), "trees"),
    (lambda g: Grammar.random(4, 1, 2, 2).exchange(g.sample(3), 1), "m = 1"),
])
def test_exchange_refuses(call, name):
    with pytest.raises(ValueError, match=name):
        call(Grammar.random(4, 2, 2, 2, seed=0))
