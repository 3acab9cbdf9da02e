"""Exact denoisers, E[x0 | x_t] in closed form, of Gaussian data and of a finite set of points: untrained oracles.

Callables ``(x_t, alpha_bar) -> x̂0`` on the device and in the dtype of `x_t`, for samples of any shape ``(n, …)``. They
compute in float32 at least, also under autocast.
"""

import torch

from hierlib.diffusion.gaussian import Level, amplitudes
from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor

__all__ = ["Empirical", "Wiener"]

SMALLEST = 1e-12        # a variance 1−ᾱ below it counts as this one, so that ᾱ = 1 is the limit ᾱ -> 1


def _wide(x: Tensor) -> Tensor:
    """Return `x` in float32 at least: in float16 a variance of 1e-12 is 0."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Wiener:
    """Posterior mean for Gaussian data N(m, C): x̂0 = m + a C (a²C + b²)⁻¹ (x_t − a m), the Wiener filter.

    With a = √ᾱ, b² = 1−ᾱ. For any data with this mean and covariance it is the best affine denoiser.
    Source: Wiener 1949.

    Parameters
    ----------
    mean
        m, ``(…)``: of the shape of one sample.
    covariance
        C, ``(d, d)``, of the flattened samples.

    Raises
    ------
    ValueError
        For a matrix that is not symmetric and positive semidefinite, or of another size; when called, for x_t of
        another shape, or ᾱ outside [0, 1].

    Examples
    --------
    >>> wiener = Wiener(torch.zeros(1), torch.eye(1))
    >>> wiener(torch.ones(1, 1), 0.36), round(wiener.mmse(0.36), 9)
    (tensor([[0.6000]]), 0.64)
    """

    def __init__(self, mean: Float[Tensor, "*shape"], covariance: Float[Tensor, "d d"]) -> None:
        self.mean, d = _wide(mean), mean.numel()
        checks.require(d > 0 and covariance.shape == (d, d), "covariance", tuple(covariance.shape),
                       f"of shape ({d}, {d}), and the mean of one component or more")
        rounding = 100 * torch.finfo(covariance.dtype).eps * covariance.abs().max()
        checks.require(bool(((covariance - covariance.T).abs() <= rounding).all()), "covariance", "not symmetric",
                       "a symmetric matrix of finite numbers")
        variances, self.vectors = torch.linalg.eigh(covariance.double())
        checks.require(bool(variances[0] >= -rounding), "covariance", f"of smallest eigenvalue {variances[0]:.3g}",
                       "positive semidefinite")
        self.variances = variances.where(variances > rounding / 10, 0.0)             # what is rounded up from 0 is 0

    @classmethod
    def fit(cls, x: Float[Tensor, "n *shape"]) -> "Wiener":
        """Return the filter of the mean and the covariance (divided by n) of samples `x`, in float64."""
        checks.require(len(x) > 0, "x", tuple(x.shape), "one sample or more")
        flat = x.flatten(1).double()
        centred = flat - flat.mean(0)
        return cls(flat.mean(0).reshape(x.shape[1:]), centred.T @ centred / len(x))

    def __call__(self, x_t: Float[Tensor, "n *shape"], alpha_bar: Level) -> Float[Tensor, "n *shape"]:
        """Return x̂0 = E[x0 | x_t]."""
        checks.require(x_t.shape[1:] == self.mean.shape, "x_t", tuple(x_t.shape),
                       f"of shape (n, *{tuple(self.mean.shape)})")
        with torch.autocast(x_t.device.type, enabled=False):
            x = _wide(x_t.reshape(len(x_t), self.mean.numel()))
            vectors, variances, mean = (y.to(x) for y in (self.vectors, self.variances, self.mean.flatten()))
            a, b = amplitudes(alpha_bar, x)
            y = a * variances / (a**2 * variances + (b**2).clamp(min=SMALLEST)) * ((x - a * mean) @ vectors)
            return (y @ vectors.T + mean).reshape(x_t.shape).to(x_t)

    def mmse(self, alpha_bar: float) -> float:
        """Return the error that is left for Gaussian data, tr[C − a²C(a²C+b²)⁻¹C]/d, per component.

        For any data with this mean and covariance it is the mean squared error of the filter.
        """
        a, b = amplitudes(alpha_bar, self.variances)
        noise = (b**2).clamp(min=SMALLEST)
        return float((self.variances * noise / (a**2 * self.variances + noise)).mean())


class Empirical:
    """Posterior mean over a finite set of points, the denoiser that has memorised them: x̂0 = Σ π_i x_i.

    π_i ∝ exp(−|x_t − √ᾱ x_i|²/(2(1−ᾱ))); at ᾱ = 1 it returns the nearest point.
    Source: Biroli, Bonnaire, de Bortoli, Mézard 2024.

    Parameters
    ----------
    data
        The points, ``(N, …)``: samples have the shape that follows N.

    Raises
    ------
    ValueError
        For no points; when called, for x_t of another shape, or ᾱ outside [0, 1].
    """

    def __init__(self, data: Float[Tensor, "N *shape"]) -> None:
        checks.require(data.numel() > 0, "data", tuple(data.shape), "one point or more, of one component or more")
        self.data, flat = data, _wide(data.flatten(1))
        self.centre = flat.mean(0)                                  # taken out, so that squares do not cancel
        self.offsets = flat - self.centre

    def __call__(self, x_t: Float[Tensor, "n *shape"], alpha_bar: Level) -> Float[Tensor, "n *shape"]:
        """Return x̂0 = E[x0 | x_t]."""
        shape = tuple(self.data.shape[1:])
        checks.require(x_t.shape[1:] == shape, "x_t", tuple(x_t.shape), f"of shape (n, *{shape})")
        with torch.autocast(x_t.device.type, enabled=False):
            x = _wide(x_t.reshape(len(x_t), self.centre.numel()))
            points, centre, (a, b) = self.offsets.to(x), self.centre.to(x), amplitudes(alpha_bar, x)
            # −½|x_t − a x_i|²/b² without what is the same for all points
            logits = a * ((x - a * centre) @ points.T) - a**2 / 2 * points.square().sum(1)
            weights = (logits / (b**2).clamp(min=SMALLEST)).softmax(-1)
            return (weights @ points + centre).reshape(x_t.shape).to(x_t)
