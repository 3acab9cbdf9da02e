"""Clusters of points and of lattice sites, and ensembles of small denoisers: speed against peers.

    python benchmarks/bumps.py            about two minutes
    python benchmarks/bumps.py --quick    a few seconds; shows that everything runs, its figures mean little

A row compares hierlib with one other way of getting the same result. Both run in turns, several times, on one torch
thread, and the smallest CPU time of each counts. `ratio` is the speed of hierlib over that of the other: above 1
hierlib is faster. Peers are checked to give the same result before they are timed. `us` is hierlib's time per unit (a
point, a site, or a step of one network), in microseconds.

- networkx: its graph of the points closer than a radius, and its connected components.
- tree: scipy's search for the close pairs alone, a bound: no way with these pairs can be faster.
- loop: one set, or one network, after another in Python.
- label: scipy's labelling of an image alone, a bound.

Tasks: clusters, the largest cluster of points in a box at the threshold, named by their number, or by the numbers of
sets and points; sites, largest clusters of lattices with 4 neighbours at the threshold, named by number, side and box
or torus; train, a step of Adam of denoising MLPs with training sets of their own, named by pixels, batch and networks.
"""

import math
from collections.abc import Callable

import networkx as nx
import numpy as np
import pandas as pd
import torch
from common import check, fastest, started
from scipy import ndimage
from scipy.spatial import KDTree
from torch import nn

from hierlib.bumps.denoise import BumpMLP
from hierlib.bumps.images import Domain, bump
from hierlib.bumps.labels import fourier
from hierlib.bumps.lattice import P_C, mass_ratio, occupy
from hierlib.bumps.percolation import ETA_C, largest_cluster
from hierlib.diffusion import gaussian
from hierlib.lab import generator
from hierlib.lab.types import Tensor
from hierlib.nets import Ensemble


def row(task: str, name: str, against: str, units: int, seconds: tuple[float, float], other_units: int = 0) -> dict:
    """Return a row of the table from the times of hierlib and of the other, which may have done fewer units."""
    mine, other = units / seconds[0], (other_units or units) / seconds[1]
    return {"task": task, "run": name, "hierlib": f"{mine:.3g}", "us": f"{1e6 / mine:.3g}", "against": against,
            "other": f"{other:.3g}", "ratio": f"{mine / other:.3g}"}


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


def cluster_rows(n: int, repeats: int) -> list[dict]:
    """Return the rows of one large set of points."""
    points, radius = random_points(n)
    array = points.numpy()

    def ours() -> Tensor:
        return largest_cluster(points, radius)

    def tree() -> np.ndarray:
        found = KDTree(array, balanced_tree=False, compact_nodes=False)
        return found.query_pairs(radius, output_type="ndarray")

    check(ours(), torch.tensor(of_networkx(array, radius), dtype=torch.float64), "networkx", 1e-9)
    seconds = fastest(repeats, ours, lambda: of_networkx(array, radius), tree)
    return [row("clusters", f"{n:.0e}", who, n, (seconds[0], other))
            for who, other in zip(("networkx", "tree"), seconds[1:], strict=True)]


def batch_row(sets: int, n: int, repeats: int) -> dict:
    """Return the row of many sets of points."""
    points, radius = random_points(sets, n)

    def loop() -> Tensor:
        return torch.stack([largest_cluster(one, radius) for one in points])

    check(largest_cluster(points, radius), loop(), "loop", 1e-9)
    seconds = fastest(repeats, lambda: largest_cluster(points, radius), loop)
    return row("clusters", f"{sets},{n}", "loop", sets * n, seconds)


def site_row(n: int, side: int, torus: bool, repeats: int) -> dict:
    """Return the row of largest clusters of n lattices."""
    sites = occupy(torch.tensor(P_C[4]), side, n)
    structure = np.zeros((3, 3, 3), dtype=bool)
    structure[1] = ndimage.generate_binary_structure(2, 1)

    def label() -> np.ndarray:
        return ndimage.label(sites.numpy(), structure)[0]

    sizes = [np.bincount(labels[labels > 0]).max() for labels in label()]
    check(mass_ratio(sites, 2.0, False), torch.tensor(sizes) / sites.sum((1, 2)), "label", 1e-6)
    seconds = fastest(repeats, lambda: mass_ratio(sites, 2.0, torus), label)
    return row("sites", f"{n},{side},{'torus' if torus else 'box'}", "label", n * side**2, seconds)


def trainer(network: nn.Module, *data: Tensor) -> tuple[nn.Module, Callable[[], None]]:
    """Return a denoiser and a function that does a step of Adam on its loss, summed over networks."""
    model = gaussian.Denoiser(network, "data", 2 if isinstance(network, Ensemble) else 1)
    parameters = list(model.parameters())
    optimiser = torch.optim.Adam(parameters, 3e-3, fused=True)

    def call() -> None:
        optimiser.zero_grad()
        gaussian.loss(model, *data).sum().backward()
        optimiser.step()

    return model, call


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
    return row("train", f"{size},{batch},{networks}", "loop", networks, fastest(repeats, ours, loop), alone)


def main() -> None:
    """Print the table."""
    quick = started(__doc__, "few points, lattices, networks and repeats")
    table = []
    for n, repeats in ((1000, 1),) if quick else ((10**4, 5), (10**5, 3), (10**6, 1)):
        table += cluster_rows(n, repeats)
    for sets, n in ((5, 100),) if quick else ((1000, 100), (200, 2000)):
        table.append(batch_row(sets, n, 1 if quick else 3))
    for torus in (False, True):
        table.append(site_row(*((5, 16) if quick else (200, 64)), torus, 1 if quick else 5))
    for sizes in ((6, 8, 3),) if quick else ((10, 64, 54), (20, 64, 54), (32, 64, 54)):
        table.append(train_row(*sizes, alone=2 if quick else 8, repeats=1 if quick else 10))
    print(pd.DataFrame(table).to_string(index=False))


if __name__ == "__main__":
    main()
