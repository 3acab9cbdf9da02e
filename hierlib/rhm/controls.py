"""Controls for the susceptibility of a U-turn: data without a hierarchy.

A Gaussian random field has long-range correlations but no latent tree: χ grows smoothly, without a peak. A flat
mixture (one latent class, independent tokens given it) has a class transition and a peak of χ, yet correlations
that do not depend on the distance. So a peak alone proves no hierarchy; the decay of C(r) has to be looked at.
Source: Sclocchi, Favero, Levi, Wyart 2025 (Gaussian control).
"""

from dataclasses import dataclass

import numpy as np
import torch

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Bool, Float, Int, Numbers, Tensor

__all__ = ["FlatMixture", "gaussian_field_susceptibility"]


def gaussian_field_susceptibility(alpha_bar: Numbers, spectrum: Numbers) -> Numbers:
    """Return χ of a Gaussian field's U-turn at signal ᾱ, exactly.

    With noise-to-signal ratio τ = (1 − ᾱ)/ᾱ, a mode of variance c has posterior variance c τ/(c + τ) and
    posterior mean x_t c/(c + τ)/√ᾱ. At fixed x0 the displacement x̂ − x0 then has the spectrum
    C(k) = (1 + c/(c + τ)) c τ/(c + τ), and χ = C(0)/mean_k C(k). Source: after the control of Sclocchi et al. 2025.

    Parameters
    ----------
    alpha_bar
        Signal in (0, 1), any shape.
    spectrum
        Variances c_k > 0 of all Fourier modes, ``spectrum[0]`` the uniform one.

    Returns
    -------
    array of the shape of `alpha_bar`

    Raises
    ------
    ValueError
        For ᾱ outside (0, 1) or a spectrum that is not positive.
    """
    alpha_bar, c = np.asarray(alpha_bar, dtype=float), np.asarray(spectrum, dtype=float)
    checks.require(bool(np.all((alpha_bar > 0) & (alpha_bar < 1))), "alpha_bar", alpha_bar, "in (0, 1)")
    checks.require(c.ndim == 1 and c.size > 0 and bool(np.all(c > 0)), "spectrum", c, "one-dimensional and positive")
    tau = ((1 - alpha_bar) / alpha_bar)[..., None]
    C = (1 + c / (c + tau)) * c * tau / (c + tau)
    return C[..., 0] / C.mean(-1)


@dataclass(frozen=True, eq=False)
class FlatMixture:
    """v classes; at each of d positions a class allows m of v tokens, drawn uniformly and independently.

    Strings may be on any device.

    Parameters
    ----------
    allowed
        int64 ``(v, d, m)``: the tokens that class a allows at position i, distinct.
    """

    allowed: Int[Tensor, "v d m"]

    @classmethod
    def random(cls, v: int, m: int, d: int, seed: int = 0) -> "FlatMixture":
        """Draw the allowed tokens; ValueError for v < 2, d < 1 or m outside 1 … v."""
        v, d = checks.integer("v", v, low=2), checks.integer("d", d, low=1)
        m = checks.integer("m", m, low=1, high=v)
        order = torch.rand((v, d, v), generator=generator(seed, "FlatMixture.random"), dtype=torch.float64)
        return cls(order.argsort(-1)[..., :m])

    def to(self, device: torch.device | str) -> "FlatMixture":
        """Return the same mixture with its table on `device`."""
        return FlatMixture(self.allowed.to(device))

    def sample(self, n: int, seed: Seed = 0) -> tuple[Int[Tensor, "n d"], Int[Tensor, " n"]]:
        """Return `n` strings ``(n, d)`` and their classes ``(n,)``, drawn on the CPU, on the device of the table."""
        n, gen, (v, d, m) = checks.integer("n", n, 0), generator(seed, "FlatMixture.sample"), self.allowed.shape
        label = torch.randint(v, (n,), generator=gen)
        return self._write(label, torch.randint(m, (n, d), generator=gen)), label.to(self.allowed.device)

    def _write(self, label: Int[Tensor, " n"], choice: Int[Tensor, "n d"]) -> Int[Tensor, "n d"]:
        return self.allowed[label].gather(-1, choice[..., None].to(self.allowed.device))[..., 0]

    def class_posterior(self, x0: Int[Tensor, "n d"], hidden: Bool[Tensor, "n d"]) -> Float[Tensor, "n v"]:
        """Return the exact posterior of the class given the tokens that are not hidden, float64 ``(n, v)``.

        ValueError, naming the row, where no class allows what is seen.
        """
        v, d, _ = self.allowed.shape
        table = torch.zeros(v, d, v, dtype=torch.bool, device=x0.device).scatter_(-1, self.allowed.to(x0.device), True)
        fits = table[:, torch.arange(d, device=x0.device), x0]     # (class, n, d): class allows the token
        possible = (fits | hidden).all(-1).T.double()
        total = possible.sum(-1, keepdim=True)
        if (total == 0).any():
            raise ValueError(f"x0[{int(total.argmin())}] is impossible: no class allows all of its visible tokens")
        return possible / total

    def u_turn(
        self, x0: Int[Tensor, "n d"], hidden: Bool[Tensor, "n d"], *, samples: int = 1, seed: Seed = 0
    ) -> Bool[Tensor, "n samples d"]:
        """Draw exact posterior samples for masked strings; return which tokens keep their value."""
        gen, (_, d, m) = generator(seed, "FlatMixture.u_turn"), self.allowed.shape
        label = torch.multinomial(self.class_posterior(x0, hidden).cpu(), samples, replacement=True, generator=gen)
        drawn = self._write(label.flatten(), torch.randint(m, (label.numel(), d), generator=gen)).to(x0.device)
        return (drawn.view(*label.shape, d) == x0[:, None]) | ~hidden[:, None]
