"""Labels of bumps and stripes: where they may lie, which of them are held out, and what a network is told of them.

Labels are rows (x, y) in pixels: in the box, on the canvas around it, or on the torus, as defined in
:mod:`hierlib.bumps.images`.
"""

import math

import torch

from hierlib.bumps.images import AXES, SLACK, check_labels, displacement
from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Bool, Float, Tensor

__all__ = ["cross", "fourier", "islands", "lattice", "one_hot", "rim", "sinusoidal", "square", "strip", "stripes",
           "uniform"]


# ---- where labels lie

def lattice(
    size: int, spacing: float | tuple[float, float] = 1.0, *, torus: bool = False, dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "n 2"]:
    """Return the labels 0, d, 2d, … along both axes: up to N − 1 in the box, up to N − d on the torus.

    Explained in the chapter *Percolation*; source: this book (increments d_x and d_y as in Liang et al. 2024).

    Parameters
    ----------
    size
        N, pixels per side.
    spacing
        Lattice spacing d in pixels, or (d_x, d_y); on the torus it divides N.

    Returns
    -------
    Tensor
        ``(n_x n_y, 2)``, x the slower: ``.view(n_x, n_y, 2)[a, b]`` is (a d_x, b d_y).

    Raises
    ------
    ValueError
        For a size below 2, a spacing that is not positive or longer than the box, or does not divide the torus.
    """
    x, y = (torch.arange(n, dtype=torch.float64) * d for n, d in _sites(size, spacing, torus))
    return torch.cartesian_prod(x, y).to(device, dtype)


def _sites(size: int, spacing: float | tuple[float, float], torus: bool) -> list[tuple[int, float]]:
    """Return (number of sites, spacing) of both axes."""
    size, found = checks.integer("size", size, low=2), []
    length = size if torus else size - 1
    for d in spacing if isinstance(spacing, tuple) else (spacing, spacing):
        d = checks.real("spacing", d, high=length)
        checks.require(d > 0, "spacing", d, "positive")
        steps = length / d
        checks.require(not torus or abs(steps - round(steps)) < 1e-9 * steps, "spacing", d, f"a part of size = {size}")
        found.append((round(steps) if torus else math.floor(steps * (1 + 1e-9)) + 1, d))
    return found


def uniform(
    n: int, size: int, seed: Seed = 0, *, margin: float = 0.0, torus: bool = False,
    dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
) -> Float[Tensor, "n 2"]:
    """Draw `n` labels uniformly in the box, on the canvas that has a margin, or on the torus (there in [0, N)).

    The draw of fewer labels with the same integer seed is the beginning of the draw of more: training sets of growing
    size are nested. Explained in the chapter *Percolation*; source: this book.

    Raises
    ------
    ValueError
        For a negative `n` or margin, a size below 2, or a torus with a margin.

    Examples
    --------
    >>> labels = uniform(1000, 20, seed=1, torus=True)
    >>> labels = labels[islands(labels, 20, 4, side=6, torus=True)][:100]      # uniform in a region
    """
    u = torch.rand(checks.integer("n", n, low=0), 2, generator=generator(seed, "bumps.uniform"), dtype=torch.float64)
    size, margin = check_labels("labels", u, size, margin=margin, torus=torus)
    labels = (u * size if torus else u * (size - 1 + 2 * margin) - margin).to(dtype)
    return (torch.remainder(labels, size) if torus else labels).to(device)      # rounding may have made an N


def stripes(
    size: int, margin: float = 4.0, spacing: float = 1.0, *, dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "n 2"]:
    """Return labels of single stripes: one coordinate on the lattice, the other one deep in the margin, unseen.

    The hidden coordinates are the two outermost half pixels on each side, −m, −m + ½, N − 3/2 + m and N − 1 + m, so
    there are 8 n_x labels: vertical stripes first. Explained in the chapter *Percolation*; source: this book (stripes
    from a canvas larger than the frame: Liang et al. 2024, fig. 9).

    Raises
    ------
    ValueError
        For a size below 2, a margin below 1, or a spacing that is not positive or longer than the box.
    """
    size, margin = checks.integer("size", size, low=2), checks.real("margin", margin, low=1.0)
    (n, d), _ = _sites(size, spacing, False)
    shown = torch.arange(n, dtype=torch.float64) * d
    hidden = torch.tensor([-margin, -margin + 0.5, size - 1.5 + margin, size - 1 + margin], dtype=torch.float64)
    vertical = torch.cartesian_prod(shown, hidden)
    return torch.cat([vertical, vertical.flip(1)]).to(device, dtype)


