"""Conditional diffusion models, many at once: small networks, each on a training set of its own, trained as one.

A network is called as ``network(x_t, alpha_bar, condition)``. A phenomenon's class of denoisers says which data, which
network and what is measured of the images that are drawn: :class:`hierlib.bumps.BumpDenoisers`,
:class:`hierlib.sim.ConceptDenoisers`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hierlib.diffusion import gaussian
from hierlib.diffusion.schedule import draw_alpha_bar, grid
from hierlib.lab import Report, checks, generator, spawn, train
from hierlib.lab.types import Float, Tensor
from hierlib.nets import Ensemble, chunked_loss

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Denoisers", "check_inputs"]

FIRST_SIGNAL = 1e-4         # ᾱ where sampling starts if noise is predicted and the schedule ends at 0


def check_inputs(x: Tensor, c: Tensor, *shape: int) -> None:
    """Raise ``ValueError`` unless `x` and `c` are data ``(n, …)`` and conditions ``(n, k)`` of this shape (…, k)."""
    checks.require(x.shape[1:] == shape[:-1], "x", tuple(x.shape), f"of shape (n, {', '.join(map(str, shape[:-1]))})")
    checks.require(c.shape == (len(x), shape[-1]), "c", tuple(c.shape), f"{(len(x), shape[-1])}")


class Denoisers:
    """Ensemble of conditional diffusion models, `seeds` networks per training set.

    Member i is trained on set i // seeds, from the first weights and with the random numbers of its own or, `paired`,
    with those of its seed i % seeds in all sets: what differs between the sets is then due to the data.

    Source: Ho, Jain, Abbeel 2020 (loss); Song, Meng, Ermon 2021 (DDIM).

    Parameters
    ----------
    sets
        Training sets: a pair of data ``(n, …)`` and conditions ``(n, k)`` each, whose n may differ.
    network
        ``network(seed) -> module`` called with (x_t, ᾱ, condition).
    seeds
        Networks per set.
    predicts
        "data", "noise" or "velocity", as :class:`hierlib.diffusion.gaussian.Denoiser` has them.
    batch
        Examples per step and member, drawn with replacement.
    common
        Whether the noises and levels of a step are the same for all members or, `paired`, all that is drawn for all
        seeds: faster, but no longer independent replicas.
    steps
        Of the sampler (DDIM).
    seed, device
        Of first weights, fixed noises and, unless another is given, training; where.
    chunk
        Members that are trained and asked at a time, fewer where all of them do not fit a GPU; None for all. It changes
        no result.
    schedule
        Of the noise, as :func:`hierlib.diffusion.schedule.draw_alpha_bar` takes it. The times of a minibatch are
        stratified (Kingma et al. 2021, appendix I.1), by which short trainings need fewer steps.
    paired
        See above; the sets are then of one size.
    labels
        Columns of :meth:`table` that say what the sets are: name and one value per set.

    Raises
    ------
    ValueError
        For no sets or such as do not fit together, an unknown prediction or schedule, or numbers out of range.
    """

    model: gaussian.Denoiser
    """The ensemble, to be trained."""

    def __init__(
        self, sets: Sequence[tuple[Float[Tensor, "..."], Float[Tensor, "..."]]], network: Callable[[int], nn.Module],
        seeds: int = 1, predicts: str = "data", *, batch: int = 64, common: bool = False, steps: int = 10,
        seed: int = 0, device: torch.device | str = "cpu", chunk: int | None = None,
        schedule: str | Callable = "cosine", paired: bool = False, labels: dict[str, Sequence[float]] | None = None,
    ) -> None:
        self.seeds, self.batch, self.steps = checks.integers(1, seeds=seeds, batch=batch, steps=steps)
        kinds = {(*x0.shape[1:], *c.shape[1:]) for x0, c in sets}
        checks.require(len(kinds) == 1, "sets", f"{len(sets)} with (…, k) = {sorted(kinds)}", "one or more, alike")
        self.sizes = torch.tensor([len(x0) for x0, _ in sets])
        checks.require(not paired or len(self.sizes.unique()) == 1, "sets", f"of sizes {self.sizes.tolist()}",
                       "of one size where they are paired")
        self.starts = self.sizes.cumsum(0) - self.sizes
        self.x0 = torch.cat([x0 for x0, _ in sets]).to(device)                       # (total, …)
        self.c = torch.cat([c for _, c in sets]).to(self.x0)                         # (total, k)
        self.common, self.paired, self.seed, self.chunk = common, paired, seed, chunk
        self.schedule, self.labels = schedule, labels or {}
        copies = len(sets) if paired else 1
        members = [network(k) for k in spawn(seed, len(self) // copies, "Denoisers.weights")] * copies
        self.model = gaussian.Denoiser(Ensemble(members, chunk), predicts, 2).to(self.x0)

    def __len__(self) -> int:
        return len(self.sizes) * self.seeds

    def spread(self, x: Tensor) -> Tensor:
        """Return as ``(members, …)`` what is ``(sets, seeds, …)``, with 1 for either where it is common."""
        return x.expand(len(self.sizes), self.seeds, *x.shape[2:]).flatten(0, 1)

    def loss(self, model: nn.Module, rng: torch.Generator) -> Float[Tensor, "members"]:
        """Return each member's loss, of what it predicts, on one minibatch, as :func:`hierlib.lab.train` wants it."""
        x0, c = self.minibatch(rng)
        lead = 1 if self.paired or self.common else len(self.sizes), 1 if self.common else self.seeds
        noise = torch.randn(*lead, *x0.shape[1:], generator=rng, dtype=x0.dtype).to(x0.device)
        level = self.signals(rng, *lead, self.batch)
        return chunked_loss(gaussian.loss, model, x0, self.spread(level), self.spread(noise), c, chunk=self.chunk)

    def minibatch(self, rng: torch.Generator) -> tuple[Float[Tensor, "..."], Float[Tensor, "members batch k"]]:
        """Return data ``(members, batch, …)`` and conditions of examples of each member's set, with replacement."""
        if self.paired:
            rows = torch.randint(int(self.sizes[0]), (1, 1 if self.common else self.seeds, self.batch), generator=rng)
        else:
            share = torch.rand(len(self.sizes), self.seeds, self.batch, generator=rng, dtype=torch.float64)
            rows = (share * self.sizes[:, None, None]).long()
        rows = self.spread(self.starts[:, None, None] + rows).to(self.x0.device)
        return self.x0[rows], self.c[rows]

    def signals(self, rng: torch.Generator, *shape: int) -> Float[Tensor, "..."]:
        """Return random signals ᾱ of this shape; along the last axis, a minibatch, their times are stratified."""
        return torch.cat([draw_alpha_bar(shape[-1], rng, schedule=self.schedule, stratified=True, dtype=self.x0.dtype)
                          for _ in range(math.prod(shape[:-1]))]).view(shape).to(self.x0)

    @torch.no_grad()
    def sample(self, conditions: Float[Tensor, "... n k"], model: nn.Module | None = None) -> Float[Tensor, "..."]:
        """Return what all members draw, ``(members, n, …)``, by DDIM from the same n noises at each call.

        For the same conditions ``(n, k)`` or each set's own, ``(sets, n, k)``.
        """
        c, model = self.conditions(conditions), self.model if model is None else model
        ends = grid(1, self.schedule)[0] == 0       # in pure noise, of which a prediction of the noise says nothing
        way = grid(self.steps, self.schedule, start=FIRST_SIGNAL if ends and self.model.predicts == "noise" else None)
        return gaussian.sample(model, self.noise(c.shape[1]), way, c)

    def conditions(self, c: Float[Tensor, "... n k"]) -> Float[Tensor, "members n k"]:
        """Return the conditions of all members, given as :meth:`sample` takes them."""
        k, sets = self.c.shape[-1], len(self.sizes)
        checks.require(c.ndim in (2, 3) and c.shape[-1] == k, "conditions", tuple(c.shape), f"of shape (…, n, {k})")
        c = c.to(self.c).expand(c.shape[0] if c.ndim == 3 else 1, -1, -1)
        checks.require(len(c) in (1, sets), "given", f"for {len(c)} sets", f"for all, or for each of the {sets} sets")
        return self.spread(c[:, None])

    def noise(self, n: int) -> Float[Tensor, "members n *x"]:
        """Return the `n` noises that sampling starts from, the same for all members."""
        drawn = torch.randn(n, *self.x0.shape[1:], generator=generator(self.seed, "Denoisers.x_T"), dtype=self.x0.dtype)
        return self.spread(drawn.to(self.x0.device)[None, None])

    def fit(
        self, steps: int, *, lr: float = 1e-3, decay: float = 0.0, betas: tuple = (0.9, 0.999), **options: Any
    ) -> Iterator[Report]:
        """Train all members in place and yield a report at each evaluation step, for measurements of one's own.

        By AdamW with the rate `lr`, the weight decay `decay` and moments that forget with `betas`. `options` are those
        of :func:`hierlib.lab.train` (at, ema, rate, checkpoint, progress, seed, …), which also says what is yielded and
        raised; besides, ValueError for an `lr` that is not positive, a negative `decay` or `betas` outside [0, 1).
        """
        lr, decay = checks.positive("lr", lr), checks.real("decay", decay, 0.0)
        checks.require(np.shape(betas) == (2,) and all(0 <= b < 1 for b in betas), "betas", betas, "a pair in [0, 1)")
        return train(self.model, self.loss, steps=steps, **({"seed": self.seed} | options),
                     optimiser=lambda weights: torch.optim.AdamW(weights, lr, betas, weight_decay=decay, fused=True))

    def follow(self, steps: int, measure: Callable[[nn.Module], dict[str, Any]], **options: Any) -> "pd.DataFrame":
        """Train all members and return what ``measure(model)`` finds along the way, as a :meth:`table`.

        `options` and errors are those of :meth:`fit`.
        """
        for report in self.fit(steps, **options):
            report.log(**measure(report.model))
        return self.table(report)

    def table(self, report: Report) -> "pd.DataFrame":
        """Return what reports have logged, a row per step and member.

        Columns: step, member, set, seed, the labels of the sets, loss (of training, since the row before), and what was
        logged.
        """
        frame = report.frame()
        which, seed = divmod(frame["member"], self.seeds)
        labels = {name: np.asarray(values)[which] for name, values in self.labels.items()}
        for k, (name, values) in enumerate(({"set": which, "seed": seed} | labels).items(), 2):
            frame.insert(k, name, values)
        return frame
