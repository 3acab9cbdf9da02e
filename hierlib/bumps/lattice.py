"""Site percolation on the square lattice with links to all sites within a range, the set-up of Liang et al. 2024.

The labels of the training set are some of the sites of a lattice of spacing d. Sites are linked when they are closer
than R spacings, which is the link radius r = 2σ √ln(1/θ) but for the pixels (:func:`range2`): z, the number of
neighbours of a site, depends on **R²** alone, and jumps from 4 to 8, 12, 20, … as R² passes 2, 4, 5, … . The share λ of
occupied sites at which the infinite lattice percolates is p_c(z), and no share will do for R² ≤ 1. A lattice is a
boolean tensor (…, side, side): rows are y, columns x.
"""

import numpy as np
import torch
from scipy import ndimage

from hierlib.bumps.percolation import ETA_C, Threshold, components_of, link_radius, spanning_time
from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Bool, Float, Int, Tensor

__all__ = ["P_C", "clusters", "links", "mass_ratio", "neighbours", "occupy", "p_c", "range2", "threshold"]

# thresholds by the number of neighbours, to the digits on which sources agree: the first two add up to 1 (matching
# lattices; Newman & Ziff 2000), the others Xun, Hao & Ziff 2021
P_C = {4: 0.592746, 8: 0.407254, 12: 0.289123, 20: 0.1967, 36: 0.11535}


def range2(sigma: float, theta: float) -> int:
    """Return R² such that sites closer than R spacings are linked: their bumps' images have an overlap above θ.

    For labels at the pixels: the spacing is one pixel, and the overlap is the cosine of the sampled images. At the
    offset (a, b) it is exp(−(a² + b²)/4σ²), as in the continuum, times τ for each odd one of a and b, with τ =
    Σ_k exp(−(k + ½)²/σ²) / Σ_k exp(−k²/σ²) over all integers k: no pixel lies in the middle between two bumps an odd
    number of pixels apart. τ is 0.97 at σ = 0.7, nearer to 1 for wider bumps, and 0.12 at σ = 0.3. Overlaps fall with
    a² + b², whatever σ, and R² is the least a² + b² without a link.

    Parameters
    ----------
    sigma, theta
        Width σ in pixels, which are the spacing; the least overlap of linked images.

    Raises
    ------
    ValueError
        For σ not positive, or θ outside (0, 1).

    Examples
    --------
    >>> [len(neighbours(range2(sigma, 0.05))) for sigma in (0.1, 0.3, 0.5, 0.7, 1.0)]
    [0, 0, 8, 20, 36]
    """
    sigma = checks.positive("sigma", sigma)
    reach = int(link_radius(sigma, theta)) + 1
    frame = reach + int(8 * sigma) + 1                      # beyond which bumps are blank
    pixel, offset = np.arange(-frame, frame + 1), np.arange(reach + 1)[:, None]
    g = np.exp(-0.5 * ((pixel - offset) / sigma) ** 2)
    cosine = g @ g[0] / (g[0] @ g[0])                       # of offsets along one axis; images are products of both
    linked = np.multiply.outer(cosine, cosine) > theta
    return int((offset**2 + offset.T**2)[~linked].min())


def neighbours(R2: float) -> Int[Tensor, "z 2"]:
    """Return the offsets (x, y) ≠ 0 of the sites with x² + y² < R², nearest first: z of them.

    ValueError for a negative R².

    Examples
    --------
    >>> [len(neighbours(R2)) for R2 in (1, 2, 4, 5, 8, 9, 10)]
    [0, 4, 8, 12, 20, 24, 28]
    """
    R2 = checks.real("R2", R2, 0.0)
    reach = torch.arange(-int(R2**0.5) - 1, int(R2**0.5) + 2)
    offsets = torch.cartesian_prod(reach, reach)
    distance2 = offsets.square().sum(1)
    order = distance2.argsort(stable=True)
    return offsets[order][(distance2[order] > 0) & (distance2[order] < R2)]


def p_c(z: int) -> float:
    """Return the threshold of the square lattice with z neighbours within a range: the share λ at which it percolates.

    It is that of :data:`P_C` where the table has it, and 4η_c/(z + 3) for other z > 20, to 2 %: the neighbourhoods
    become discs, and z λ the mean degree 4η_c of the continuum. Source: Xun, Hao & Ziff 2021, with the constant 3 of
    this book. ValueError for a z up to 20 that is not in the table.
    """
    z = checks.integer("z", z, low=1)
    checks.require(z in P_C or z > 20, "z", z, f"one of {', '.join(map(str, P_C))}, or above 20")
    return P_C.get(z, 4 * ETA_C / (z + 3))


def occupy(share: Float[Tensor, "*share"], side: int, n: int = 1, seed: Seed = 0) -> Bool[Tensor, "*share n side side"]:
    """Return n lattices for each share λ whose sites are occupied with the probability λ, independently.

    Those of different λ are made of the same random numbers: the sites of the smaller share are among those of the
    larger. ValueError for shares outside [0, 1], or a side or n below 1.
    """
    checks.require(bool(((share >= 0) & (share <= 1)).all()), "share", share, "in [0, 1]")
    side, n = checks.integers(1, side=side, n=n)
    u = torch.rand(n, side, side, generator=generator(seed, "lattice.occupy"), dtype=torch.float64)
    return u.to(share.device) < share.double()[..., None, None, None]


