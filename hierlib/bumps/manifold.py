"""Geometry of a representation on a grid of labels: are the two coordinates kept apart, or tangled?

A representation is a tensor F ``(…, nx, ny, h)``: h activities, or pixels, at each label (x, y) of a grid; x is the
first of the two grid axes, leading axes are networks, steps, layers. It is **factorised** when F = f(x) + g(y) with f
and g in directions of their own. All functions are batched, differentiable, and stay on the device and in the dtype of
F. The exact values for four ideal manifolds, made by the functions at the end, are their anchors.
"""

import math
from collections.abc import Callable

import torch

from hierlib.bumps.labels import lattice
from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor

__all__ = [
    "additive_fraction", "clifford_torus", "explained_variance", "geometry", "one_hot_axes", "orthogonality",
    "parallelism", "participation_ratio", "pixels", "random_overlap", "self_overlap", "steps", "torus_3d",
]


def additive_fraction(F: Float[Tensor, "... nx ny h"]) -> Float[Tensor, "..."]:
    """Return f_add = (⟨‖A‖²⟩ + ⟨‖B‖²⟩)/⟨‖F‖²⟩, the share of the variance of F that is a function of x plus one of y.

    F is centred first; A(x) is its mean over y and B(y) that over x, as in a two-way analysis of variance without
    interaction. It is 1 for F = f(x) + g(y) and 0 when neither coordinate alone tells anything; nan for a constant F.
    Explained in the chapter *Percolation*; source: this book. ValueError for fewer than three axes.
    """
    F = _centred(F)
    A, B = F.mean(-2), F.mean(-3)                                                   # (…, nx, h), (…, ny, h)
    return (_power(A[..., None, :]) + _power(B[..., None, :])) / _power(F)


def participation_ratio(F: Float[Tensor, "... nx ny h"]) -> Float[Tensor, "..."]:
    """Return the effective dimension (Σλ)²/Σλ² of the grid's points, λ the eigenvalues of their covariance.

    k for equal variances in k directions. Explained in the chapter *Percolation*; source: this book (a common measure
    of dimension; the effective dimension of Liang et al. 2024, figs. 2, 3, is of this type). nan for a constant F;
    ValueError for fewer than three axes.
    """
    gram = _gram(F)
    return gram.diagonal(dim1=-2, dim2=-1).sum(-1).square() / gram.square().sum((-2, -1))


def explained_variance(F: Float[Tensor, "... nx ny h"], k: int = 4) -> Float[Tensor, "..."]:
    """Return the share of the variance of the grid's points that lies in their first `k` principal components.

    Explained in the chapter *Percolation*; source: Liang et al. 2024, figs. 2, 3 (k = 4: a Clifford torus needs four).
    nan for a constant F; ValueError for k below 1 or fewer than three axes.
    """
    variance = torch.linalg.eigvalsh(_gram(F))                                      # increasing
    return variance[..., -checks.integer("k", k, low=1):].sum(-1) / variance.sum(-1)


def steps(
    F: Float[Tensor, "... nx ny h"], torus: bool = True
) -> tuple[Float[Tensor, "... mx ny h"], Float[Tensor, "... nx my h"]]:
    """Return the unit vectors of a step in x, F(x+1, y) − F(x, y), and of one in y, F(x, y+1) − F(x, y).

    On the `torus` the last label is followed by the first, else there is one step less than labels. A step of length
    zero stays zero, so that all its cosines are 0. Explained in the chapter *Percolation*; source: this book.
    ValueError for fewer than three axes, or fewer than 3 labels along x or y.
    """
    _check(F, least=3)
    found = []
    for axis in (-3, -2):
        step = F.roll(-1, axis) - F
        step = step if torus else step.narrow(axis, 0, F.shape[axis] - 1)
        found.append(torch.nn.functional.normalize(step, dim=-1))
    return found[0], found[1]


