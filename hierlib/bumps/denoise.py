"""Conditional diffusion models of bumps and stripes, many at once: one network per training set and seed.

All networks are trained together, each on its own set, and asked for images at labels that none of them has seen. A
network is called as ``network(x_t, alpha_bar, condition)`` with images ``(n, 1, N, N)``: a :class:`BumpMLP`, or a
:class:`hierlib.nets.UNet` with a condition. Noise is added as x_t = cos(πt/2) x0 + sin(πt/2) ε, t uniform in [0, 1]
and stratified over a minibatch.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import silu

from hierlib.bumps import readout
from hierlib.bumps.images import Domain
from hierlib.diffusion.conditional import Denoisers, check_inputs
from hierlib.diffusion.schedule import alpha_bar_cosine
from hierlib.lab import Report, checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Tensor
from hierlib.nets import NoiseLevel, initialise

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BumpDenoisers", "BumpMLP", "Examples"]

CLEAN = 0.9                 # cosine with the ideal image above which c9 counts an image


class BumpMLP(nn.Module):
    """Denoising MLP with residual layers, told noise level and condition, that shows what its layers compute.

    h = silu(W_x x + W_c c + W_t τ(t)), then `depth` times h ← h + silu(W h), then a linear read-out; τ is sine and
    cosine of the time t = (2/π) arccos √ᾱ at 8 frequencies. It says 0 before training; it stands in place of the U-Net
    of Liang et al. 2024. ValueError for sizes out of range; when called, for inputs that do not fit.

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
        size, condition, width = checks.integers(1, size=size, condition=condition, width=width)
        self.size, self.condition, depth = size, condition, checks.integer("depth", depth, 0)
        self.level = NoiseLevel("time")
        with torch.random.fork_rng(devices=()):
            self.pixels, self.label = nn.Linear(size**2, width), nn.Linear(condition, width, bias=False)
            self.time = nn.Linear(self.level.features, width, bias=False)
            self.residual = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
            self.readout = nn.Linear(width, size**2)
        initialise(self, generator(seed, "BumpMLP"))
        nn.init.zeros_(self.readout.weight)

    def layers(
        self, x: Float[Tensor, "n 1 N N"], alpha_bar: Float[Tensor, "n"], c: Float[Tensor, "n k"]
    ) -> tuple[Float[Tensor, "n width"], Float[Tensor, "n width"], Float[Tensor, "n pixels"]]:
        """Return the activities of the first and of the last hidden layer, and the output."""
        check_inputs(x, c, 1, self.size, self.size, self.condition)
        first = last = silu(self.pixels(x.flatten(1)) + (self.label(c) + self.time(self.level(alpha_bar))))
        for linear in self.residual:
            last = last + silu(linear(last))
        return first, last, self.readout(last)

    def forward(
        self, x: Float[Tensor, "n 1 N N"], alpha_bar: Float[Tensor, "n"], c: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n 1 N N"]:
        """Return the prediction, of the shape of `x`, for noise levels ᾱ and condition vectors."""
        return self.layers(x, alpha_bar, c)[-1].view(x.shape)


@dataclass(frozen=True, eq=False)
class Examples:
    """Labels (x, y), the images that belong to them, and the condition vectors by which a network is told the labels.

    To train on, or to be compared with; ``len`` is their number n. ValueError for none, or shapes that do not fit.
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


class BumpDenoisers(Denoisers):
    """Conditional diffusion models of images with labels, `seeds` networks per training set, and what they can do.

    Source: Liang et al. 2024, of which this is a small version. **A trap**: as the label determines the image, training
    with ``predicts="data"`` is a regression from label to image, and the sampler's first step already gives the answer.
    What such networks do between labels is how a regression interpolates; whether a diffusion model proper does the
    same is to be checked with "noise" or "velocity", which want images with values of mean square near 1: bumps of
    height N/(√π σ).

    Parameters
    ----------
    sets
        :class:`Examples`, one per training set; their sizes may differ.
    network
        ``network(seed) -> module`` called with (x_t, ᾱ, condition); default :class:`BumpMLP`.
    seeds, predicts, options
        As :class:`hierlib.diffusion.conditional.Denoisers` takes them, which also says what is raised.
    """

    def __init__(
        self, sets: Iterable[Examples], seeds: int = 1, network: Callable[[int], nn.Module] | None = None,
        predicts: str = "data", **options: Any,
    ) -> None:
        pairs = [(each.images[:, None], each.conditions) for each in sets]
        make = network or (lambda k: BumpMLP(self.x0.shape[-1], self.c.shape[-1], seed=k))
        super().__init__(pairs, make, seeds, predicts, schedule=partial(alpha_bar_cosine, offset=0.0),
                         labels={"M": [len(images) for images, _ in pairs]}, **options)

    def sample(self, conditions: Float[Tensor, "... n k"], model: nn.Module | None = None) -> Float[Tensor, "m n N N"]:
        """Return images, without the axis of channels; see :meth:`hierlib.diffusion.conditional.Denoisers.sample`."""
        return super().sample(conditions, model).squeeze(2)

    @torch.no_grad()
    def layers(
        self, conditions: Float[Tensor, "... n k"], model: nn.Module | None = None
    ) -> tuple[Float[Tensor, "members n width"], Float[Tensor, "members n width"], Float[Tensor, "members n pixels"]]:
        """Return first and last hidden layer and output of all members, for conditions as :meth:`sample` takes them.

        At ᾱ = 0, for one noise that is the same for all, so that only the label varies: noises of their own would pass
        for entangled labels. ValueError for networks without a method ``layers`` like that of :class:`BumpMLP`.
        """
        ensemble, x = (self.model if model is None else model).network, self.noise(1)[0]
        checks.require(hasattr(ensemble.stack, "layers"), "network", type(ensemble.stack).__name__, "a BumpMLP here")
        found = [ensemble.member(k).layers(x.expand(len(c), -1, -1, -1), torch.zeros_like(c[:, 0]), c)
                 for k, c in enumerate(self.conditions(conditions))]
        return tuple(map(torch.stack, zip(*found)))

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
        conditions, labels, ideal = (torch.stack([getattr(each, name) for each in tests]).to(self.x0)
                                     for name in ("conditions", "labels", "images"))
        images, (labels, ideal) = self.sample(conditions, model), (self.spread(x[:, None]) for x in (labels, ideal))
        where, domain = readout.position(images, torus=torus), Domain(images.shape[-1], torus=torus)
        right, cosine = readout.accuracy(where, labels, domain, tolerance), readout.fidelity(images, ideal)
        x, y = right.unbind(-1)
        found = {"x": x, "y": y, "accuracy": right.all(-1), "fidelity": cosine, "c9": cosine > CLEAN}
        return {name: value.to(cosine).mean(-1) for name, value in found.items()}

    def fit(self, steps: int = 1200, *, lr: float = 3e-3, warmup: int = 100, **options: Any) -> Iterator[Report]:
        """Train all members in place and yield a report at each evaluation step, for measurements of one's own.

        The rate rises for `warmup` steps and falls as a cosine to 0. `options` and errors are those of
        :meth:`hierlib.diffusion.conditional.Denoisers.fit`; besides, ValueError for a negative `warmup`.
        """
        steps, up = checks.integer("steps", steps, low=1), max(checks.integer("warmup", warmup, low=0), 1)
        return super().fit(steps, lr=lr, **options, rate=lambda t: (
            min(1.0, (t + 1) / up) * (1 + math.cos(math.pi * t / steps)) / 2))

    def follow(
        self, tests: Examples | Sequence[Examples], steps: int = 1200, *, torus: bool, tolerance: float = 0.5,
        at: Iterable[int] = (), **options: Any,
    ) -> "pd.DataFrame":
        """Train all members and return what :meth:`measure` finds at the steps `at` and after the last one, as a table.

        Columns: step, member, set, seed, M (examples in the set), loss (of training, since the row before), and those
        of :meth:`measure`, which takes `tests`, `torus` and `tolerance`; `options` and errors are those of :meth:`fit`.
        """
        return super().follow(steps, partial(self.measure, tests, torus, tolerance), at=at, **options)
