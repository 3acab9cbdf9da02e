"""What is seen in an image of a bump or of stripes: where it is, whether that is right, and whether it is clean."""

import math

import torch

from hierlib.bumps.images import Domain
from hierlib.lab import checks
from hierlib.lab.types import Bool, Float, Tensor

__all__ = ["accuracy", "fidelity", "position"]

FAINT = 1e-5                # a marginal whose structure is below this part of it is flat: no position


def position(images: Float[Tensor, "*b N N"], *, torus: bool = False) -> Float[Tensor, "*b 2"]:
    """Return the position (x, y) of the bump, or of the two stripes, from the sums over rows and over columns.

    On the torus it is the circular mean of the marginals, clamped to what is positive, in [0, N). In the box it is the
    centroid of what is left of a marginal above half its maximum, once its minimum is subtracted. Of ideal
    bumps this is off by up to ⅓ pixel, and less than 2 σ from the border, which cuts them off, by up to 0.45 σ: within
    half a pixel everywhere for σ ≤ 1.1 and, with 0.47, at 1.4; no longer at 2. Where a marginal is flat the position is
    NaN.

    Parameters
    ----------
    images
        Any number of leading axes; rows i are the y axis, columns j the x axis.
    torus
        Whether the image is periodic.

    Raises
    ------
    ValueError
        For images that are not square, or not floating-point.
    """
    checks.require(images.ndim >= 2 and images.shape[-1] == images.shape[-2] and images.is_floating_point(), "images",
                   f"{images.dtype} {tuple(images.shape)}", "floating-point, of shape (…, N, N)")
    marginal = torch.stack([images.sum(-2), images.sum(-1)], -2)                 # (…, 2, N): of x, of y
    n = marginal.shape[-1]
    pixel = torch.arange(n, dtype=marginal.dtype, device=marginal.device)
    if not torus:
        above = marginal - marginal.amin(-1, keepdim=True)
        peak = above.amax(-1, keepdim=True)
        weight = torch.where(above > peak / 2, above, 0)
        where, structure = (weight * pixel).sum(-1) / weight.sum(-1), peak.squeeze(-1)
    else:
        weight = marginal.clamp_min(0)
        angle = 2 * math.pi / n * pixel
        sine, cosine = (weight * angle.sin()).sum(-1), (weight * angle.cos()).sum(-1)
        structure = torch.hypot(sine, cosine)
        where = torch.remainder(torch.atan2(sine, cosine) * (n / (2 * math.pi)), n)
        where = torch.where(where < n, where, 0)                                 # rounding of −0 made an N
    return torch.where(structure > FAINT * marginal.abs().amax(-1), where, math.nan)


def accuracy(
    position: Float[Tensor, "*b 2"], labels: Float[Tensor, "*#b 2"], domain: Domain | int, tolerance: float = 0.5
) -> Bool[Tensor, "*b 2"]:
    """Return whether x, and whether y, is within `tolerance` pixels of the label; ``.all(-1)`` asks for both.

    A position that is NaN is wrong, a distance of just the tolerance right; on the torus the shortest way counts.

    Parameters
    ----------
    position
        Of images, from :func:`position`.
    labels
        Where the bump or the stripes should be; a shape that broadcasts.

    Raises
    ------
    ValueError
        For a tolerance that is not positive, or a size below 2.
    """
    domain, tolerance = Domain.of(domain), checks.positive("tolerance", tolerance)
    return domain.displacement(position, labels).abs() <= tolerance


def fidelity(images: Float[Tensor, "*b N N"], ideal: Float[Tensor, "*#b N N"]) -> Float[Tensor, "*b"]:
    """Return the cosine of images with the ideal images at their labels: 1 for the right image at any brightness.

    An ideal bump at the distance Δ has the fidelity exp(−Δ²/4σ²), so that more than 0.9, the mark by which the chapter
    counts images ("c9"), is a bump within 0.65 σ of its label. A blank image has 0.
    """
    product = (images * ideal).sum((-2, -1))
    norm = torch.linalg.vector_norm(images, dim=(-2, -1)) * torch.linalg.vector_norm(ideal, dim=(-2, -1))
    return product / norm.clamp_min(torch.finfo(norm.dtype).tiny)
