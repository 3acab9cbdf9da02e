import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib.bumps.percolation import (
    BETA_OVER_NU,
    ETA_C,
    ONE_OVER_NU,
    Threshold,
    collapse,
    components,
    components_of,
    critical_count,
    largest_cluster,
    largest_share,
    link_radius,
    links,
    spanning_time,
    theta_of,
    threshold,
)
from tests.drawn import gen


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=gen(seed), dtype=torch.float64)


def close(points: torch.Tensor, radius: float, box: float | None = None) -> np.ndarray:
    """Return which points are closer than the radius, over all images of the torus."""
    shifts = [0.0] if box is None else [-box, 0.0, box]
    offsets = points[:, None] - points
    images = [(offsets + torch.tensor([a, b], dtype=points.dtype)).norm(dim=-1) for a in shifts for b in shifts]
    return (torch.stack(images).amin(0) < radius).numpy()


def in_order(graph: nx.Graph) -> list[int]:
    """Return the component of each node 0, 1, …, numbered in the order of their first nodes."""
    label = {}
    for k, nodes in enumerate(sorted(nx.connected_components(graph), key=min)):
        label |= dict.fromkeys(nodes, k)
    return [label[i] for i in range(len(label))]


def spans(points: torch.Tensor, radius: float, side: float) -> bool:
    """Return whether there is a path of links from the left to the right edge, which discs of that diameter touch."""
    graph, x = nx.from_numpy_array(close(points, radius)), points[:, 0].numpy()
    graph.add_edges_from([("left", i) for i in np.flatnonzero(x < radius / 2)] + [("left", "left")])
    graph.add_edges_from([("right", i) for i in np.flatnonzero(x > side - radius / 2)] + [("right", "right")])
    return nx.has_path(graph, "left", "right")


# ---------------------------------------------------------------------------------------------- closed forms

def test_bumps_at_the_link_radius_overlap_by_theta():
    # pixel images, σ = 2 in a 64 × 64 frame: their normalised inner product
    x = torch.arange(64, dtype=torch.float64)
    for theta in (0.005, 0.05, math.exp(-1), 0.9):
        r = link_radius(2.0, theta)
        a, b = (torch.exp(-(x - c) ** 2 / 8) for c in (31.5 - r / 2 * 0.6, 31.5 + r / 2 * 0.6))
        c, d = (torch.exp(-(x - c) ** 2 / 8) for c in (31.5 - r / 2 * 0.8, 31.5 + r / 2 * 0.8))
        first, second = torch.outer(a, c), torch.outer(b, d)
        assert float((first * second).sum() / (first.norm() * second.norm())) == pytest.approx(theta, rel=1e-9)


def test_radius_and_threshold_of_overlap():
    assert link_radius(1.0, np.array([0.005, 0.05, math.exp(-1)])) == pytest.approx([4.604, 3.462, 2], abs=5e-4)
    assert theta_of(link_radius([0.5, 2.0], 0.3), [0.5, 2.0]) == pytest.approx([0.3, 0.3])


def test_critical_count():
    sizes = critical_count(1.0, [0.005, 0.05, math.exp(-1)], 32)
    assert np.round(sizes).tolist() == [69, 123, 368]
    assert critical_count(1.0, math.exp(-1), 1) == pytest.approx(0.35908, abs=5e-6)
    assert critical_count(2.0, 0.05, 64) == pytest.approx(sizes[1])
    degree = critical_count(1.3, 0.1, 20) * math.pi * link_radius(1.3, 0.1) ** 2 / 20**2
    assert degree == pytest.approx(4 * ETA_C) == pytest.approx(4.51235, abs=1e-5)


def test_mean_degree_counts_the_links_of_random_points():
    # 2E/M on tori: E is a sum over pairs that are independent two by two, so var E = E(E) (1 − πr²/N²)
    n, count, radius, box = 50, 400, 1.1, 16.0
    edges = links(box * uniform(n, count, 2), radius, box).shape[1]
    expected = n * count / 2 * (count - 1) * math.pi * (radius / box) ** 2
    assert abs(edges - expected) < 5 * math.sqrt(expected)


# ---------------------------------------------------------------------------------------------- clusters

