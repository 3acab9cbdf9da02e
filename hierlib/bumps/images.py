"""Images of one bump, or of one vertical and one horizontal stripe, made of two one-dimensional Gaussians.

Images are ``(n, N, N)``, indexed ``[…, i, j]``: the row i is the y axis, and the column j the x axis. Pixel centres are
0 … N − 1, and values are those of the Gaussian at the pixel's centre, g(j − μ_x) = exp(−(j − μ_x)²/2σ²), at most 1.

Labels μ = (x, y) are in pixels, rows of ``(n, 2)``. They lie

- in the **box** [0, N − 1]², from the first to the last pixel's centre, or on the **canvas** [−m, N − 1 + m]², with an
  invisible margin of m pixels around the frame that is seen;
- or on the **torus**, in [0, N]², where 0 and N are the same place. Distances are then those to the nearest image of
  the centre: images are exactly periodic in μ, and have a kink of height exp(−N²/8σ²) at the antipode (1e-6 for
  σ = N/10.5).
"""

import torch

from hierlib.lab import checks
from hierlib.lab.types import Bool, Float, Tensor

__all__ = ["bump", "check_labels", "displacement", "overlap", "sos", "stripe", "visible"]

AXES = "x", "y"
SLACK = 1e-4                # pixels by which a label may be off its box or its lattice: rounding


def check_labels(
    name: str, labels: Tensor, size: int, *, margin: float = 0.0, torus: bool = False
) -> tuple[int, float]:
    """Refuse labels that are not rows (x, y) of finite numbers on the canvas or the torus; return size and margin.

    Used throughout the chapter *Percolation*; source: this book.

    Raises
    ------
    ValueError
        Naming `name` and the first row at fault; for a size below 2, a negative margin, or a torus with a margin.
    """
    size, margin = checks.integer("size", size, low=2), checks.real("margin", margin, low=0.0)
    checks.require(not (torus and margin), "margin", margin, "0 on the torus, which has no border")
    checks.require(labels.shape[-1:] == (2,) and labels.is_floating_point(), name,
                   f"{labels.dtype} {tuple(labels.shape)}", "a floating-point tensor of rows (x, y)")
    low, high = (0.0, size) if torus else (0.0 - margin, size - 1 + margin)
    good = (labels >= low - SLACK) & (labels <= high + SLACK)                  # false for NaN
    if not good.all():
        checks.require(False, name, labels[~good.all(-1)][0].tolist(), f"in [{low:g}, {high:g}] along both axes")
    return size, margin


def displacement(
    a: Float[Tensor, "*#b"], b: Float[Tensor, "*#b"], size: int, *, torus: bool = False
) -> Float[Tensor, "..."]:
    """Return a − b, on the torus by the shortest way, in [−N/2, N/2).

    Used throughout the chapter *Percolation*; source: this book.
    """
    delta, size = a - b, checks.integer("size", size, low=1)
    return torch.remainder(delta + size / 2, size) - size / 2 if torus else delta


def visible(labels: Float[Tensor, "*b 2"], size: int) -> Bool[Tensor, "*b 2"]:
    """Return whether x, and whether y, is a place in the frame (its nearest pixel is): ``.sum(-1)`` counts stripes.

    Explained in the chapter *Percolation*; source: this book (images of 0, 1 and 2 dimensions: Liang et al. 2024,
    fig. 9).
    """
    return (labels >= -0.5) & (labels <= checks.integer("size", size, low=1) - 0.5)


def _widths(sigma: float | tuple[float, float]) -> tuple[float, float]:
    """Return (σ_x, σ_y)."""
    pair = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    checks.require(len(pair) == 2, "sigma", sigma, "one positive number of pixels, or two (of x and y)")
    sigma_x, sigma_y = (checks.real("sigma", s) for s in pair)
    checks.require(min(sigma_x, sigma_y) > 0, "sigma", sigma, "positive, in pixels")
    return sigma_x, sigma_y


def _profile(centre: Float[Tensor, "n"], size: int, sigma: float, torus: bool) -> Float[Tensor, "n N"]:
    """Return the one-dimensional Gaussians of height 1 at `centre`, one row each."""
    pixel = torch.arange(size, dtype=centre.dtype, device=centre.device)
    return (-0.5 * (displacement(pixel, centre[:, None], size, torus=torus) / sigma).square()).exp()


def _profiles(
    mu: Tensor, size: int, sigma: float | tuple[float, float], margin: float, torus: bool
) -> tuple[Float[Tensor, "n 1 N"], Float[Tensor, "n N 1"]]:
    """Return g(j − μ_x) as rows and g(i − μ_y) as columns, to be multiplied or added."""
    size, _ = check_labels("mu", mu, size, margin=margin, torus=torus)
    sigma_x, sigma_y = _widths(sigma)
    return _profile(mu[:, 0], size, sigma_x, torus)[:, None, :], _profile(mu[:, 1], size, sigma_y, torus)[:, :, None]


