"""Training steps of the networks: speed against peers and bounds.

    python benchmarks/nets.py            about a minute
    python benchmarks/nets.py --quick    a few seconds; shows that everything runs, its figures mean little

A step is forward, backward and AdamW, in float32. A row compares hierlib with one other way of getting the same
result. Both run in turns, several times, on one torch thread, and the smallest CPU time of each counts. `ratio` is
the speed of hierlib over that of the other: above 1 hierlib is faster; for a bound it is the fraction reached. Peers
are checked to give the same outputs before they are timed. Times are ms per step and network.

- matmul: a bound, the floating point operations of the step's matrix products at the speed of one large product,
  measured in the same turns.
- convolution: the U-Net written with strided and transposed convolutions, channels first.
- loop: a Python loop over networks with an optimiser each.
- baddbmm: a bound, the MLPs of an ensemble written with batched matrix products, no module and no vmap.

Networks are named by their sizes, and the batch: tree:v,s,L,C/n, mlp:inputs-units-…-outputs/n,
transformer:v,d,C,layers/n.
"""

from collections.abc import Callable
from functools import partial

import pandas as pd
import torch
from common import check, fastest, started
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from hierlib import nets
from hierlib.lab.types import Float, Tensor


def row(task: str, name: str, against: str, ours: float, other: float, aim: str = "-") -> dict:
    """Return a row of the table from the seconds per step and network of hierlib and of the other."""
    return {"task": task, "network": name, "unit": "ms", "hierlib": f"{1e3 * ours:.3g}", "against": against,
            "other": f"{1e3 * other:.3g}", "ratio": f"{other / ours:.3g}", "aim": aim}


def step(model: Callable[[Tensor], Tensor], parameters: list[Tensor], x: Tensor) -> Callable[[], None]:
    """Return a function that does one training step of `model` on the input `x`."""
    optimiser = torch.optim.AdamW(parameters, 1e-3, fused=True)

    def call() -> None:
        optimiser.zero_grad()
        model(x).square().mean().backward()
        optimiser.step()

    return call


class ConvUNet(nn.Module):
    """The network of :class:`hierlib.nets.TreeUNet` by convolutions, with its weights."""

    def __init__(self, net: nets.TreeUNet) -> None:
        super().__init__()
        s, C = net.s, net.embed.out_features

        def convolution(linear: nn.Linear) -> nn.Module:
            layer = nn.Conv1d(linear.in_features, linear.out_features, 1)
            layer.weight.data, layer.bias.data = linear.weight.data[..., None].clone(), linear.bias.data.clone()
            return layer

        self.embed, self.readout = convolution(net.embed), convolution(net.readout)
        self.down = nn.ModuleList(nn.Conv1d(C, C, s, s, bias=False) for _ in net.down)
        self.up = nn.ModuleList(nn.ConvTranspose1d(k.in_features, C, s, s, bias=False) for k in net.up)
        self.down_norm = nn.ModuleList(nn.LayerNorm(C) for _ in net.down)
        self.up_norm = nn.ModuleList(nn.LayerNorm(C) for _ in net.up)
        for ours, linear in zip(self.down, net.down, strict=True):
            ours.weight.data = linear.weight.data.view(C, s, C).mT.contiguous()
        for ours, linear in zip(self.up, net.up, strict=True):
            ours.weight.data = linear.weight.data.view(s, C, -1).permute(2, 1, 0).contiguous()

    def forward(self, likelihood: Float[Tensor, "n d v"]) -> Float[Tensor, "n d v"]:
        """Return logits."""
        x = F.gelu(self.embed(nets.standardise(likelihood).mT))
        skips = []
        for layer, norm in zip(self.down, self.down_norm, strict=True):
            skips.append(x)
            x = F.gelu(norm(layer(x).mT).mT)
        for layer, norm in zip(self.up, self.up_norm, strict=True):
            x = torch.cat([F.gelu(norm(layer(x).mT).mT), skips.pop()], 1)
        return self.readout(x).mT


def tokens(v: int, *shape: int) -> Tensor:
    """Return likelihoods of random strings with half of the tokens masked."""
    gen = torch.Generator().manual_seed(0)
    hot = F.one_hot(torch.randint(v, shape, generator=gen), v).float()
    return torch.where(torch.rand(*shape, 1, generator=gen) < 0.5, 1 / v, hot)


def tree(v: int, s: int, L: int, width: int, seed: int = 0) -> nets.TreeUNet:
    """Return a U-Net whose read-out is not zero, so that all its gradients are there."""
    net = nets.TreeUNet(v, s, L, width, seed)
    nn.init.normal_(net.readout.weight, std=0.1, generator=torch.Generator().manual_seed(seed))
    return net