@given(n=st.integers(1, 40), radius=st.floats(0.05, 1.0), torus=st.booleans(), sets=st.integers(1, 3),
       seed=st.integers(0, 99))
def test_links_and_clusters_are_those_of_brute_force(n, radius, torus, sets, seed):
    box = 1.7 if torus else None
    points = 1.7 * uniform(sets, n, 2, seed=seed)
    edges, labels = links(points, radius, box), components(points, radius, box)
    adjacent = torch.zeros(sets * n, sets * n, dtype=torch.bool)
    adjacent[edges[0], edges[1]] = True
    assert not (adjacent & adjacent.T).any()                               # each pair once
    shares = []
    for k, one in enumerate(points):
        near = close(one, radius, box)
        block = slice(k * n, (k + 1) * n)
        assert np.array_equal((adjacent | adjacent.T)[block, block].numpy() | np.eye(n, dtype=bool), near)
        adjacent[block, block] = False
        graph = nx.from_numpy_array(near)
        assert labels[k].tolist() == in_order(graph) == components(one, radius, box).tolist()
        shares.append(max(map(len, nx.connected_components(graph))) / n)
    assert not adjacent.any()                                              # none between sets
    assert largest_cluster(points, radius, box).tolist() == pytest.approx(shares)


def test_links_are_shorter_than_the_radius():
    square = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [3.0, 4.0]])
    counts = {3.0: 0, 3.001: 2, 4.0: 2, 4.001: 4, 5.0: 4, 5.001: 6}
    assert {radius: links(square, radius).shape[1] for radius in counts} == counts
    assert links(square, 3.001, box=6.5).shape[1] == 4                     # across the edge, 2.5 apart
    assert links(torch.tensor([[0.0, 8.0], [7.8, 0.3]]), 0.4, box=8.0).shape[1] == 1       # box is 0 again
    assert components(square, 3.001).dtype == torch.int64 and components(square.float(), 9.0).tolist() == [0] * 4


@given(n=st.integers(1, 60), edges=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=90))
def test_components_of_a_graph(n, edges):
    edges = [(a % n, b % n) for a, b in edges]                             # with loops and repetitions
    graph = nx.Graph(edges)
    graph.add_nodes_from(range(n))
    pairs = torch.tensor(edges, dtype=torch.int64).view(-1, 2).T
    assert components_of(pairs, n).tolist() == in_order(graph)


# ---------------------------------------------------------------------------------------------- threshold and scaling

def test_spanning_time_is_the_arrival_that_first_connects():
    n, radius, never = 40, 0.35, 0
    points, time = uniform(12, n, 2), 3 * uniform(12, n, seed=1)
    x = points[..., 0]
    found = spanning_time(links(points, radius), time, x < radius / 2, x > 1 - radius / 2)
    for one, t, value in zip(points, time, found, strict=True):
        order = t.argsort()
        first = next((k for k in range(1, n + 1) if spans(one[order[:k]], radius, 1.0)), n)
        never += not spans(one, radius, 1.0)
        assert 0 <= float(value - t[order[first - 1]]) < 3 * 2**-15
    assert never < 6                                                       # most of them do span


def test_threshold_says_how_often_poisson_points_span():
    # against another way: Poisson numbers of points, one box after another; binomial errors of both, 5 of them
    L, n, rng = 3.0, 1000, np.random.default_rng(0)
    found = threshold(L, n, seed=1).times
    for eta, share in ((eta, float((found <= eta).double().mean())) for eta in (0.9, 1.2)):
        counts = rng.poisson(4 * eta * L**2 / math.pi, n)
        other = np.mean([spans(torch.from_numpy(L * rng.random((k, 2))), 1.0, L) for k in counts])
        mean = (share + other) / 2
        assert 0.02 < mean < 0.98 and abs(share - other) < 5 * math.sqrt(2 * mean * (1 - mean) / n)


def test_fit_of_a_logistic_distribution():
    n, half, slope = 4000, 1.3, 6.0
    u = uniform(n)
    fit = Threshold(half + (u / (1 - u)).log() / slope)
    assert abs(fit.half - half) < 5 * fit.error and fit.error == pytest.approx(2 / slope / n**0.5, rel=0.1)
    assert fit.slope == pytest.approx(slope, rel=5 * 0.9 / n**0.5)