# ---- which of them: boolean masks, to be combined by & | ~ and to index labels

def strip(
    labels: Float[Tensor, "*b 2"], size: int, width: float, centre: float | None = None, *, axis: str = "x",
    torus: bool = False,
) -> Bool[Tensor, "*b"]:
    """Return which labels have ∣x − c∣ < w/2: held out, they leave values of x that are never seen (interpolation).

    The edges are not in the strip: on a lattice that has them, w is the gap between the values that are seen. Explained
    in the chapter *Percolation*; source: this book (holes of Liang et al. 2024, figs. 4, 11 and 12).

    Parameters
    ----------
    labels
        Rows (x, y) in pixels, in the margin too.
    size
        N, pixels per side.
    width
        w in pixels, positive.
    centre
        c in pixels; by default the middle, (N − 1)/2 in the box and N/2 on the torus.
    axis
        "x" for a vertical strip, "y" for a horizontal one.

    Raises
    ------
    ValueError
        For a width that is not positive, or an axis that is neither.
    """
    column = AXES.index(checks.one_of("axis", axis, AXES))
    size = checks.integer("size", size, low=2)
    width = checks.positive("width", width)
    middle = labels.new_tensor((size - (not torus)) / 2 if centre is None else checks.real("centre", centre))
    return displacement(labels[..., column], middle, size, torus=torus).abs() < width / 2


def _strips(labels: Tensor, size: int, width: float, centre: tuple[float, float] | None, torus: bool) -> Tensor:
    """Return whether x, and whether y, is in its strip, ``(…, 2)``."""
    centre = (None, None) if centre is None else centre
    return torch.stack([strip(labels, size, width, c, axis=a, torus=torus) for a, c in zip(AXES, centre)], -1)


def square(
    labels: Float[Tensor, "*b 2"], size: int, width: float, centre: tuple[float, float] | None = None, *,
    torus: bool = False,
) -> Bool[Tensor, "*b"]:
    """Return which labels lie in both strips: held out, every x and every y is still seen (composition).

    Arguments and errors as for :func:`strip`, with a centre (c_x, c_y). Explained in the chapter *Percolation*;
    source: this book.
    """
    return _strips(labels, size, width, centre, torus).all(-1)


def cross(
    labels: Float[Tensor, "*b 2"], size: int, width: float, centre: tuple[float, float] | None = None, *,
    torus: bool = False,
) -> Bool[Tensor, "*b"]:
    """Return which labels lie in a vertical or a horizontal strip; its middle is :func:`square`.

    Arguments and errors as for :func:`strip`, with a centre (c_x, c_y). Explained in the chapter *Percolation*;
    source: this book (the held-out cross of Liang et al. 2024, fig. 4).
    """
    return _strips(labels, size, width, centre, torus).any(-1)


def islands(
    labels: Float[Tensor, "*b 2"], size: int, k: int, side: float, *, torus: bool = False
) -> Bool[Tensor, "*b"]:
    """Return which labels lie in one of `k` squares, one in the middle of each of k equal parts of the image.

    Training on k islands and on one of the same area has a similar coverage, but another connectivity. The edges are
    not in an island. Explained in the chapter *Percolation*; source: this book.

    Parameters
    ----------
    k, side
        Number of islands, a square number: √k along each axis; their side in pixels, positive, at most N/√k.

    Raises
    ------
    ValueError
        For k or side out of range, or labels outside the box or the torus.
    """
    size, _ = check_labels("labels", labels, size, torus=torus)
    k = checks.integer("k", k, low=1)
    rows = math.isqrt(k)
    checks.require(rows**2 == k, "k", k, "a square number")
    part = size / rows
    side = checks.positive("side", side, part)
    within = torch.remainder(labels + (0.0 if torus else 0.5), part) - part / 2
    return (within.abs() < side / 2).all(-1)


def rim(labels: Float[Tensor, "*b 2"], size: int, width: float) -> Bool[Tensor, "*b"]:
    """Return which labels of the box are less than `width` pixels from its border; none in the margin is.

    Explained in the chapter *Percolation*; source: this book (a rim of images that have both stripes: Liang et al.
    2024, fig. 10). ValueError for a width that is not positive.
    """
    size, width = checks.integer("size", size, low=2), checks.positive("width", width)
    to_border = torch.minimum(labels, size - 1 - labels).amin(-1)
    return (to_border >= 0) & (to_border < width)


