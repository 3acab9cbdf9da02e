"""Deep linear networks f(x) = W_L ⋯ W_1 x of any depth on the identity mapping, by their population gradient flow.

For the loss L = ½ ‖(W − I) A^½‖² of the product W = W_L ⋯ W_1, A = diag(a),

    dW_l/dt = −(W_L ⋯ W_{l+1})ᵀ (W − I) A (W_{l−1} ⋯ W_1)ᵀ        in gradient time.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import accumulate, pairwise

import torch

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Tensor
from hierlib.sim.flow import State, Trajectory, integrate, moments

__all__ = ["deep", "initial"]


def initial(
    kind: str, depth: int, d: int, width: int, omega: float, replicas: int = 1, seed: Seed = 0, *,
    device: torch.device | str | None = None, dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Draw the layers [W_1, …, W_L] of replicas whose product has entries of scale ω.

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
    L, d, h, replicas = checks.integers(1, depth=depth, d=d, width=width, replicas=replicas)
    rng, sizes = generator(seed, "sim.initial"), [d, *[h] * (L - 1), d]
    scale, draw = {"positive": (2 * (omega / h ** (L - 1)) ** (1 / L), torch.rand),
                   "gaussian": ((omega / h ** ((L - 1) / 2)) ** (1 / L), torch.randn)}[kind]
    return [(scale * draw(replicas, rows, columns, generator=rng, dtype=torch.float64)).to(device, dtype)
            for columns, rows in pairwise(sizes)]


def deep(
    Ws: State, a: Float[Tensor, "*b d"], times: Tensor | Sequence[float], *, dt: float | None = None,
    record: Callable[[Tensor], Tensor] | None = None,
) -> Trajectory:
    """Train f(x) = W_L ⋯ W_1 x by its population gradient flow, all networks at once.

    Parameters
    ----------
    Ws
        Layers at the start, the first layer first: ``(…, h_l, h_{l−1})`` with h_0 = h_L = d.
    a
        Second moments, ``(…, d)``, at least 0; leading axes broadcast with those of the layers.
    times
        When to record, in gradient time, ``(T,)`` increasing.
    dt, record
        As for :func:`hierlib.sim.flow.flow`; `record` is a function of the product W.

    Raises
    ------
    ValueError
        For no layers, shapes that do not fit, a negative a, or a step that is too long.
    """
    sizes = [tuple(W.shape[-2:]) for W in Ws]
    fit = len(Ws) > 0 and all(W.ndim >= 2 for W in Ws) and all(
        after[1] == before[0] for before, after in pairwise([sizes[-1], *sizes]))
    checks.require(fit, "Ws", sizes, "one layer (…, h, h') or more, that follow each other, from d inputs to d outputs")
    a = moments(a, sizes[0][1]).to(Ws[0])
    batch = torch.broadcast_shapes(a.shape[:-1], *(W.shape[:-2] for W in Ws))
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)

    def velocity(layers: State) -> State:
        below = list(accumulate(layers, lambda product, W: W @ product))            # W_l ⋯ W_1, l = 1 … L
        slope = (eye - below[-1]) * a[..., None, :]                                 # −∂L/∂W
        speeds = []
        for W, under in zip(reversed(layers[1:]), reversed(below[:-1]), strict=True):
            speeds.append(slope @ under.mT)
            slope = W.mT @ slope                                                    # (W_L ⋯ W_l)ᵀ (I − W) A
        return [slope, *reversed(speeds)]

    start = [W.expand(*batch, *W.shape[-2:]) for W in Ws]
    return integrate(velocity, start, times, lambda layers: reduce(lambda W, layer: layer @ W, layers), record, dt, a)
