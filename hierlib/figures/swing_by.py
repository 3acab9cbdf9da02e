"""How two concepts are learnt, and the detour of the output on the way."""

from hierlib.figures.core import InteractiveFigure
from hierlib.lab import checks

__all__ = ["swing_by"]


def swing_by(*, r: float = 0.4, rho: float = 0.9, omega: float = 0.01, name: str = "swing-by") -> InteractiveFigure:
    """Show how a two-layer linear model f = U Uᵀ x learns two concepts, and the output's detour on the way.

    The data are two clusters without spread (standard deviation σ = 0) at μ₁ and μ₂ on the axes, so that μ₁²/μ₂² = r =
    a₁/a₂; the start is W(0) = U Uᵀ = ω [[1, ρ], [ρ, 1]]. The reader chooses r, ρ and ω. The browser integrates
    dU/dt = A U − ½ (A W + W A) U, W = U Uᵀ, by Runge–Kutta steps of order 4 in the time a₂t (V time, twice the time
    of gradient flow on the loss), and evaluates the closed form beside it, an approximation good for r up to ½ and
    small ω. It shows the output at the probe x̂ = (μ₁, μ₂), the loss ½ ‖f(x̂) − x̂‖² with its ascents, W with the growth,
    suppression and noise terms of its three entries at a chosen time, and the place in the (r, ρ) plane with the
    boundary ρ_c(r) beyond which the loss ascends, however little: found by the sign of its derivative.

    Source: Yang et al. 2025, eq. 4.3 and the terms of its entries.

    Parameters
    ----------
    r
        Ratio a₁/a₂ of the second moments, weak to strong concept, at the start: 0.05 … 0.95.
    rho
        Correlation ρ of the two rows of U at initialisation, 0 … 0.99.
    omega
        Scale ω of the diagonal of W at initialisation, 0.0001 … 0.1.
    name
        Of the :class:`hierlib.figures.InteractiveFigure` that is returned.

    Raises
    ------
    ValueError
        For a number out of range, or a name that is not allowed.

    Examples
    --------
    >>> swing_by(rho=0.95)
    InteractiveFigure('swing-by', r=0.4, rho=0.95, omega=0.01)
    """
    config = {"r": checks.real("r", r, 0.05, 0.95), "rho": checks.real("rho", rho, 0, 0.99),
              "omega": checks.real("omega", omega, 1e-4, 0.1)}
    return InteractiveFigure(name, config, "swing_by", "swing-by", "Swing-by of two concepts")
