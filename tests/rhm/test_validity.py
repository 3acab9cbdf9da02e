"""Grammaticality of generated strings, copies, training sets without repetition."""

import math

import pytest
import torch
from scipy import stats

from hierlib.rhm import Grammar
from hierlib.rhm.validity import accuracies, conditional, copies

TINY = Grammar.random(v=3, m=2, s=2, L=3, seed=1)


def by_hand(g: Grammar, row: list[int]) -> list[list[bool]]:
    """Parse one string with a dictionary; None marks a node that does not follow the rules."""
    out, symbols = [], list(row)
    for rules in g.rules.tolist():
        parent = {tuple(rule): a for a, of_a in enumerate(rules) for rule in of_a}
        symbols = [parent.get(tuple(symbols[i:i + g.s])) for i in range(0, len(symbols), g.s)]
        out.append([a is not None for a in symbols])
    return out


@pytest.mark.parametrize("g", [TINY, Grammar.random(v=4, m=3, s=3, L=2, seed=3)], ids=str)
def test_every_node_is_judged_as_by_a_dictionary(g):
    gen = torch.Generator().manual_seed(0)
    x = g.sample(200, seed=0)[0]
    hit = torch.rand(x.shape, generator=gen) < 0.15
    x = torch.where(hit, torch.randint(g.v, x.shape, generator=gen), x)
    nodes = [ok for _, ok in g.climb(x)[1:]]
    for row in range(len(x)):
        assert [level[row].tolist() for level in nodes] == by_hand(g, x[row].tolist())
    assert torch.equal(nodes[-1][:, 0], g.is_valid(x))
    assert 0.1 < accuracies(g, x)[-1] < 0.9          # both kinds occur, else the test above says little


def test_strings_of_the_grammar_are_valid_everywhere_and_a_wrong_leaf_spoils_its_ancestors_only():
    assert accuracies(TINY, TINY.enumerate()).tolist() == [1, 1, 1]
    x = TINY.sample(1, seed=0)[0]
    rules = {tuple(rule) for rule in TINY.rules[0].flatten(0, 1).tolist()}
    x[0, :2] = torch.tensor(next((a, b) for a in range(3) for b in range(3) if (a, b) not in rules))
    assert [ok[0].tolist() for _, ok in TINY.climb(x)[1:]] == [[False, True, True, True], [False, True], [False]]


def test_symbols_outside_the_alphabet_are_invalid_not_an_error():
    x = torch.full((1, 8), 3)
    assert accuracies(TINY, x).tolist() == [0, 0, 0]
    assert math.isnan(conditional(TINY, x)[1])


def test_level_by_level_chance_is_f():
    """Strings right up to level l − 1 and random at level l have c_l = f: written here by hand for l = 1, 2, 3."""
    g, n = Grammar.random(v=8, m=3, s=2, L=3, seed=0), 20_000
    gen = torch.Generator().manual_seed(1)
    for level in (1, 2, 3):
        symbols = torch.randint(g.v, (n, g.s ** (g.L - level + 1)), generator=gen)      # random at level l − 1
        for below in range(level - 2, -1, -1):
            rule = torch.randint(g.m, symbols.shape, generator=gen)
            symbols = g.rules[below][symbols, rule].flatten(1)
        c = conditional(g, symbols)
        nodes = n * g.s ** (g.L - level)
        assert c[: level - 1].tolist() == [1.0] * (level - 1)
        assert abs(c[level - 1] - g.f) < 4 * math.sqrt(g.f * (1 - g.f) / nodes)


def test_conditional_is_the_ratio_of_accuracies_when_errors_are_independent():
    g = Grammar.random(v=8, m=3, s=2, L=3, seed=0)
    x = torch.randint(8, (100_000, 8), generator=torch.Generator().manual_seed(0))
    a, c = accuracies(g, x), conditional(g, x)
    assert a[0] == pytest.approx(float(c[0]))
    assert abs(c[1] - a[1] / a[0] ** 2) < 0.01


def test_copies():
    train = torch.tensor([[0, 1], [0, 1], [2, 2]])
    x = torch.tensor([[0, 1], [1, 0], [2, 2], [2, 1]])
    assert copies(x, train) == 0.5
    assert copies(train, train) == 1
    g = Grammar.random(v=12, m=3, s=2, L=3, seed=0)
    train, x = g.sample(2000, seed=1, replace=False)[0], g.sample(20_000, seed=2)[0]
    chance = 2000 / g.n_strings
    assert abs(copies(x, train) - chance) < 4 * math.sqrt(chance / 20_000)


def test_strings_without_replacement_differ_and_all_are_equally_likely():
    every = TINY.sample(TINY.n_strings, seed=0, replace=False)
    assert len(every[0].unique(dim=0)) == TINY.n_strings == len(TINY.enumerate())
    assert torch.equal(torch.cat(TINY.parse(every[0]), 1), torch.cat(every, 1))
    counts = torch.zeros(TINY.n_strings)
    strings = {tuple(row): i for i, row in enumerate(TINY.enumerate().tolist())}
    gen = torch.Generator().manual_seed(0)
    for _ in range(300):
        for row in TINY.sample(32, gen, replace=False)[0].tolist():
            counts[strings[tuple(row)]] += 1
    # drawn without replacement the counts vary a little less than Poisson's: the p-value is conservative
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert stats.chisquare(counts.numpy()).statistic > 0.6 * TINY.n_strings


def test_strings_without_replacement_of_a_huge_grammar():
    g = Grammar.random(v=2, m=1, s=2, L=7, seed=0)             # two strings
    assert len(g.sample(2, seed=0, replace=False)[0].unique(dim=0)) == 2
    g = Grammar.random(v=32, m=8, s=2, L=7, seed=0)            # 10^116: drawn one by one
    x = g.sample(50, seed=0, replace=False)[0]
    assert len(x.unique(dim=0)) == 50
    assert g.is_valid(x).all()


def test_a_repeated_derivation_of_a_huge_grammar_is_drawn_again(monkeypatch):
    g = Grammar.random(v=32, m=8, s=2, L=7, seed=0)
    draw, calls = Grammar._draw, []

    def twice(self, n, gen):
        calls.append(n)
        rows = draw(self, n, gen)
        return torch.cat([rows[:1], rows[:-1]]) if len(calls) == 1 else rows

    monkeypatch.setattr(Grammar, "_draw", twice)
    assert len(g.sample(9, seed=0, replace=False)[0].unique(dim=0)) == 9
    assert len(calls) == 2


def test_more_strings_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="n = 385: must be at most 384"):
        TINY.sample(385, replace=False)


@pytest.mark.untyped
def test_bad_input():
    with pytest.raises(ValueError, match="at least one string"):
        accuracies(TINY, torch.zeros(0, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match="shape"):
        accuracies(TINY, torch.zeros(2, 7, dtype=torch.int64))
    with pytest.raises(ValueError, match="train"):
        copies(torch.zeros(2, 7, dtype=torch.int64), torch.zeros(2, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match="train"):
        copies(torch.zeros(2, 7, dtype=torch.int64), torch.zeros(0, 7, dtype=torch.int64))