def tree_rows(width: int, quick: bool) -> list[dict]:
    """Return the rows of the U-Net on the tree against the product of matrices and convolutions."""
    n, repeats, size = (8, 2, 128) if quick else (256, 40, 1024)
    net, likelihood = tree(12, 2, 3, width), tokens(12, n, 8)
    other = ConvUNet(net)
    check(other(likelihood), net(likelihood), "convolution", 1e-4)
    ours = step(net, list(net.parameters()), likelihood)
    with FlopCounterMode(display=False) as flops:
        ours()
    a, b = torch.rand(2, size, size)
    seconds, convolution, product = fastest(
        repeats, ours, step(other, list(other.parameters()), likelihood), lambda: a @ b)
    bound = flops.get_total_flops() / (2 * size**3) * product
    name = f"tree:12,2,3,{width}/{n}"
    print(f"# {name}: {flops.get_total_flops() / seconds / 1e9:.0f} GFLOP/s of {2 * size**3 / product / 1e9:.0f}")
    return [row("step", name, "matmul", seconds, bound), row("step", name, "convolution", seconds, convolution)]


def ensemble_rows(name: str, make: Callable[[int], nn.Module], x: Tensor, quick: bool) -> list[dict]:
    """Return the row of an ensemble against a loop; `x` has shape (members, n, …)."""
    members = [make(seed) for seed in range(len(x))]
    ensemble = nets.Ensemble(members)
    check(ensemble(x), torch.stack([net(y) for net, y in zip(members, x, strict=True)]), "loop", 1e-4)
    steps = [step(net, list(net.parameters()), y) for net, y in zip(members, x, strict=True)]
    ours, loop = fastest(2 if quick else 15, step(ensemble, list(ensemble.parameters()), x),
                         lambda: [call() for call in steps])
    aim = "met" if loop / ours > 0.9 else "missed"
    return [row(f"ensemble-of-{len(x)}", name, "loop", ours / len(x), loop / len(x), aim)]


def baddbmm_rows(E: int, n: int, quick: bool) -> list[dict]:
    """Return the row of an ensemble of tiny MLPs against batched matrix products written out."""
    members = [nets.MLP(2, 2, 16, 2, seed=seed) for seed in range(E)]
    layers = list(zip(*(net.linear for net in members), strict=True))
    weights = [torch.stack([layer.weight.detach().T for layer in same]).requires_grad_() for same in layers]
    biases = [torch.stack([layer.bias.detach()[None] for layer in same]).requires_grad_() for same in layers]

    def written_out(x: Tensor) -> Tensor:
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            x = F.gelu(torch.baddbmm(bias, x, weight))
        return torch.baddbmm(biases[-1], x, weights[-1])

    x = torch.randn(E, n, 2, generator=torch.Generator().manual_seed(0))
    ensemble = nets.Ensemble(members)
    check(ensemble(x), written_out(x), "baddbmm", 1e-4)
    ours, other = fastest(2 if quick else 40, step(ensemble, list(ensemble.parameters()), x),
                          step(written_out, weights + biases, x))
    return [row(f"ensemble-of-{E}", f"mlp:2-16-16-2/{n}", "baddbmm", ours / E, other / E)]


def main() -> None:
    """Print the table."""
    quick = started(__doc__, aim="; aim: an ensemble at least 0.9 times as fast as a loop")
    rows = []
    for width in (64, 96):
        rows += tree_rows(width, quick)
    small, large = (4, 8) if quick else (64, 256)
    for width, n in ((16, small), (32, small), (64, small), (64, large), (96, large)):
        rows += ensemble_rows(f"tree:12,2,3,{width}/{n}", partial(tree, 12, 2, 3, width), tokens(12, 16, n, 8), quick)
    for width, n in ((16, small), (128, small)):
        x = torch.randn(16, n, 2, generator=torch.Generator().manual_seed(0))
        name = f"mlp:2-{width}-{width}-2/{n}"
        rows += ensemble_rows(name, lambda seed, width=width: nets.MLP(2, 2, width, 2, seed=seed), x, quick)
    rows += ensemble_rows(f"transformer:12,8,32,2/{small}", lambda seed: nets.Transformer(12, 8, 32, 4, 2, seed=seed),
                          tokens(12, 16, small, 8), quick)
    for E in (16, 100):
        rows += baddbmm_rows(E, small, quick)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
