"""Geometry of a representation on a grid of labels: are the two coordinates kept apart, or tangled?

A representation is a tensor F ``(…, nx, ny, h)``: h activities, or pixels, at each label (x, y) of a grid on the torus;
x is the first of the two grid axes, leading axes are networks, steps, layers. It is **factorised** when F = f(x) + g(y)
with f and g in directions of their own. The measures are batched, differentiable, and stay on the device and in the
dtype of F. Their exact values for four ideal manifolds, made by the functions at the end, are their anchors.
"""

import math
from collections.abc import Callable

import torch
from torch.nn.functional import normalize

from hierlib.bumps.images import Domain
from hierlib.bumps.labels import lattice
from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor

__all__ = ["additive_fraction", "clifford_torus", "measures", "one_hot_axes", "pixels", "torus_3d"]


def additive_fraction(F: Float[Tensor, "... nx ny h"]) -> Float[Tensor, "..."]:
    """Return f_add = (⟨‖A‖²⟩ + ⟨‖B‖²⟩)/⟨‖F‖²⟩, the share of the variance of F that is a function of x plus one of y.

    F is centred first; A(x) is its mean over y and B(y) that over x, as in a two-way analysis of variance without
    interaction. It is 1 for F = f(x) + g(y) and 0 when neither coordinate alone tells anything; nan for a constant F.
    ValueError for fewer than three axes.
    """
    F = _centred(F, least=1)
    A, B = F.mean(-2), F.mean(-3)                                                   # (…, nx, h), (…, ny, h)
    return (_power(A[..., None, :]) + _power(B[..., None, :])) / _power(F)


def measures(F: Float[Tensor, "... nx ny h"]) -> dict[str, Tensor]:
    """Return all measures of F at once, ``(…)`` each, those of x and of y averaged.

    dx(x, y) is the unit vector of F(x+1, y) − F(x, y), where the first label follows the last one, and dy likewise. A
    step of length zero stays zero, so that all its cosines are 0.

    - **f_add**: :func:`additive_fraction`.
    - **dimension**: the participation ratio (Σλ)²/Σλ², λ the eigenvalues of the covariance of the grid's points: k for
      equal variances in k directions. nan for a constant F. **explained**: the share of the variance in their first
      four principal components, as a Clifford torus needs four.
    - **parallelism**: ⟨cos(dx(x, y), dx(x, y'))⟩ over y ≠ y', and likewise of dy: 1 if steps are alike everywhere.
    - **orthogonality**, x-on-y: the mean ∣cos(dx(p), dy(q))∣ over all labels p, q: 0 if x and y move F in orthogonal
      subspaces. In h dimensions two random directions have about √(2/(πh)), .07 for h = 128: it is small for nothing.
    - **self_overlap**, x-on-x: the mean ∣cos(dx(x, y), dx(x', y))∣ over x ≠ x', and y-on-y likewise: how curved both
      are. 1 for straight lines, 2/π for a finely sampled circle; near 0 when all values of one coordinate are
      orthogonal, which leaves no continuum to interpolate in.

    Source: forms of the measures of Liang et al. 2024, figs. 2, 3. ValueError for fewer than three axes, or fewer than
    3 labels along x or y.

    Examples
    --------
    >>> {name: round(float(value), 3) for name, value in measures(torus_3d(10)).items()}
    {'f_add': 0.9, 'dimension': 2.41, 'explained': 1.0, 'parallelism': 0.722, 'orthogonality': 0.419, \
'self_overlap': 0.608}
    """
    points = _centred(F, least=3).flatten(-3, -2)
    # the smaller one of the two matrices that have the nonzero eigenvalues of the covariance, unnormalised
    gram = points.mT @ points if points.shape[-1] <= points.shape[-2] else points @ points.mT
    variance = torch.linalg.eigvalsh(gram)                                          # increasing
    dx, dy = (normalize(F.roll(-1, axis) - F, dim=-1) for axis in (-3, -2))
    parallelism, own = zip(*(_cosines(step) for step in (dx.transpose(-3, -2), dy)))
    return {
        "f_add": additive_fraction(F),
        "dimension": gram.diagonal(dim1=-2, dim2=-1).sum(-1).square() / gram.square().sum((-2, -1)),
        "explained": variance[..., -4:].sum(-1) / variance.sum(-1),
        "parallelism": sum(parallelism) / 2,
        "orthogonality": (dx.flatten(-3, -2) @ dy.flatten(-3, -2).mT).abs().mean((-2, -1)),
        "self_overlap": sum(own) / 2,
    }


