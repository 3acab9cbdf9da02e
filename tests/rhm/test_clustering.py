import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib.rhm import Grammar, clustering, theory
from hierlib.rhm.validity import accuracies

TINY = [(4, 2, 2, 3), (6, 2, 2, 3), (5, 4, 3, 2)]
G = Grammar.random(12, 3, 2, 3, seed=0)
MANY = torch.randint(200, (8000, 8), generator=torch.Generator().manual_seed(0))


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 4)), min_size=2, max_size=12))
def test_adjusted_rand_by_all_pairs(labels):
    a, b = (torch.tensor(side) for side in zip(*labels))
    same = [(int(a[i] == a[j]), int(b[i] == b[j])) for i, j in itertools.combinations(range(len(a)), 2)]
    in_a, in_b, pairs = sum(x for x, _ in same), sum(y for _, y in same), len(same)
    both, expected = sum(x * y for x, y in same), in_a * in_b / pairs
    highest = (in_a + in_b) / 2
    index = 1.0 if highest == expected else (both - expected) / (highest - expected)
    assert clustering._adjusted_rand(a, b) == pytest.approx(index, abs=1e-12)


def test_adjusted_rand_of_known_partitions():
    a = torch.tensor([0, 0, 1, 1])
    assert clustering._adjusted_rand(a, torch.tensor([5, 5, 2, 2])) == 1.0
    assert clustering._adjusted_rand(a, torch.tensor([0, 1, 0, 1])) == pytest.approx(-0.5)
    assert clustering._adjusted_rand(a, torch.tensor([0, 0, 1, 2])) == pytest.approx(4 / 7)
    assert clustering._adjusted_rand(torch.arange(4), torch.zeros(4).long()) == 0.0
    big = torch.randint(9, (2, 5000), generator=torch.Generator().manual_seed(0))
    assert abs(clustering._adjusted_rand(big[0], big[1])) < 0.005


@pytest.mark.parametrize("context", ["latent", "token"])
@pytest.mark.parametrize("parameters", TINY)
def test_all_strings_give_the_grammar_itself(parameters, context):
    g = Grammar.random(*parameters, seed=2)
    x = g.enumerate() if g.n_strings < 50_000 else g.sample(50_000, seed=0)[0]
    found = clustering.fit(x, g.v, g.s, context=context)
    assert found.score(g).tolist() == [1.0] * (g.L - 1)
    assert found.sizes[:-1] == (g.v * g.m,) * (g.L - 1) and found.sizes[-1] == g.v * g.m
    new = found.generate(3000, seed=0)
    assert g.is_valid(new).all()
    # its symbols are the true ones by other names, on strings never seen as on all
    ours, true = found.parse(new), g.parse(new)
    for level in range(1, g.L):
        names = set(zip(ours[level].flatten().tolist(), true[level].flatten().tolist()))
        assert len(names) == g.v == len({a for a, _ in names}) == len({b for _, b in names})
    assert (ours[g.L] == 0).all()


def test_generated_strings_are_uniform_when_all_were_seen():
    g = Grammar.random(4, 2, 2, 2, seed=0)
    assert g.n_strings == 32
    x = clustering.fit(g.enumerate(), 4, 2).generate(20_000, seed=1)
    counts = torch.bincount((x * 4 ** torch.arange(4)).sum(1), minlength=256)
    seen = counts[counts > 0].double()
    assert len(seen) == 32 and float(((seen - 625) ** 2 / 625).sum()) < 31 + 4 * 62**0.5


def test_generation_follows_the_counts():
    # top tuple (0, 1) or (1, 1) as 3 : 1; symbol 0 is written by one tuple, symbol 1 by two, as 2 : 3
    x = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0], [1, 0, 1, 0]])
    found = clustering.Clustering(
        x, 2, 2, "latent", (torch.tensor([0, 2, 3]), torch.tensor([1, 3])),
        (torch.tensor([3, 3, 2]), torch.tensor([3, 1])), (torch.tensor([0, 1, 1]), torch.tensor([0, 0])),
    )
    y = found.generate(40_000, seed=0)
    first, second = (y[:, i] * 2 + y[:, i + 1] for i in (0, 2))
    assert (first == 0).double().mean() == pytest.approx(0.75, abs=0.01)
    assert (second == 2).double().mean() == pytest.approx(0.6, abs=0.01)
    assert (second == 3).double().mean() == pytest.approx(0.4, abs=0.01)
    assert (first[first > 0] == 2).double().mean() == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize(("s", "slots"), [(2, 4), (3, 3)])
