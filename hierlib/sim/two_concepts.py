"""Two concepts in two tied layers: closed forms of the swing-by, its height, and how it vanishes with the start.

Source: this book, for the model of Yang et al. 2025, eq. 4.3, started at W(0) = ω[[1, ρ], [ρ, 1]].
"""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from hierlib.lab import checks
from hierlib.lab.types import Tensor

__all__ = ["Entries", "critical", "entries", "loss_rise", "minor_peak"]

Value = float | int | Tensor        # a number, or a tensor of numbers that broadcasts with the other arguments


class Entries(NamedTuple):
    """Entries of W(t) for two concepts, the weaker first.

    Attributes
    ----------
    W11, W22
        What is learned of the weak and of the strong concept.
    W12
        The minor entry: how much of one concept is taken for the other.
    """

    W11: Tensor
    W22: Tensor
    W12: Tensor

    def loss(self, mu1: Value, mu2: Value) -> Tensor:
        """Return the loss ½|Wx̂ − x̂|² at the probe x̂ = (`mu1`, `mu2`)."""
        weak = mu1 * (1 - self.W11) - mu2 * self.W12
        strong = mu2 * (1 - self.W22) - mu1 * self.W12
        return (weak.square() + strong.square()) / 2


def entries(t: Value, rho: Value, omega: Value, a1: Value, a2: Value) -> Entries:
    """Return W(t) of two tied layers started at W(0) = ω[[1, ρ], [ρ, 1]], with a₁ < a₂, in V time.

    To leading order in ω, with r = a₁/a₂ and W₂₂ the logistic of rate 2a₂ that starts at ω,

        m = ρω e^{(a₁+a₂)t} [1 + ω(e^{2a₂t} − 1)]^{−(3+r)/4},   growth, then suppression by W₂₂;
        q = (1 − ρ²)ω e^{2a₁t},   W₁₁ = (q + m²/W₂₂)/(1 + q),   W₁₂ = m/√(1 + q),

    where q is the odds of a logistic that starts at the Schur complement (1 − ρ²)ω. All arguments broadcast. Exact as
    ω → 0: for r ≤ 0.4 and ρ ≤ 0.95 the loss is wrong by at most 3.4 % of its start at ω = 0.02 and by 0.6 % at 0.001,
    for r = 0.7 by 8 % and 4 %. Source: this book.

    Raises
    ------
    ValueError
        For ρ outside [−1, 1], ω outside (0, 1), rates that are not 0 < a₁ < a₂, or a negative t.

    Examples
    --------
    >>> W = entries(t=torch.linspace(0, 20, 201), rho=0.9, omega=0.01, a1=0.4, a2=1.0)
    >>> W.loss(0.63, 1.0).shape
    torch.Size([201])
    """
    t, rho, omega, a1, a2, *_ = _numbers(t, rho, omega, a1, a2)
    x = 2 * a2 * t + torch.logit(omega)
    w2 = torch.sigmoid(x)
    log_B = torch.log1p(-omega) + F.softplus(x)                   # of 1 + ω(e^{2a₂t} − 1), without overflow
    m = rho * omega * torch.exp((a1 + a2) * t - (3 + a1 / a2) / 4 * log_B)
    log_q = torch.log((1 - rho**2) * omega) + 2 * a1 * t
    learned, open_ = torch.sigmoid(log_q), torch.sigmoid(-log_q)  # q/(1 + q), 1/(1 + q)
    return Entries(learned + m**2 / w2 * open_, w2.expand_as(m), m * open_.sqrt())


def minor_peak(rho: Value, omega: Value, a1: Value, a2: Value) -> tuple[Tensor, Tensor]:
    """Return the V time of the largest minor entry W₁₂ of :func:`entries`, and its height.

    Growth and suppression balance at W₂₂ = 2(1 + r)/(3 + r), that is at ω e^{2a₂t} = (1 − ω)y with
    y = 2(1 + r)/(1 − r); there

        m = ρω (y/ω)^{(1+r)/2} (1 + y)^{−(3+r)/4} (1 − ω)^{−(1−r)/4},

    and the height is m/√(1 + q), q = (1 − ρ²)ω e^{2a₁t}: the weak concept's own learning at that moment lowers it.
    It vanishes with ω as ρω^{(1−r)/2}, so that the swing-by is an effect of a finite start. Source: this book.
    ValueError as :func:`entries`.
    """
    _, rho, omega, a1, a2, *_ = _numbers(0.0, rho, omega, a1, a2)
    r = a1 / a2
    y = 2 * (1 + r) / (1 - r)
    t = (torch.log(y) - torch.logit(omega)) / (2 * a2)
    m = rho * omega ** ((1 - r) / 2) * y ** ((1 + r) / 2) * (1 + y) ** (-(3 + r) / 4) * (1 - omega) ** (-(1 - r) / 4)
    height = m / (1 + (1 - rho**2) * omega * torch.exp(2 * a1 * t)).sqrt()
    return t.expand_as(height), height