def parallelism(F: Float[Tensor, "... nx ny h"], torus: bool = True) -> Float[Tensor, "... 2"]:
    """Return ⟨cos(dx(x, y), dx(x, y'))⟩ over y ≠ y', and likewise of dy over x ≠ x': 1 if steps are alike everywhere.

    Errors as :func:`steps`. Explained in the chapter *Percolation*; source: this book (a form of the parallelism test
    of Liang et al. 2024, figs. 2, 3).
    """
    dx, dy = steps(F, torus)
    return torch.stack([_mean_cosine(dx, -2), _mean_cosine(dy, -3)], -1)


def orthogonality(F: Float[Tensor, "... nx ny h"], torus: bool = True) -> Float[Tensor, "..."]:
    """Return x-on-y, the mean ∣cos(dx(p), dy(q))∣ over all labels p, q: 0 if x and y move F in orthogonal subspaces.

    Compare it with :func:`random_overlap`: in many dimensions it is small for nothing. Errors as :func:`steps`; the
    cosines are (nx ny)² numbers. Explained in the chapter *Percolation*; source: this book (a form of the orthogonality
    test of Liang et al. 2024, figs. 2, 3).
    """
    dx, dy = steps(F, torus)
    return (dx.flatten(-3, -2) @ dy.flatten(-3, -2).mT).abs().mean((-2, -1))


def self_overlap(F: Float[Tensor, "... nx ny h"], torus: bool = True) -> Float[Tensor, "... 2"]:
    """Return x-on-x, the mean ∣cos(dx(x, y), dx(x', y))∣ over x ≠ x', and y-on-y likewise: how curved both are.

    1 for straight lines, 2/π for a finely sampled circle; near 0 when all values of one coordinate are orthogonal,
    which leaves no continuum to interpolate in. Errors as :func:`steps`. Explained in the chapter *Percolation*;
    source: this book (a form of the x-on-x test of Liang et al. 2024, figs. 2, 3).
    """
    dx, dy = steps(F, torus)
    found = []
    for step in (dx.transpose(-3, -2), dy):                                         # (…, other label, own label, h)
        m, cosine = step.shape[-2], (step @ step.mT).abs()
        off_diagonal = cosine.sum((-2, -1)) - cosine.diagonal(dim1=-2, dim2=-1).sum(-1)
        found.append((off_diagonal / (m * (m - 1))).mean(-1))
    return torch.stack(found, -1)


def random_overlap(h: int) -> float:
    """Return √(2/(πh)), about the mean ∣cos∣ of two random directions in h dimensions: .07 for h = 128.

    Relative error 1/(4h). Explained in the chapter *Percolation*; source: this book. ValueError for h below 1.
    """
    return math.sqrt(2 / (math.pi * checks.integer("h", h, low=1)))


def geometry(F: Float[Tensor, "... nx ny h"], torus: bool = True, k: int = 4) -> dict[str, Tensor]:
    """Return all measures of F at once, ``(…)`` each, those of x and of y averaged.

    Keys: f_add, dimension (participation ratio), explained (by `k` components), parallelism, orthogonality (x-on-y),
    self_overlap (x-on-x). Errors as :func:`steps`. Explained in the chapter *Percolation*; source: this book.

    Examples
    --------
    >>> {name: round(float(value), 3) for name, value in geometry(torus_3d(10)).items()}
    {'f_add': 0.9, 'dimension': 2.41, 'explained': 1.0, 'parallelism': 0.722, 'orthogonality': 0.419, \
'self_overlap': 0.608}
    """
    return {
        "f_add": additive_fraction(F), "dimension": participation_ratio(F), "explained": explained_variance(F, k),
        "parallelism": parallelism(F, torus).mean(-1), "orthogonality": orthogonality(F, torus),
        "self_overlap": self_overlap(F, torus).mean(-1),
    }


# --------------------------------------------------------------------------------------------------- anchors

def clifford_torus(n: int) -> Float[Tensor, "n n 4"]:
    """Return (cos x, sin x, cos y, sin y) on an n × n grid of angles: the factorised torus, f_add = 1, dimension 4.

    Explained in the chapter *Percolation*; source: Liang et al. 2024, figs. 2, 3 (the ideal of a factorised
    representation). ValueError for n below 3.
    """
    x, y = _angles(n)
    return torch.stack([x.cos(), x.sin(), y.cos(), y.sin()], -1)


