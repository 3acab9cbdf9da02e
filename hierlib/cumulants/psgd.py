"""Projected stochastic gradient descent (pSGD) of one neuron on the sphere, in all d dimensions, many replicas at once.

Each step takes a fresh batch of B samples per replica: w ← (w − η P_w g_B)/‖·‖ with P_w = 1 − w wᵀ.
"""

from collections.abc import Callable

import torch

from hierlib.cumulants.model import MixedCumulantModel
from hierlib.cumulants.neuron import TiedNeuron
from hierlib.cumulants.run import Run, Schedule, device_generator
from hierlib.lab import checks, generator
from hierlib.lab.types import Float, Tensor

__all__ = ["batch_u", "batch_v", "psgd", "step_u", "step_v"]

Draw = Callable[[int, torch.Generator], Tensor]

_CHUNK = 2**22           # entries of one batched array of samples


def step_u(d: int, delta: float, batch: int) -> float:
    """Return the step η = δ B/d with which a covariance spike is found in of order d ln d samples.

    Explained in the chapter *Simplicity bias*; source: this book (scaling of Ben Arous, Gheissari, Jagannath 2021).
    ValueError for numbers out of range.
    """
    return _step("delta", delta, batch, d, 1)


def step_v(d: int, delta0: float, batch: int) -> float:
    """Return the step η = δ₀ B/d² with which a fourth-cumulant spike is found in of order d³ samples.

    Explained in the chapter *Simplicity bias*; source: this book (scaling of Ben Arous, Gheissari, Jagannath 2021).
    ValueError for numbers out of range.
    """
    return _step("delta0", delta0, batch, d, 2)


def _step(name: str, delta: float, batch: int, d: int, power: int) -> float:
    delta, batch = checks.real(name, delta, 0.0), checks.integer("batch", batch, low=1)
    return delta * batch / checks.integer("d", d, low=1) ** power


