import math
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from hierlib.bumps import bump
from hierlib.bumps.lattice import (
    P_C,
    clusters,
    links,
    mass_ratio,
    neighbours,
    occupy,
    p_c,
    range2,
    threshold,
)
from hierlib.bumps.percolation import ETA_C, components_of, link_radius
from hierlib.bumps.readout import fidelity


def graph_of(sites: np.ndarray, R2: float, torus: bool) -> nx.Graph:
    """Return the graph of one lattice, by the distances of all pairs of occupied sites."""
    side, graph = len(sites), nx.Graph()
    places = [tuple(map(int, place)) for place in np.argwhere(sites)]
    graph.add_nodes_from(places)
    for a in places:
        for b in places:
            gaps = [abs(p - q) for p, q in zip(a, b, strict=True)]
            if torus:
                gaps = [min(g, side - g) for g in gaps]
            if a < b and gaps[0] ** 2 + gaps[1] ** 2 < R2:
                graph.add_edge(a, b)
    return graph


def test_neighbours_within_a_range():
    counts = {0: 0, 1: 0, 1.01: 4, 2: 4, 2.01: 8, 4: 8, 5: 12, 8: 20, 9: 24, 10: 28, 13: 36, 16: 44, 17: 48, 21.2: 68}
    assert {R2: len(neighbours(R2)) for R2 in counts} == counts
    offsets = neighbours(500.0)
    assert len(offsets) == pytest.approx(math.pi * 500, rel=0.03)
    length = offsets.square().sum(1)
    assert (length.diff() >= 0).all() and length[-1] < 500
    assert {tuple(x) for x in offsets.tolist()} == {(-a, b) for a, b in offsets.tolist()}


def test_range_is_where_images_no_longer_overlap():
    # z of the widths of the paper's figure, θ = 0.005 and 0.05; the continuum says 4, 20 and 4, 8 of the first two
    counts = [[len(neighbours(range2(sigma, theta))) for sigma in (0.3, 0.5, 0.7, 1.0)] for theta in (0.005, 0.05)]
    assert counts == [[4, 12, 36, 68], [0, 8, 20, 36]]


@given(sigma=st.floats(0.1, 2.5), theta=st.floats(1e-4, 0.9))
def test_sites_are_linked_just_when_their_images_overlap(sigma, theta):
    first = 20.0                                                           # of 61 pixels: far from the border
    far = torch.cartesian_prod(torch.arange(21.0), torch.arange(21.0)).double()
    images = bump(first + far, 61, sigma)
    overlap = fidelity(images, images[:1])
    sure = (overlap - theta).abs() > 1e-9
    assert torch.equal((overlap > theta)[sure], (far.square().sum(1) < range2(sigma, theta))[sure])
    # the factor of odd offsets that the docstring gives
    k = torch.arange(-40.0, 40.0, dtype=torch.float64)
    tau = (-(k + 0.5).square() / sigma**2).exp().sum() / (-k.square() / sigma**2).exp().sum()
    near = (far.amax(1) < 4) & (overlap > 1e-200)
    odd = (far % 2).sum(1)
    assert torch.allclose(overlap[near], ((-far.square().sum(1) / (4 * sigma**2)).exp() * tau**odd)[near], rtol=1e-6)


def test_narrow_bumps_overlap_less_than_in_the_continuum():
    assert range2(0.3, 0.0078) == 1 and range2(0.3, 0.0077) == 2           # 0.062 by Gaussian integrals
    for sigma, theta in ((1.0, 0.05), (1.4, 0.3), (2.0, 0.005), (10.0, 0.999)):
        wide = link_radius(sigma, theta) ** 2
        assert len(neighbours(range2(sigma, theta))) == len(neighbours(float(wide)))


def test_table_of_thresholds():
    assert P_C[4] + P_C[8] == pytest.approx(1)                             # matching lattices
    zp = [z * p_c(z) for z in (4, 8, 12, 20, 36, 68, 10_000)]
    assert all(a < b for a, b in pairwise(zp)) and zp[-1] == pytest.approx(4 * ETA_C, rel=1e-3)
    assert [4 * ETA_C / (z + 3) for z in (20, 36)] == pytest.approx([P_C[20], P_C[36]], rel=0.01)


@given(side=st.integers(1, 9), R2=st.floats(0, 9.5), torus=st.booleans(), share=st.floats(0, 1),
       seed=st.integers(0, 99))
