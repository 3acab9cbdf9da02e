import itertools

import numpy as np
import pytest
import torch

from hierlib.real.correlation import at_distance, by_distance, jackknife, pair_correlation, pair_overlap

V = 5
_T = torch.rand(V, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 2 + 3 * torch.eye(V)
T = _T / _T.sum(1, keepdim=True)                                    # transition matrix, second eigenvalue ~ 0.7
P = torch.linalg.matrix_power(T, 500)[0]                            # its stationary law
FAR = torch.linalg.matrix_power


def chain(n, d, seed, t=T, p=P):
    """n independent stretches of the stationary Markov chain."""
    gen = torch.Generator().manual_seed(seed)
    columns = [torch.multinomial(p, n, True, generator=gen)]
    for _ in range(d - 1):
        columns.append(torch.multinomial(t[columns[-1]], 1, generator=gen)[:, 0])
    return torch.stack(columns, 1)


def covariance(r):
    return P[:, None] * FAR(T, r) - P[:, None] * P


def apart(d, *distances):
    return [torch.tensor([[i, i + r] for i in range(d - r)]) for r in distances]


def slow(x, pairs, v, b, pool):
    """The definition: numpy's own sample covariance per block, averaged over all ordered pairs of blocks."""
    hot = np.eye(v)[x.numpy()]
    c = np.array([[[[np.cov(hot[g::b, i, a], hot[g::b, j, c])[0, 1] for c in range(v)] for a in range(v)]
                   for i, j in pairs.tolist()] for g in range(b)])
    c = c.mean(1, keepdims=True) if pool else c
    k = np.einsum("gpac,hpac->gh", c, c) / c.shape[1]
    two = list(itertools.permutations(range(b), 2))
    square = np.mean([k[g, h] for g, h in two])
    theta = np.mean([k[g, h] * k[i, j] for g, h, i, j in itertools.permutations(range(b), 4)])
    one = np.mean([k[g, h] * k[g, i] for g, h, i in itertools.permutations(range(b), 3)]) - theta
    both = np.mean([k[g, h] ** 2 for g, h in two]) - theta
    error = ((4 * (b - 2) * max(one, 0) + 2 * max(both, 0)) / (b * (b - 1))) ** 0.5
    return square, error, np.trace(k) / b**2 - square / b


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("n", [12, 23])                             # 23: blocks of unequal size
def test_against_the_definition(pool, n):
    x = torch.randint(3, (n, 4), generator=torch.Generator().manual_seed(n))
    x[:, 2] = x[:, 0]
    pairs = torch.tensor([[0, 1], [2, 0], [3, 3]])
    got = pair_correlation(x, pairs, 3, pool=pool)
    want = slow(x, pairs, 3, {12: 4, 23: 5}[n], pool)
    assert np.allclose([float(got.square), float(got.error), float(got.floor)], want, atol=1e-13)


@pytest.mark.parametrize("pool", [True, False])
def test_expectation_is_exact_at_eight_strings(pool):
    # all 2^8 data sets of strings that are 010 with probability 0.3 and 110 … with 0.7: E[estimate] = ||C||^2
    strings, p = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 1]]), (0.3, 0.7)
    pairs = torch.tensor([[0, 1], [0, 3], [1, 2]])
    mean = 0.0
    for choice in itertools.product((0, 1), repeat=8):
        weight = p[1] ** sum(choice) * p[0] ** (8 - sum(choice))
        mean += weight * float(pair_correlation(strings[list(choice)], pairs, 2, pool=pool).square)
    c = 0.21 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    each = torch.stack([-c, c, 0 * c]).double()
    exact = each.mean(0).square().sum() if pool else each.square().sum((1, 2)).mean()
    assert mean == pytest.approx(float(exact), abs=1e-7)


@pytest.mark.parametrize("n", [64, 400])
def test_markov_chain_unbiased_with_honest_errors(n):
    d, distances, repeats = 16, (1, 3, 6, 12), 120
    runs = [pair_correlation(chain(n, d, seed), apart(d, *distances), V) for seed in range(repeats)]
    square = torch.stack([r.square for r in runs])
    exact = torch.stack([covariance(r).square().sum() for r in distances])
    spread = square.std(0)
    assert ((square.mean(0) - exact).abs() < 4 * spread / repeats**0.5).all()
    stated = torch.stack([r.error for r in runs]).square().mean(0).sqrt()
    assert (stated / spread > 0.8).all() and (stated / spread < 1.45).all()
    assert (spread[0] / exact[0]) < 1.5 / n**0.5                    # precise enough to mean something


def test_pairs_at_a_distance():
    assert at_distance(5, 3).tolist() == [[0, 3], [1, 4]]


