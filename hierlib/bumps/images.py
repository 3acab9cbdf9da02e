"""Images of one bump, or of one vertical and one horizontal stripe, made of two one-dimensional Gaussians.

Images are ``(n, N, N)``, indexed ``[…, i, j]``: the row i is the y axis, and the column j the x axis. Pixel centres are
0 … N − 1, and values are those of the Gaussian at the pixel's centre, g(j − μ_x) = exp(−(j − μ_x)²/2σ²), at most 1.

Labels μ = (x, y) are in pixels, rows of ``(n, 2)``. Where they may lie is a :class:`Domain`: a box, a canvas that has
an invisible margin around the frame, or the torus.
"""

from dataclasses import KW_ONLY, dataclass

import torch

from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor

__all__ = ["SLACK", "Domain", "bump", "sos"]

SLACK = 1e-4                # pixels by which a label may be off its domain or its lattice: rounding


@dataclass(frozen=True)
class Domain:
    """The place where labels lie and of which images show N × N pixels. Where one is asked for, an N alone is a box.

    - The **box** [0, N − 1]² reaches from the first to the last pixel's centre, and the **canvas** [−m, N − 1 + m]²
      has a margin of m pixels more on each side, which is not seen.
    - On the **torus** [0, N]², 0 and N are the same place. Distances are then those to the nearest image of the centre:
      images are exactly periodic in μ, and have a kink of height exp(−N²/8σ²) at the antipode (1e-6 for σ = N/10.5).

    Raises
    ------
    ValueError
        For a size below 2, a negative margin, or a torus with a margin.

    Examples
    --------
    >>> Domain(10, torus=True).displacement(torch.tensor([9.0, 1.0]), torch.tensor([1.0, 2.0]))
    tensor([-2., -1.])
    """

    size: int
    _: KW_ONLY
    torus: bool = False
    margin: float = 0.0

    def __post_init__(self) -> None:
        vars(self).update(size=checks.integer("size", self.size, 2), margin=checks.real("margin", self.margin, 0.0))
        checks.require(not (self.torus and self.margin), "margin", self.margin, "0 on the torus, which has no border")

    @classmethod
    def of(cls, domain: "Domain | int") -> "Domain":
        """Return `domain`, or the box of that many pixels."""
        return domain if isinstance(domain, Domain) else cls(domain)

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest coordinate of a label."""
        return (0.0, float(self.size)) if self.torus else (0.0 - self.margin, self.size - 1 + self.margin)

    def check(self, name: str, labels: Tensor) -> None:
        """Raise a ValueError that names `name`, and the first at fault, unless labels are rows (x, y) in the domain."""
        checks.require(labels.shape[-1:] == (2,) and labels.is_floating_point(), name,
                       f"{labels.dtype} {tuple(labels.shape)}", "a floating-point tensor of rows (x, y)")
        low, high = self.bounds
        good = ((labels >= low - SLACK) & (labels <= high + SLACK)).all(-1)                  # false for NaN
        if not good.all():
            checks.require(False, name, labels[~good][0].tolist(), f"in [{low:g}, {high:g}] along both axes")

    def displacement(self, a: Float[Tensor, "*#b"], b: Float[Tensor, "*#b"]) -> Float[Tensor, "..."]:
        """Return a − b, on the torus by the shortest way, in [−N/2, N/2)."""
        delta, half = a - b, self.size / 2
        return torch.remainder(delta + half, self.size) - half if self.torus else delta


def _profiles(mu: Tensor, size: int | Domain, sigma: float) -> tuple[Float[Tensor, "n 1 N"], Float[Tensor, "n N 1"]]:
    """Return g(j − μ_x) as rows and g(i − μ_y) as columns, to be multiplied or added."""
    domain, sigma = Domain.of(size), checks.positive("sigma", sigma)
    domain.check("mu", mu)
    pixel = torch.arange(domain.size, dtype=mu.dtype, device=mu.device)
    x, y = (-0.5 * (domain.displacement(pixel, mu.mT[..., None]) / sigma).square()).exp()
    return x[:, None], y[:, :, None]


def bump(mu: Float[Tensor, "n 2"], size: int | Domain = 32, sigma: float = 1.0) -> Float[Tensor, "n N N"]:
    """Return images of a Gaussian bump, g(j − μ_x) g(i − μ_y), with values in [0, 1].

    Two of them have the overlap exp(−Δ²/4σ²) (the cosine of the images) where neither is cut off by the border.
    Source: Liang et al. 2024, fig. 1 (2D Gaussian bump), and figs. 2 and 3 on the torus.

    Parameters
    ----------
    mu
        Centres (x, y) in pixels, in the domain.
    size
        The domain, or N pixels of a box.
    sigma
        Width σ in pixels.

    Returns
    -------
    Tensor
        ``(n, N, N)`` of the dtype of `mu`, on its device.

    Raises
    ------
    ValueError
        For a width that is not positive, centres outside the domain, or a size below 2.

    Examples
    --------
    >>> bump(torch.tensor([[2.0, 0.0]]), size=4)[0].argmax()      # row 0, column 2
    tensor(2)
    """
    row, column = _profiles(mu, size, sigma)
    return row * column


def sos(mu: Float[Tensor, "n 2"], size: int | Domain = 32, sigma: float = 1.0) -> Float[Tensor, "n N N"]:
    """Return images of a vertical plus a horizontal Gaussian stripe, g(j − μ_x) + g(i − μ_y), with values in [0, 2].

    A stripe whose centre is in the margin of a canvas is cut off, but for what its flank leaves in the frame (0.3 % of
    its height 3.4 σ from the nearest pixel): what is left has two stripes, one or none.

    Source: Liang et al. 2024, fig. 1 (2D Gaussian SOS) and fig. 9 (there the frame has 32 pixels and the canvas 44).
    `mu` has the x of the vertical stripe and the y of the horizontal one; parameters and errors as for :func:`bump`.
    """
    row, column = _profiles(mu, size, sigma)
    return row + column
