"""Exact denoisers, E[x0 | x_t] in closed form: for Gaussian data, mixtures of Gaussians, and a finite set of points.

All are callables ``(x_t, alpha_bar) -> x̂0`` on the device and in the dtype of `x_t`, for samples of any shape
``(n, …)``, and need no training: oracles for networks and samplers. They compute in float32 at least, also under
autocast. Chapter *Simplicity bias*.
"""

import torch

from hierlib.diffusion.gaussian import Level, amplitudes
from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor

__all__ = ["Empirical", "GaussianMixture", "Wiener"]

SMALLEST = 1e-12        # a variance 1−ᾱ below it counts as this one, so that ᾱ = 1 is the limit ᾱ -> 1
ENTRIES = 2**24         # of a table of samples × centres that is made at a time


def _decompose(covariance: Tensor, d: int) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (d,) and eigenvectors (d, d) in float64; ValueError unless it is a covariance."""
    checks.require(covariance.shape == (d, d), "covariance", tuple(covariance.shape), f"of shape ({d}, {d})")
    rounding = 100 * torch.finfo(covariance.dtype).eps * covariance.abs().max()
    checks.require(bool(((covariance - covariance.T).abs() <= rounding).all()), "covariance", "not symmetric",
                   "a symmetric matrix of finite numbers")
    variances, vectors = torch.linalg.eigh(covariance.double())
    checks.require(bool(variances[0] >= -rounding), "covariance", f"of smallest eigenvalue {variances[0]:.3g}",
                   "positive semidefinite")
    return variances.where(variances > rounding / 10, 0.0), vectors        # what is rounded up from 0 is 0


def _wide(x: Tensor) -> Tensor:
    """Return `x` in float32 at least: in float16 a variance of 1e-12 is 0."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class GaussianMixture:
    """Posterior mean for a mixture of Gaussians of one covariance C, x0 ~ Σ_k p_k N(m_k, C).

    With a = √ᾱ, b² = 1−ᾱ, the posterior weights are π_k ∝ p_k N(x_t; a m_k, a²C + b²), m̄ = Σ π_k m_k, and
    x̂0 = m̄ + a C (a²C + b²)⁻¹ (x_t − a m̄). Explained in the chapter *Simplicity bias*; source: this book (Bayes).

    Parameters
    ----------
    means
        Centres m_k, ``(K, …)``; samples have the shape that follows K.
    covariance
        C, ``(d, d)`` with d the number of components of a centre; None is C = 0, a mixture of points.
    weights
        p_k > 0, ``(K,)``, of any scale; by default equal.

    Raises
    ------
    ValueError
        For no centres, a matrix that is not a covariance, or weights that are not positive; when called, for x_t of
        another shape, or ᾱ outside [0, 1].
    """

    def __init__(
        self, means: Float[Tensor, "K *shape"], covariance: Float[Tensor, "d d"] | None = None,
        weights: Float[Tensor, "K"] | None = None,
    ) -> None:
        checks.require(means.numel() > 0, "means", tuple(means.shape), "one centre or more, of one component or more")
        K, self.shape = len(means), tuple(means.shape[1:])
        flat = _wide(means.reshape(K, -1))
        self.d = flat.shape[1]
        self.centre = flat.mean(0)                          # taken out, so that squares do not cancel
        self.variances, self.vectors = torch.zeros_like(flat[0, :1]), None
        self.offsets = flat - self.centre
        if covariance is not None:
            self.variances, self.vectors = _decompose(covariance, self.d)
            self.offsets = self.offsets.to(self.vectors) @ self.vectors         # in the eigenvectors' basis
        weights = torch.ones_like(flat[:, 0]) if weights is None else weights
        checks.require(weights.shape == (K,) and bool(((weights > 0) & weights.isfinite()).all()), "weights", weights,
                       f"{K} positive numbers")
        self.log_weights = weights.double().log()           # their sum does not matter

    def weights(self, x_t: Float[Tensor, "n *shape"], alpha_bar: Level) -> Float[Tensor, "n K"]:
        """Return the posterior probabilities of the centres."""
        with torch.autocast(x_t.device.type, enabled=False):
            return self._posterior(*self._rotated(x_t, alpha_bar)).to(x_t)

    def __call__(self, x_t: Float[Tensor, "n *shape"], alpha_bar: Level) -> Float[Tensor, "n *shape"]:
        """Return x̂0 = E[x0 | x_t]."""
        chunk = max(1, ENTRIES // max(len(self.offsets), self.d))
        per_sample = isinstance(alpha_bar, Tensor) and alpha_bar.ndim > 0
        checks.require(not per_sample or len(alpha_bar) == len(x_t), "alpha_bar", alpha_bar, "one number a sample")
        with torch.autocast(x_t.device.type, enabled=False):
            parts = [self._denoise(x_t[i:i + chunk], alpha_bar[i:i + chunk] if per_sample else alpha_bar)
                     for i in range(0, max(len(x_t), 1), chunk)]
        return torch.cat(parts)

    def _denoise(self, x_t: Tensor, alpha_bar: Level) -> Tensor:
        y, a, variance = self._rotated(x_t, alpha_bar)
        m = self._posterior(y, a, variance) @ self.offsets.to(y)
        m = m + a * self.variances.to(y) / variance * (y - a * m)
        m = m if self.vectors is None else m @ self.vectors.to(y).T
        return (m + self.centre.to(y)).reshape(x_t.shape).to(x_t)

    def _rotated(self, x_t: Tensor, alpha_bar: Level) -> tuple[Tensor, Tensor, Tensor]:
        """Return x_t − a·centre in the eigenvectors' basis, a, and the variances a²λ + b² there."""
        checks.require(tuple(x_t.shape[1:]) == self.shape, "x_t", tuple(x_t.shape), f"of shape (n, *{self.shape})")
        x = _wide(x_t.reshape(len(x_t), self.d))
        a, b = amplitudes(alpha_bar, x)
        y = x - a * self.centre.to(x)
        y = y if self.vectors is None else y @ self.vectors.to(x)
        return y, a, a**2 * self.variances.to(x) + (b**2).clamp(min=SMALLEST)

    def _posterior(self, y: Tensor, a: Tensor, variance: Tensor) -> Tensor:
        m = self.offsets.to(y)
        # −½ Σ_i (y_i − a m_i)²/s_i without what is the same for all centres
        if self.vectors is None:
            logits = (a * (y @ m.T) - a**2 / 2 * m.square().sum(1)) / variance
        else:
            logits = (a * y / variance) @ m.T - a**2 / 2 * ((1 / variance) @ m.square().T)
        return (logits + self.log_weights.to(y)).softmax(-1)


class Wiener(GaussianMixture):
    """Posterior mean for Gaussian data N(m, C): x̂0 = m + a C (a²C + b²)⁻¹ (x_t − a m), the Wiener filter.

    For any data with this mean and covariance it is the best affine denoiser. Explained in the chapter *Simplicity
    bias*; source: Wiener 1949.

    Parameters
    ----------
    mean
        m, ``(…)``: of the shape of one sample.
    covariance
        C, ``(d, d)``, of the flattened samples.

    Raises
    ------
    ValueError
        For a matrix that is not symmetric and positive semidefinite, or of another size; when called, as
        :class:`GaussianMixture`.

    Examples
    --------
    >>> wiener = Wiener(torch.zeros(1), torch.eye(1))
    >>> wiener(torch.ones(1, 1), 0.36), round(wiener.mmse(0.36), 9)
    (tensor([[0.6000]]), 0.64)
    """

    def __init__(self, mean: Float[Tensor, "*shape"], covariance: Float[Tensor, "d d"]) -> None:
        super().__init__(mean[None], covariance)

    @classmethod
    def fit(cls, x: Float[Tensor, "n *shape"]) -> "Wiener":
        """Return the filter of the mean and the covariance (divided by n) of samples `x`, in float64."""
        checks.require(len(x) > 0, "x", tuple(x.shape), "one sample or more")
        flat = x.flatten(1).double()
        centred = flat - flat.mean(0)
        return cls(flat.mean(0).reshape(x.shape[1:]), centred.T @ centred / len(x))

    def mmse(self, alpha_bar: float) -> float:
        """Return the error that is left for Gaussian data, tr[C − a²C(a²C+b²)⁻¹C]/d, per component.

        For any data with this mean and covariance it is the mean squared error of the filter.
        """
        a, b = amplitudes(alpha_bar, self.variances)
        noise = (b**2).clamp(min=SMALLEST)
        return float((self.variances * noise / (a**2 * self.variances + noise)).mean())


class Empirical(GaussianMixture):
    """Posterior mean over a finite set of points, the denoiser that has memorised them: x̂0 = Σ π_i x_i.

    π_i ∝ exp(−|x_t − a x_i|²/(2b²)); at ᾱ = 1 it returns the nearest point. Explained in the chapter *Simplicity
    bias*; source: Biroli, Bonnaire, de Bortoli, Mézard 2024.

    Parameters
    ----------
    data
        The points, ``(N, …)``.

    Raises
    ------
    ValueError
        For no points; when called, as :class:`GaussianMixture`.
    """

    def __init__(self, data: Float[Tensor, "N *shape"]) -> None:
        super().__init__(data)