def clusters(
    sites: Bool[Tensor, "*batch side side"], R2: float, torus: bool = True
) -> Int[Tensor, "*batch side side"]:
    """Return for each occupied site the number of its cluster, 1, 2, … in the order of first sites; 0 for others.

    Those of different lattices have different numbers. Lattices with 4 or 8 neighbours are labelled by
    ``scipy.ndimage``; all else goes by the graph of the links. Both work on the CPU.

    Parameters
    ----------
    sites
        Which sites are occupied, one lattice or a batch.
    R2
        R² in spacings; :func:`range2`.
    torus
        Whether the lattice is periodic, with a side of more than 2R then; otherwise a box with edges.

    Raises
    ------
    ValueError
        For lattices that are not square, a negative R², or one too large for the torus.
    """
    z = 2 * len(_forward(sites, R2, torus))
    if z in (4, 8):
        return _image_labels(sites.reshape(-1, *sites.shape[-2:]).cpu(), z == 8, torus).view_as(sites).to(sites.device)
    labels = components_of(links(sites, R2, torus), sites.numel()).view_as(sites)
    occupied = labels.new_zeros(sites.numel()).index_fill_(0, labels[sites], 1)        # (empty sites have labels, too)
    return occupied.cumsum(0)[labels] * sites


def links(sites: Bool[Tensor, "*batch side side"], R2: float, torus: bool = True) -> Int[Tensor, "2 links"]:
    """Return the linked pairs of occupied sites, each once, by indices that count the sites of all lattices in order.

    Parameters and ValueError as :func:`clusters`.
    """
    offsets, side = _forward(sites, R2, torus), sites.shape[-1]
    lattices = sites.reshape(-1, side, side)
    index = torch.arange(lattices.numel(), device=sites.device).view_as(lattices)
    row = torch.arange(side, device=sites.device)
    pairs = []
    for x, y in offsets.tolist():
        both = lattices & lattices.roll((-y, -x), (1, 2))
        if not torus:                                        # y ≥ 0
            both &= (row + y < side)[:, None] & (row + x >= 0) & (row + x < side)
        pairs.append(torch.stack([index[both], index.roll((-y, -x), (1, 2))[both]]))
    return torch.cat(pairs, 1) if pairs else index.new_zeros(2, 0)


def mass_ratio(sites: Bool[Tensor, "*batch side side"], R2: float, torus: bool = True) -> Float[Tensor, "*batch"]:
    """Return the largest connected mass ratio: the largest cluster's share of the occupied sites.

    Source: Liang et al. 2024, fig. 6; whether it is a share of the occupied sites there could not be found out.
    Parameters and ValueError as :func:`clusters`; 0 for an empty lattice.
    """
    labels = clusters(sites, R2, torus)
    size = labels.flatten().bincount()[labels] * sites                     # of the cluster a site is in
    return size.amax((-2, -1)).double() / sites.sum((-2, -1)).clamp_min(1)


def threshold(R2: float, side: int, n: int = 200, seed: Seed = 0) -> Threshold:
    """Find the share λ at which occupied sites connect the first column to the last, for n lattices filled at random.

    Source: sites one by one as in Newman & Ziff 2001. ValueError for R² ≤ 1, where nothing is linked, a side below 2,
    or n below 2.
    """
    side, n = checks.integers(2, side=side, n=n)
    checks.require(R2 > 1, "R2", R2, "above 1: no two sites are linked")
    gen = generator(seed, "lattice.lattice_threshold")
    u = torch.rand(n, side, side, generator=gen, dtype=torch.float64)
    column = torch.arange(side).expand(side, side).flatten().expand(n, -1)
    edges = links(torch.ones_like(u, dtype=torch.bool), R2, torus=False)
    return Threshold(spanning_time(edges, u.flatten(1), column == 0, column == side - 1))


def _forward(sites: Tensor, R2: float, torus: bool) -> Tensor:
    """Check lattices and range; return the offsets (x, y) of half of the neighbours, one of each opposite pair."""
    checks.require(sites.ndim > 1 and sites.shape[-1] == sites.shape[-2] > 0, "sites", tuple(sites.shape),
                   "of shape (…, side, side)")
    offsets = neighbours(R2)
    reach = int(offsets.amax()) if len(offsets) else 0
    checks.require(not torus or sites.shape[-1] > 2 * reach, "R2", R2,
                   f"such that links, up to {reach} sites long, are shorter than half of the torus")
    x, y = offsets.T
    return offsets[(y > 0) | ((y == 0) & (x > 0))]


def _image_labels(lattices: Tensor, diagonal: bool, torus: bool) -> Tensor:
    """Return the labels of the clusters from 1, 0 for empty sites; of links to 4 neighbours or, diagonal, to 8."""
    structure = np.zeros((3, 3, 3), dtype=bool)
    structure[1] = ndimage.generate_binary_structure(2, 1 + diagonal)
    labels, count = ndimage.label(lattices.numpy(), structure)
    labels = torch.from_numpy(labels).long()
    if not torus:
        return labels
    seams = []                                               # pairs of labels that touch across an edge of the torus
    for field in (labels, labels.mT):
        for shift in (-1, 0, 1) if diagonal else (0,):
            seams.append(torch.stack([field[:, -1].flatten(), field[:, 0].roll(shift, -1).flatten()]))
    pairs = torch.cat(seams, 1)
    return components_of(pairs[:, (pairs > 0).all(0)], count + 1)[labels]      # the empty sites stay component 0
