"""What a simulation of many replicas records: overlaps along the way, and when each replica has found its direction."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from hierlib.lab import checks, generator
from hierlib.lab.types import Float, Tensor

__all__ = ["Run", "Schedule", "device_generator"]

_CHECK = 32              # steps between looks at who has hit: each look makes a GPU wait
_BOOTSTRAPS = 1000


@dataclass(frozen=True)
class Run:
    """Trajectories and hitting times of S replicas, on the CPU.

    Explained in the chapter *Simplicity bias*; source: this book.

    Parameters
    ----------
    n
        Samples that each replica has seen at each record, ``(K,)``.
    alpha_u, alpha_v
        Overlaps w·u and w·v at the records, ``(K, S)``; NaN where the source has no such directions.
    hit
        Samples until the overlap with the target first reached the threshold, in modulus, ``(S,)``; infinite for
        replicas that did not by the end of the run (or when there is no target).
    w
        Final directions ``(S, d)``; None for the reduced chain.
    """

    n: Float[Tensor, "K"]
    alpha_u: Float[Tensor, "K S"]
    alpha_v: Float[Tensor, "K S"]
    hit: Float[Tensor, "S"]
    w: Float[Tensor, "S d"] | None = None

    @property
    def fraction_hit(self) -> float:
        """Fraction of replicas that have hit."""
        return float(self.hit.isfinite().double().mean())

    def median(self) -> float:
        """Return the median of the hitting times; infinite when half of the replicas have not hit."""
        return float(np.median(self.hit.numpy()))

    def interval(self, level: float = 0.68, seed: int = 0) -> tuple[float, float]:
        """Return the central bootstrap interval of the median over replicas, of coverage `level`.

        Raises
        ------
        ValueError
            For a level that is not in (0, 1).
        """
        level = checks.real("level", level, 0.0, 1.0)
        checks.require(0 < level < 1, "level", level, "strictly between 0 and 1")
        S = len(self.hit)
        pick = torch.randint(S, (_BOOTSTRAPS, S), generator=generator(seed, "Run.interval"))
        medians = np.median(self.hit[pick].numpy(), axis=1)
        low, high = np.quantile(medians, [0.5 - level / 2, 0.5 + level / 2], method="inverted_cdf")
        return float(low), float(high)


@dataclass(frozen=True)
class Schedule:
    """Length of a run, what ends it, and what is recorded; the steps themselves are somebody else's.

    Used in the chapter *Simplicity bias*; source: this book.

    Parameters
    ----------
    batch
        Samples per step and replica.
    samples
        Samples per replica after which the run ends at the latest, rounded up to whole steps.
    target
        Index of the overlap whose threshold crossing is timed: ``"u"``, ``"v"``, or None.
    threshold
        Overlap, in modulus, that counts as a hit, in (0, 1].
    records
        The number of records lies between this and twice this (or the number of steps): the distance between them
        doubles as the run goes on.
    fraction
        The run ends when this fraction of replicas has hit (looked at every 32 steps). More than ½ gives the median.

    Raises
    ------
    ValueError
        For numbers out of range.
    """

    batch: int
    samples: float
    target: str | None = None
    threshold: float = 0.8
    records: int = 100
    fraction: float = 1.0

    def __post_init__(self) -> None:
        plain = {
            "batch": checks.integer("batch", self.batch, low=1), "samples": checks.real("samples", self.samples, 1.0),
            "target": checks.one_of("target", self.target, (None, "u", "v")),
            "threshold": checks.positive("threshold", self.threshold, 1.0),
            "records": checks.integer("records", self.records, low=1),
            "fraction": checks.positive("fraction", self.fraction, 1.0),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def follow(self, step: Callable[[], Tensor], start: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Call `step` until the run ends.

        Parameters
        ----------
        step
            Does one step and returns the overlaps with u and v after it, ``(2, S)``.
        start
            Overlaps before the first step, ``(2, S)``.

        Returns
        -------
        n, alpha_u, alpha_v, hit
            As in :class:`Run`.
        """
        steps, row = math.ceil(self.samples / self.batch), 1 if self.target == "v" else 0
        done, stride, kept, last = 0, 1, [(0, start)], start
        hit = torch.full_like(start[0], math.inf, dtype=torch.float64)
        if self.target is not None:
            hit[start[row].abs() >= self.threshold] = 0.0
        while done < steps and not float(hit.isfinite().double().mean()) >= self.fraction:
            block = []
            for _ in range(min(_CHECK, steps - done)):
                last = step()
                done += 1
                block.append(last[row])
                if done % stride == 0:
                    kept.append((done, last))
                    if len(kept) > 2 * self.records:
                        kept, stride = kept[::2], 2 * stride
            if self.target is not None:
                above = torch.stack(block).abs() >= self.threshold
                first = (done - len(block) + 1 + above.byte().argmax(0)).double() * self.batch
                hit = torch.minimum(hit, torch.where(above.any(0), first, math.inf))
        if kept[-1][0] < done:
            kept.append((done, last))
        n = torch.tensor([k for k, _ in kept], dtype=torch.float64) * self.batch
        alpha = torch.stack([alpha for _, alpha in kept]).cpu()
        return n, alpha[:, 0], alpha[:, 1], hit.cpu()


def device_generator(seed: int, key: str, device: torch.device | str | None) -> torch.Generator:
    """Return a generator on `device` (None: the CPU) for loops that draw where they compute.

    Used in the chapter *Simplicity bias*; source: this book. Its numbers differ from one kind of device to another.
    """
    start = torch.randint(2**62, (1,), generator=generator(seed, key, "device")).item()
    return torch.Generator(device or "cpu").manual_seed(start)
