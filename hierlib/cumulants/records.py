"""How many replicas of one neuron are trained (:class:`Plan`), and what they leave (:class:`Trajectories`)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor

__all__ = ["Plan", "Trajectories"]

_CHECK = 32              # steps between looks at who has hit: each look makes a GPU wait


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Overlaps and hitting times of S replicas, on the CPU.

    Parameters
    ----------
    n
        Samples that each replica has seen at each record, ``(K,)``.
    alpha_u, alpha_v
        Overlaps w·u and w·v at the records, ``(K, S)``; NaN where the source has no such directions.
    hit
        Samples until the overlap with the target first reached the threshold, in modulus, ``(S,)``; infinite for
        replicas that did not by the end (or when there is no target).
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


@dataclass(frozen=True, eq=False)
class Plan:
    """Steps, start, end and records of a training by pSGD, in all dimensions or as a reduced chain.

    Parameters
    ----------
    step
        η ≥ 0 per batch. As η/batch per sample of order 1/d it finds a covariance spike in of order d ln d samples, of
        order 1/d² a fourth cumulant in of order d³ (scaling of Ben Arous, Gheissari, Jagannath 2021).
    batch
        Samples per step and replica.
    samples
        Samples per replica after which the run ends at the latest, rounded up to whole steps.
    start
        None: w uniform on the sphere. A pair (α_u, α_v): these overlaps, and a random direction orthogonal to u and v
        for the rest.
    target
        The overlap whose threshold crossing is timed: ``"u"``, ``"v"``, or None.
    threshold
        Overlap, in modulus, that counts as a hit, in (0, 1].
    fraction
        The run ends when this fraction of replicas has hit (looked at every 32 steps). More than ½ gives the median.
    records
        The number of records lies between this and twice this (or the number of steps): the distance between them
        doubles as the run goes on.
    replicas
        S, their number.
    seed
        Integer. The start is the same on every device; the samples are drawn on the device and are not.
    device, dtype
        Where (None: the CPU) and in what type the samples are; `dtype` is also that of weights (overlaps are float64).

    Raises
    ------
    ValueError
        For numbers out of range, or overlaps that no unit vector has.
    """

    step: float
    batch: int
    samples: float
    start: tuple[float, float] | None = None
    target: str | None = None
    threshold: float = 0.8
    fraction: float = 1.0
    records: int = 100
    replicas: int = 64
    seed: int = 0
    device: torch.device | str | None = None
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        given = vars(self)                                  # frozen for users: replaced by plain numbers here, once
        given |= {name: checks.real(name, given[name], low) for name, low in (("step", 0.0), ("samples", 1.0))}
        given |= {name: checks.positive(name, given[name], 1.0) for name in ("threshold", "fraction")}
        given |= {name: checks.integer(name, given[name], low=1) for name in ("batch", "records", "replicas")}
        given["target"] = checks.one_of("target", self.target, (None, "u", "v"))
        checks.require(self.start is None or (len(self.start) == 2 and math.hypot(*self.start) <= 1 + 1e-12), "start",
                       self.start, "a pair of overlaps with α_u² + α_v² ≤ 1")

    def follow(self, advance: Callable[[], Tensor], start: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Call `advance` until the run ends.

        Parameters
        ----------
        advance
            Does one step and returns the overlaps with u and v after it, ``(2, S)``.
        start
            Overlaps before the first step, ``(2, S)``.

        Returns
        -------
        n, alpha_u, alpha_v, hit
            As in :class:`Trajectories`.
        """
        steps, row = math.ceil(self.samples / self.batch), 1 if self.target == "v" else 0
        done, stride, kept, last = 0, 1, [(0, start)], start
        hit = torch.full_like(start[0], math.inf, dtype=torch.float64)
        if self.target is not None:
            hit[start[row].abs() >= self.threshold] = 0.0
        while done < steps and not float(hit.isfinite().double().mean()) >= self.fraction:
            block = []
            for _ in range(min(_CHECK, steps - done)):
                last = advance()
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
