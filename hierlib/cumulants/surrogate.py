"""Gaussian data with the mean and the covariance of given data, and nothing else of it."""

import math
from dataclasses import dataclass

import torch

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Tensor

__all__ = ["Whitening", "gaussian_surrogate", "whiten"]

_SINGULAR = 1e-12            # ratio of variances below which a direction counts as empty


@dataclass(frozen=True, eq=False)
class Whitening:
    """The symmetric map x → C^{−1/2}(x − mean) to zero mean and unit covariance, and back; also of images.

    Made by :func:`whiten`, for data on any device. Source: Bell, Sejnowski 1997 (ZCA).

    Parameters
    ----------
    mean
        ``(d,)``, float64.
    root, inverse
        C^{1/2} and C^{−1/2}, symmetric ``(d, d)``, float64.
    """

    mean: Float[Tensor, " d"]
    root: Float[Tensor, "d d"]
    inverse: Float[Tensor, "d d"]

    def _flat(self, x: Tensor) -> Tensor:
        d = len(self.mean)
        checks.require(x.ndim >= 2 and math.prod(x.shape[1:]) == d, "x.shape", tuple(x.shape),
                       f"(n, …) with {d} numbers per sample")
        return x.flatten(1).double()

    def apply(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Return C^{−1/2}(x − mean) in the shape and dtype of `x`, ``(n, d)`` or images ``(n, C, H, W)``."""
        z = (self._flat(x) - self.mean.to(x.device)) @ self.inverse.to(x.device)
        return z.view(x.shape).to(x.dtype)

    def invert(self, z: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Return mean + C^{1/2} z, in the shape and dtype of `z`."""
        return (self._flat(z) @ self.root.to(z.device) + self.mean.to(z.device)).view(z.shape).to(z.dtype)


def _fit(x: Tensor) -> Whitening:
    checks.require(x.ndim >= 2 and x.is_floating_point() and bool(x.isfinite().all()), "x", (tuple(x.shape), x.dtype),
                   "a floating-point tensor of shape (n, d) or (n, C, H, W), all of it finite")
    n, d = len(x), math.prod(x.shape[1:])
    checks.require(n > d > 0, "x.shape", tuple(x.shape), f"of more samples than dimensions, but n = {n}, d = {d}: take "
                   "more samples or smaller patches")
    x = x.flatten(1).to(torch.float64, copy=True)
    mean = x.mean(0)
    x -= mean
    value, vector = torch.linalg.eigh(x.T @ x / (n - 1))
    if not value[0] > _SINGULAR * value[-1]:
        ratio, where = max(float(value[0]), 0) / (float(value[-1]) or 1.0), int(vector[:, 0].abs().argmax())
        raise ValueError(f"x: must vary in every direction, but its smallest variance is {ratio:.1e} of the largest, "
                         f"in a direction that is strongest in component {where} (flattened): leave out components "
                         "that are constant or depend linearly on others, or add a little noise")
    return Whitening(mean, (vector * value.sqrt()) @ vector.T, (vector * value.rsqrt()) @ vector.T)


def whiten(x: Float[Tensor, "n ..."]) -> tuple[Float[Tensor, "n ..."], Whitening]:
    """Whiten data symmetrically: of all white versions of x the one that is nearest to x.

    The sample mean becomes 0 and the sample covariance (divisor n − 1) the unit matrix, exactly. Source: Bell,
    Sejnowski 1997.

    Parameters
    ----------
    x
        ``(n, d)`` with n > d, or images ``(n, C, H, W)``, which are taken as vectors.

    Returns
    -------
    z, transform
        White data in the shape and dtype of `x`, and the map, for other data and for the way back.

    Raises
    ------
    ValueError
        For n ≤ d, numbers that are not finite, or data that do not vary in some direction.
    """
    transform = _fit(x)
    return transform.apply(x), transform


def gaussian_surrogate(x: Float[Tensor, "n ..."], seed: Seed = 0, *, n: int | None = None) -> Float[Tensor, "m ..."]:
    """Draw Gaussian data of the mean and covariance of `x`, without its higher cumulants.

    By default there are as many samples as in `x`, and their sample mean and covariance are *exactly* those of `x`,
    to the precision of the dtype: Gaussian noise is whitened by its own sample covariance, then coloured. An affine
    denoiser then has exactly the same loss on both sets. Source: Refinetti, Ingrosso, Goldt 2023 (Gaussian clones of
    images).

    Parameters
    ----------
    x
        ``(n, d)`` with n > d, or images ``(n, C, H, W)``.
    seed
        Integer or CPU ``torch.Generator``; the noise is drawn on the CPU.
    n
        Number of independent draws from N(mean, covariance) instead, whose sample moments then fluctuate as usual.

    Returns
    -------
    tensor
        In the dtype and on the device of `x`.

    Raises
    ------
    ValueError
        For no more samples in `x` than dimensions, numbers that are not finite, data that do not vary in some
        direction, or a bad n.
    """
    transform = _fit(x)
    count = len(x) if n is None else checks.integer("n", n, low=0)
    noise = torch.randn(count, len(transform.mean), generator=generator(seed, "gaussian_surrogate"),
                        dtype=torch.float64).to(x.device)
    white = whiten(noise)[0] if n is None else noise
    return transform.invert(white).view(count, *x.shape[1:]).to(x.dtype)