def torus_3d(n: int, R: float = 2.0, r: float = 1.0) -> Float[Tensor, "n n 3"]:
    """Return ((R + r cos y) cos x, (R + r cos y) sin x, r sin y) on an n × n grid of angles: the coupled torus.

    Its f_add is (R² + r²/2)/(R² + r²). Explained in the chapter *Percolation*; source: Liang et al. 2024, figs. 2, 3
    (the ideal of a coupled representation). ValueError unless R > r > 0 and n ≥ 3.
    """
    R, r = checks.real("R", R, 0.0), checks.real("r", r, 0.0)
    checks.require(0 < r < R, "r", r, f"in (0, R = {R:g})")
    x, y = _angles(n)
    ring = R + r * y.cos()
    return torch.stack([ring * x.cos(), ring * x.sin(), r * y.sin()], -1)


def one_hot_axes(n: int) -> Float[Tensor, "n n two_n"]:
    """Return one-hot x beside one-hot y: factorised, but without any neighbourhood of values ("hyper-factorised").

    f_add = 1, dimension 2(n − 1), self-overlap 1/(n − 1), all on an n × n torus of labels. Explained in the chapter
    *Percolation*; source: this book (ideal of what Liang et al. 2024 call hyper-factorised). ValueError for n below 3.
    """
    n = checks.integer("n", n, low=3)
    one_hot = torch.eye(n)
    return torch.cat([one_hot[:, None].expand(n, n, n), one_hot[None].expand(n, n, n)], -1)


def pixels(render: Callable[..., Tensor], n: int, sigma: float = 1.0) -> Float[Tensor, "n n pixels"]:
    """Return the pixels of images of size n on the torus, at the n × n labels of its pixels: what the data start from.

    `render` is :func:`hierlib.bumps.images.sos`, with f_add = 1, or :func:`hierlib.bumps.images.bump`: for 1 ≤ σ ≪ n a
    product has f_add = 4√π σ/(n + 2√π σ), the smaller the bump, the less each coordinate tells alone. Explained in the
    chapter *Percolation*; source: this book. ValueError for n below 3, or as `render`.
    """
    n = checks.integer("n", n, low=3)
    labels = lattice(n, torus=True)
    return render(labels, size=n, sigma=sigma, torus=True).reshape(n, n, -1)


# --------------------------------------------------------------------------------------------------- inner parts

def _check(F: Tensor, least: int = 1) -> None:
    good = F.ndim >= 3 and min(F.shape[-3:-1]) >= least
    checks.require(good, "F", tuple(F.shape), f"of shape (…, nx, ny, h) with nx and ny of at least {least}")


def _centred(F: Tensor) -> Tensor:
    _check(F)
    return F - F.mean((-3, -2), keepdim=True)


def _power(F: Tensor) -> Tensor:
    """Return ⟨|F|²⟩ over the two grid axes."""
    return F.square().sum(-1).mean((-2, -1))


def _gram(F: Tensor) -> Tensor:
    """Return the smaller one of the two matrices that have the nonzero eigenvalues of the covariance, unnormalised."""
    points = _centred(F).flatten(-3, -2)
    return points.mT @ points if points.shape[-1] <= points.shape[-2] else points @ points.mT


def _mean_cosine(step: Tensor, axis: int) -> Tensor:
    """Return the mean cosine of unit vectors at different places along `axis`, (|Σu|² − Σ|u|²)/(n(n − 1))."""
    n = step.shape[axis]
    pairs = step.sum(axis).square().sum(-1) - step.square().sum((-1, axis))
    return pairs.mean(-1) / (n * (n - 1))


def _angles(n: int) -> tuple[Tensor, Tensor]:
    n = checks.integer("n", n, low=3)
    angle = torch.arange(n) * (2 * math.pi / n)
    return torch.meshgrid(angle, angle, indexing="ij")