def test_thresholds_of_boxes_tend_to_the_literature_and_sharpen():
    small, large = threshold(8.0, 400), threshold(32.0, 200)
    # a box of 32 is 0.002 off; 0.025 is 3.5 standard errors
    assert large.half == pytest.approx(ETA_C, abs=0.025) and large.error < 0.0075
    # the slope grows as L^(1/ν) = 4^0.75 = 2.83; its relative error 0.9 (1/400 + 1/200)^½ = 7.8 %
    assert large.slope / small.slope == pytest.approx(4**ONE_OVER_NU, rel=0.2)


def test_largest_cluster_at_the_threshold_is_a_power_of_the_size():
    # standard errors 0.005, 0.008, 0.012
    shares = {L: float(largest_share(ETA_C, L, n).mean()) for L, n in ((8, 800), (16, 400), (32, 250))}
    scaled = [collapse(ETA_C, share, L)[1] for L, share in shares.items()]
    assert scaled == pytest.approx([1.10] * 3, abs=0.06)
    below, above = ([float(largest_share(eta, L, 60).mean()) * L**BETA_OVER_NU for L in (8, 32)] for eta in (0.9, 1.3))
    assert below[0] > 2 * below[1] and above[1] > 1.08 * above[0]


def test_shares_of_all_sizes_collapse():
    # at one x the scaled shares of L = 10 and 30 agree, standard errors 0.02 and 0.025; at one η they do not
    for x in (-2.0, -1.0):
        etas = {L: ETA_C + x / L**ONE_OVER_NU for L in (10.0, 30.0)}
        points = {L: collapse(eta, float(largest_share(eta, L, 150).mean()), L) for L, eta in etas.items()}
        assert points[10.0][0] == pytest.approx(x) and points[30.0][0] == pytest.approx(x)
        assert points[10.0][1] == pytest.approx(points[30.0][1], abs=0.08)
        same = collapse(etas[30.0], float(largest_share(etas[30.0], 10.0, 150).mean()), 10.0)
        assert same[1] > points[30.0][1] + 0.12


def test_seeds():
    assert torch.equal(largest_share(1.0, 6.0, 5, 3), largest_share(1.0, 6.0, 5, 3))
    assert not torch.equal(largest_share(1.0, 6.0, 5, 3), largest_share(1.0, 6.0, 5, 4))
    assert torch.equal(threshold(4.0, 5, 3).times, threshold(4.0, 5, 3).times)
    rng = gen()
    assert not torch.equal(threshold(4.0, 5, rng).times, threshold(4.0, 5, rng).times)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: link_radius(0.0, 0.1), "sigma = 0.0"),
    (lambda: link_radius([1.0, -1.0], 0.1), "sigma = "),
    (lambda: link_radius(1.0, 1.0), "theta = "),
    (lambda: link_radius(1.0, 0.0), "theta = 0.0"),
    (lambda: link_radius(math.nan, 0.5), "sigma = nan"),
    (lambda: theta_of(0.0, 1.0), "radius = 0.0"),
    (lambda: critical_count(1.0, 0.1, 0), "size = 0"),
    (lambda: collapse(1.0, 0.5, 0.0), "L = 0.0"),
    (lambda: links(torch.zeros(3, 2), 0.0), "radius = 0.0"),
    (lambda: links(torch.zeros(0, 2), 1.0), "points"),
    (lambda: links(torch.tensor([[0.0, math.nan]]), 1.0), "points"),
    (lambda: components(torch.tensor([[0.0, 8.1]]), 1.0, 8.0), r"points .*\[0, 8\]"),
    (lambda: components(torch.tensor([[0.0, -0.1]]), 1.0, 8.0), "points"),
    (lambda: components(torch.zeros(1, 2), 1.0, 0.0), "box = 0.0"),
    (lambda: threshold(1.0), "L = 1.0"),
    (lambda: threshold(8.0, 1), "n = 1"),
    (lambda: largest_share(0.0, 8.0), "eta = 0.0"),
    (lambda: largest_share(0.001, 8.0), "eta = 0.001"),
    (lambda: Threshold(torch.ones(4)), "times"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