def bump(
    mu: Float[Tensor, "n 2"], size: int = 32, sigma: float | tuple[float, float] = 1.0, *, torus: bool = False
) -> Float[Tensor, "n N N"]:
    """Return images of a Gaussian bump, g(j − μ_x) g(i − μ_y), with values in [0, 1].

    Explained in the chapter *Percolation*; source: Liang et al. 2024, fig. 1 (2D Gaussian bump), and figs. 2 and 3 on
    the torus.

    Parameters
    ----------
    mu
        Centres (x, y) in pixels: in the box [0, N − 1]², on the torus in [0, N]².
    size
        N, pixels per side.
    sigma
        Width σ in pixels, or (σ_x, σ_y).
    torus
        Whether the image is periodic.

    Returns
    -------
    Tensor
        ``(n, N, N)`` of the dtype of `mu`, on its device.

    Raises
    ------
    ValueError
        For a width that is not positive, centres outside the box, or a size below 2.

    Examples
    --------
    >>> bump(torch.tensor([[2.0, 0.0]]), size=4)[0].argmax()      # row 0, column 2
    tensor(2)
    """
    row, column = _profiles(mu, size, sigma, 0.0, torus)
    return row * column


def sos(
    mu: Float[Tensor, "n 2"], size: int = 32, sigma: float | tuple[float, float] = 1.0, *, margin: float = 0.0,
    torus: bool = False,
) -> Float[Tensor, "n N N"]:
    """Return images of a vertical plus a horizontal Gaussian stripe, g(j − μ_x) + g(i − μ_y), with values in [0, 2].

    The frame that is seen may be the middle of a larger canvas, of N + 2 `margin` pixels per side: a stripe whose
    centre is in the margin is cut off, but for what its flank leaves in the frame (0.3 % of its height 3.4 σ from the
    nearest pixel). What is left has two stripes, one or none: see :func:`visible`.

    Explained in the chapter *Percolation*; source: Liang et al. 2024, fig. 1 (2D Gaussian SOS) and fig. 9 (there the
    frame has 32 pixels and the canvas 44).

    Parameters
    ----------
    mu
        Centres (x, y) in pixels of the frame: x of the vertical stripe, y of the horizontal one, both in
        [−margin, N − 1 + margin]; on the torus in [0, N].
    size, sigma, torus
        As for :func:`bump`.
    margin
        Of the canvas around the frame, in pixels; 0 on the torus.

    Returns
    -------
    Tensor
        ``(n, N, N)`` of the dtype of `mu`, on its device.

    Raises
    ------
    ValueError
        For a width that is not positive, centres outside the canvas, a size below 2, or a torus with a margin.
    """
    row, column = _profiles(mu, size, sigma, margin, torus)
    return row + column


def stripe(
    centre: Float[Tensor, "n"], size: int = 32, sigma: float = 1.0, *, axis: str = "x", torus: bool = False
) -> Float[Tensor, "n N N"]:
    """Return images of a single Gaussian stripe: vertical at x for axis "x", horizontal at y for axis "y".

    :func:`sos` is the sum of one of each. Explained in the chapter *Percolation*; source: Liang et al. 2024, fig. 1.

    Parameters
    ----------
    centre
        x or y in pixels, in [0, N − 1], on the torus in [0, N].
    size, sigma, torus
        As for :func:`bump`, with one width.

    Raises
    ------
    ValueError
        As :func:`bump`, and for an axis that is neither "x" nor "y".
    """
    axis, size = checks.one_of("axis", axis, AXES), checks.integer("size", size, low=2)
    row, column = _profiles(torch.stack([centre, centre], -1), size, sigma, 0.0, torus)
    return (row if axis == "x" else column).expand(-1, size, size).contiguous()


def overlap(
    mu1: Float[Tensor, "*#b 2"], mu2: Float[Tensor, "*#b 2"], size: int = 32,
    sigma: float | tuple[float, float] = 1.0, *, torus: bool = False,
) -> Float[Tensor, "..."]:
    """Return the overlap of two bumps, o(Δ) = exp(−Δx²/4σ_x² − Δy²/4σ_y²): their inner product over that of equal ones.

    It is the cosine of the two images on the continuous plane, and that of their pixels up to 2 exp(−π²σ²) (1e-4 at
    σ = 1, 2 % at 0.7) where neither is cut off by the border. On the torus Δ is the shortest way. For one σ it exceeds
    θ where Δ < r = 2σ√ln(1/θ), and depends on nothing but Δ/σ.

    Explained in the chapter *Percolation*; source: this book (the paper links images whose overlap exceeds a threshold;
    how overlap is defined is our choice).

    Parameters
    ----------
    mu1, mu2
        Centres (x, y) in pixels, of shapes that broadcast: ``(n, 1, 2)`` and ``(m, 2)`` give ``(n, m)``.
    size, sigma, torus
        As for :func:`bump`.

    Returns
    -------
    Tensor
        In [0, 1], one number per pair.

    Raises
    ------
    ValueError
        As :func:`bump`.
    """
    check_labels("mu1", mu1, size, torus=torus)
    check_labels("mu2", mu2, size, torus=torus)
    delta = displacement(mu1, mu2, size, torus=torus)
    return (-0.25 * (delta / delta.new_tensor(_widths(sigma))).square().sum(-1)).exp()
