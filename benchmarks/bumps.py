"""Clusters of points and of lattice sites, and ensembles of small denoisers.

- networkx: its graph of the points closer than a radius, and its connected components.
- loop: one set, or one network, after another in Python. Of networks it trains a few.
- tree: a bound, scipy's search for the close pairs alone.
- label: a bound, scipy's labelling of an image alone.

clusters: the largest cluster of points in a box at the threshold; the size is their number, or the numbers of sets and
points. sites: largest clusters of lattices with 4 neighbours at the threshold; number, side and box or torus. train: a
step of Adam of denoising MLPs with training sets of their own, per network; pixels, batch and networks.
"""

import math
from collections.abc import Callable

import networkx as nx
import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import KDTree
from torch import nn

from benchmarks.common import check, fastest, row, training
from hierlib.bumps.denoise import BumpMLP
from hierlib.bumps.images import Domain, bump
from hierlib.bumps.labels import fourier
from hierlib.bumps.lattice import P_C, mass_ratio, occupy
from hierlib.bumps.percolation import ETA_C, largest_cluster
from hierlib.diffusion import gaussian
from hierlib.lab import generator
from hierlib.lab.types import Tensor
from hierlib.nets import Ensemble


def random_points(*shape: int) -> tuple[Tensor, float]:
    """Return sets of points in the unit box, and the link radius at which they percolate."""
    points = torch.rand(*shape, 2, generator=generator(0, "benchmark"), dtype=torch.float64)
    return points, math.sqrt(4 * ETA_C / math.pi / shape[-1])


def of_networkx(points: np.ndarray, radius: float) -> float:
    """Return the share of the largest cluster."""
    graph = nx.Graph()
    graph.add_nodes_from((i, {"pos": point}) for i, point in enumerate(points))
    graph.add_edges_from(nx.geometric_edges(graph, radius))
    return max(map(len, nx.connected_components(graph))) / len(points)


def cluster_row(n: int, repeats: int) -> dict:
    """Return the row of one large set of points."""
    points, radius = random_points(n)
    array = points.numpy()

    def ours() -> Tensor:
        return largest_cluster(points, radius)

    def tree() -> np.ndarray:
        found = KDTree(array, balanced_tree=False, compact_nodes=False)
        return found.query_pairs(radius, output_type="ndarray")

    check(ours(), torch.tensor(of_networkx(array, radius), dtype=torch.float64), "networkx", 1e-9)
    mine, other, bound = (time / n for time in fastest(repeats, ours, lambda: of_networkx(array, radius), tree))
    return row("clusters", f"{n}", "µs/point", mine, "networkx", other, "tree", bound)


def batch_row(sets: int, n: int, repeats: int) -> dict:
    """Return the row of many sets of points."""
    points, radius = random_points(sets, n)

    def loop() -> Tensor:
        return torch.stack([largest_cluster(one, radius) for one in points])

    check(largest_cluster(points, radius), loop(), "loop", 1e-9)
    mine, other = (time / (sets * n) for time in fastest(repeats, lambda: largest_cluster(points, radius), loop))
    return row("clusters", f"{sets},{n}", "µs/point", mine, "loop", other)


def site_row(n: int, side: int, torus: bool, repeats: int) -> dict:
    """Return the row of largest clusters of n lattices."""
    sites = occupy(torch.tensor(P_C[4]), side, n)
    structure = np.zeros((3, 3, 3), dtype=bool)
    structure[1] = ndimage.generate_binary_structure(2, 1)

    def label() -> np.ndarray:
        return ndimage.label(sites.numpy(), structure)[0]

    sizes = [np.bincount(labels[labels > 0]).max() for labels in label()]
    check(mass_ratio(sites, 2.0, False), torch.tensor(sizes) / sites.sum((1, 2)), "label", 1e-6)
    mine, bound = (time / (n * side**2) for time in fastest(repeats, lambda: mass_ratio(sites, 2.0, torus), label))
    return row("sites", f"{n},{side},{'torus' if torus else 'box'}", "ns/site", mine, bound="label", limit=bound)


def trainer(network: nn.Module, *data: Tensor) -> tuple[nn.Module, Callable[[], None]]:
    """Return a denoiser and a function that does a step of Adam on its loss, summed over networks."""
    model = gaussian.Denoiser(network, "data", 2 if isinstance(network, Ensemble) else 1)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3, fused=True)
    return model, training(optimiser, lambda: gaussian.loss(model, *data).sum())


def train_row(size: int, batch: int, networks: int, alone: int, repeats: int) -> dict:
    """Return the row of an ensemble of denoising MLPs; the loop trains `alone` networks."""
    gen, alone = generator(0, "benchmark"), min(alone, networks)
    labels = size * torch.rand(networks * batch, 2, generator=gen)
    x0 = bump(labels, Domain(size, torus=True)).view(networks, batch, 1, size, size)
    c = fourier(labels, size).view(networks, batch, -1)
    level, noise = torch.rand(networks, batch, generator=gen), torch.randn(x0.shape, generator=gen)
    members = [BumpMLP(size, c.shape[-1], seed=seed) for seed in range(networks)]
    ensemble, ours = trainer(Ensemble(members), x0, level, noise, c)
    single = [trainer(net, *data) for net, *data in zip(members[:alone], x0, level, noise, c, strict=False)]

    def loop() -> None:
        for _, call in single:
            call()

    ours()
    loop()
    for k, (model, _) in enumerate(single):
        check(ensemble.network.member(k).readout.weight, model.network.readout.weight, "loop", 1e-4)
    mine, other = fastest(repeats, ours, loop)
    return row("train", f"{size},{batch},{networks}", "µs/step", mine / networks, "loop", other / alone)


def rows(quick: bool) -> list[dict]:
    """Return all rows."""
    found = [cluster_row(*size) for size in (((1000, 1),) if quick else ((10**4, 5), (10**5, 3), (10**6, 1)))]
    for sets, n in ((5, 100),) if quick else ((1000, 100), (200, 2000)):
        found.append(batch_row(sets, n, 1 if quick else 3))
    for torus in (False, True):
        found.append(site_row(*((5, 16) if quick else (200, 64)), torus, 1 if quick else 5))
    for sizes in ((6, 8, 3),) if quick else ((10, 64, 54), (20, 64, 54), (32, 64, 54)):
        found.append(train_row(*sizes, alone=2 if quick else 8, repeats=1 if quick else 10))
    return found
