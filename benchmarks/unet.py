"""Training steps of the U-Net on images: speed against peers and bounds.

    python benchmarks/unet.py            about a minute
    python benchmarks/unet.py --quick    a few seconds; shows that everything runs, its figures mean little

A step is forward, backward and AdamW, in float32. A row compares hierlib with one other way. Both run in turns,
several times, on one torch thread, and the smallest CPU time of each counts. `ratio` is the speed of hierlib over
that of the other: above 1 hierlib is faster; for a bound it is the fraction reached.

- matmul: a bound, the floating point operations of the step's convolutions at the speed of one large product,
  measured in the same turns.
- layers: a bound, the 3×3 convolutions of the network alone, each on an input of its own, forward and backward.
- contiguous: the same network and weights with channels first in memory, where hierlib's are last.
- loop: an ensemble of networks without noise level, against a Python loop with an optimiser each.
- diffusers: ``UNet2DModel`` with the same widths, where it is installed. Its stages are longer, so that times are per
  floating point operation; ours has the norm here, as it has.

Networks are named unet:widths/n×pixels×pixels.
"""

import importlib.util
from collections.abc import Callable

import pandas as pd
import torch
from common import fastest, started
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hierlib import nets
from hierlib.lab.types import Tensor


def row(task: str, name: str, against: str, ours: float, other: float, unit: str = "ms") -> dict:
    """Return a row of the table from two times in units of `unit`."""
    return {"task": task, "network": name, "unit": unit, "hierlib": f"{ours:.3g}", "against": against,
            "other": f"{other:.3g}", "ratio": f"{other / ours:.3g}"}


def step(model: Callable[[], Tensor], parameters: list[Tensor]) -> Callable[[], None]:
    """Return a function that does one training step of `model`, a function without arguments."""
    optimiser = torch.optim.AdamW(parameters, 1e-3, fused=True)

    def call() -> None:
        optimiser.zero_grad()
        model().square().mean().backward()
        optimiser.step()

    return call


def unet(seed: int = 0, **options: object) -> nets.UNet:
    """Return a U-Net whose read-out is not zero, so that all its gradients are there."""
    net = nets.UNet(seed=seed, **options)
    nn.init.normal_(net.readout.weight, std=0.1, generator=torch.Generator().manual_seed(seed))
    return net.to(memory_format=torch.channels_last)


def noisy(*shape: int) -> tuple[Tensor, Tensor]:
    """Return images and noise levels."""
    gen = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=gen), torch.rand(shape[0], generator=gen)


def gflop(call: Callable[[], object]) -> float:
    """Return the number of floating point operations of a call, in 10⁹."""
    with FlopCounterMode(display=False) as flops:
        call()
    return flops.get_total_flops() / 1e9


def layers_alone(net: nets.UNet, x: Tensor, level: Tensor) -> Callable[[], None]:
    """Return a function that does the 3×3 convolutions of `net`, forward and backward, and nothing else."""
    seen = []

    def keep(layer: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        wanted = layer is not net.stem               # an image needs no gradient
        seen.append((layer, inputs[0].detach().clone().requires_grad_(wanted), torch.ones_like(output)))

    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    hooks = [layer.register_forward_hook(keep) for layer in convolutions]
    net(x, level)
    for hook in hooks:
        hook.remove()

    def call() -> None:
        for layer, y, slope in seen:
            wanted = [layer.weight, layer.bias] + [y] * y.requires_grad
            torch.autograd.grad(layer(y), wanted, slope)

    return call


def step_rows(widths: tuple[int, ...], n: int, pixels: int, quick: bool) -> list[dict]:
    """Return the rows of one network against the bounds and the other order in memory."""
    net, (x, level) = unet(widths=widths), noisy(n, 1, pixels, pixels)
    ours = step(lambda: net(x, level), list(net.parameters()))
    first = unet(widths=widths).to(memory_format=torch.contiguous_format)
    contiguous = step(lambda: first(x, level), list(first.parameters()))
    a, b = torch.rand(2, *(2 * [128 if quick else 1024]))
    seconds, order, layers, product = fastest(
        2 if quick else 25, ours, contiguous, layers_alone(net, x, level), lambda: a @ b)
    name, work = f"unet:{','.join(map(str, widths))}/{n}×{pixels}×{pixels}", gflop(ours)
    bound = 1e3 * work / (gflop(lambda: a @ b) / product)
    print(f"# {name}: {nets.count(net)} parameters, {work:.2f} GFLOP per step, {work / seconds:.0f} GFLOP/s")
    return [row("step", name, "matmul", 1e3 * seconds, bound), row("step", name, "layers", 1e3 * seconds, 1e3 * layers),
            row("step", name, "contiguous", 1e3 * seconds, 1e3 * order)]


def ensemble_row(E: int, n: int, pixels: int, chunk: int | None, quick: bool) -> dict:
    """Return the row of an ensemble against a loop, in ms per network."""
    members, (x, _) = [unet(seed, time=False) for seed in range(E)], noisy(n, 1, pixels, pixels)
    ensemble = nets.Ensemble(members, chunk)
    steps = [step(lambda net=net: net(x), list(net.parameters())) for net in members]
    ours, loop = fastest(2 if quick else 8, step(lambda: ensemble(x, shared=True), list(ensemble.parameters())),
                         lambda: [call() for call in steps])
    name = f"unet:16,32,32/{n}×{pixels}×{pixels}"
    return row(f"ensemble-of-{E},chunk={chunk}", name, "loop", 1e3 * ours / E, 1e3 * loop / E)


def diffusers_row(widths: tuple[int, ...], n: int, pixels: int, quick: bool) -> dict:
    """Return the row against UNet2DModel, in ms per 10⁹ floating point operations."""
    from diffusers import UNet2DModel

    x, level = noisy(n, 1, pixels, pixels)
    net = unet(widths=widths, norm=True)
    peer = UNet2DModel(
        sample_size=pixels, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=widths,
        down_block_types=("DownBlock2D",) * len(widths), up_block_types=("UpBlock2D",) * len(widths),
        norm_num_groups=8, add_attention=False, downsample_type="resnet", upsample_type="resnet",
        resnet_time_scale_shift="scale_shift").to(memory_format=torch.channels_last)
    ours = step(lambda: net(x, level), list(net.parameters()))
    theirs = step(lambda: peer(x, 1000 * level).sample, list(peer.parameters()))
    work = gflop(ours), gflop(theirs)
    seconds = fastest(2 if quick else 15, ours, theirs)
    print(f"# diffusers: {nets.count(peer)} parameters, {1e3 * seconds[1]:.1f} ms and {work[1]:.2f} GFLOP per step; "
          f"hierlib with norm: {nets.count(net)}, {1e3 * seconds[0]:.1f} ms and {work[0]:.2f} GFLOP")
    name = f"unet:{','.join(map(str, widths))}/{n}×{pixels}×{pixels}"
    return row("work", name, "diffusers", *(1e3 * s / w for s, w in zip(seconds, work, strict=True)), "ms/GFLOP")


def main() -> None:
    """Print the table."""
    quick = started(__doc__)
    n, pixels = (2, 8) if quick else (32, 16)
    rows = []
    for widths in ((16, 32, 32), (12, 24, 32), (32,)):
        rows += step_rows(widths, n, pixels, quick)
    rows += [ensemble_row(4, n, pixels, chunk, quick) for chunk in (None, 1)]
    if importlib.util.find_spec("diffusers"):
        rows.append(diffusers_row((16, 32, 32), n, pixels, quick))
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