def _cosines(step: Float[Tensor, "... other own h"]) -> tuple[Tensor, Tensor]:
    """Return the mean cosine of unit steps at different other labels, and the mean ∣cos∣ at different own labels."""
    n, m = step.shape[-3:-1]
    pairs = step.sum(-3).square().sum(-1) - step.square().sum((-1, -3))             # |Σu|² − Σ|u|²
    cosine = (step @ step.mT).abs()
    off_diagonal = cosine.sum((-2, -1)) - cosine.diagonal(dim1=-2, dim2=-1).sum(-1)
    return pairs.mean(-1) / (n * (n - 1)), off_diagonal.mean(-1) / (m * (m - 1))


def _centred(F: Tensor, least: int) -> Tensor:
    checks.require(F.ndim >= 3 and min(F.shape[-3:-1]) >= least, "F", tuple(F.shape),
                   f"of shape (…, nx, ny, h) with nx and ny of at least {least}")
    return F - F.mean((-3, -2), keepdim=True)


def _power(F: Tensor) -> Tensor:
    """Return ⟨|F|²⟩ over the two grid axes."""
    return F.square().sum(-1).mean((-2, -1))


# --------------------------------------------------------------------------------------------------- anchors

def clifford_torus(n: int) -> Float[Tensor, "n n 4"]:
    """Return (cos x, sin x, cos y, sin y) on an n × n grid of angles: the factorised torus, f_add = 1, dimension 4.

    Source: Liang et al. 2024, figs. 2, 3 (the ideal of a factorised representation). ValueError for n below 3.
    """
    x, y = _angles(n)
    return torch.stack([x.cos(), x.sin(), y.cos(), y.sin()], -1)


def torus_3d(n: int) -> Float[Tensor, "n n 3"]:
    """Return ((2 + cos y) cos x, (2 + cos y) sin x, sin y) on an n × n grid of angles: the coupled torus, f_add = 0.9.

    Source: Liang et al. 2024, figs. 2, 3 (the ideal of a coupled representation). ValueError for n below 3.
    """
    x, y = _angles(n)
    ring = 2 + y.cos()
    return torch.stack([ring * x.cos(), ring * x.sin(), y.sin()], -1)


def one_hot_axes(n: int) -> Float[Tensor, "n n two_n"]:
    """Return one-hot x beside one-hot y: factorised, but without any neighbourhood of values ("hyper-factorised").

    f_add = 1, dimension 2(n − 1), self-overlap 1/(n − 1), all on an n × n torus of labels: our ideal of what Liang et
    al. 2024 call hyper-factorised. ValueError for n below 3.
    """
    one_hot, shape = torch.eye(_labels(n)), (n, n, n)
    return torch.cat([one_hot[:, None].expand(shape), one_hot.expand(shape)], -1)


def pixels(render: Callable[..., Tensor], n: int, sigma: float = 1.0) -> Float[Tensor, "n n pixels"]:
    """Return the pixels of images of size n on the torus, at the n × n labels of its pixels: what the data start from.

    `render` is :func:`hierlib.bumps.images.sos`, with f_add = 1, or :func:`hierlib.bumps.images.bump`: for 1 ≤ σ ≪ n a
    product has f_add = 4√π σ/(n + 2√π σ), the smaller the bump, the less each coordinate tells alone. ValueError for n
    below 3, or as `render`.
    """
    torus = Domain(_labels(n), torus=True)
    return render(lattice(torus), torus, sigma).view(n, n, -1)


def _labels(n: int) -> int:
    return checks.integer("n", n, low=3)


def _angles(n: int) -> tuple[Tensor, Tensor]:
    n = _labels(n)
    angle = torch.arange(n) * (2 * math.pi / n)
    return torch.meshgrid(angle, angle, indexing="ij")