def batch_u(d: int) -> int:
    """Return the batch d/8 (at least 1) of the runs on a covariance spike: the step η = δ/8 then depends on δ only.

    Used in the chapter *Simplicity bias*; source: this book. ValueError for a bad d.
    """
    return max(1, checks.integer("d", d, low=1) // 8)


def batch_v(d: int, delta0: float, step: float = 0.1) -> int:
    """Return the batch η d²/δ₀ that makes the step η = `step`, or 16 below d = 40: the larger, the fewer steps.

    Used in the chapter *Simplicity bias*; source: this book. ValueError for numbers out of range.
    """
    d, delta0 = checks.integer("d", d, low=1), checks.real("delta0", delta0, 0.0)
    checks.require(delta0 > 0, "delta0", delta0, "above 0")
    return 16 if d < 40 else max(1, round(checks.real("step", step, 0.0) * d**2 / delta0))


def psgd(
    source: MixedCumulantModel | Float[Tensor, "N d"] | Draw,
    neuron: TiedNeuron,
    *,
    step: float,
    batch: int,
    samples: float,
    replicas: int = 64,
    start: tuple[float, float] | Float[Tensor, "S d"] | None = None,
    target: str | None = None,
    threshold: float = 0.8,
    seed: int = 0,
    records: int = 100,
    fraction: float = 1.0,
    directions: Float[Tensor, "2 d"] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Run:
    """Train S replicas of one neuron, each on samples of its own, and record their overlaps with u and v.

    A step costs of order S·B·d; :func:`hierlib.cumulants.chain.chain` has the same law for the mixed cumulant model
    at a cost without d. Explained in the chapter *Simplicity bias*; source: this book (reconstruction of Bardone,
    Merger, Goldt 2026).

    Parameters
    ----------
    source
        Where x_0 comes from: a model; data ``(N, d)``, whose rows are drawn with replacement; or a function of
        (count, generator on the device) that returns ``(count, d)``.
    neuron
        The denoiser, whose weights are trained.
    step
        η ≥ 0 per batch, see :func:`step_u` and :func:`step_v`.
    batch, samples, target, threshold, records, fraction
        See :class:`hierlib.cumulants.run.Schedule`. A target needs directions.
    replicas
        S; with a start ``(S, d)`` that one counts.
    start
        None: directions uniform on the sphere. A pair (α_u, α_v): these overlaps, and a random direction
        orthogonal to u and v for the rest. A tensor ``(S, d)`` of unit vectors.
    seed
        Integer. The start is the same on every device; the samples are drawn on the device and are not.
    directions
        The orthonormal u and v of the overlaps, for a source that is not a model (a model brings its own).
    device, dtype
        Where (None: the CPU) and in what type the samples are; `dtype` is also that of the weights.

    Raises
    ------
    ValueError
        For numbers out of range, shapes that do not fit, directions that are not orthonormal to 1e-4, or a target or
        pair of overlaps without directions.
    """
    schedule = Schedule(batch, samples, target, threshold, records, fraction)
    eta, batch = checks.real("step", step, 0.0), schedule.batch
    rng = device_generator(seed, "psgd", device)
    draw = _draws(source, rng.device, dtype)
    if isinstance(source, MixedCumulantModel):
        directions = torch.stack([source.u, source.v])
    d = draw(1, device_generator(seed, "psgd.probe", device)).shape[-1]
    axes = torch.full((2, d), torch.nan) if directions is None else directions
    checks.require(axes.shape == (2, d), "directions", tuple(axes.shape), f"of shape (2, {d})")
    checks.require(target is None or directions is not None, "target", target, "None for a source without directions")
    axes = axes.to(rng.device, torch.float64)
    if directions is not None:
        deviation = float((axes @ axes.T - torch.eye(2).to(axes)).abs().max())
        checks.require(deviation < 1e-4, "directions: deviation from orthonormal", deviation, "below 1e-4")
    w = _start(start, axes, checks.integer("replicas", replicas, low=1), seed).to(rng.device, dtype)
    size = max(1, _CHUNK // (batch * d))

    def overlaps() -> Tensor:
        return axes @ w.T.double()

    def one() -> Tensor:
        nonlocal w
        pieces = []
        for part in w.split(size):
            x0 = draw(len(part) * batch, rng).view(len(part), batch, d)
            noise = torch.randn(x0.shape, generator=rng, device=rng.device, dtype=dtype)
            pieces.append(neuron.gradient(part, x0, noise))
        g = torch.cat(pieces)
        w = torch.nn.functional.normalize(w - eta * (g - (g * w).sum(-1, keepdim=True) * w), dim=-1)
        return overlaps()

    return Run(*schedule.follow(one, overlaps()), w.cpu())


def _draws(source: MixedCumulantModel | Tensor | Draw, device: torch.device, dtype: torch.dtype) -> Draw:
    """Return the function of (count, generator) that draws x_0 on `device`."""
    if isinstance(source, MixedCumulantModel):
        return lambda count, rng: source.draw(count, rng, dtype)
    if isinstance(source, Tensor):
        checks.require(source.ndim == 2 and len(source) > 0, "source", tuple(source.shape), "of shape (N, d)")
        data = source.to(device, dtype)
        return lambda count, rng: data[torch.randint(len(data), (count,), generator=rng, device=device)]
    checks.require(callable(source), "source", source, "a model, data (N, d) or a function")

    def draw(count: int, rng: torch.Generator) -> Tensor:
        x0 = source(count, rng).to(device, dtype)
        checks.require(x0.ndim == 2 and len(x0) == count, "source", tuple(x0.shape), f"of shape ({count}, d)")
        return x0

    return draw


def _start(start: tuple[float, float] | Tensor | None, axes: Tensor, replicas: int, seed: int) -> Tensor:
    """Return the first directions, ``(S, d)`` float64."""
    d = axes.shape[-1]
    if isinstance(start, Tensor):
        norms = start.double().norm(dim=-1)
        checks.require(start.ndim == 2 and start.shape[-1] == d and bool(((norms - 1).abs() < 1e-4).all()), "start",
                       tuple(start.shape), f"unit vectors (S, {d})")
        return start.double() / norms[:, None]
    w = torch.randn(replicas, d, generator=generator(seed, "psgd.start"), dtype=torch.float64)
    if start is not None:
        alpha, axes = torch.tensor(start, dtype=torch.float64), axes.cpu()
        checks.require(alpha.shape == (2,) and float(alpha @ alpha) <= 1 + 1e-12, "start", start,
                       "a pair of overlaps with α_u² + α_v² ≤ 1")
        checks.require(not axes.isnan().any(), "start", start, "a tensor or None for a source without directions")
        checks.require(d > 2, "d", d, "above 2 for a start with given overlaps")
        w = torch.nn.functional.normalize(w - w @ axes.T @ axes, dim=-1)
        w = alpha @ axes + (1 - alpha @ alpha).clamp(min=0).sqrt() * w
    return torch.nn.functional.normalize(w, dim=-1)
