import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hierlib.sim.task import Task

N = 60_000
float64 = torch.float64
tasks = pytest.mark.parametrize("task", [
    Task([1.0, 2.0, 0.5], [0.3, 0.0, 0.7], d=5), Task([2.0, 1.0], 0.4, d=3, origin=True), Task([1.5], 0.2),
], ids=["three", "origin", "one"])


def z_scores(values: torch.Tensor, exact: torch.Tensor, blocks: int = 50) -> torch.Tensor:
    """Deviation of the mean over rows from the exact value, in standard errors by blocks; 0 where both are exact."""
    means = values.view(blocks, -1, *values.shape[1:]).mean(1)
    error = means.std(0) / math.sqrt(blocks)
    deviation = means.mean(0) - exact
    return torch.where((error < 1e-14) & (deviation.abs() < 1e-12), 0.0, deviation / error)


@tasks
def test_second_moment(task):
    x = task.sample(N, seed=1, dtype=float64)
    z = z_scores(x[:, :, None] * x[:, None, :], task.second_moment().diag())
    assert z.abs().max() < 5
    if task.d > task.s:
        assert not x[:, task.s:].any() and not task.second_moment()[task.s:].any()


def test_second_moments_of_the_paper():
    # figure 5: sigma 0.05; figure 2: variance 0.05 and a cluster at the origin, half times ln 2/a in steps of SGD
    assert Task([1, 1.5], 0.05, d=3).second_moment().tolist() == pytest.approx([0.5025, 1.1275, 0.0])
    rate = 0.1 * 2 / 64                                      # of the code, whose loss is a mean over d = 64 coordinates
    for mu, times in (((1, 2), (579, 160)), ((3, 2), (73, 160))):
        a = Task(mu, math.sqrt(0.05), d=64, origin=True).second_moment()
        assert [math.log(2) / float(a[p]) / rate for p in range(2)] == pytest.approx(times, abs=0.5)


@tasks
def test_points_without_diversity_are_the_centres(task):
    bare = Task(task.mu, 0.0, task.d, task.origin)
    x, cluster = bare.sample(600 * bare.clusters, seed=3, labels=True, dtype=float64)
    centres = torch.cat([bare.mu.diag(), torch.zeros(1, bare.s, dtype=float64)])
    assert torch.equal(x[:, :bare.s], centres[cluster]) and not x[:, bare.s:].any()
    assert torch.allclose(x.T @ x / len(x), bare.second_moment().diag(), atol=1e-12)      # exact: the shares are equal


@tasks
def test_law_within_clusters(task):
    x, cluster = task.sample(N, seed=2, labels=True, dtype=float64)
    for c, k in itertools.product(range(task.clusters), range(task.s)):
        mean, spread = float(task.mu[k]) * (c == k), float(task.sigma[k])
        found = x[cluster == c, k].numpy()
        if spread == 0:
            assert (found == mean).all()
        else:
            assert stats.kstest(found, stats.norm(mean, spread).cdf).pvalue > 1e-4


@tasks
def test_noise_of_coordinates_and_rows_is_independent(task):
    x, cluster = task.sample(N, seed=4, labels=True, dtype=float64)
    centres = torch.cat([task.mu.diag(), torch.zeros(1, task.s, dtype=float64)])
    noise = x[:, :task.s] - centres[cluster]
    products = noise[:, :, None] * noise[:, None, :]
    assert z_scores(products, (task.sigma**2).diag()).abs().max() < 5
    assert z_scores(noise[::2] * noise[1::2], torch.zeros(task.s, dtype=float64)).abs().max() < 5


@tasks
def test_loss_of_a_linear_map(task):
    # ½ E‖W x − x‖² = ½‖(W − 1)A^{1/2}‖²: the second moment is all that a linear network sees
    W = torch.randn(task.d, task.d, generator=torch.Generator().manual_seed(5), dtype=float64)
    x = task.sample(N, seed=6, dtype=float64)
    residual = W - torch.eye(task.d, dtype=float64)
    population = (residual.square() * task.second_moment()).sum() / 2
    assert z_scores((x @ residual.T).square().sum(-1) / 2, population).abs() < 5


@given(s=st.integers(1, 5), n=st.integers(0, 60), origin=st.booleans())
def test_equal_shares(s, n, origin):
    task = Task(torch.arange(1.0, s + 1), 0.1, d=s + 1, origin=origin)
    x, cluster = task.sample(n, seed=7, labels=True)
    assert x.shape == (n, s + 1) and x.dtype == torch.float32 and cluster.dtype == torch.int64
    counts = torch.bincount(cluster, minlength=task.clusters)
    assert len(counts) == s + origin and counts.sum() == n and counts.max() - counts.min() <= 1


def test_order_is_random():
    task = Task([1, 2, 3], 0.0)
    cluster = task.sample(3 * 2000, seed=8, labels=True)[1].view(2000, 3)
    codes = torch.bincount(cluster @ torch.tensor([9, 3, 1]), minlength=27)
    orders = codes[codes > 0].numpy()
    assert len(orders) == 6 and stats.chisquare(orders).pvalue > 1e-4


