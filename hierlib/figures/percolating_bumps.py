"""Bumps that link up into clusters."""

from hierlib.figures.core import InteractiveFigure
from hierlib.lab import checks

__all__ = ["percolating_bumps"]


def percolating_bumps(
    *, size: int = 32, sigma: float = 1.0, theta: float = 0.05, count: int = 100, seed: int = 0, torus: bool = True,
    name: str = "drops",
) -> InteractiveFigure:
    """Show bumps dropped on a canvas, the clusters that their overlaps link, and the largest cluster's share of them.

    A bump is a Gaussian of width σ at a label (x, y) in [0, N)², N = `size` pixels; x is the column, y the row, which
    grows downwards. The normalised overlap of two bumps at distance Δ is o = exp(−Δ²/4σ²), on the torus with Δ to the
    nearest image; they are linked where o > θ, that is Δ < r = 2σ √ln(1/θ): where discs of radius r/2 about them
    overlap. The reader drops bumps one by one or at random, and chooses σ, θ, and torus or box. The browser finds the
    clusters, and the share of the largest one against η = M π(r/2)²/N² for the bumps shown and as mean ± standard
    deviation of 48 random draws, with the threshold of an infinite plane, η_c = 1.128 or M_c = (4η_c/π) N²/r²; whether
    a cluster winds around the torus, or touches opposite sides of the box with its discs; and beside it the rival
    without any cluster, the share of 64 × 64 labels with at least two bumps within 1.4 σ, and its expectation
    1 − e⁻ᵐ (1 + m), m = π (1.4)² M σ²/N². Two bumps of overlap θ exactly are drawn pixel by pixel.

    Source: overlap graph of Liang et al. 2024, fig. 6, with another normalisation; η_c: Mertens and Moore 2012.

    Parameters
    ----------
    size
        Pixels N per side, 12 … 64.
    sigma
        Width σ of the bumps in pixels at the start, 0.5 … N/12.
    theta
        Overlap threshold θ at the start, 0.005 … 0.5.
    count
        Number M of bumps at the start, at random places, 0 … 3000.
    seed
        Seed of the random places, 0 … 2³² − 1.
    torus
        Whether the canvas starts as a torus (opposite sides glued) or as a box.
    name
        Of the :class:`hierlib.figures.InteractiveFigure` that is returned.

    Raises
    ------
    ValueError
        For a number out of range, a `torus` that is no boolean, or a name that is not allowed.

    Examples
    --------
    >>> percolating_bumps(sigma=0.8, count=150)
    InteractiveFigure('drops', size=32, sigma=0.8, theta=0.05, count=150, seed=0, torus=True)
    """
    size = checks.integer("size", size, 12, 64)
    checks.require(isinstance(torus, bool), "torus", torus, "True or False")
    config = {
        "size": size, "sigma": checks.real("sigma", sigma, 0.5, size / 12),
        "theta": checks.real("theta", theta, 0.005, 0.5), "count": checks.integer("count", count, 0, 3000),
        "seed": checks.integer("seed", seed, 0, 2**32 - 1), "torus": torus,
    }
    return InteractiveFigure(name, config, "percolating_bumps", "bump-drops", "Bumps, their links and their clusters")
