"""Deep linear networks f(x) = W_L ⋯ W_1 x of any depth on the identity mapping, by their population gradient flow.

For the loss L = ½ ‖(W − I) A^½‖² of the product W = W_L ⋯ W_1, A = diag(a),

    dW_l/dt = −(W_L ⋯ W_{l+1})ᵀ (W − I) A (W_{l−1} ⋯ W_1)ᵀ        in gradient time.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Tensor
from hierlib.sim.flow import Trajectory
from hierlib.sim.integrate import as_times, integrate

__all__ = ["deep", "initial"]


def initial(
    kind: str, depth: int, d: int, width: int, omega: float, replicas: int = 1, seed: Seed = 0, *,
    device: torch.device | str | None = None, dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Draw the layers [W_1, …, W_L] of replicas whose product has entries of scale ω.

    Explained in the chapter *SIM dynamics*; source: this book.

    Parameters
    ----------
    kind
        "positive": entries uniform in [0, 2m] with m = (ω/h^{L−1})^{1/L}; the entries of the product have mean ω.
        "gaussian": entries N(0, τ²) with τ = (ω/h^{(L−1)/2})^{1/L}; those of the product have mean 0, variance ω².
    depth, d, width
        L layers, from d inputs over L − 1 hidden layers of h units to d outputs.
    omega
        ω > 0.
    replicas, seed
        Number of networks, and integer or CPU generator.
    device, dtype
        Of the layers; the numbers are drawn on the CPU.

    Returns
    -------
    list
        L tensors ``(replicas, outputs, inputs)``, the first layer first.

    Raises
    ------
    ValueError
        For another kind, sizes below 1, or ω that is not positive.
    """
    kind, omega = checks.one_of("kind", kind, ("positive", "gaussian")), checks.positive("omega", omega)
    L, d = checks.integer("depth", depth, low=1), checks.integer("d", d, low=1)
    h = checks.integer("width", width, low=1)
    replicas = checks.integer("replicas", replicas, low=1)
    rng = generator(seed, "sim.initial")
    sizes = [d, *[h] * (L - 1), d]
    shapes = [(replicas, rows, columns) for columns, rows in pairwise(sizes)]
    if kind == "positive":
        scale, draw = 2 * (omega / h ** (L - 1)) ** (1 / L), torch.rand
    else:
        scale, draw = (omega / h ** ((L - 1) / 2)) ** (1 / L), torch.randn
    return [(scale * draw(*shape, generator=rng, dtype=torch.float64)).to(device, dtype) for shape in shapes]


def deep(
    Ws: list[Tensor],
    a: Float[Tensor, "*b d"],
    times: Tensor | Sequence[float],
    *,
    dt: float | None = None,
    tolerance: float = 1e-9,
    record: Callable[[Tensor], Tensor] | None = None,
) -> Trajectory:
    """Train f(x) = W_L ⋯ W_1 x by its population gradient flow, all networks at once.

    Explained in the chapter *SIM dynamics*; source: this book.

    Parameters
    ----------
    Ws
        Layers at the start, the first layer first: ``(…, h_l, h_{l−1})`` with h_0 = h_L = d.
    a
        Second moments, ``(…, d)``, at least 0; leading axes broadcast with those of the layers.
    times
        When to record, in gradient time, ``(T,)`` increasing.
    dt, tolerance, record
        As for :func:`hierlib.sim.flow.flow`; `record` is a function of the product W.

    Raises
    ------
    ValueError
        For no layers, shapes that do not fit, a negative a, or a step that is too long.
    """
    checks.require(len(Ws) > 0 and all(W.ndim >= 2 for W in Ws), "Ws", Ws, "one layer (…, h, h') or more")
    d = Ws[0].shape[-1]
    sizes = [W.shape[-2:] for W in Ws]
    fit = sizes[-1][0] == d and all(after[1] == before[0] for before, after in pairwise(sizes))
    checks.require(fit, "Ws", sizes, "layers that follow each other, from d inputs to d outputs")
    checks.require(a.ndim >= 1 and a.shape[-1] == d and bool(((a >= 0) & a.isfinite()).all()), "a", a,
                   f"of shape (…, {d}), finite and at least 0")
    a = a.to(Ws[0])
    batch = torch.broadcast_shapes(a.shape[:-1], *(W.shape[:-2] for W in Ws))
    eye = torch.eye(d, dtype=a.dtype, device=a.device)

    def velocity(layers: list[Tensor]) -> list[Tensor]:
        below = list(accumulate(layers, lambda product, W: W @ product))            # W_l ⋯ W_1, l = 1 … L
        slope = (eye - below[-1]) * a[..., None, :]                                 # −∂L/∂W
        speeds = []
        for W, under in zip(reversed(layers[1:]), reversed(below[:-1]), strict=True):
            speeds.append(slope @ under.mT)
            slope = W.mT @ slope                                                    # (W_L ⋯ W_l)ᵀ (I − W) A
        return [slope, *reversed(speeds)]

    def keep(layers: list[Tensor]) -> Tensor:
        *_, W = accumulate(layers, lambda product, layer: layer @ product)
        return W if record is None else record(W)

    start = [W.expand(*batch, *W.shape[-2:]) for W in Ws]
    kept, layers, error = integrate(velocity, start, times, keep, dt=dt, tolerance=tolerance)
    return Trajectory(as_times(times), *((kept, None) if record is None else (None, kept)), layers, error)
