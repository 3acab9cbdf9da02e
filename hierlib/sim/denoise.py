"""Conditional denoisers of concept images, many at once: how a diffusion model comes to combine concepts.

One network per concept signal and seed, all trained together on the same minibatches, noises and noise levels, and
asked along the way for a class that they have never seen.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hierlib.diffusion import gaussian
from hierlib.lab import checks, generator, spawn, train
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Numbers, Tensor
from hierlib.nets import MLP, Ensemble, chunked_loss
from hierlib.sim.concepts import Concepts, Probe, classes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ConceptMLP", "Denoisers", "alpha_bar_vdm", "follow", "square_steps"]

GAMMA = -5.0, 10.0          # γ of clean and of noisy data
SLOWEST, FASTEST = 0.05, 1.5        # frequencies at which a network is told log-SNR


def alpha_bar_vdm(tau: Numbers) -> Numbers:
    """Return ᾱ(τ) = 1/(1 + e^γ) with γ = −5 + 15 τ: the log-SNR is −γ, and falls linearly from 5 to −10.

    Variational diffusion models write x_t = α x0 + σ ε with σ² = 1/(1 + e^−γ) and α² = 1 − σ² = ᾱ, so that
    α²/σ² = e^−γ. As a `schedule` of :mod:`hierlib.diffusion.levels` it makes γ uniform. Explained in the chapter *SIM
    dynamics*; source: Kingma et al. 2021, eqs. 2–4, with the end points of Yang et al. 2024, app. G.
    """
    return 1 / (1 + np.exp(GAMMA[0] + (GAMMA[1] - GAMMA[0]) * np.asarray(tau)))


def square_steps(steps: int, n: int = 24) -> list[int]:
    """Return about `n` steps, equidistant in their square roots, the last one `steps`.

    Used in the chapter *SIM dynamics*; source: Yang et al. 2024, app. G (checkpoints). ValueError for numbers below 1.

    Examples
    --------
    >>> square_steps(100, 5)
    [4, 16, 36, 64, 100]
    """
    steps, n = checks.integer("steps", steps, low=1), checks.integer("n", n, low=1)
    return sorted({max(1, round(steps * (k / n) ** 2)) for k in range(1, n + 1)})


class ConceptMLP(nn.Module):
    """Denoising MLP of small colour images that is told noise level and condition.

    Inputs are the pixels, sine and cosine of the log-SNR at `features`/2 frequencies, and the condition; SiLU; weights
    N(0, 1/(3 fan-in)), the variance of torch's default, and biases 0. Explained in the chapter *SIM dynamics*; source:
    this book.

    Parameters
    ----------
    pixels
        Height and width of the images.
    condition
        Length of the condition vectors.
    width, depth
        Units per hidden layer, and number of those.
    features
        Number of time features, even.
    seed
        Of the initial weights.

    Raises
    ------
    ValueError
        For sizes out of range; when called, for inputs that do not fit.
    """

    def __init__(
        self, pixels: int, condition: int, width: int = 128, depth: int = 3, features: int = 16, seed: Seed = 0
    ) -> None:
        super().__init__()
        self.pixels = pixels = checks.integer("pixels", pixels, 1)
        self.condition = condition = checks.integer("condition", condition, 0)
        features = checks.integer("features", features, low=2)
        checks.require(features % 2 == 0, "features", features, "even: a sine and a cosine of each frequency")
        self.register_buffer("frequency", torch.logspace(np.log10(SLOWEST), np.log10(FASTEST), features // 2))
        n, gen = 3 * pixels**2, generator(seed, "ConceptMLP")
        self.mlp = MLP(n + features + condition, n, width, depth, nn.SiLU, seed=gen)
        with torch.no_grad():
            for linear in self.mlp.linear:
                linear.weight.mul_(3**-0.5)

    def forward(
        self, x: Float[Tensor, "n channels height width"], alpha_bar: Float[Tensor, "n"], c: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n channels height width"]:
        """Return the prediction, of the shape of `x`, for noise levels and condition vectors."""
        size = (3, self.pixels, self.pixels)
        checks.require(x.shape[1:] == size, "x", tuple(x.shape), f"of shape {('n', *size)}")
        checks.require(c.shape == (len(x), self.condition), "c", tuple(c.shape), f"{(len(x), self.condition)}")
        phase = gaussian.log_snr(alpha_bar)[:, None] * self.frequency
        return self.mlp(torch.cat([x.flatten(1), phase.sin(), phase.cos(), c], 1)).view(x.shape)


@dataclass(eq=False)
class Denoisers:
    """Ensemble of conditional denoisers, a network per signal and seed, with its data, loss and measurements.

    Member i has the signal i // seeds and the seed i % seeds. Members of one seed start from the same weights and see
    the same minibatch, noises and levels at each step, and images of different signals are made of the same random
    numbers: what differs between the signals is due to them.

    Explained in the chapter *SIM dynamics*; source: this book (a small version of Yang et al. 2024, sect. 5).

    Parameters
    ----------
    concepts
        One :class:`hierlib.sim.concepts.Concepts` per signal, of the same pixels and concepts.
    seeds
        Networks per signal.
    trained
        Names of the classes to train on; by default 0…0 and those with one bit set.
    asked
        Class that is asked for and that the out-of-distribution loss is of; by default 1…1.
    images
        Training images per class.
    batch, common
        Images per step, and whether those of a step, their noises and levels are common to the seeds, too. The scatter
        between seeds is then due to the first weights alone: independent replicas need ``common=False``.
    samples, pairs
        Images drawn at each measurement; held-out images per loss, each with a noise and a level of its own.
    steps
        Of the sampler (DDIM).
    network, predicts
        ``network(seed) -> module`` called with (x, ᾱ, condition); default :class:`ConceptMLP`. It predicts "velocity",
        "noise" or "data", and the loss is of that. A velocity or noise holds all the noise of the image, which a
        network narrower than the image cannot let through: its images keep some. One that predicts data is clean.
    seed
        Of data, first weights, fixed noises.
    device
        Where.
    chunk
        Members that are trained and asked at a time, fewer where all of them do not fit a GPU; None for all. It changes
        no result.

    Raises
    ------
    ValueError
        For no or unlike concepts, unknown classes, or numbers out of range.
    """

    concepts: Sequence[Concepts]
    seeds: int = 4
    trained: Sequence[str] | None = None
    asked: str | None = None
    images: int = 1000
    batch: int = 64
    common: bool = True
    samples: int = 128
    pairs: int = 256
    steps: int = 12
    network: Callable[[int], nn.Module] | None = None
    predicts: str = "velocity"
    seed: int = 0
    device: torch.device | str = "cpu"
    chunk: int | None = None
    model: gaussian.Denoiser = field(init=False, repr=False)
    """The ensemble, to be trained."""
    probes: list[Probe] = field(init=False, repr=False)
    """One per signal."""

    def __post_init__(self) -> None:
        self.concepts = list(self.concepts)
        kinds = {(each.pixels, each.names) for each in self.concepts}
        checks.require(len(kinds) == 1, "concepts", self.concepts, "one or more, all of the same pixels and concepts")
        for name in ("seeds", "images", "batch", "samples", "pairs", "steps"):
            setattr(self, name, checks.integer(name, getattr(self, name), low=1))
        first = self.concepts[0]
        s = len(first.names)
        if self.trained is None:
            self.trained = [f"{k:0{s}b}" for k in (0, *(2**i for i in reversed(range(s))))]
        known = tuple(first.all_classes())
        self.trained = [checks.one_of("class", name, known) for name in self.trained]
        self.asked = checks.one_of("class", known[-1] if self.asked is None else self.asked, known)
        checks.require(len(self.trained) > 0, "trained", self.trained, "one class or more")
        make = self.network if self.network is not None else (
            lambda k: ConceptMLP(first.pixels, first.condition_size, seed=k))
        members = [make(k) for k in spawn(self.seed, self.seeds, "Denoisers.weights")] * len(self.concepts)
        self.probes = [Probe.of(each, seed=self.seed, device=self.device) for each in self.concepts]
        self.x0, self.c = self._render(classes(*self.trained, n=self.images), "train")
        self.model = gaussian.Denoiser(Ensemble(members, self.chunk), self.predicts, 2).to(self.x0)
        rows = torch.arange(self.pairs) % len(self.trained)
        self._inside = self._fixed(classes(*self.trained)[rows], "inside")
        self._outside = self._fixed(classes(self.asked, n=self.pairs), "outside")
        prompts = torch.cat([each.condition(classes(self.asked)) for each in self.concepts])[:, None]     # (S, 1, k)
        self._prompt = self._members(prompts.to(self.c).expand(-1, self.samples, -1)[:, None])
        gen = generator(self.seed, "Denoisers.x_T")
        x_T = torch.randn(self.samples, *self.x0.shape[2:], generator=gen, dtype=self.x0.dtype).to(self.device)
        self._x_T = self._members(x_T[None, None])

    def __len__(self) -> int:
        return len(self.concepts) * self.seeds

    def loss(self, model: nn.Module, rng: torch.Generator) -> Float[Tensor, "members"]:
        """Return each member's loss, of what it predicts, on one minibatch, as :func:`hierlib.lab.train` wants it.

        γ is uniform, stratified over the minibatch.
        """
        drawn = 1 if self.common else self.seeds, self.batch
        rows = torch.randint(self.x0.shape[1], drawn, generator=rng).to(self.device)
        noise = torch.randn(*drawn, *self.x0.shape[2:], generator=rng, dtype=self.x0.dtype).to(self.device)
        level = torch.stack([self._levels(self.batch, rng) for _ in rows])
        given = map(self._members, (self.x0[:, rows], level[None], noise[None], self.c[:, rows]))
        return chunked_loss(gaussian.loss, model, *given, chunk=self.chunk)

    def draw(self, model: nn.Module | None = None) -> Float[Tensor, "signals seeds samples channels height width"]:
        """Return images of the class asked for, from the same noises each time, prompted with its mean condition."""
        grid = gaussian.levels(self.steps, alpha_bar_vdm)
        images = gaussian.sample(self.model if model is None else model, self._x_T, grid, self._prompt)
        return images.unflatten(0, (len(self.concepts), self.seeds))

    def coordinates(self, model: nn.Module | None = None) -> Float[Tensor, "signals seeds concepts"]:
        """Return the mean concept coordinates of the images that :meth:`draw` makes; all 1 for those of class 1…1."""
        images = self.draw(model)
        return torch.stack([probe(x).mean(1) for probe, x in zip(self.probes, images, strict=True)])

    @torch.no_grad()
    def losses(self, model: nn.Module | None = None) -> tuple[Float[Tensor, "members"], Float[Tensor, "members"]]:
        """Return each member's mean squared error of x̂0, per value: of the trained classes, and of the one asked for.

        On new images, each with its own condition and a fixed noise and level (γ stratified).
        """
        found = []
        for x0, condition, level, noise in (self._inside, self._outside):
            guess = (self.model if model is None else model)(gaussian.noised(x0, level, noise), level, condition)
            found.append((guess - x0).square().flatten(1).mean(1))
        return found[0], found[1]

    def measure(self, model: nn.Module | None = None) -> dict[str, Tensor]:
        """Return validation loss, out-of-distribution loss and each concept's coordinate, ``(members,)`` each."""
        validation, ood = self.losses(model)
        columns = self.coordinates(model).flatten(0, 1).unbind(1)
        return {"validation": validation, "ood": ood} | dict(zip(self.concepts[0].names, columns, strict=True))

    def _members(self, x: Tensor) -> Tensor:
        """Return as ``(members, …)`` what is ``(signals, seeds, …)``, with 1 for either where it is common."""
        return x.expand(len(self.concepts), self.seeds, *x.shape[2:]).flatten(0, 1)

    def _levels(self, n: int, rng: torch.Generator) -> Tensor:
        return gaussian.draw_alpha_bar(n, rng, schedule=alpha_bar_vdm, stratified=True, device=self.device)

    def _render(self, bits: Tensor, key: str) -> tuple[Tensor, Tensor]:
        """Return images and conditions of all signals, ``(signals, n, …)``."""
        key = "Denoisers", key
        pairs = (each.render(bits, generator(self.seed, *key), device=self.device) for each in self.concepts)
        images, conditions = zip(*pairs)
        return torch.stack(images), torch.stack(conditions)

    def _fixed(self, bits: Tensor, key: str) -> tuple[Tensor, ...]:
        """Return images, conditions, levels and noises on which all members are asked at every measurement."""
        gen = generator(self.seed, "Denoisers.noise", key)
        shape = 1, 1, len(bits), *self.x0.shape[2:]
        noise = torch.randn(shape, generator=gen, dtype=self.x0.dtype).to(self.device)
        images, conditions = self._render(bits, key)
        level = self._levels(len(bits), gen)[None, None]
        return tuple(map(self._members, (images[:, None], conditions[:, None], level, noise)))


