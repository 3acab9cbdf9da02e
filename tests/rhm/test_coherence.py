"""Correlations by level of the common ancestor."""

import itertools

import pytest
import torch

from hierlib.rhm import Grammar, coherence


@pytest.mark.parametrize(("s", "L"), [(2, 1), (2, 3), (3, 2)])
def test_every_pair_is_at_the_level_of_its_lowest_common_ancestor(s, L):
    groups = coherence._pairs(s, L)
    assert sum(map(len, groups)) == s**L * (s**L - 1) // 2
    for level, group in enumerate(groups, 1):
        assert len(group) == s ** (L + level) * (s - 1) // (2 * s)
        for i, j in group.tolist():
            assert i < j
            assert next(l for l in itertools.count(1) if i // s**l == j // s**l) == level


def test_strings_of_the_grammar_are_coherent_at_every_level():
    g = Grammar.random(v=8, m=2, s=2, L=3, seed=0)
    found = coherence.by_level(g.sample(20_000, seed=1)[0], g.sample(40_000, seed=2)[0], v=8, s=2)
    assert (abs(found.value - 1) < 4 * found.error).all()
    assert (found.error < 0.1).all()


def test_strings_joined_from_valid_halves_are_coherent_below_the_root_only():
    g = Grammar.random(v=8, m=2, s=2, L=3, seed=0)
    a, b = g.sample(20_000, seed=1)[0], g.sample(20_000, seed=3)[0]
    found = coherence.by_level(torch.cat([a[:, :4], b[:, 4:]], 1), g.sample(40_000, seed=2)[0], v=8, s=2)
    assert (abs(found.value[:2] - 1) < 4 * found.error[:2]).all()
    assert abs(found.value[2]) < 4 * found.error[2]


def test_the_data_have_the_correlations_of_theory():
    """Root mean square of C over symbols and pairs, (1 − f)/(v³ m^(2l−1)) at large v, within its corrections."""
    v, m, L = 32, 4, 2
    squares = []
    for seed in range(4):
        g = Grammar.random(v=v, m=m, s=2, L=L, seed=seed)
        x = g.sample(60_000, seed=seed)[0]
        squares.append(coherence.by_level(x[:10_000], x[10_000:], v=v, s=2).reference.square / v**2)
    measured = torch.stack(squares).mean(0)
    for level, below in ((1, 1), (2, 0)):
        theory = (1 - m / v) * sum(m**-j for j in range(below + 1)) / (v**3 * m ** (2 * level - 1))
        assert 0.75 < measured[level - 1] / theory < 1.15


def test_bad_input():
    x = torch.zeros(10, 6, dtype=torch.int64)
    with pytest.raises(ValueError, match="power of s = 2"):
        coherence.by_level(x, x, v=3, s=2)
    with pytest.raises(ValueError, match="s = 1"):
        coherence.by_level(x, x, v=3, s=1)
