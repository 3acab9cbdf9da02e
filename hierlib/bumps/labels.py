"""Labels of bumps and stripes: where they may lie, which of them are held out, and what a network is told of them.

Labels are rows (x, y) in pixels, in a :class:`hierlib.bumps.images.Domain`; an N in its place is the box of N pixels.
They are made in float32 on the CPU; masks and encodings take them in any precision and on any device.
"""

import math

import torch

from hierlib.bumps.images import SLACK, Domain
from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Bool, Float, Tensor

__all__ = ["fourier", "islands", "lattice", "one_hot", "sinusoidal", "square", "strip", "stripes", "uniform"]

AMPLITUDE = 2.0             # of the Fourier encoding
DIMS, BASE = 16, 10_000.0   # of the transformer's positional encoding, of each coordinate


# ---- where labels lie

def lattice(domain: Domain | int, spacing: float = 1.0) -> Float[Tensor, "n 2"]:
    """Return the labels 0, d, 2d, … along both axes: up to N − 1 in the frame, up to N − d on the torus.

    Source: increments d as in Liang et al. 2024.

    Parameters
    ----------
    domain
        Where; without its margin.
    spacing
        Lattice spacing d in pixels; on the torus it divides N.

    Returns
    -------
    Tensor
        ``(k², 2)``, x the slower: ``.view(k, k, 2)[a, b]`` is (a d, b d).

    Raises
    ------
    ValueError
        For a spacing that is not positive or longer than the box, or does not divide the torus.
    """
    domain = Domain.of(domain)
    length = domain.size - (not domain.torus)
    d = checks.positive("spacing", spacing, high=length)
    steps = length / d
    checks.require(not domain.torus or abs(steps - round(steps)) < 1e-9 * steps, "spacing", d,
                   f"a part of size = {domain.size}")
    x = torch.arange(round(steps) if domain.torus else math.floor(steps * (1 + 1e-9)) + 1, dtype=torch.float64) * d
    return torch.cartesian_prod(x, x).float()


def uniform(n: int, domain: Domain | int, seed: Seed = 0) -> Float[Tensor, "n 2"]:
    """Draw `n` labels uniformly in the domain (on the torus in [0, N)).

    The draw of fewer labels with the same integer seed is the beginning of the draw of more: training sets of growing
    size are nested. ValueError for a negative `n`.

    Examples
    --------
    >>> torus = Domain(20, torus=True)
    >>> labels = uniform(1000, torus, seed=1)
    >>> labels = labels[islands(labels, torus, 4, side=6)][:100]      # uniform in a region
    """
    domain, n = Domain.of(domain), checks.integer("n", n, low=0)
    u = torch.rand(n, 2, generator=generator(seed, "bumps.uniform"), dtype=torch.float64)
    low, high = domain.bounds
    labels = (u * (high - low) + low).float()
    return torch.remainder(labels, domain.size) if domain.torus else labels                # rounding may have made an N


def stripes(domain: Domain) -> Float[Tensor, "n 2"]:
    """Return labels of single stripes: one coordinate at a pixel, the other one deep in the margin m, unseen.

    The hidden coordinates are the two outermost half pixels on each side, −m, −m + ½, N − 3/2 + m and N − 1 + m, so
    there are 8 N labels: vertical stripes first. ValueError for a margin below 1. Source: stripes from a canvas larger
    than the frame, Liang et al. 2024, fig. 9.
    """
    n, margin = domain.size, checks.real("margin", domain.margin, low=1.0)
    hidden = torch.tensor([-margin, -margin + 0.5, n - 1.5 + margin, n - 1 + margin], dtype=torch.float64)
    vertical = torch.cartesian_prod(torch.arange(n, dtype=torch.float64), hidden)
    return torch.cat([vertical, vertical.flip(1)]).float()


# ---- which of them: boolean masks, to be combined by & | ~ and to index labels

def strip(labels: Float[Tensor, "*b 2"], domain: Domain | int, width: float) -> Bool[Tensor, "*b"]:
    """Return which labels have ∣x − c∣ < w/2, c the middle of the domain: (N − 1)/2, or N/2 on the torus.

    Held out, they leave values of x that are never seen (interpolation). The edges are not in the strip: on a lattice
    that has them, w is the gap between the values that are seen. ValueError for a width w that is not positive.
    Source: holes of Liang et al. 2024, figs. 4, 11 and 12.
    """
    return _middle(labels, domain, width)[..., 0]