# ---- what a network is told

def fourier(labels: Float[Tensor, "n 2"], size: int, K: int = 2, amplitude: float = 2.0) -> Float[Tensor, "n m"]:
    """Return A sin(2πkx/N) and A cos(2πkx/N) for k = 1 … K, and the same for y: an encoding that knows the torus.

    The shortest wavelength is N/K pixels. Two labels have the inner product A² Σ_k [cos(2πkΔx/N) + cos(2πkΔy/N)],
    whose peak is about N/(2K + 1) wide. In a box, take for `size` twice its side. Explained in the chapter
    *Percolation*; source: this book.

    Parameters
    ----------
    size
        N, the period in pixels; labels are in [0, N].
    K, amplitude
        Number of wavelengths per coordinate; A, positive.

    Returns
    -------
    Tensor
        ``(n, 4K)``: K sines and K cosines of x, then of y.

    Raises
    ------
    ValueError
        For labels outside the torus, K below 1, or an amplitude that is not positive.
    """
    size, _ = check_labels("labels", labels, size, torus=True)
    amplitude = checks.positive("amplitude", amplitude)
    k = torch.arange(1, checks.integer("K", K, low=1) + 1, dtype=labels.dtype, device=labels.device)
    return amplitude * _waves(labels, 2 * math.pi / size * k)


def sinusoidal(labels: Float[Tensor, "n 2"], dims: int = 16, base: float = 10_000.0) -> Float[Tensor, "n m"]:
    """Return the transformer's positional encoding of x, and of y: sines and cosines of ω_k x, ω_k = base^(−2k/dims).

    k = 0 … dims/2 − 1. The shortest wavelength is 2π pixels, whatever the size of the image, and the longest
    2π base^(1 − 2/dims). Labels may lie in the margin. Explained in the chapter *Percolation*; source: Vaswani et al.
    2017, sect. 3.5, for each coordinate.

    Returns
    -------
    Tensor
        ``(n, 2 dims)``: dims/2 sines and as many cosines of x, then of y.

    Raises
    ------
    ValueError
        For labels that are not finite numbers, dims that are not even or below 2, or a base of at most 1.
    """
    checks.require(bool(labels.isfinite().all()), "labels", labels, "finite")
    dims = checks.integer("dims", dims, low=2)
    checks.require(dims % 2 == 0, "dims", dims, "even: a sine and a cosine of each wavelength")
    base = checks.real("base", base)
    checks.require(base > 1, "base", base, "greater than 1")
    k = torch.arange(dims // 2, dtype=labels.dtype, device=labels.device)
    return _waves(labels, base ** (-2 * k / dims))


def _waves(labels: Float[Tensor, "n 2"], frequency: Float[Tensor, "K"]) -> Float[Tensor, "n m"]:
    phase = labels[:, :, None] * frequency                                       # (n, 2, K)
    return torch.cat([phase.sin(), phase.cos()], 2).flatten(1)


def one_hot(
    labels: Float[Tensor, "n 2"], size: int, spacing: float | tuple[float, float] = 1.0, *, torus: bool = False
) -> Float[Tensor, "n m"]:
    """Return the label's number in :func:`lattice` as a one-hot vector: a negative control without any geometry.

    All labels are equally far apart and x and y are not told apart: there is no wavelength, and nothing to interpolate
    or to compose. Explained in the chapter *Percolation*; source: this book.

    Raises
    ------
    ValueError
        For labels that are not on the lattice, or a lattice that there is not.
    """
    check_labels("labels", labels, size, torus=torus)
    (n_x, d_x), (n_y, d_y) = _sites(size, spacing, torus)
    step, count = labels.new_tensor([d_x, d_y]), labels.new_tensor([n_x, n_y])
    site = (labels / step).round()
    off = (((site * step - labels).abs() > SLACK) | (site >= count + torus)).any(-1)
    if off.any():
        checks.require(False, "labels", labels[off][0].tolist(), f"on the lattice of spacing {spacing}")
    x, y = torch.remainder(site, count).long().unbind(-1)
    return torch.nn.functional.one_hot(x * n_y + y, n_x * n_y).to(labels.dtype)