def test_correlation_by_distance():
    """C(r) of a chain that stays with probability 0.9 and else goes anywhere: λ^r (1/v) (δ − 1/v)."""
    v, stay = 4, 0.9
    t = torch.full((v, v), (1 - stay) / (v - 1), dtype=torch.float64).fill_diagonal_(stay)
    got = by_distance(chain(2000, 32, 0, t, torch.full((v,), 1 / v, dtype=torch.float64)), v, [1, 2, 5, 10])
    decay = (stay - (1 - stay) / (v - 1)) ** torch.tensor([1.0, 2.0, 5.0, 10.0]).double()
    exact = (v - 1) / v**2 * decay.square()
    assert ((got.square - exact).abs() < 4 * got.error).all() and (got.error < 0.1 * exact + 1e-4).all()


def test_independent_tokens_give_zero_where_the_plain_estimate_does_not():
    n, d, repeats = 100, 10, 150
    gen = torch.Generator().manual_seed(1)
    runs = [pair_correlation(torch.randint(V, (n, d), generator=gen), apart(d, 1, 5), V) for _ in range(repeats)]
    square = torch.stack([r.square for r in runs])
    assert (square.mean(0).abs() < 4 * square.std(0) / repeats**0.5).all()
    expected = (1 - 1 / V) ** 2 / (n * torch.tensor([9.0, 5.0]).double())      # E||plain||^2 for iid uniform tokens
    floor = torch.stack([r.floor for r in runs]).mean(0)
    # the blocks' own means cost a factor n_g/(n_g − 1), here 10/9
    assert torch.allclose(floor, expected * 10 / 9, rtol=0.03)
    assert (square.std(0) < floor).all()
    assert ((square.abs() > 3 * torch.stack([r.error for r in runs])).double().mean(0) < 0.03).all()


def test_floor_is_what_the_plain_estimate_shows_too_much():
    excess, floor = [], []
    for seed in range(60):
        x = chain(300, 8, seed)
        got = pair_correlation(x, apart(8, 3)[0], V)
        joint = torch.zeros(V, V, dtype=torch.float64)
        joint.index_put_((x[:, :-3].flatten(), x[:, 3:].flatten()), torch.ones(()).double(), accumulate=True)
        joint /= joint.sum()
        plain = (joint - joint.sum(1, keepdim=True) * joint.sum(0)).square().sum()
        excess.append(plain - covariance(3).square().sum())
        floor.append(got.floor)
    excess, floor = torch.stack(excess), torch.stack(floor)
    assert excess.mean() == pytest.approx(float(floor.mean()), abs=4 * float(excess.std()) / 60**0.5)
    assert floor.std() < 0.2 * floor.mean()


def test_pooling_averages_covariances_and_not_their_squares():
    gen = torch.Generator().manual_seed(2)
    first = torch.randint(2, (4000,), generator=gen)
    flip = (torch.rand(2, 4000, generator=gen) < torch.tensor([[0.2], [0.8]])).long()
    x = torch.stack([first, first ^ flip[0], first ^ flip[1]], 1)
    pairs = torch.tensor([[0, 1], [0, 2]])                          # C and −C
    each, pooled = (pair_correlation(x, pairs, 2, pool=pool) for pool in (False, True))
    assert each.square == pytest.approx(0.6**2 / 4, abs=4 * float(each.error))
    assert abs(pooled.square) < 4 * pooled.error and pooled.error < 1e-3


def test_many_pairs_in_pieces(monkeypatch):
    x, pairs = chain(60, 8, 0), torch.combinations(torch.arange(8))
    whole = [pair_correlation(x, pairs, V, pool=pool) for pool in (True, False)]
    monkeypatch.setattr("hierlib.real.correlation._MAX_ENTRIES", 400)
    for pool, want in zip((True, False), whole):
        got = pair_correlation(x, pairs, V, pool=pool)
        assert torch.allclose(got.square, want.square, atol=1e-14) and torch.allclose(got.error, want.error, atol=1e-14)


def test_one_group_or_many_and_errors_of_the_norm():
    x = chain(500, 10, 3)
    one, many = pair_correlation(x, apart(10, 2)[0], V), pair_correlation(x, apart(10, 2, 9), V)
    assert one.square.shape == () and many.square.shape == (2,) and torch.allclose(one.square, many.square[0])
    assert many.norm_error[0] == pytest.approx(float(many.error[0] / (2 * many.norm[0])))
    zero = pair_correlation(torch.randint(V, (500, 10), generator=torch.Generator().manual_seed(0)), apart(10, 3, 4), V)
    assert torch.isfinite(zero.norm_error).all()


