"""Conditional denoisers of concept images, many at once: how a diffusion model comes to combine concepts.

One network per concept signal and seed, all trained together on the same minibatches, noises and noise levels, and
asked along the way for a class that they have never seen.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hierlib.diffusion import gaussian
from hierlib.diffusion.conditional import Denoisers, check_inputs
from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Numbers, Tensor
from hierlib.nets import MLP, NoiseLevel
from hierlib.sim.concepts import Concepts, Probe, classes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ConceptDenoisers", "ConceptMLP", "alpha_bar_vdm", "square_steps"]

GAMMA = -5.0, 10.0          # γ of clean and of noisy data


def alpha_bar_vdm(tau: Numbers) -> Numbers:
    """Return ᾱ(τ) = 1/(1 + e^γ) with γ = −5 + 15 τ: the log-SNR is −γ, and falls linearly from 5 to −10.

    Variational diffusion models write x_t = α x0 + σ ε with σ² = 1/(1 + e^−γ) and α² = 1 − σ² = ᾱ, so that
    α²/σ² = e^−γ. As a schedule (:mod:`hierlib.diffusion.schedule`) it makes γ uniform. Source: Kingma et al. 2021,
    eqs. 2–4, with the end points of Yang et al. 2025, app. G.
    """
    return 1 / (1 + np.exp(GAMMA[0] + (GAMMA[1] - GAMMA[0]) * np.asarray(tau)))


def square_steps(steps: int, n: int = 24) -> list[int]:
    """Return about `n` steps, equidistant in their square roots, the last one `steps`.

    Source: Yang et al. 2025, app. G (checkpoints). ValueError for numbers below 1.

    Examples
    --------
    >>> square_steps(100, 5)
    [4, 16, 36, 64, 100]
    """
    steps, n = checks.integers(1, steps=steps, n=n)
    return sorted({max(1, round(steps * (k / n) ** 2)) for k in range(1, n + 1)})


class ConceptMLP(nn.Module):
    """Denoising MLP of small colour images that is told noise level and condition.

    Inputs are the pixels, sine and cosine of the log-SNR at 8 frequencies, and the condition; SiLU; weights
    N(0, 1/(3 fan-in)), the variance of torch's default, and biases 0. ValueError for sizes out of range; when called,
    for inputs that do not fit.

    Parameters
    ----------
    pixels, condition
        Height and width of the images, and length of the condition vectors.
    width, depth
        Units per hidden layer, and number of those.
    seed
        Of the initial weights.
    """

    def __init__(self, pixels: int, condition: int, width: int = 128, depth: int = 3, seed: Seed = 0) -> None:
        super().__init__()
        self.pixels, self.condition = pixels, condition = checks.integers(1, pixels=pixels, condition=condition)
        self.level = NoiseLevel()
        n, gen = 3 * pixels**2, generator(seed, "ConceptMLP")
        self.mlp = MLP(n + self.level.features + condition, n, width, depth, nn.SiLU, seed=gen)
        with torch.no_grad():
            for linear in self.mlp.linear:
                linear.weight.mul_(3**-0.5)

    def forward(
        self, x: Float[Tensor, "n channels height width"], alpha_bar: Float[Tensor, "n"], c: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n channels height width"]:
        """Return the prediction, of the shape of `x`, for noise levels and condition vectors."""
        check_inputs(x, c, 3, self.pixels, self.pixels, self.condition)
        return self.mlp(torch.cat([x.flatten(1), self.level(alpha_bar), c], 1)).view(x.shape)


class ConceptDenoisers(Denoisers):
    """Conditional denoisers of concept images, a network per signal and seed, and what is measured of them.

    Members of one seed start from the same weights and see the same minibatch, noises and levels at each step, and
    images of different signals are made of the same random numbers: what differs between the signals is due to them.

    Source: Yang et al. 2025, sect. 5, of which this is a small version.

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
    network, predicts
        ``network(seed) -> module`` called with (x, ᾱ, condition); default :class:`ConceptMLP`. It predicts "velocity",
        "noise" or "data", and the loss is of that. A velocity or noise holds all the noise of the image, which a
        network narrower than the image cannot let through: its images keep some. One that predicts data is clean.
    images
        Training images per class.
    samples, pairs
        Images drawn at each measurement; held-out images per loss, each with a noise and a level of its own.
    steps, seed, device, options
        As :class:`hierlib.diffusion.conditional.Denoisers` takes them; the data are made of the seed, too.

    Raises
    ------
    ValueError
        For no or unlike concepts, unknown classes, or numbers out of range.
    """

    def __init__(
        self, concepts: Sequence[Concepts], seeds: int = 4, trained: Sequence[str] | None = None,
        asked: str | None = None, network: Callable[[int], nn.Module] | None = None, predicts: str = "velocity", *,
        images: int = 1000, samples: int = 128, pairs: int = 256, steps: int = 12, seed: int = 0,
        device: torch.device | str = "cpu", **options: Any,
    ) -> None:
        self.concepts = list(concepts)
        kinds = {(each.pixels, each.names) for each in self.concepts}
        checks.require(len(kinds) == 1, "concepts", self.concepts, "one or more, all of the same pixels and concepts")
        images, self.samples, self.pairs = checks.integers(1, images=images, samples=samples, pairs=pairs)
        first, known = self.concepts[0], tuple(self.concepts[0].all_classes())
        one = [name for name in known[::-1] if name.count("1") == 1]
        self.trained = [checks.one_of("class", name, known)
                        for name in ([known[0], *one] if trained is None else trained)]
        self.asked = checks.one_of("class", known[-1] if asked is None else asked, known)
        checks.require(len(self.trained) > 0, "trained", self.trained, "one class or more")
        make = network or (lambda k: ConceptMLP(first.pixels, first.condition_size, seed=k))
        sets = self._render(classes(*self.trained, n=images), "train", seed, device)
        super().__init__(sets, make, seeds, predicts, steps=steps, seed=seed, device=device, schedule=alpha_bar_vdm,
                         paired=True, labels={"h": [each.h for each in self.concepts]}, **options)

    def _render(self, bits: Tensor, key: str, seed: int, device: torch.device | str) -> list[tuple[Tensor, Tensor]]:
        return [each.render(bits, generator(seed, "Denoisers", key), device=device) for each in self.concepts]

    @cached_property
    def probes(self) -> list[Probe]:
        """One per signal, fitted when first asked for."""
        return [Probe.of(each, seed=self.seed, device=self.x0.device) for each in self.concepts]

    @cached_property
    def held_out(self) -> list[tuple[Tensor, ...]]:
        """New images of the trained classes and of the one asked for: images, conditions, levels, noises by member."""
        rows, found = torch.arange(self.pairs) % len(self.trained), []
        for key, bits in ("inside", classes(*self.trained)[rows]), ("outside", classes(self.asked, n=self.pairs)):
            gen = generator(self.seed, "Denoisers.noise", key)
            noise = torch.randn(1, 1, self.pairs, *self.x0.shape[1:], generator=gen, dtype=self.x0.dtype).to(self.x0)
            x0, c = map(torch.stack, zip(*self._render(bits, key, self.seed, self.x0.device)))
            given = x0[:, None], c[:, None], self.signals(gen, 1, 1, self.pairs), noise
            found.append(tuple(map(self.spread, given)))
        return found

    def draw(self, model: nn.Module | None = None) -> Float[Tensor, "members samples channels height width"]:
        """Return images of the class asked for, from the same noises each time, prompted with its mean condition."""
        prompts = torch.stack([each.condition(classes(self.asked)) for each in self.concepts])        # (sets, 1, k)
        return self.sample(prompts.expand(-1, self.samples, -1), model)

    def coordinates(self, model: nn.Module | None = None) -> Float[Tensor, "members concepts"]:
        """Return the mean concept coordinates of the images that :meth:`draw` makes; all 1 for those of class 1…1."""
        images = self.draw(model).unflatten(0, (len(self.concepts), self.seeds))
        return torch.cat([probe(x).mean(1) for probe, x in zip(self.probes, images, strict=True)])

    @torch.no_grad()
    def losses(self, model: nn.Module | None = None) -> tuple[Float[Tensor, "members"], Float[Tensor, "members"]]:
        """Return each member's mean squared error of x̂0, per value: of the trained classes, and of the one asked for.

        On new images, each with its own condition and a fixed noise and level (γ stratified).
        """
        found, model = [], self.model if model is None else model
        for x0, condition, level, noise in self.held_out:
            guess = model(gaussian.noised(x0, level, noise), level, condition)
            found.append((guess - x0).square().flatten(1).mean(1))
        return tuple(found)

    def measure(self, model: nn.Module | None = None) -> dict[str, Tensor]:
        """Return validation loss, out-of-distribution loss and each concept's coordinate, ``(members,)`` each."""
        columns = *self.losses(model), *self.coordinates(model).unbind(1)
        return dict(zip(("validation", "ood", *self.concepts[0].names), columns, strict=True))

    def follow(
        self, steps: int = 1500, measure: Callable[[nn.Module], dict[str, Any]] | None = None, *,
        at: Iterable[int] | None = None, decay: float = 0.01, **options: Any,
    ) -> "pd.DataFrame":
        """Train all members and return what :meth:`measure`, or another one, finds along the way, as a table.

        By default at :func:`square_steps`. Columns: step, member, set (index into `concepts`), seed, h, loss (of
        training, since the row before), validation, ood, and one per concept. `options` (lr, ema, …) and errors are
        those of :meth:`hierlib.diffusion.conditional.Denoisers.fit`; with ``ema=0.95`` averaged networks are measured,
        and most of the scatter between one measurement and the next is gone. Source: Yang et al. 2025, app. G.
        """
        at, measure = square_steps(steps) if at is None else at, self.measure if measure is None else measure
        return super().follow(steps, measure, at=at, decay=decay, **options)
