"""Training steps of the networks: forward, backward and AdamW, in float32; times are per step and network.

- convolution: the U-Net written with strided and transposed convolutions, channels first.
- loop: a Python loop over networks with an optimiser each.
- matmul: a bound, the floating point operations of the step's matrix products at the speed of one large product,
  measured in the same turns.
- baddbmm: a bound, the MLPs of an ensemble written with batched matrix products, no module and no vmap.

The size is that of the network, and the batch: v,s,L,C/n of a tree, v,d,C,layers/n of a transformer.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.common import check, fastest, gflop, row, step
from hierlib import nets
from hierlib.lab.types import Float, Tensor


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


def tree_row(width: int, quick: bool) -> dict:
    """Return the row of the U-Net on the tree against the product of matrices and convolutions."""
    n, repeats, size = (8, 2, 128) if quick else (256, 40, 1024)
    net, likelihood = tree(12, 2, 3, width), tokens(12, n, 8)
    other = ConvUNet(net)
    check(other(likelihood), net(likelihood), "convolution", 1e-4)
    ours, theirs = (step(one.parameters(), partial(one, likelihood)) for one in (net, other))
    a, b = torch.rand(2, size, size)
    seconds, convolution, product = fastest(repeats, ours, theirs, lambda: a @ b)
    bound = gflop(ours) / gflop(lambda: a @ b) * product
    return row("tree", f"12,2,3,{width}/{n}", "ms/step", seconds, "convolution", convolution, "matmul", bound)


def ensemble_row(kind: str, size: str, make: Callable[[int], nn.Module], x: Tensor, quick: bool) -> dict:
    """Return the row of an ensemble against a loop; `x` has shape (members, n, …)."""
    members = [make(seed) for seed in range(len(x))]
    ensemble = nets.Ensemble(members)
    check(ensemble(x), torch.stack([net(y) for net, y in zip(members, x, strict=True)]), "loop", 1e-4)
    together = step(ensemble.parameters(), lambda: ensemble(x))
    steps = [step(net.parameters(), partial(net, y)) for net, y in zip(members, x, strict=True)]
    ours, loop = fastest(2 if quick else 15, together, lambda: [call() for call in steps])
    return row(f"{kind}, ensemble of {len(x)}", size, "ms/step", ours / len(x), "loop", loop / len(x))


def baddbmm_row(E: int, n: int, quick: bool) -> dict:
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
    ours, bound = fastest(2 if quick else 40, step(ensemble.parameters(), lambda: ensemble(x)),
                          step(weights + biases, lambda: written_out(x)))
    return row(f"MLP, ensemble of {E}", f"2-16-16-2/{n}", "ms/step", ours / E, bound="baddbmm", limit=bound / E)


def rows(quick: bool) -> list[dict]:
    """Return all rows."""
    small, large = (4, 8) if quick else (64, 256)
    found = [tree_row(width, quick) for width in (64, 96)]
    for width, n in ((16, small), (32, small), (64, small), (64, large), (96, large)):
        found.append(ensemble_row(
            "tree", f"12,2,3,{width}/{n}", partial(tree, 12, 2, 3, width), tokens(12, 16, n, 8), quick))
    for width, n in ((16, small), (128, small)):
        x = torch.randn(16, n, 2, generator=torch.Generator().manual_seed(0))
        found.append(ensemble_row(
            "MLP", f"2-{width}-{width}-2/{n}", lambda seed, width=width: nets.MLP(2, 2, width, 2, seed=seed), x, quick))
    found.append(ensemble_row(
        "transformer", f"12,8,32,2/{small}", lambda seed: nets.Transformer(12, 8, 32, 4, 2, seed=seed),
        tokens(12, 16, small, 8), quick))
    return found + [baddbmm_row(E, small, quick) for E in (16, 100)]
