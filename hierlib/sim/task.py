"""The structured identity mapping (SIM) task: clusters on the axes, one per concept, and a probe that combines them.

Cluster p = 1..s lies at μ_p e_p in d ≥ s dimensions, Gaussian with standard deviation σ_k along axis k ≤ s and 0 along
the others; a further one may lie at the origin. The target of a point is the point itself. What a linear map W learns
from it depends on the second moment alone, A = E[x xᵀ] = diag(a): its loss is ½‖(W − 1)A^{1/2}‖².
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["Task"]

_MAX_FAMILY = 12                  # concepts; 4096 corners, whose pairs are a matrix of 16 million


class Task:
    """The structured identity mapping task with s concepts in d dimensions.

    The concepts may come in any order of strength. Source: Yang et al. 2025, sect. 2.1 (the cluster at the origin:
    their experiments with two concepts).

    Parameters
    ----------
    mu
        Signal strengths μ_p > 0, s numbers.
    sigma
        Diversities σ_p ≥ 0, s numbers or one for all. They are **standard deviations**, as in the paper's text; the
        paper's code for trained networks uses a number of this name as a variance, so that its 0.05 is √0.05 here.
    d
        Dimension, at least s; s by default.
    origin
        Whether there is one more cluster, at the origin.

    Attributes
    ----------
    mu, sigma
        ``(s,)`` float64 on the CPU.
    s, d, clusters
        Numbers of concepts, dimensions and clusters (s, or s + 1 with the one at the origin).
    origin
        As given.

    Raises
    ------
    ValueError
        For strengths that are not positive, diversities that are negative or not s, or d below s.
    """

    def __init__(
        self, mu: Sequence[float] | np.ndarray | Tensor, sigma: float | Sequence[float] | np.ndarray | Tensor,
        d: int | None = None, origin: bool = False,
    ) -> None:
        self.mu: Float[Tensor, " s"] = _vector(
            "mu", mu, lambda mu: mu.ndim == 1 and len(mu) > 0 and bool((mu > 0).all()),
            "positive finite numbers, one per concept")
        self.s = len(self.mu)
        self.sigma: Float[Tensor, " s"] = _vector(
            "sigma", sigma, lambda sigma: sigma.shape in ((), (self.s,)) and bool((sigma >= 0).all()),
            f"one number or s = {self.s} of them, finite and non-negative: standard deviations").expand(self.s).clone()
        self.d = self.s if d is None else checks.integer("d", d, low=self.s)
        checks.require(isinstance(origin, bool), "origin", origin, "True or False")
        self.origin = origin
        self.clusters = self.s + origin

    def __repr__(self) -> str:
        """Name the parameters."""
        return f"Task(mu={self.mu.tolist()}, sigma={self.sigma.tolist()}, d={self.d}, origin={self.origin})"

    # ---- closed forms

    def second_moment(self) -> Float[Tensor, " d"]:
        """Return a, the diagonal of A = E[x xᵀ], ``(d,)`` float64 on the CPU; the rest of A is 0.

        a_p = σ_p² + μ_p²/s for p ≤ s, with 1/(s + 1) in place of 1/s if there is a cluster at the origin, and 0
        beyond. It is not centred: the mean is part of what is learnt.
        """
        return F.pad(self.sigma**2 + self.mu**2 / self.clusters, (0, self.d - self.s))

    @property
    def probe(self) -> Float[Tensor, " d"]:
        """The point x̂ = Σ_p μ_p e_p that has all concepts and no training data, ``(d,)`` float64 on the CPU."""
        return F.pad(self.mu, (0, self.d - self.s))

    def family(self) -> tuple[Int[Tensor, "V s"], Float[Tensor, "V d"]]:
        """Return all V = 2^s subsets of the concepts, and the probes x̂(v) = Σ_p v_p μ_p e_p that have them.

        Returns
        -------
        v
            0 and 1, int64 ``(V, s)``, counting in binary: from none, over concept s alone (row 1), to all.
        points
            x̂(v), float64 ``(V, d)``; rows with a single 1 are the centres of clusters.

        Raises
        ------
        ValueError
            For more than 12 concepts.
        """
        s = checks.integer("s", self.s, low=1, high=_MAX_FAMILY)
        v = (torch.arange(2**s)[:, None] >> torch.arange(s - 1, -1, -1) & 1).cpu()
        return v, F.pad(v * self.mu, (0, self.d - self.s))

    def comparable(self) -> Int[Tensor, "P 2"]:
        """Return the indices (i, j) of all pairs v_i < v_j of the :meth:`family`: all of v_i is in v_j, and more.

        The partial order of the subsets in which they are expected to be learnt; P = 3^s − 2^s.
        """
        v = self.family()[0].double()
        below = v @ (1 - v).T == 0                                          # v_i has nothing that v_j lacks
        return (below & ~below.T).nonzero()

    # ---- draws

    def sample(
        self, n: int, seed: Seed = 0, *, labels: bool = False, device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "n d"] | tuple[Float[Tensor, "n d"], Int[Tensor, " n"]]:
        """Draw n points, in equal shares from all clusters and in random order; the target of each is itself.

        Every cluster occurs once in each run of as many rows as there are clusters, so that the shares are equal to
        within one point. The numbers are drawn on the CPU and moved to `device`, the same everywhere; with one integer
        seed a smaller n gives the first rows of a larger one.

        Parameters
        ----------
        n
            How many, at least 0.
        seed
            Integer or CPU ``torch.Generator``.
        labels
            Whether to return the clusters as well, 0 to s − 1, and s for the one at the origin.
        device, dtype
            Of the points; a smaller dtype gives other numbers, not rounded ones.

        Returns
        -------
        Points ``(n, d)`` or, with `labels`, points and int64 ``(n,)``.

        Raises
        ------
        ValueError
            For a bad n or seed, or a dtype that is not real.
        """
        n = checks.integer("n", n, low=0)
        checks.require(dtype.is_floating_point, "dtype", dtype, "a real floating-point type")
        order, noise = (generator(seed, "Task.sample", name) for name in ("order", "noise"))
        rounds = torch.rand(-(-n // self.clusters), self.clusters, generator=order, dtype=torch.float64)
        cluster = rounds.argsort(1).flatten()[:n]
        x = F.pad(self.mu.diag(), (0, self.d - self.s, 0, self.clusters - self.s)).to(dtype)[cluster]
        z = torch.randn(-(-n // 16) * 16, self.s, generator=noise, dtype=dtype)[:n]    # torch fills in groups of 16
        x[:, :self.s] += z * self.sigma.to(dtype)
        return (x.to(device), cluster.to(device)) if labels else x.to(device)


def _vector(name: str, value: object, good: Callable[[Tensor], bool], allowed: str) -> Tensor:
    """Return numbers as float64 on the CPU, after a check."""
    try:
        vector = torch.as_tensor(value, dtype=torch.float64).detach().cpu().clone()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} = {value!r}: must be numbers, one per concept") from None
    checks.require(bool(vector.isfinite().all()) and good(vector), name, value, allowed)
    return vector
