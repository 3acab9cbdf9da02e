"""Training steps of the U-Net on images: forward, backward and AdamW, in float32.

- contiguous: the same network and weights with channels first in memory, where hierlib's are last.
- concatenated: the same widths with concatenated skips, where hierlib's are added here; per step, not per operation.
- loop: an ensemble of networks without noise level, against a Python loop with an optimiser each; per network.
- diffusers: ``UNet2DModel`` with the same widths, where it is installed.
- lucidrains: ``denoising_diffusion_pytorch.Unet`` with like widths, where it is installed. Its options do not leave
  out attention; here it is taken out.
- matmul: a bound, the floating point operations of the step's convolutions at the speed of one large product,
  measured in the same turns.
- layers: a bound, the 3×3 convolutions of the network alone, each on an input of its own, forward and backward.

The size is widths/n×pixels×pixels. The stages of the libraries' networks are longer, so that times against them are
per 10⁹ floating point operations. They normalise their channels (GroupNorm), which ours does not; each has channels
first or last, whichever is faster.
"""

import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from unittest.mock import MagicMock

import torch
from torch import nn

from benchmarks.common import fastest, gflop, row, step
from hierlib import nets
from hierlib.lab.types import Tensor


def unet(seed: int = 0, **options: object) -> nets.UNet:
    """Return a U-Net whose read-out is not zero, so that all its gradients are there."""
    net = nets.UNet(seed=seed, **options)
    nn.init.normal_(net.readout.weight, std=0.1, generator=torch.Generator().manual_seed(seed))
    return net.to(memory_format=torch.channels_last)


def noisy(*shape: int) -> tuple[Tensor, Tensor]:
    """Return images and noise levels."""
    gen = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=gen), torch.rand(shape[0], generator=gen)


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


def step_rows(
    widths: tuple[int, ...], n: int, pixels: int, quick: bool, lowest: bool = False, channels: int = 1
) -> list[dict]:
    """Return the rows of one network, maybe with attention at the lowest level, against bounds and the other order."""
    options = {"channels": channels, "widths": widths, "attention": {len(widths) - 1} if lowest else ()}
    net, (x, level) = unet(**options), noisy(n, channels, pixels, pixels)
    ours = step(net.parameters(), lambda: net(x, level))
    first = unet(**options).to(memory_format=torch.contiguous_format)
    contiguous = step(first.parameters(), lambda: first(x, level))
    a, b = torch.rand(2, *(2 * [128 if quick else 1024]))
    seconds, order, layers, product = fastest(
        2 if quick else 25, ours, contiguous, layers_alone(net, x, level), lambda: a @ b)
    what, size = "step, attention" if lowest else "step", f"{','.join(map(str, widths))}/{n}×{pixels}×{pixels}"
    bound = gflop(ours) / gflop(lambda: a @ b) * product
    return [row(what, size, "ms/step", seconds, "contiguous", order, "matmul", bound),
            row(what, size, "ms/step", seconds, bound="layers", limit=layers)]


def skips_row(widths: tuple[int, ...], n: int, pixels: int, quick: bool) -> dict:
    """Return the row of added skips against concatenated ones."""
    x, level = noisy(n, 1, pixels, pixels)
    both = [unet(widths=widths, skips=skips) for skips in ("added", "concatenated")]
    ours, theirs = fastest(2 if quick else 25, *(step(net.parameters(), partial(net, x, level)) for net in both))
    size = f"{','.join(map(str, widths))}/{n}×{pixels}×{pixels}"
    return row("step, skips added", size, "ms/step", ours, "concatenated", theirs)


def ensemble_row(E: int, n: int, pixels: int, chunk: int | None, quick: bool) -> dict:
    """Return the row of an ensemble against a loop."""
    members, (x, _) = [unet(seed, time=False) for seed in range(E)], noisy(n, 1, pixels, pixels)
    ensemble = nets.Ensemble(members, chunk)
    steps = [step(net.parameters(), partial(net, x)) for net in members]
    together = step(ensemble.parameters(), lambda: ensemble(x, shared=True))
    ours, loop = fastest(2 if quick else 8, together, lambda: [call() for call in steps])
    what = f"ensemble of {E}" + (f", chunk {chunk}" if chunk else "")
    return row(what, f"16,32,32/{n}×{pixels}×{pixels}", "ms/step", ours / E, "loop", loop / E)


def diffusers(pixels: int) -> nn.Module:
    """Return the U-Net of diffusers."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=pixels, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D",) * 3, up_block_types=("UpBlock2D",) * 3, norm_num_groups=8,
        add_attention=False, downsample_type="resnet", upsample_type="resnet", resnet_time_scale_shift="scale_shift")


def lucidrains(pixels: int) -> nn.Module:
    """Return the U-Net of denoising_diffusion_pytorch, without attention, for images of any size."""
    # its package imports these to train and to load images: where one is missing, a stub will do
    stubs = {name: MagicMock() for name in ("torchvision", "accelerate", "ema_pytorch") if not find_spec(name)}
    sys.modules.update(stubs)
    try:
        from denoising_diffusion_pytorch import Unet
    finally:
        for name in stubs:
            del sys.modules[name]
    net = Unet(16, dim_mults=(1, 2, 2), channels=1, flash_attn=False)
    net.mid_attn = nn.Identity()
    for stage in (*net.downs, *net.ups):
        stage[2] = nn.Identity()
    return net


def library_row(make: Callable[[int], nn.Module], n: int, pixels: int, quick: bool) -> list[dict]:
    """Return the row against a library's network, or none and say that it is missing."""
    orders = torch.contiguous_format, torch.channels_last
    try:
        peers = [make(pixels).to(memory_format=order) for order in orders]
    except ImportError as error:
        print(f"# {make.__name__} skipped: {error}", file=sys.stderr)
        return []
    x, level = noisy(n, 1, pixels, pixels)

    def output(peer: nn.Module) -> Tensor:
        found = peer(x, 1000 * level)
        return found if isinstance(found, Tensor) else found.sample

    mine = [unet().to(memory_format=order) for order in orders]
    ours = [step(net.parameters(), partial(net, x, level)) for net in mine]
    theirs = [step(peer.parameters(), partial(output, peer)) for peer in peers]
    seconds = fastest(2 if quick else 15, *ours, *theirs)
    return [row("step", f"16,32,32/{n}×{pixels}×{pixels}", "ms/GFLOP", min(seconds[:2]) / gflop(ours[0]),
                make.__name__, min(seconds[2:]) / gflop(theirs[0]))]


def rows(quick: bool) -> list[dict]:
    """Return all rows."""
    n, pixels = (2, 8) if quick else (32, 16)
    found = []
    for widths in ((16, 32, 32), (12, 24, 32), (32,)):
        found += step_rows(widths, n, pixels, quick)
    found += step_rows((8, 16, 24), n, 8 if quick else 20, quick, lowest=True)
    found += step_rows((64, 64), 2 * n, 4, quick, channels=16)                # tiles of 4×4 pixels, as channels
    found += [skips_row(widths, n, pixels, quick) for widths in ((16, 32, 32), (16, 32))]
    found += [ensemble_row(4, n, pixels, chunk, quick) for chunk in (None, 1)]
    return found + library_row(diffusers, n, pixels, quick) + library_row(lucidrains, n, pixels, quick)
