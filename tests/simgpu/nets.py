"""Networks and ensembles of them on the device."""

import copy

import torch

from hierlib import nets
from tests.drawn import gen
from tests.simgpu.compare import both, counted

Q = torch.rand(5, 8, 4, generator=gen()).softmax(-1)
X, LEVEL, C = (torch.randn(5, 2, 8, 8, generator=gen()), torch.linspace(0, 1, 5),
               torch.randn(5, 3, generator=gen(1)))
TOKENS = (lambda k: nets.TokenMLP(4, 8, 12, seed=k), lambda k: nets.Transformer(4, 8, 8, seed=k),
          lambda k: nets.TreeUNet(4, 2, 3, 8, seed=k), lambda k: nets.ConvNet(4, 8, seed=k))


def unet(k):
    return nets.UNet(2, (4, 8), condition=3, attention=(1,), seed=k)


def stirred(net):
    """Return the network with weights that are nowhere zero."""
    for p in net.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=gen(p.numel()))
    return net


def learned(net, *inputs):
    """Return what a network says, and the gradient of it by the weights."""
    out = net(*inputs)
    out.square().mean().backward()
    return out, [p.grad for p in net.parameters()]


def check_networks():
    for make in TOKENS:
        both(lambda d: learned(stirred(make(0)).to(d), Q.to(d)))
    both(lambda d: learned(nets.Skip(nets.MLP(3, 3), 0.5).to(d), C.to(d)))
    for level in (lambda d: 0.5, LEVEL.to, lambda d: torch.tensor(0.5, device=d), lambda d: LEVEL):
        both(lambda d: learned(stirred(unet(0)).to(d), X.to(d), level(d), C.to(d)))
    for clock in ("log_snr", "time"):
        both(lambda d: nets.NoiseLevel(clock).to(d)(LEVEL.to(d)))
    both(lambda d: nets.initialise(nets.MLP(3, 3).to(d), gen()))
    both(lambda d: nets.initialise(nets.TreeUNet(4, 2, 3, 8).to(d), gen()))


def check_networks_do_not_wait():
    for net, inputs in [(make(0), (Q,)) for make in TOKENS] + [(unet(0), (X, LEVEL, C)), (unet(0), (X, 0.5, C))]:
        net, there = net.to("cuda"), [x if isinstance(x, float) else x.to("cuda") for x in inputs]
        assert counted(lambda: learned(net, *there)) == (0, 0), net


def check_ensembles():
    for make, inputs in [(make, (Q,)) for make in TOKENS] + [(unet, (X, LEVEL, C))]:
        members = [stirred(make(k)) for k in range(3)]
        for chunk, shared in ((None, True), (1, False), (2, False)):
            def say(d):
                given = [x.to(d) if shared else x.to(d).expand(3, *x.shape) for x in inputs]
                net = nets.Ensemble([copy.deepcopy(m).to(d) for m in members], chunk)
                return net(*given, shared=shared), net.member(1)(*(x.to(d) for x in inputs)), net
            both(say, tolerance=1e-4)
        there = nets.Ensemble(members).to("cuda")
        assert counted(lambda: there(*(x.to("cuda") for x in inputs), shared=True)) == (0, len(inputs))