def test_clusters_are_those_of_brute_force(side, R2, torus, share, seed):
    if torus:
        R2 = min(R2, ((side + 1) // 2) ** 2)                               # links shorter than half of the torus
    sites = occupy(torch.tensor(share), side, 3, seed)
    labels = clusters(sites, R2, torus)
    ratio = mass_ratio(sites, R2, torus)
    assert torch.equal(labels > 0, sites)
    for one, field in zip(sites.numpy(), labels.numpy(), strict=True):
        parts = list(nx.connected_components(graph_of(one, R2, torus)))
        found = [{field[place] for place in part} for part in parts]
        assert all(len(x) == 1 for x in found) and len(set.union(set(), *found)) == len(parts)
    sizes = [max([0, *map(len, nx.connected_components(graph_of(one, R2, torus)))]) for one in sites.numpy()]
    occupied = sites.sum((1, 2)).clamp_min(1).tolist()
    assert ratio.tolist() == pytest.approx([a / b for a, b in zip(sizes, occupied, strict=True)])
    per_lattice = [set(field[field > 0].tolist()) for field in labels]
    assert sum(map(len, per_lattice)) == len(set.union(*per_lattice))      # labels differ between lattices
    assert list(dict.fromkeys(labels[sites].tolist())) == list(range(1, int(labels.max()) + 1))   # as they are met


@pytest.mark.parametrize("torus", [False, True])
@pytest.mark.parametrize("R2", [2.0, 4.0])
def test_image_labels_are_the_components_of_the_graph(R2, torus):
    sites = occupy(torch.tensor([0.4, 0.58]), 40, 5)
    edges = links(sites, R2, torus)
    assert len({tuple(sorted(pair)) for pair in edges.T.tolist()}) == edges.shape[1]
    graph = components_of(edges, sites.numel()).view_as(sites)
    labels = clusters(sites, R2, torus)
    pairs = torch.stack([graph[sites], labels[sites]], 1).unique(dim=0)    # one to one
    assert len(pairs) == len(pairs[:, 0].unique()) == len(pairs[:, 1].unique()) == len(labels.unique()) - 1
    assert list(dict.fromkeys(labels[sites].tolist())) == list(range(1, len(pairs) + 1))       # as they are met
    if not torus:
        structure = ndimage.generate_binary_structure(2, 1 if R2 == 2 else 2)
        assert labels.unique().numel() - 1 == sum(ndimage.label(x, structure)[1] for x in sites.flatten(0, 1).numpy())


def crosses(sites: torch.Tensor, R2: float) -> torch.Tensor:
    """Return whether a cluster has a site in the first and one in the last column."""
    labels = clusters(sites, R2, torus=False)
    return torch.tensor([bool(set(x[:, 0].tolist()) & set(x[:, -1].tolist()) - {0}) for x in labels])


def test_a_lattice_is_crossed_or_its_empty_sites_cross_it_the_other_way():
    # the exact duality of matching lattices: 4 neighbours from left to right, or 8 from top to bottom
    sites = occupy(torch.tensor(0.593), 24, 400)
    across, down = crosses(sites, 2.0), crosses(~sites.mT, 4.0)
    assert torch.equal(across, ~down) and 0.3 < across.double().mean() < 0.7


def test_occupied_sites_are_nested_and_as_many_as_asked_for():
    share = torch.tensor([[0.0, 0.1], [0.7, 1.0]])
    sites = occupy(share, 32, 50)
    assert sites.shape == (2, 2, 50, 32, 32) and not sites[0, 0].any() and sites[1, 1].all()
    assert (sites[0, 1] <= sites[1, 0]).all()
    error = (share * (1 - share) / (50 * 1024)).sqrt()
    assert ((sites.float().mean((-3, -2, -1)) - share).abs() <= 5 * error).all()
    assert torch.equal(sites, occupy(share, 32, 50)) and not torch.equal(sites, occupy(share, 32, 50, seed=1))


def test_threshold_is_the_share_at_which_the_lattice_is_crossed():
    # every lattice by itself: the same arrivals as threshold draws, occupied up to just below and above
    rng, again = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    found = threshold(5.0, 12, 30, rng).times
    u = torch.rand(30, 12, 12, generator=again, dtype=torch.float64)
    assert crosses(u <= found[:, None, None], 5.0).all()
    assert not crosses(u <= found[:, None, None] - 2**-15, 5.0).any()


@pytest.mark.parametrize(("R2", "z"), [(2, 4), (4, 8), (5, 12), (8, 20)])
def test_thresholds_of_the_literature(R2, z):
    # N = 64: standard error 0.5 to 1.2 % of p_c with 100 lattices, finite-size shift below 1 %
    found = threshold(R2, 64, 100)
    assert len(neighbours(R2)) == z and found.half == pytest.approx(P_C[z], rel=0.025)
    assert found.error < 0.013 * P_C[z]


def test_largest_connected_mass_of_the_paper_set_up():
    # N = 32, torus: the share λ where the largest cluster holds half of the occupied sites, from an earlier program
    share = torch.linspace(0.02, 0.6, 30, dtype=torch.float64)
    sites = occupy(share, 32, 10)
    for sigma, theta, expected in ((0.3, 0.005, 0.56), (0.7, 0.005, 0.08), (0.7, 0.05, 0.18)):
        ratio = mass_ratio(sites, range2(sigma, theta)).mean(1)
        assert float(share[(ratio > 0.5).int().argmax()]) == pytest.approx(expected, abs=0.025)
    alone = mass_ratio(sites, range2(0.1, 0.005))                          # narrow: single sites
    assert torch.allclose(alone, 1 / sites.sum((-2, -1)).double())


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: range2(0.0, 0.1), "sigma = 0.0"),
    (lambda: range2(1.0, 1.5), "theta = 1.5"),
    (lambda: range2(1.0, 0.0), "theta = 0.0"),
    (lambda: neighbours(-1.0), "R2 = -1.0"),
    (lambda: p_c(16), "z = 16"),
    (lambda: p_c(0), "z = 0"),
    (lambda: occupy(torch.tensor([1.1]), 4), "share"),
    (lambda: occupy(torch.tensor([0.1]), 0), "side = 0"),
    (lambda: occupy(torch.tensor([0.1]), 4, 0), "n = 0"),
    (lambda: clusters(torch.ones(4, 5, dtype=torch.bool), 2.0), r"sites = \(4, 5\)"),
    (lambda: clusters(torch.ones(4, 4, dtype=torch.bool), 5.0), "R2 = 5.0"),
    (lambda: threshold(1.0, 8), "R2 = 1.0"),
    (lambda: threshold(2.0, 1), "side = 1"),
    (lambda: threshold(2.0, 8, 1), "n = 1"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