def square(labels: Float[Tensor, "*b 2"], domain: Domain | int, width: float) -> Bool[Tensor, "*b"]:
    """Return which labels are in the strip of x and in that of y: held out, all x and all y are seen (composition).

    Arguments and errors as for :func:`strip`.
    """
    return _middle(labels, domain, width).all(-1)


def _middle(labels: Tensor, domain: Domain | int, width: float) -> Bool[Tensor, "*b 2"]:
    domain, width = Domain.of(domain), checks.positive("width", width)
    centre = labels.new_tensor((domain.size - (not domain.torus)) / 2)
    return domain.displacement(labels, centre).abs() < width / 2


def islands(labels: Float[Tensor, "*b 2"], domain: Domain | int, k: int, side: float) -> Bool[Tensor, "*b"]:
    """Return which labels lie in one of `k` squares, one in the middle of each of k equal parts of the image.

    Training on k islands and on one of the same area has a similar coverage, but another connectivity. The edges are
    not in an island.

    Parameters
    ----------
    k, side
        Number of islands, a square number: √k along each axis; their side in pixels, positive, at most N/√k.

    Raises
    ------
    ValueError
        For k or side out of range, or labels outside the domain.
    """
    domain, k = Domain.of(domain), checks.integer("k", k, low=1)
    domain.check("labels", labels)
    rows = math.isqrt(k)
    checks.require(rows**2 == k, "k", k, "a square number")
    part = domain.size / rows
    side = checks.positive("side", side, part)
    within = torch.remainder(labels + (0.0 if domain.torus else 0.5), part) - part / 2
    return (within.abs() < side / 2).all(-1)


# ---- what a network is told

def fourier(labels: Float[Tensor, "n 2"], size: int, K: int = 2) -> Float[Tensor, "n m"]:
    """Return A sin(2πkx/N) and A cos(2πkx/N) for k = 1 … K, and the same for y: an encoding that knows the torus.

    The shortest wavelength is N/K pixels. Two labels have the inner product A² Σ_k [cos(2πkΔx/N) + cos(2πkΔy/N)],
    whose peak is about N/(2K + 1) wide; A = 2.

    Parameters
    ----------
    size
        N, the period in pixels, with labels in [0, N]; in a box take twice its side.
    K
        Number of wavelengths per coordinate.

    Returns
    -------
    Tensor
        ``(n, 4K)``: K sines and K cosines of x, then of y.

    Raises
    ------
    ValueError
        For labels outside the torus, or K below 1.
    """
    domain = Domain(size, torus=True)
    domain.check("labels", labels)
    k = torch.arange(1, checks.integer("K", K, low=1) + 1, dtype=labels.dtype, device=labels.device)
    return AMPLITUDE * _waves(labels, 2 * math.pi / domain.size * k)


def sinusoidal(labels: Float[Tensor, "n 2"]) -> Float[Tensor, "n 32"]:
    """Return the transformer's positional encoding of x, and of y: sines and cosines of ω_k x, ω_k = 10000^(−k/8).

    k = 0 … 7: the shortest wavelength is 2π pixels, whatever the size of the image. 8 sines and 8 cosines of x, then of
    y. Labels may lie anywhere; ValueError for such that are not finite. Source: Vaswani et al. 2017, sect. 3.5, with 16
    dimensions for each coordinate.
    """
    checks.require(bool(labels.isfinite().all()), "labels", labels, "finite")
    k = torch.arange(DIMS // 2, dtype=labels.dtype, device=labels.device)
    return _waves(labels, BASE ** (-2 * k / DIMS))


def _waves(labels: Float[Tensor, "n 2"], frequency: Float[Tensor, "K"]) -> Float[Tensor, "n m"]:
    phase = labels[:, :, None] * frequency                                       # (n, 2, K)
    return torch.cat([phase.sin(), phase.cos()], 2).flatten(1)


def one_hot(labels: Float[Tensor, "n 2"], domain: Domain | int) -> Float[Tensor, "n m"]:
    """Return the label's number in :func:`lattice` as a one-hot vector: a negative control without any geometry.

    All labels are equally far apart and x and y are not told apart: there is no wavelength, and nothing to interpolate
    or to compose. ValueError for labels that are not on the lattice of whole pixels.
    """
    domain = Domain.of(domain)
    domain.check("labels", labels)
    n = domain.size
    site = labels.round().clamp(0, n - (not domain.torus))                       # on the torus N is 0
    off = ((site - labels).abs() > SLACK).any(-1)
    if off.any():
        checks.require(False, "labels", labels[off][0].tolist(), "on the lattice of spacing 1.0")
    x, y = torch.remainder(site, n).long().unbind(-1)
    return torch.nn.functional.one_hot(x * n + y, n**2).to(labels.dtype)
