"""The loss landscape of one neuron over its overlaps with the spikes."""

from hierlib.cumulants.model import LATENTS
from hierlib.figures.core import InteractiveFigure
from hierlib.lab import checks

__all__ = ["ACTIVATIONS", "loss_landscape"]

ACTIVATIONS = ("sine", "tanh", "relu", "biased-relu", "sine-cosine")


def loss_landscape(
    *, activation: str = "sine", alpha_bar: float = 0.7, beta_u: float = 1.0, beta_v: float = 10.0, kappa: float = 0.5,
    latents: str = "independent", name: str = "landscape",
) -> InteractiveFigure:
    """Show the population loss of one tied neuron over its overlaps with the spikes u and v of the data.

    The reader chooses activation, law of the latents, noise level and strengths. The browser computes, by the
    quadrature of :func:`hierlib.cumulants.theory.population_loss`, L(α_u, α_v) − L(0) over the disc with paths of the
    mean flow of projected SGD, the loss along u and along v with its expansion to order 4, the coefficients ℓ_m, the
    information exponents, and the samples needed: σ²/(4C₂²) d ln d along u at the best step, 0.021 (σ²/C₄²) d³ along v
    at δ₀ = 9.1 C₄/σ².

    Source: a reconstruction of Bardone, Merger, Goldt 2026.

    Parameters
    ----------
    activation
        At the start: ``"sine"`` sin(1.5 s), ``"tanh"`` tanh(2 s), ``"relu"``, ``"biased-relu"`` max(0, s − ½),
        ``"sine-cosine"`` sin(1.5 s) + ½ cos(1.5 s).
    alpha_bar
        Signal ᾱ at the one noise level, 0.05 … 0.95.
    beta_u, beta_v
        Strengths of the spikes, 0 … 4 and 0 … 30.
    kappa
        Output strength of the neuron, −1 … 1.
    latents
        ``"independent"``, ``"sign"``, ``"abs"`` or ``"laplace"``, as in the mixed cumulant model.
    name
        Of the :class:`hierlib.figures.InteractiveFigure` that is returned.

    Raises
    ------
    ValueError
        For an unknown activation or law, a number out of range, or a name that is not allowed.

    Examples
    --------
    >>> loss_landscape(beta_v=20, name="strong").config["beta_v"]
    20.0
    """
    config = {
        "activation": checks.one_of("activation", activation, ACTIVATIONS),
        "latents": checks.one_of("latents", latents, LATENTS),
        "alpha_bar": checks.real("alpha_bar", alpha_bar, 0.05, 0.95), "beta_u": checks.real("beta_u", beta_u, 0, 4),
        "beta_v": checks.real("beta_v", beta_v, 0, 30), "kappa": checks.real("kappa", kappa, -1, 1),
    }
    return InteractiveFigure(name, config, "loss_landscape", "loss-landscape", "Loss landscape of one neuron")