def test_features_by_hand(s, slots):
    gen = torch.Generator().manual_seed(0)
    index, context = torch.randint(5, (7, 2 * s), generator=gen), torch.randint(3, (7, 2 * s, slots), generator=gen)
    index[:, 1::s] = index[:, 1::s].clamp(max=3)                            # tuple 4 is never a second child
    out = clustering._features(index, context, 5, 3, s)
    columns = []
    for child, sibling in itertools.permutations(range(s), 2):
        for slot in range(slots):
            beside = [[context[i, p * s + sibling, slot].item() for i in range(7) for p in range(2)
                       if t in (None, index[i, p * s + child].item())] for t in (None, *range(5))]
            law = [np.bincount(b, minlength=3) / len(b) if b else None for b in beside]
            columns.append([law[t + 1] - law[0] if law[t + 1] is not None else np.zeros(3) for t in range(5)])
    assert np.abs(out.numpy() - np.concatenate(columns, 1)).max() < 1e-14
    assert (out[4].view(-1, slots, 3)[[i for i, (c, _) in enumerate(itertools.permutations(range(s), 2)) if c == 1]]
            == 0).all()


def test_ward_is_cut_at_the_number_asked_for_even_among_ties():
    points = torch.tensor([[0.0], [0.0], [0.0], [1.0], [1.0], [5.0], [6.0], [5.0]]).double()
    for clusters in range(1, 9):
        assert len(clustering._ward(points, clusters).unique()) == clusters
    assert clustering._ward(points, 3).tolist() in ([0, 0, 0, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, 1, 2, 1])


def accuracy(context, P, replicas, v=12, m=3, L=3):
    """Mean validity per level of strings from clusters found in P strings."""
    out = []
    for seed in range(replicas):
        g = Grammar.random(v, m, 2, L, seed)
        found = clustering.fit(g.sample(P, seed=seed)[0], v, 2, context=context)
        out.append(accuracies(g, found.generate(1000, seed=seed)))
    return torch.stack(out).mean(0).tolist()


def test_levels_are_learnt_one_after_the_other():
    # (12, 3, 2, 3), thresholds 36, 432, 1296: the mean of many grammars
    token = {P: accuracy("token", P, 16) for P in (64, 256, 4096)}
    for levels in token.values():
        assert levels[0] == 1.0 and levels[0] >= levels[1] >= levels[2]      # observed tuples are never wrong
    assert 0.4 < token[64][1] < 0.6 and token[64][2] < 0.12
    assert 0.7 < token[256][1] < 0.9 and token[256][2] < 0.3
    assert token[4096][1] > 0.99 and token[4096][2] > 0.94


def test_latent_contexts_need_fewer_strings():
    latent, token = accuracy("latent", 512, 32), accuracy("token", 512, 32)
    assert latent[1] == pytest.approx(token[1], abs=0.01)                    # level 2: the same contexts
    assert latent[2] - token[2] > 0.1
    deep = {c: accuracy(c, 4096, 6, v=16, m=4, L=4) for c in ("latent", "token")}
    assert deep["latent"][3] > 0.85 and deep["token"][3] < 0.5
    rhm = {"v": 16, "m": 4, "s": 2}
    assert 2.5 * theory.latent_sample_complexity(**rhm) < 4096 < theory.sample_complexity(4, **rhm)