def follow(
    denoisers: Denoisers, steps: int = 1500, *, at: Iterable[int] | None = None, lr: float = 1e-3, decay: float = 0.01,
    **options: Any,
) -> "pd.DataFrame":
    """Train all members and return what :meth:`Denoisers.measure` finds along the way, a row per step and member.

    Explained in the chapter *SIM dynamics*; source: this book (protocol of Yang et al. 2024, app. G).

    Parameters
    ----------
    denoisers
        Trained in place.
    steps
        Number of updates.
    at
        Steps of the measurements; default :func:`square_steps`.
    lr, decay
        Learning rate and weight decay of AdamW.
    options
        Of :func:`hierlib.lab.train`: checkpoint, progress, seed, …. With ``ema=0.95`` averaged networks are measured,
        and most of the scatter between one measurement and the next is gone.

    Returns
    -------
    DataFrame
        Columns step, member, signal (index into ``denoisers.concepts``), seed, h, loss (of training, since the row
        before), validation, ood, and one per concept.

    Raises
    ------
    ValueError
        As :func:`hierlib.lab.train`.
    """
    at = square_steps(steps) if at is None else at
    reports = train(
        denoisers.model, denoisers.loss, steps=steps, at=at, **({"seed": denoisers.seed} | options),
        optimiser=lambda parameters: torch.optim.AdamW(parameters, lr, weight_decay=decay, fused=True))
    for report in reports:
        report.log(**denoisers.measure(report.model))
    frame = report.frame()
    signal = frame["member"] // denoisers.seeds
    frame.insert(2, "signal", signal)
    frame.insert(3, "seed", frame["member"] % denoisers.seeds)
    frame.insert(4, "h", [denoisers.concepts[k].h for k in signal])
    return frame
