"""The mixed cumulant model: one direction with a spike in the covariance, one with a spike in a higher cumulant.

    x_0 = √β_u λ u + S(√β_v ν v + z),    S = 1 − β_v/(1 + β_v + √(1 + β_v)) v vᵀ,    z ~ N(0, 1_d)

with orthogonal unit vectors u, v. The latent λ ~ N(0, 1) gives u the variance 1 + β_u. S takes the variance along v
back to 1, where x·v = (√β_v ν + z_v)/√(1 + β_v): nothing of v is left in the covariance unless λ and ν are correlated,
and what can be learnt of it is in the cumulants of ν. All latents ν have mean 0 and variance 1.
"""

import math

import numpy as np
import torch
from scipy.special import gammainc

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Tensor

__all__ = ["LATENTS", "MixedCumulantModel"]

LATENTS = ("independent", "sign", "abs", "laplace")

_MEDIAN = 0.6744897501960817          # of |λ|
_FAR = 11.0                           # P(|λ| > 11) = 4e-28


def _normal(n: int, rng: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Draw n numbers N(0, 1); fewer are the first ones of more, as torch fills in groups of 16."""
    return torch.randn(-(-n // 16) * 16, generator=rng, device=rng.device, dtype=dtype)[:n]


def latent_moment(latents: str, p: int, q: int) -> float:
    """Return E[λ^p ν^q] in closed form, for p, q ≥ 0."""
    absolute = 2 ** (p / 2) * math.gamma((p + 1) / 2) / math.sqrt(math.pi)                  # E|λ|^p
    plain = absolute if p % 2 == 0 else 0.0
    if q % 2 == 0:
        return plain * (math.factorial(q) / 2 ** (q / 2) if latents == "laplace" else 1.0)
    if latents == "sign":
        return absolute - plain
    return plain * (1 - 2 * float(gammainc((p + 1) / 2, _MEDIAN**2 / 2))) if latents == "abs" else 0.0


class MixedCumulantModel:
    """The mixed cumulant model with a covariance spike along u and a higher-order spike along v.

    Source: this book (reconstruction of Bardone, Merger, Goldt 2026; the whitening S is that of Bardone, Goldt 2024).

    Parameters
    ----------
    d
        Dimension, at least 2.
    beta_u, beta_v
        Strengths β_u, β_v ≥ 0 of the two spikes.
    latents
        Law of (λ, ν), where λ ~ N(0, 1) always: ``"independent"``, ν a fair coin ±1; ``"sign"``, ν = sign λ;
        ``"abs"``, ν = sign(\\|λ\\| − median), which is uncorrelated with λ but depends on it; ``"laplace"``, ν
        independent, Laplace of variance 1, whose fourth cumulant is +3 where the coin has −2.
    u, v
        Orthogonal unit vectors ``(d,)``; the first two axes by default. Kept in float64, made orthonormal to its
        precision.

    Raises
    ------
    ValueError
        For d below 2, negative or infinite strengths, unknown latents, or vectors that are not orthonormal to 1e-5.
    """

    def __init__(
        self, d: int, beta_u: float = 1.0, beta_v: float = 10.0, latents: str = "independent",
        u: Tensor | None = None, v: Tensor | None = None,
    ) -> None:
        self.d, self.latents = checks.integer("d", d, low=2), checks.one_of("latents", latents, LATENTS)
        self.beta_u, self.beta_v = checks.reals(0.0, beta_u=beta_u, beta_v=beta_v)
        given = []
        for name, x, axis in zip("uv", (u, v), torch.eye(2, self.d)):
            x = axis if x is None else x
            checks.require(isinstance(x, Tensor) and x.shape == (self.d,), name, tuple(getattr(x, "shape", ())),
                           f"a tensor of shape ({self.d},)")
            given.append(x.detach().to("cpu", torch.float64))
        uu, uv, vv = ((given[i] @ given[j]).item() for i, j in ((0, 0), (0, 1), (1, 1)))
        checks.require(max(abs(uu - 1), abs(uv), abs(vv - 1)) < 2e-5, "u·u, u·v, v·v", (uu, uv, vv),
                       "1, 0, 1, as u and v are orthogonal unit vectors (give both, or neither)")
        self.u = given[0] / math.sqrt(uu)
        rest = given[1] - (given[1] @ self.u) * self.u
        self.v = rest / rest.norm()
        self._axes: dict[tuple, tuple[Tensor, Tensor]] = {}              # u and v of devices and dtypes that drew

    # ---- closed forms

    @property
    def r2(self) -> float:
        """Share r² = β_v/(1 + β_v) of the latent in the unit variance along v."""
        return self.beta_v / (1 + self.beta_v)

    @property
    def cross(self) -> float:
        """Covariance c = √β_u r E[λν] of x·u and x·v."""
        return math.sqrt(self.beta_u * self.r2) * latent_moment(self.latents, 1, 1)

    @property
    def fourth_cumulant(self) -> float:
        """Fourth cumulant of x·v: κ₄ = −2r⁴ for ν = ±1, +3r⁴ for ``"laplace"``."""
        return (3 if self.latents == "laplace" else -2) * self.r2**2

    def covariance(self) -> Float[Tensor, "d d"]:
        """Return the covariance 1 + β_u u uᵀ + c (u vᵀ + v uᵀ), ``(d, d)`` float64 on the CPU."""
        uv = torch.outer(self.u, self.v)
        return torch.eye(self.d).to(self.u) + self.beta_u * torch.outer(self.u, self.u) + self.cross * (uv + uv.T)

    def latent_quadrature(
        self, order: int = 64
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"], Float[Tensor, " K"]]:
        """Return nodes λ, ν and weights with Σ_k weight_k g(λ_k, ν_k) = E g(λ, ν), float64 ``(K,)`` on the CPU.

        Gauss–Hermite in λ times the coin, or Gauss–Laguerre on each half-line of the Laplace law; where ν jumps with λ,
        Gauss–Legendre on the intervals between the jumps. Errors are near 1e-13 for g that grow polynomially and vary
        on the scale of 1; faster waves ask for a higher order, most of all with ``"laplace"``.

        Parameters
        ----------
        order
            Nodes per interval, in [2, 128]; K is 2 to 4 times that, and 2·order² for ``"laplace"``.

        Raises
        ------
        ValueError
            For an order out of range.
        """
        order = checks.integer("order", order, low=2, high=128)
        if self.latents in ("sign", "abs"):
            ends = [0.0, _FAR] if self.latents == "sign" else [0.0, _MEDIAN, _FAR]
            node, weight = np.polynomial.legendre.leggauss(order)
            half = np.diff(ends)[:, None] / 2
            lam = (np.array(ends[:-1])[:, None] + half * (node + 1)).ravel()
            weight = (half * weight).ravel() * np.exp(-(lam**2) / 2) / math.sqrt(2 * math.pi)
            lam, weight = np.concatenate([-lam, lam]), np.concatenate([weight, weight])
            nu = np.sign(lam if self.latents == "sign" else np.abs(lam) - _MEDIAN)
        else:
            lam, weight = np.polynomial.hermite_e.hermegauss(order)
            nu, other = (np.polynomial.laguerre.laggauss(order) if self.latents == "laplace" else
                         (np.array([math.sqrt(2)]), np.ones(1)))
            nu, other = np.concatenate([-nu, nu]) / math.sqrt(2), np.concatenate([other, other]) / 2
            lam, nu = (x.ravel() for x in np.meshgrid(lam, nu, indexing="ij"))
            weight = (weight[:, None] / math.sqrt(2 * math.pi) * other).ravel()
        return torch.from_numpy(lam), torch.from_numpy(nu), torch.from_numpy(weight)

    # ---- draws

    def _nu(self, lam: Tensor, rng: torch.Generator) -> Tensor:
        if self.latents == "sign":
            return torch.where(lam < 0, -1.0, 1.0).to(lam.dtype)
        if self.latents == "abs":
            return torch.where(lam.abs() < _MEDIAN, -1.0, 1.0).to(lam.dtype)
        wide = torch.float64 if self.latents == "laplace" else torch.float32
        draw = 2 * torch.rand(lam.shape, generator=rng, device=rng.device, dtype=wide)       # integer part: the sign
        sign = draw.floor().mul_(2).sub_(1)
        return (sign * -torch.log1p(-draw.frac()) / math.sqrt(2) if self.latents == "laplace" else sign).to(lam.dtype)

    def draw_latents(self, shape: tuple[int, ...], rng: torch.Generator, dtype: torch.dtype = torch.float32) -> tuple[
            Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """Draw λ and ν, tensors of the given `shape` and `dtype` on the device of the generator."""
        lam = torch.randn(shape, generator=rng, device=rng.device, dtype=dtype)
        return lam, self._nu(lam, rng)

    def _parts(self, n: int, seed: Seed, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Draw λ, ν and z, each from a stream of its own when the seed is an integer."""
        checks.require(dtype.is_floating_point, "dtype", dtype, "a real floating-point type")
        n = checks.integer("n", n, low=0)
        streams = [generator(seed, "MixedCumulantModel.sample", name) for name in ("lam", "nu", "z")]
        lam = _normal(n, streams[0], dtype)
        return lam, self._nu(lam, streams[1]), _normal(n * self.d, streams[2], dtype).view(n, self.d)

    def _assemble(self, lam: Tensor, nu: Tensor, z: Tensor) -> Tensor:
        if (key := (z.device, z.dtype)) not in self._axes:
            self._axes[key] = self.u.to(z), self.v.to(z)
        u, v = self._axes[key]
        along_v = math.sqrt(self.r2) * nu - (1 - 1 / math.sqrt(1 + self.beta_v)) * (z @ v)
        return torch.addr(z, math.sqrt(self.beta_u) * lam, u).addr_(along_v, v)

    def draw(self, n: int, rng: torch.Generator, dtype: torch.dtype = torch.float32) -> Float[Tensor, "n d"]:
        """Draw n points x_0 on the device of the generator, for loops that draw where they compute.

        The law is that of :meth:`sample`, the numbers are not, and they differ from one kind of device to another.
        """
        z = torch.randn(n, self.d, generator=rng, device=rng.device, dtype=dtype)
        return self._assemble(*self.draw_latents((n,), rng, dtype), z)

    def sample(
        self, n: int, seed: Seed = 0, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "n d"]:
        """Draw n points x_0, ``(n, d)``.

        They are drawn on the CPU and moved to `device`, so that they are the same everywhere. With one integer seed,
        a smaller n gives the first rows of a larger n (to rounding).

        Parameters
        ----------
        n
            How many, at least 0.
        seed
            Integer or CPU ``torch.Generator``.
        device, dtype
            Of the result; a smaller dtype gives other numbers, not rounded ones.

        Raises
        ------
        ValueError
            For a bad n or seed, or a dtype that is not real.
        """
        return self._assemble(*self._parts(n, seed, dtype)).to(device)

    def with_surrogate(
        self, n: int, seed: Seed = 0, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32,
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Draw n points x_0 and their Gaussian surrogates, ``(n, d)`` each, that share λ and z.

        In the surrogate ν is replaced by E[λν] λ + √(1 − E[λν]²) g with a new g ~ N(0, 1): Gaussian data of the same
        mean and covariance. The first is :meth:`sample` of the same seed; parameters and errors are as there.
        """
        lam, nu, z = self._parts(n, seed, dtype)
        c = latent_moment(self.latents, 1, 1)
        g = c * lam + math.sqrt(1 - c**2) * _normal(len(lam), generator(seed, "MixedCumulantModel.pair"), dtype)
        return self._assemble(lam, nu, z).to(device), self._assemble(lam, g, z).to(device)