def test_the_same_strings_give_the_same_clusters_in_any_order():
    x = G.sample(400, seed=1)[0]
    found = clustering.fit(x, 12, 2)
    other = clustering.fit(x[torch.randperm(400, generator=torch.Generator().manual_seed(0))], 12, 2, L=3)
    for name in ("codes", "counts", "labels"):
        assert all(torch.equal(a, b) for a, b in zip(getattr(found, name), getattr(other, name)))
    assert torch.equal(found.generate(9, seed=3), other.generate(9, seed=3))
    gen = torch.Generator().manual_seed(0)
    parts = torch.cat([found.generate(4, seed=gen), found.generate(5, seed=gen)])
    assert torch.equal(parts, found.generate(9, seed=torch.Generator().manual_seed(0)))
    assert found.generate(0).shape == (0, 8)


def test_few_tuples_are_each_a_cluster():
    x = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]])
    found = clustering.fit(x, 6, 2)
    assert found.sizes == (2, 1, 1) and found.labels[0].tolist() == [0, 1]
    assert torch.equal(found.generate(5, seed=0), x.expand(5, -1))
    assert [codes.tolist() for codes in found.codes] == [[6 * 0 + 1, 6 * 2 + 3], [6 * 0 + 1], [0]]


def test_parse_says_what_was_never_seen():
    x = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]])
    found = clustering.fit(x, 6, 2)
    trees = found.parse(torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3], [0, 1, 2, 3, 0, 1, 3, 2], [2, 3, 0, 1, 0, 1, 2, 3]]))
    assert [t.shape[1] for t in trees] == [8, 4, 2, 1]
    assert trees[1].tolist() == [[0, 1, 0, 1], [0, 1, 0, -1], [1, 0, 0, 1]]
    assert trees[2].tolist() == [[0, 0], [0, -1], [-1, 0]] and trees[3].tolist() == [[0], [-1], [-1]]


def test_the_strings_it_was_found_in_are_kept():
    x = G.sample(200, seed=0)[0]
    found = clustering.fit(x, 12, 2, context="token")
    before = found.score(G)
    assert (found.parse(x)[-1] == 0).all() and sum(found.counts[0].tolist()) == 800
    x.zero_()
    assert torch.equal(found.score(G), before) and before.shape == (2,)
    assert "sizes=" in repr(found)


def test_one_level_has_nothing_to_cluster():
    g = Grammar.random(4, 2, 2, 1, seed=0)
    found = clustering.fit(g.enumerate(), 4, 2)
    assert found.L == 1 and found.score(g).shape == (0,) and g.is_valid(found.generate(50, seed=0)).all()


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: clustering.fit(torch.zeros(0, 8).long(), 4, 2), "x"),
    (lambda: clustering.fit(torch.zeros(3, 6).long(), 4, 2), "x = 'strings of 6 tokens'"),
    (lambda: clustering.fit(torch.zeros(3, 1).long(), 4, 2), "x = 'strings of 1 tokens'"),
    (lambda: clustering.fit(torch.zeros(3, 8), 4, 2), "x"),
    (lambda: clustering.fit(torch.full((3, 8), 4), 4, 2), "0 … 3"),
    (lambda: clustering.fit(torch.full((3, 8), -1), 4, 2), "0 … 3"),
    (lambda: clustering.fit([[0, 1]], 4, 2), "x"),
    (lambda: clustering.fit(torch.zeros(3, 8).long(), 4, 2, context="root"), "context"),
    (lambda: clustering.fit(torch.zeros(3, 8).long(), 4, 2, L=2), "L = 2"),
    (lambda: clustering.fit(torch.zeros(3, 8).long(), 1, 2), "v = 1"),
    (lambda: clustering.fit(torch.zeros(3, 8).long(), 2**32, 2), "v"),
    (lambda: clustering.fit(MANY, 200, 2), "different tuples"),
    (lambda: clustering.fit(G.sample(9)[0], 12, 2).parse(torch.zeros(3, 4).long()), "x"),
    (lambda: clustering.fit(G.sample(9)[0], 12, 2).parse(torch.full((3, 8), 12)), "0 … 11"),
    (lambda: clustering.fit(G.sample(9)[0], 12, 2).generate(-1), "n = -1"),
    (lambda: clustering.fit(G.sample(9)[0], 12, 2).score(Grammar.random(12, 3, 2, 3, seed=5)), "not in the grammar"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
