"""Conditional diffusion models of bumps and stripes, many at once: one network per training set and seed.

All networks are trained together, each on its own set, and asked for images at labels that none of them has seen. A
network is called as ``network(x_t, alpha_bar, condition)`` with images ``(n, 1, N, N)``: a :class:`BumpMLP`, or a
:class:`hierlib.nets.UNet` with a condition. Noise is added as x_t = cos(πt/2) x0 + sin(πt/2) ε, t uniform in [0, 1].
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import silu

from hierlib.bumps import readout
from hierlib.diffusion import gaussian
from hierlib.diffusion.schedule import alpha_bar_cosine
from hierlib.lab import Report, checks, generator, spawn, train
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Tensor
from hierlib.nets import Ensemble, chunked_loss, initialise

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BumpMLP", "Datasets", "Denoisers", "Examples", "fit", "follow"]

SCHEDULE = partial(alpha_bar_cosine, offset=0.0)
SLOWEST, FASTEST, FREQUENCIES = 1.0, 50.0, 8    # angular, at which BumpMLP is told the time t
FIRST_SIGNAL = 1e-4                             # ᾱ where sampling starts if the noise is predicted
MEASURES = "x", "y", "accuracy", "fidelity", "c9"
CLEAN = 0.9                                     # cosine with the ideal image above which c9 counts an image


class BumpMLP(nn.Module):
    """Denoising MLP with residual layers, told noise level and condition, that shows what its layers compute.

    h = silu(W_x x + W_c c + W_t τ(t)), then `depth` times h ← h + silu(W h), then a linear read-out; τ is sine and
    cosine of the time t = (2/π) arccos √ᾱ at 8 frequencies. It says 0 before training. Explained in the chapter
    *Percolation*; source: this book (in place of the U-Net of Liang et al. 2024). ValueError for sizes out of range;
    when called, for inputs that do not fit.

    Parameters
    ----------
    size, condition
        Pixels N per side of the images, and length of the condition vectors.
    width, depth
        Units per hidden layer, and number of residual layers.
    seed
        Of the initial weights: N(0, 1/fan-in) for each matrix; biases and the read-out are 0.
    """

    def __init__(self, size: int, condition: int, width: int = 128, depth: int = 2, seed: Seed = 0) -> None:
        super().__init__()
        self.size, self.condition = checks.integer("size", size, 1), checks.integer("condition", condition, 1)
        width, depth = checks.integer("width", width, 1), checks.integer("depth", depth, 0)
        self.register_buffer("frequency", torch.logspace(math.log10(SLOWEST), math.log10(FASTEST), FREQUENCIES))
        with torch.random.fork_rng(devices=()):
            self.pixels = nn.Linear(self.size**2, width)
            self.label = nn.Linear(self.condition, width, bias=False)
            self.time = nn.Linear(2 * FREQUENCIES, width, bias=False)
            self.residual = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
            self.readout = nn.Linear(width, self.size**2)
        initialise(self, generator(seed, "BumpMLP"))
        nn.init.zeros_(self.readout.weight)

    def layers(
        self, x: Float[Tensor, "n 1 N N"], alpha_bar: Float[Tensor, "n"], c: Float[Tensor, "n k"]
    ) -> tuple[Float[Tensor, "n width"], Float[Tensor, "n width"], Float[Tensor, "n pixels"]]:
        """Return the activities of the first and of the last hidden layer, and the output."""
        checks.require(x.shape[1:] == (1, self.size, self.size), "x", tuple(x.shape),
                       f"of shape (n, 1, {self.size}, {self.size})")
        checks.require(c.shape == (len(x), self.condition), "c", tuple(c.shape), f"{(len(x), self.condition)}")
        phase = (2 / math.pi) * alpha_bar.clamp(0, 1).sqrt().arccos()[:, None] * self.frequency
        told = self.label(c) + self.time(torch.cat([phase.sin(), phase.cos()], 1))
        first = last = silu(self.pixels(x.flatten(1)) + told)
        for linear in self.residual:
            last = last + silu(linear(last))
        return first, last, self.readout(last)

    def forward(
        self, x: Float[Tensor, "n 1 N N"], alpha_bar: Float[Tensor, "n"], c: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n 1 N N"]:
        """Return the prediction, of the shape of `x`, for noise levels ᾱ and condition vectors."""
        return self.layers(x, alpha_bar, c)[-1].view(x.shape)


class _Layers(nn.Module):
    """The layers of a :class:`BumpMLP` side by side, as the output of a module that an ensemble can be made of."""

    def __init__(self, network: BumpMLP) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, alpha_bar: Tensor, c: Tensor) -> Tensor:
        return torch.cat(self.network.layers(x, alpha_bar, c), 1)


@dataclass(frozen=True, eq=False)
class Examples:
    """Labels (x, y), the images that belong to them, and the condition vectors by which a network is told the labels.

    To train on, or to be compared with; ``len`` is their number n. Explained in the chapter *Percolation*; source: this
    book. ValueError for none, or shapes that do not fit.
    """

    labels: Float[Tensor, "n 2"]
    images: Float[Tensor, "n N N"]
    conditions: Float[Tensor, "n k"]

    def __post_init__(self) -> None:
        shapes = [tuple(each.shape) for each in (self.labels, self.images, self.conditions)]
        n, N, k = len(self), self.images.shape[-1], self.conditions.shape[-1]
        good = n > 0 and shapes == [(n, 2), (n, N, N), (n, k)]
        checks.require(good, "labels, images, conditions", shapes, "of shapes (n, 2), (n, N, N) and (n, k), with n > 0")

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(
        cls, labels: Float[Tensor, "n 2"], render: Callable[[Tensor], Tensor], encode: Callable[[Tensor], Tensor]
    ) -> "Examples":
        """Return the examples at `labels` with images ``render(labels)`` and conditions ``encode(labels)``."""
        return cls(labels, render(labels), encode(labels))


class Datasets:
    """Training sets of different sizes on one device, from all of which minibatches are drawn at once.

    Made of a list of :class:`Examples`; ValueError for none, or images of different sizes or conditions of different
    lengths. Explained in the chapter *Percolation*; source: this book.
    """

    def __init__(self, sets: Iterable[Examples], device: torch.device | str = "cpu") -> None:
        sets = list(sets)
        kinds = {(*each.images.shape[1:], *each.conditions.shape[1:]) for each in sets}
        checks.require(len(kinds) == 1, "sets", f"{len(sets)} with (N, N, k) = {sorted(kinds)}", "one or more, alike")
        self.images = torch.cat([each.images for each in sets])[:, None].to(device)              # (total, 1, N, N)
        self.conditions = torch.cat([each.conditions for each in sets]).to(self.images)          # (total, k)
        self.sizes = torch.tensor([len(each) for each in sets])
        self.starts = self.sizes.cumsum(0) - self.sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def draw(
        self, batch: int, rng: torch.Generator, seeds: int = 1
    ) -> tuple[Float[Tensor, "members batch 1 N N"], Float[Tensor, "members batch k"]]:
        """Return images and conditions of `batch` examples, with replacement, for each set and each of its `seeds`."""
        share = torch.rand(len(self), seeds, batch, generator=rng, dtype=torch.float64).flatten(0, 1)
        sizes, starts = (each.repeat_interleave(seeds)[:, None] for each in (self.sizes, self.starts))
        rows = (starts + (share * sizes).long()).to(self.images.device)
        return self.images[rows], self.conditions[rows]


@dataclass(eq=False)
class Denoisers:
    """Ensemble of conditional diffusion models, `seeds` networks per training set, with its loss and measurements.

    Member i is trained on set i // seeds, from first weights of its own. **A trap**: as the label determines the image,
    training with ``predicts="data"`` is a regression from label to image, and the sampler's first step already gives
    the answer. What such networks do between labels is how a regression interpolates; whether a diffusion model proper
    does the same is to be checked with "noise" or "velocity".

    Explained in the chapter *Percolation*; source: this book (a small version of Liang et al. 2024). ValueError for
    sets that do not fit together, an unknown prediction, or numbers out of range.

    Parameters
    ----------
    sets
        :class:`Examples`, one per training set; their sizes may differ.
    seeds
        Networks per set.
    network
        ``network(seed) -> module`` called with (x_t, ᾱ, condition); default :class:`BumpMLP`.
    predicts
        "data", or "noise" or "velocity" as :class:`hierlib.diffusion.gaussian.Denoiser` has them, which want images
        with values of mean square near 1: bumps of height N/(√π σ).
    batch
        Examples per step and member, drawn with replacement.
    common
        Whether all members get the same noises and levels in a step: faster, but no longer independent replicas.
    steps
        Of the sampler (DDIM).
    seed, device
        Of first weights, fixed noises and, unless another is given, training; where.
    chunk
        Members that are trained and asked at a time, fewer where all of them do not fit a GPU; None for all. It changes
        no result.
    """

    sets: Sequence[Examples]
    seeds: int = 1
    network: Callable[[int], nn.Module] | None = None
    predicts: str = "data"
    batch: int = 64
    common: bool = False
    steps: int = 10
    seed: int = 0
    device: torch.device | str = "cpu"
    chunk: int | None = None
    model: gaussian.Denoiser = field(init=False, repr=False)
    """The ensemble, to be trained."""

    def __post_init__(self) -> None:
        for name in ("seeds", "batch", "steps"):
            setattr(self, name, checks.integer(name, getattr(self, name), low=1))
        self.data = Datasets(self.sets, self.device)
        size, condition = self.data.images.shape[-1], self.data.conditions.shape[-1]
        make = (lambda k: BumpMLP(size, condition, seed=k)) if self.network is None else self.network
        members = [make(k) for k in spawn(self.seed, len(self), "Denoisers.weights")]
        self.model = gaussian.Denoiser(Ensemble(members, self.chunk), self.predicts, 2).to(self.data.images)

    def __len__(self) -> int:
        return len(self.data) * self.seeds

    def loss(self, model: nn.Module, rng: torch.Generator) -> Float[Tensor, "members"]:
        """Return each member's loss on one minibatch of its set, as :func:`hierlib.lab.train` wants it; t ~ U(0, 1)."""
        x0, c = self.data.draw(self.batch, rng, self.seeds)
        drawn = 1 if self.common else len(self)
        noise = torch.randn(drawn, *x0.shape[1:], generator=rng, dtype=x0.dtype).to(x0.device).expand_as(x0)
        level = gaussian.draw_alpha_bar(drawn * self.batch, rng, schedule=SCHEDULE, device=x0.device, dtype=x0.dtype)
        level = level.view(drawn, self.batch).expand(x0.shape[:2])
        return chunked_loss(gaussian.loss, model, x0, level, noise, c, chunk=self.chunk)

    @torch.no_grad()
    def sample(
        self, conditions: Float[Tensor, "... n k"], model: nn.Module | None = None
    ) -> Float[Tensor, "members n N N"]:
        """Return images of all members for the same ``(n, k)`` or each set's own ``(sets, n, k)`` conditions.

        By DDIM from n noises that are the same for all members and at each call.
        """
        c = self._conditions(conditions)
        grid = gaussian.levels(self.steps, SCHEDULE, start=FIRST_SIGNAL if self.predicts == "noise" else None)
        return gaussian.sample(self.model if model is None else model, self._noise(c.shape[1]), grid, c).squeeze(2)

    @torch.no_grad()
    def layers(
        self, conditions: Float[Tensor, "... n k"], model: nn.Module | None = None
    ) -> tuple[Float[Tensor, "members n width"], Float[Tensor, "members n width"], Float[Tensor, "members n pixels"]]:
        """Return first and last hidden layer and output of all members, for conditions as :meth:`sample` takes them.

        At ᾱ = 0, for one noise that is the same for all, so that only the label varies: noises of their own would pass
        for entangled labels. ValueError for networks without a method ``layers`` like that of :class:`BumpMLP`.
        """
        c, beside = self._conditions(conditions), copy.deepcopy((self.model if model is None else model).network)
        checks.require(hasattr(beside.stack, "layers"), "network", type(beside.stack).__name__, "a BumpMLP here")
        width, beside.stack = beside.stack.readout.in_features, _Layers(beside.stack)
        found = beside(self._noise(1).expand(-1, c.shape[1], -1, -1, -1), torch.zeros_like(c[..., 0]), c)
        return tuple(found.split([width, width, found.shape[-1] - 2 * width], -1))

    def measure(
        self, tests: Examples | Sequence[Examples], torus: bool, tolerance: float = 0.5, model: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """Return how well all members do at the labels of `tests`: one for all, or a list of one per set, equally long.

        Keys: x, y and accuracy, the share of images whose position, read out on the `torus` or in the box, is within
        `tolerance` pixels of the label in x, in y and in both; fidelity, the mean cosine with the ideal image; c9, the
        share of cosines above 0.9. Values: ``(members,)``.
        """
        tests = [tests] if isinstance(tests, Examples) else list(tests)
        lengths = [len(each) for each in tests]
        checks.require(len(set(lengths)) == 1, "tests", f"of lengths {lengths}", "one or more, equally long")
        conditions, labels, ideal = (torch.stack([getattr(each, name) for each in tests]).to(self.data.images)
                                     for name in ("conditions", "labels", "images"))
        images, labels, ideal = self.sample(conditions, model), self._each(labels), self._each(ideal)
        where = readout.position(images, torus=torus)
        right = readout.accuracy(where, labels, images.shape[-1], tolerance, torus=torus)
        cosine = readout.fidelity(images, ideal)
        values = *right.unbind(-1), right.all(-1), cosine, cosine > CLEAN
        return {name: value.to(cosine).mean(-1) for name, value in zip(MEASURES, values, strict=True)}

    def _each(self, x: Tensor) -> Tensor:
        """Return as ``(members, n, …)`` what is one for all, ``(1, n, …)``, or one per set."""
        sets = len(self.data)
        checks.require(len(x) in (1, sets), "given", f"for {len(x)} sets", f"for all, or for each of the {sets} sets")
        return x[:, None].expand(sets, self.seeds, *x.shape[1:]).flatten(0, 1)

    def _conditions(self, c: Tensor) -> Tensor:
        k = self.data.conditions.shape[-1]
        checks.require(c.ndim in (2, 3) and c.shape[-1] == k, "conditions", tuple(c.shape), f"of shape (…, n, {k})")
        return self._each((c if c.ndim == 3 else c[None]).to(self.data.images))

    def _noise(self, n: int) -> Tensor:
        """Return n fixed noises, the same for all members, ``(members, n, 1, N, N)``."""
        gen, images = generator(self.seed, "Denoisers.x_T"), self.data.images
        shape = n, *images.shape[1:]
        return torch.randn(shape, generator=gen, dtype=images.dtype).to(images.device).expand(len(self), *shape)


def fit(
    denoisers: Denoisers, steps: int = 1200, *, lr: float = 3e-3, warmup: int = 100, **options: Any
) -> Iterator[Report]:
    """Train all members in place and yield a report at each evaluation step, for measurements of one's own.

    Adam; the rate rises for `warmup` steps and falls as a cosine to 0. Explained in the chapter *Percolation*; source:
    this book. `options` are those of :func:`hierlib.lab.train` (at, ema, checkpoint, progress, seed, …), which also
    says what is yielded and raised; besides, ValueError for a negative `warmup` or a rate that is not positive.
    """
    steps, lr = checks.integer("steps", steps, low=1), checks.positive("lr", lr)
    up = max(checks.integer("warmup", warmup, low=0), 1)
    return train(
        denoisers.model, denoisers.loss, steps=steps, **({"seed": denoisers.seed} | options),
        optimiser=lambda parameters: torch.optim.Adam(parameters, lr, fused=True),
        schedule=lambda t: min(1.0, (t + 1) / up) * (1 + math.cos(math.pi * t / steps)) / 2)


def follow(
    denoisers: Denoisers, tests: Examples | Sequence[Examples], steps: int = 1200, *, torus: bool,
    tolerance: float = 0.5, at: Iterable[int] = (), **options: Any,
) -> "pd.DataFrame":
    """Train all members and return what :meth:`Denoisers.measure` finds along the way, a row per step and member.

    It is measured at the steps `at`, and after the last one. Explained in the chapter *Percolation*; source: this book.
    `tests`, `torus` and `tolerance` are as for :meth:`Denoisers.measure`, `options` and errors as for :func:`fit`.
    Columns: step, member, set (index into ``denoisers.sets``), seed, M (examples in the set), loss (of training, since
    the row before), x, y, accuracy, fidelity, c9.
    """
    for report in fit(denoisers, steps, at=at, **options):
        report.log(**denoisers.measure(tests, torus, tolerance, report.model))
    frame = report.frame()
    which = frame["member"] // denoisers.seeds
    frame.insert(2, "set", which)
    frame.insert(3, "seed", frame["member"] % denoisers.seeds)
    frame.insert(4, "M", denoisers.data.sizes.numpy()[which])
    return frame