def test_overlap_of_known_covariances():
    """The same chain: 1. Independent tokens: 0. Half of each: 1/2. Symbols renamed: ⟨C′, C⟩/‖C‖²."""
    n, d, groups = 3000, 12, apart(12, 1, 3)
    data = chain(6000, d, 0)
    rename = torch.tensor([1, 2, 3, 4, 0])
    gen = torch.Generator().manual_seed(4)
    independent = torch.multinomial(P, n * d, True, generator=gen).view(n, d)
    both = torch.cat([independent[: n // 2], chain(n // 2, d, 1)])[torch.randperm(n, generator=gen)]
    renamed = torch.stack([(torch.zeros(V, V).double().index_put_((rename[:, None], rename), covariance(r))
                            * covariance(r)).sum() / covariance(r).square().sum() for r in (1, 3)])
    for x, want in ((chain(n, d, 2), 1), (independent, 0), (both, 0.5), (rename[chain(n, d, 3)], renamed)):
        got = pair_overlap(x, data, groups, V)
        assert ((got.value - want).abs() < 4 * got.error).all() and (got.error < 0.06).all()
        assert got.left_out.shape == (sum(got.blocks), 2)
    own = pair_correlation(data, groups, V)
    assert torch.allclose(got.reference.square, own.square) and torch.allclose(got.reference.error, own.error)


def test_overlap_left_out_is_the_estimate_without_the_block():
    x, data, pairs = chain(36, 6, 0), chain(64, 6, 1), apart(6, 2)[0]
    got = pair_overlap(x, data, pairs, V)
    assert got.blocks == (6, 8)
    keep = torch.arange(36) % 6 != 2
    assert got.left_out[2] == pytest.approx(float(pair_overlap_of_blocks(x[keep], data, pairs, 5, 8)))
    keep = torch.arange(64) % 8 != 3
    assert got.left_out[6 + 3] == pytest.approx(float(pair_overlap_of_blocks(x, data[keep], pairs, 6, 7)))
    assert got.error == jackknife(got.left_out, got.blocks)
    sample, reference = got.left_out[:6], got.left_out[6:]
    both = 5 / 6 * sample.var() * 5 + 7 / 8 * reference.var() * 7
    assert float(got.error) == pytest.approx(float(both) ** 0.5)


def pair_overlap_of_blocks(x, data, pairs, a, b):
    """⟨mean over blocks, mean over blocks⟩ over the reference's U-statistic, from numpy's covariances."""
    def blocks(x, b):
        hot = np.eye(V)[x.numpy()]
        return np.array([np.mean([np.cov(hot[g::b, i].T, hot[g::b, j].T)[:V, V:] for i, j in pairs.tolist()], 0)
                         for g in range(b)])
    c, r = blocks(x, a), blocks(data, b)
    gram = np.einsum("gac,hac->gh", r, r)
    return (c.mean(0) * r.mean(0)).sum() / ((gram.sum() - np.trace(gram)) / (b * (b - 1)))


def test_errors_of_the_overlap_are_honest():
    groups, repeats = apart(10, 1, 4), 60
    runs = [pair_overlap(chain(150, 10, s), chain(300, 10, 1000 + s), groups, V) for s in range(repeats)]
    value = torch.stack([r.value for r in runs])
    stated = torch.stack([r.error for r in runs]).square().mean(0).sqrt()
    assert ((value.mean(0) - 1).abs() < 4 * value.std(0) / repeats**0.5 + 0.02).all()
    assert (stated / value.std(0) > 0.75).all() and (stated / value.std(0) < 1.4).all()


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda x, p: pair_correlation(x[:7], p, V), "len\\(x\\) = 7"),
    (lambda x, p: pair_correlation(x, p, V - 1), "x = "),
    (lambda x, p: pair_correlation(x.float(), p, V), "x = "),
    (lambda x, p: pair_correlation(x, p + 4, V), "pairs"),
    (lambda x, p: pair_correlation(x, p[:0], V), "pairs"),
    (lambda x, p: pair_correlation(x, [], V), "pairs"),
    (lambda x, p: pair_overlap(x, x[:, :4], p, V), "x.shape"),
    (lambda x, p: pair_overlap(x, x[:4], p, V), "len\\(reference\\)"),
    (lambda x, p: at_distance(5, 5), "r = 5"),
    (lambda x, p: at_distance(5, 0), "r = 0"),
    (lambda x, p: by_distance(x, V, []), "pairs"),
    (lambda x, p: by_distance(x, V, [5]), "r = 5"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call(chain(40, 5, 0), torch.tensor([[0, 1], [1, 2]]))