def loss_rise(rho: Value, omega: Value, a1: Value, a2: Value, mu1: Value, mu2: Value) -> Tensor:
    """Return how far the loss at the probe (μ₁, μ₂) rises above its first minimum, as ω → 0 and for ρ > 0.

    The minimum lies late in the decay of the minor entry, where the strong concept's remaining error no longer hides
    it: ½μ₂²y⁻² − ρω^{(1−r)/2}μ₁μ₂y^{−κ} with κ = (1 − r)/4 is smallest over the odds y of W₂₂ at

        −μ₂²(1/κ − ½) (κρω^{(1−r)/2}μ₁/μ₂)^{2/(2−κ)}.

    So the rise of the loss falls as ω^{4(1−r)/(7+r)}, a little faster than the minor entry itself. An upper estimate,
    as it leaves out the weak concept's own learning: 10 % too high for r = 0.2 and ω = 10⁻⁶, and twice as high for
    r = 0.5 even at ω = 10⁻¹². Source: this book. ValueError as :func:`entries`, for ρ < 0, and for signals that are
    not positive.
    """
    _, rho, omega, a1, a2, mu1, mu2 = _numbers(0.0, rho, omega, a1, a2, mu1, mu2)
    checks.require(bool((rho >= 0).all()), "rho", rho, "at least 0: there is no swing-by otherwise")
    k = (1 - a1 / a2) / 4
    return mu2**2 * (1 / k - 0.5) * (k * rho * omega ** (2 * k) * mu1 / mu2) ** (2 / (2 - k))


def critical(omega: Value, a1: Value, a2: Value, mu1: Value, mu2: Value) -> Tensor:
    """Return ρ_c, the correlation above which the loss at the probe (μ₁, μ₂) rises, as ω → 0.

    For odds y ≫ 1 of W₂₂, and with κ = (1 − r)/4, only three terms of dL/d ln y remain,

        κρω^{2κ}μ₁μ₂ y^{−κ} − (1 − ρ²)rω^{4κ}μ₁² y^r − μ₂² y^{−2}:

    the minor entry decays, the weak concept grows from its Schur complement, the strong one's error vanishes. Their
    sum first reaches 0 where, with p = (1 + 3r)/4, s = (7 + r)/4, p + s = 2 + r, and β = s/(2 + r),

        ρ_c/(1 − ρ_c²)^β = (2 + r) p^{β−1} s^{−β} r^β (μ₁/μ₂)^{2β−1} ω^{(1−r)(3−r)/4(2+r)} / κ.

    So ρ_c → 0 with ω for every r < 1. Without diversity (μ₁/μ₂ = √r) it is too high for r = 0.1, 0.2, 0.3 by 0.1, 0.4
    and 1.3 % at ω = 10⁻⁵, by 3, 9 and 11 % at 10⁻². Source: this book. ValueError as :func:`entries`, and for signals
    that are not positive.
    """
    _, _, omega, a1, a2, mu1, mu2 = _numbers(0.0, 0.0, omega, a1, a2, mu1, mu2)
    r, x = a1 / a2, mu1 / mu2
    p, s = (1 + 3 * r) / 4, (7 + r) / 4
    beta = s / (2 + r)
    height = (2 + r) * p ** (beta - 1) * (r / s) ** beta * x ** (2 * beta - 1) * 4 / (1 - r)
    height = height * omega ** ((1 - r) * (3 - r) / (4 * (2 + r)))
    low = torch.zeros_like(height)
    for k in range(1, 54):                                        # bisection of an increasing function of ρ
        middle = low + 0.5**k
        low = torch.where(middle < height * (1 - middle**2) ** beta, middle, low)
    return low


def _numbers(
    t: Value, rho: Value, omega: Value, a1: Value, a2: Value, mu1: Value = 1.0, mu2: Value = 1.0,
) -> list[Tensor]:
    """Return all arguments as float64 tensors, on another device than the CPU if one of them is."""
    given = (t, rho, omega, a1, a2, mu1, mu2)
    device = next((x.device for x in given if isinstance(x, Tensor) and x.device.type != "cpu"), None)
    numbers = [torch.as_tensor(x, dtype=torch.float64, device=device) for x in given]
    t, rho, omega, a1, a2, mu1, mu2 = numbers
    for good, name, value, allowed in (
        (t >= 0, "t", t, "at least 0"), (rho.abs() <= 1, "rho", rho, "in [-1, 1]"),
        ((omega > 0) & (omega < 1), "omega", omega, "in (0, 1)"), (a1 > 0, "a1", a1, "positive"),
        (a1 < a2, "a2", a2, f"above a1 = {a1}: concept 2 is the stronger one"),
        (mu1 > 0, "mu1", mu1, "positive"), (mu2 > 0, "mu2", mu2, "positive"),
    ):
        checks.require(bool(good.all()), name, value, allowed)
    return numbers