@given(n=st.integers(0, 80), m=st.integers(0, 80), origin=st.booleans())
def test_a_smaller_sample_is_the_beginning_of_a_larger_one(n, m, origin):
    task = Task([1.0, 2.0, 3.0], 0.5, d=4, origin=origin)
    n, m = min(n, m), max(n, m)
    (x, c), (y, e) = task.sample(n, 9, labels=True), task.sample(m, 9, labels=True)
    assert torch.equal(x, y[:n]) and torch.equal(c, e[:n])


def test_seeds():
    task, state = Task([1.0, 2.0], 0.5), torch.get_rng_state()
    x = task.sample(40, seed=1)
    assert torch.equal(x, task.sample(40, seed=1)) and not torch.equal(x, task.sample(40, seed=2))
    assert torch.equal(x, task.sample(40, seed=1, labels=True)[0])
    assert torch.equal(state, torch.get_rng_state())
    gen = torch.Generator().manual_seed(0)
    assert not torch.equal(task.sample(40, gen), task.sample(40, gen))                     # a generator goes on
    assert task.sample(4, device="cpu", dtype=float64).dtype == float64


def test_what_may_be_given():
    task = Task(np.array([3.0, 1.0]), torch.tensor([0.1, 0.2]), d=4)                       # unsorted, too
    assert task.mu.tolist() == [3.0, 1.0] and task.sigma.tolist() == pytest.approx([0.1, 0.2])
    assert (task.s, task.d, task.clusters, task.origin) == (2, 4, 2, False)
    assert Task((1, 2), 1).sigma.tolist() == [1.0, 1.0] and Task([1, 2], 0, origin=True).clusters == 3
    mu = torch.tensor([1.0, 2.0], dtype=float64)
    task = Task(mu, mu)
    mu += 1                                                                                # the task keeps its own
    assert task.mu.tolist() == task.sigma.tolist() == [1.0, 2.0]
    assert repr(Task([1, 2], 0.5, 3, True)) == "Task(mu=[1.0, 2.0], sigma=[0.5, 0.5], d=3, origin=True)"


def test_probe():
    task = Task([1.0, 1.5], 0.05, d=3)
    assert task.probe.tolist() == [1.0, 1.5, 0.0] and task.probe.dtype == float64


@given(s=st.integers(1, 6), extra=st.integers(0, 2))
def test_family(s, extra):
    task = Task([p + 0.5 for p in range(s)], 0.1, d=s + extra)
    v, points = task.family()
    assert v.tolist() == [list(bits) for bits in itertools.product((0, 1), repeat=s)] and v.dtype == torch.int64
    assert points.shape == (2**s, s + extra) and points.dtype == float64
    for bits, point in zip(v.tolist(), points.tolist(), strict=True):
        assert point == [bit * (p + 0.5) for p, bit in enumerate(bits)] + [0.0] * extra
    assert torch.equal(points[-1], task.probe)


@pytest.mark.parametrize("s", [1, 2, 3, 4, 7])
def test_partial_order(s):
    task = Task([1.0] * s, 0.0)
    rows, pairs = task.family()[0].tolist(), task.comparable()
    expected = [[i, j] for i, u in enumerate(rows) for j, w in enumerate(rows)
                if u != w and all(a <= b for a, b in zip(u, w, strict=True))]
    assert pairs.tolist() == expected
    assert pairs.shape == (3**s - 2**s, 2) and (s != 4 or len(pairs) == 65)                # 65: figure 7 of the paper


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: Task([1.0, 0.0], 0.1), r"mu = \[1.0, 0.0\]: must be positive"),
    (lambda: Task([1.0, -2.0], 0.1), "mu = "),
    (lambda: Task([1.0, math.nan], 0.1), "mu = .*finite"),
    (lambda: Task([], 0.1), "mu = "),
    (lambda: Task(1.0, 0.1), "mu = 1.0"),
    (lambda: Task("ab", 0.1), "mu = 'ab'"),
    (lambda: Task([[1.0, 2.0]], 0.1), "mu = "),
    (lambda: Task([[1.0], [2.0, 3.0]], 0.1), "mu = "),
    (lambda: Task([1.0, 2.0], [0.1, 0.1, 0.1]), r"sigma = .*one number or s = 2"),
    (lambda: Task([1.0, 2.0], [0.1]), "sigma = "),
    (lambda: Task([1.0, 2.0], [0.1, -0.1]), "sigma = .*standard deviations"),
    (lambda: Task([1.0, 2.0], math.inf), "sigma = inf"),
    (lambda: Task([1.0, 2.0], None), "sigma = None"),
    (lambda: Task([1.0, 2.0], 0.1, d=1), r"d = 1: must be an integer of at least 2"),
    (lambda: Task([1.0, 2.0], 0.1, d=2.5), "d = 2.5"),
    (lambda: Task([1.0, 2.0], 0.1, origin=2), "origin = 2"),
    (lambda: Task([1.0], 0.1).sample(-1), "n = -1"),
    (lambda: Task([1.0], 0.1).sample(2, seed=-1), "seed = -1"),
    (lambda: Task([1.0], 0.1).sample(2, dtype=torch.int64), "dtype = "),
    (lambda: Task([1.0] * 13, 0.1).family(), "s = 13"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
