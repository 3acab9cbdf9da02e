"""Continuum percolation: clusters of points closer than a link radius, their threshold, and its finite-size scaling.

Two bumps are linked when their overlap o(Δ) = exp(−Δ²/4σ²) exceeds θ, that is when they are closer than the link radius
r = 2σ √ln(1/θ). Discs of diameter r around them then overlap, and what counts is the **filling** η = ρ π (r/2)² with
the density ρ = M/N² of points, a quarter of the mean number of links of a point. A cluster as large as the system
exists above η_c only. L is the side of a system in units of r.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Bool, Float, Int, Numbers, Tensor

__all__ = ["BETA_OVER_NU", "ETA_C", "ONE_OVER_NU", "Threshold", "collapse", "components", "components_of",
           "critical_count", "largest_cluster", "largest_share", "link_radius", "links", "spanning_time", "theta_of",
           "threshold"]

ETA_C = 1.12808737      # threshold of discs of one size, Mertens & Moore 2012; 4η_c = 4.51235
BETA_OVER_NU = 5 / 48   # exact exponents of percolation in two dimensions, β = 5/36 and ν = 4/3 (den Nijs 1979,
ONE_OVER_NU = 3 / 4     # Nienhuis 1982)
_ROUNDS = 16            # of bisection
_MARGIN = 7.0           # η_c + 7/L^(1/ν) is where the search for a threshold ends: exp(−10) of the boxes lie above


# ---------------------------------------------------------------------------------------------- closed forms

def link_radius(sigma: Numbers, theta: Numbers) -> Numbers:
    """Return r = 2σ √ln(1/θ): two bumps of width σ closer than r have an overlap above θ.

    Source: in Liang et al. 2024, fig. 6, images are linked above a threshold of overlap; how overlap is defined is our
    choice. ValueError for σ ≤ 0 or θ outside (0, 1).
    """
    sigma, theta = checks.positive_array("sigma", sigma), checks.positive_array("theta", theta, below=1.0)
    return 2 * sigma * np.sqrt(-np.log(theta))


def theta_of(radius: Numbers, sigma: Numbers) -> Numbers:
    """Return θ = exp(−r²/4σ²), the overlap of two bumps of width σ at the distance r.

    ValueError unless σ and r are positive.
    """
    return np.exp(-((checks.positive_array("radius", radius) / (2 * checks.positive_array("sigma", sigma))) ** 2))


def critical_count(sigma: Numbers, theta: Numbers, size: Numbers) -> Numbers:
    """Return M_c = (4η_c/π) N²/r² = 0.35908 N²/(σ² ln(1/θ)), the number of random bumps at which they percolate.

    A bump then has Mπr²/N² = 4η_c links in the mean. Source: η_c of Mertens & Moore 2012. ValueError as
    :func:`link_radius`, and for a size that is not positive.
    """
    return 4 * ETA_C / np.pi * (checks.positive_array("size", size) / link_radius(sigma, theta)) ** 2


def collapse(eta: Numbers, share: Numbers, L: Numbers) -> tuple[Numbers, Numbers]:
    """Return ((η − η_c) L^(1/ν), P L^(β/ν)): in these coordinates the largest shares P of all sizes L are one curve.

    Source: finite-size scaling (Fisher & Barber 1972). ValueError for an L that is not positive.
    """
    L = checks.positive_array("L", L)
    return (np.asarray(eta) - ETA_C) * L**ONE_OVER_NU, np.asarray(share) * L**BETA_OVER_NU


# ---------------------------------------------------------------------------------------------- clusters

def links(points: Float[Tensor, "*batch n 2"], radius: float, box: float | None = None) -> Int[Tensor, "2 links"]:
    """Return the pairs of points closer than `radius`, each pair once, as two rows of indices.

    By scipy's k-d tree, all sets of a batch in one.

    Parameters
    ----------
    points
        One set of n points, or a batch of sets; points of different sets are not linked, and the indices count the
        points of all sets in order.
    radius
        Link radius, positive, in the units of the points.
    box
        Side of the torus on which distances are taken, with the points in [0, box]; None for the plane.

    Raises
    ------
    ValueError
        For no points, points that are not finite or outside the torus, or a radius or side that is not positive.
    """
    radius, n = checks.positive("radius", radius), points.shape[-2]
    checks.require(points.numel() > 0 and bool(points.isfinite().all()), "points", points,
                   "finite numbers, one point or more")
    flat = points.detach().cpu().double().flatten(0, -2)
    sets, gap = len(flat) // n, 2 * radius
    side = None
    if box is not None:
        box = checks.positive("box", box)
        side = (box, box, gap * sets)
        checks.require(bool(((flat >= 0) & (flat <= box)).all()), "points", points, f"in the torus, [0, {box:g}]")
        flat = flat.remainder(box)
    layer = gap * torch.arange(sets).to(flat).repeat_interleave(n)[:, None]                 # sets are out of reach
    tree = KDTree(torch.cat([flat, layer], 1).numpy(), boxsize=side, balanced_tree=False, compact_nodes=False)
    pairs = tree.query_pairs(math.nextafter(radius, 0.0), output_type="ndarray")
    return torch.from_numpy(pairs.T.copy()).long().to(points.device)


def components_of(edges: Int[Tensor, "2 edges"], n: int) -> Int[Tensor, "n"]:
    """Return for each of n nodes the number of its connected component, in the order of their first nodes from 0.

    By scipy, on the CPU; the answer is on the device of the edges.
    """
    graph = coo_array((np.ones(edges.shape[1], dtype=np.int8), tuple(edges.cpu().numpy())), shape=(n, n))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long().to(edges.device)


def components(points: Float[Tensor, "*batch n 2"], radius: float, box: float | None = None) -> Int[Tensor, "*batch n"]:
    """Return for each point the number of its cluster in its set, in the order of their first points from 0.

    Parameters and ValueError as :func:`links`.

    Examples
    --------
    >>> points = torch.tensor([[0.5, 0.5], [4.0, 4.0], [7.6, 0.5]])
    >>> components(points, radius=1.0).tolist(), components(points, radius=1.0, box=8.0).tolist()
    ([0, 1, 2], [0, 1, 0])
    """
    labels = components_of(links(points, radius, box), points.numel() // 2).view(points.shape[:-1])
    return labels - labels[..., :1]                # the first point of a set is in its first cluster


def largest_cluster(
    points: Float[Tensor, "*batch n 2"], radius: float, box: float | None = None
) -> Float[Tensor, "*batch"]:
    """Return the share of the points that is in the largest cluster, float64; one number for each set.

    Parameters and ValueError as :func:`links`. Source: Liang et al. 2024, fig. 6 ("largest connected mass ratio", of
    lattice sites there).
    """
    labels = components(points, radius, box)
    sizes = torch.zeros_like(labels).scatter_add_(-1, labels, torch.ones_like(labels))
    return sizes.amax(-1).double() / labels.shape[-1]


# ---------------------------------------------------------------------------------------------- the threshold

@dataclass(frozen=True)
class Threshold:
    """Thresholds of n random systems: t, the filling or the share of occupied sites, at which each is spanned.

    A system spans at t with the probability that its threshold is below t, about 1/(1 + exp(−slope (t − half))).
    `times` are the thresholds of the systems. ValueError for fewer than two different ones.
    """

    times: Float[Tensor, "n"]

    def __post_init__(self) -> None:
        checks.require(len(self.times.unique()) > 1, "times", self.times, "two or more different thresholds")

    @property
    def half(self) -> float:
        """Where half of the systems span: the median. It tends to the threshold of an infinite system."""
        return float(self.times.quantile(0.5))

    @property
    def slope(self) -> float:
        """π/(√3 sd), of the logistic distribution of the same variance; relative error 0.9/√n. It grows as L^(1/ν)."""
        return math.pi / math.sqrt(3) / float(self.times.std())

    @property
    def error(self) -> float:
        """Standard error of `half`, 2/(slope √n)."""
        return 2 / (self.slope * math.sqrt(len(self.times)))


def threshold(L: float, n: int = 200, seed: Seed = 0) -> Threshold:
    """Find the filling η at which a box of L × L link radii is spanned from left to right, for n random boxes.

    Points arrive one by one at random places (a Poisson process in η) until the box is spanned: each box gives its own
    threshold, and all fillings are had from one set of points. A cluster touches an edge where a point's disc does.
    Source: sites one by one in Newman & Ziff 2001. ValueError for L below 2 or n below 2.
    """
    L, n, gen = checks.real("L", L, 2.0), checks.integer("n", n, low=2), generator(seed, "percolation.threshold")
    rate = 4 * L**2 / math.pi                                       # points per unit of η
    mean = rate * (ETA_C + _MARGIN / L**ONE_OVER_NU)
    count = math.ceil(mean + 5 * math.sqrt(mean))
    eta = torch.empty(n, count, dtype=torch.float64).exponential_(rate, generator=gen).cumsum(1)
    points = L * torch.rand(n, count, 2, generator=gen, dtype=torch.float64)
    x = points[..., 0]
    return Threshold(spanning_time(links(points, 1.0), eta, x < 0.5, x > L - 0.5))


def spanning_time(
    edges: Int[Tensor, "2 edges"], time: Float[Tensor, "b n"], start: Bool[Tensor, "b n"], end: Bool[Tensor, "b n"]
) -> Float[Tensor, "b"]:
    """Return when the nodes that have arrived connect `start` to `end`, for each of b systems of n nodes.

    By bisection, up to 2⁻¹⁶ of the last arrival above it; the last arrival where they never do.

    Parameters
    ----------
    edges
        Links within the systems, by indices that count the nodes of all systems in order.
    time
        Of arrival, not negative.
    start, end
        Which nodes touch the two edges of their system.
    """
    b, n = time.shape
    (s, i), (t, j) = start.nonzero().T, end.nonzero().T
    # one more node for each edge of each system, that all nodes at this edge are linked to
    borders = torch.stack([torch.cat([s * n + i, t * n + j]), b * n + torch.cat([s, b + t])])
    edges = torch.cat([edges, borders], 1)
    when, system = torch.cat([time.flatten(), time.new_zeros(2 * b)])[edges].amax(0), edges[0] // n
    low, high = torch.zeros_like(time[:, 0]), time.amax(1)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        labels = components_of(edges[:, when <= middle[system]], (n + 2) * b)
        across = labels[-2 * b:-b] == labels[-b:]
        low, high = torch.where(across, low, middle), torch.where(across, middle, high)
        keep = when <= high[system]                                 # later links no longer matter
        edges, when, system = edges[:, keep], when[keep], system[keep]
    return high


def largest_share(eta: float, L: float, n: int = 100, seed: Seed = 0) -> Float[Tensor, "n"]:
    """Return the largest cluster's share on n tori of side L link radii, each with round(4ηL²/π) random points.

    At η_c the mean share falls as L^(−β/ν); see :func:`collapse`. ValueError for η or L that are not positive, n below
    1, or η too small for a point.
    """
    eta, L, n = checks.positive("eta", eta), checks.positive("L", L), checks.integer("n", n, low=1)
    count = round(4 * eta * L**2 / math.pi)
    checks.require(count > 0, "eta", eta, f"above {math.pi / 8 / L**2:.3g}, such that there is a point")
    gen = generator(seed, "percolation.largest_share")
    return largest_cluster(L * torch.rand(n, count, 2, generator=gen, dtype=torch.float64), 1.0, L)
