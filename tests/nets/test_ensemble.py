import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hierlib.nets import MLP, Ensemble, TokenMLP, Transformer, TreeUNet, UNet, chunked_loss, count
from tests.drawn import gen

E, N = 3, 4
MAKERS = {
    "TreeUNet": lambda seed: TreeUNet(5, 2, 3, 12, seed),
    "TokenMLP": lambda seed: TokenMLP(5, 8, 16, 2, seed),
    "Transformer": lambda seed: Transformer(5, 8, 12, 2, 1, seed),
}
denoisers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
chunks = pytest.mark.parametrize("chunk", [None, 1, 2])


def data(e: int = E) -> tuple[torch.Tensor, torch.Tensor]:
    rng = gen()
    x = torch.randint(5, (e, N, 8), generator=rng)
    hidden = torch.rand(e, N, 8, 1, generator=rng) < 0.5
    return torch.where(hidden, 1 / 5, F.one_hot(x, 5).double()), x


def members(make, e: int = E) -> list[nn.Module]:
    found = [make(seed).double() for seed in range(e)]
    for k, net in enumerate(found):             # the read-out starts at zero: no test of anything behind it
        last = net.net.linear[-1] if isinstance(net, TokenMLP) else net.readout
        nn.init.normal_(last.weight, generator=gen(k))
    return found


def losses(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.flatten(0, -2), x.flatten(), reduction="none").view(x.shape).mean((-1, -2))


@denoisers
@chunks
def test_ensemble_is_a_loop(make, chunk):
    nets, (q, x) = members(make), data()
    ensemble = Ensemble(nets, chunk)
    assert len(ensemble) == E and count(ensemble) == E * count(nets[0])
    out = ensemble(q)
    assert torch.allclose(out, torch.stack([net(y) for net, y in zip(nets, q, strict=True)]), atol=1e-12)
    assert torch.allclose(ensemble(q[0], shared=True), torch.stack([net(q[0]) for net in nets]), atol=1e-12)
    losses(out, x).sum().backward()
    for k, net in enumerate(nets):
        losses(net(q[k]), x[k]).backward()
        for p, g in zip(net.parameters(), ensemble.parameters(), strict=True):
            assert p.grad.any() and torch.allclose(p.grad, g.grad[k], atol=1e-12)


@denoisers
@pytest.mark.parametrize("chunk", [1, 2, 3, 7, None])
def test_a_loss_in_chunks_is_the_loss(make, chunk):
    (q, x), seen = data(), []
    whole, ensemble = Ensemble(members(make)), Ensemble(members(make))
    ensemble.register_parameter("unused", nn.Parameter(torch.zeros(E)))

    def loss(model, q, x):
        seen.append(len(q))
        return losses(model(q), x)

    weight = torch.tensor([1.0, -2.0, 0.5])           # backward may ask for any combination of the members
    expected, found = losses(whole(q), x), chunked_loss(loss, ensemble, q, x, chunk=chunk)
    assert seen == {1: [1, 1, 1], 2: [2, 1]}.get(chunk, [3])
    (weight * expected).sum().backward(), (weight * found).sum().backward()
    assert found.shape == (E,) and torch.allclose(found, expected, atol=1e-12) and ensemble.unused.grad is None
    for p, g in zip(whole.parameters(), ensemble.stack.parameters(), strict=True):
        assert p.grad.any() and torch.allclose(p.grad, g.grad, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(chunked_loss(loss, ensemble, q, x, chunk=chunk), expected, atol=1e-12)


@chunks
@pytest.mark.parametrize("e", [1, 3])
def test_further_inputs_go_to_the_members_as_the_first_does(chunk, e):
    nets = [UNet(2, (4, 6), condition=3, seed=k).double() for k in range(e)]
    for net in nets:                            # the last convolution starts at zero
        for p in net.parameters():
            nn.init.normal_(p, std=0.3, generator=gen(p.numel()))
    rng = gen()
    shapes = (e, N, 2, 4, 4), (e, N), (e, N, 3)
    inputs = [torch.rand(shape, generator=rng, dtype=torch.float64) for shape in shapes]
    ensemble = Ensemble(nets, chunk)
    expected = torch.stack([net(*(y[k] for y in inputs)) for k, net in enumerate(nets)])
    assert expected.std() > 0.01 and torch.allclose(ensemble(*inputs), expected, atol=1e-10)
    first = [y[0] for y in inputs]
    expected = torch.stack([net(*first) for net in nets])
    assert torch.allclose(ensemble(*first, shared=True), expected, atol=1e-10)


@denoisers
@chunks
def test_members_train_as_if_alone(make, chunk):
    nets, (q, x) = members(make), data()
    ensemble = Ensemble(nets, chunk)

    def adamw(module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(module.parameters(), 1e-2, weight_decay=0.1)

    joint, alone = adamw(ensemble), [adamw(net) for net in nets]
    start = [copy.deepcopy(net) for net in nets]
    for _ in range(5):
        joint.zero_grad()
        losses(ensemble(q), x).sum().backward()
        joint.step()
        for k, (net, opt) in enumerate(zip(nets, alone, strict=True)):
            opt.zero_grad()
            losses(net(q[k]), x[k]).backward()
            opt.step()
    for k, net in enumerate(nets):
        for p, mine in zip(net.parameters(), ensemble.member(k).parameters(), strict=True):
            assert torch.allclose(p, mine, atol=1e-6)       # Adam divides rounding errors by tiny gradients
        for p, old in zip(net.parameters(), start[k].parameters(), strict=True):
            assert (p - old).abs().max() > 0.01             # and they did train


def test_linear_flow_of_many_tiny_networks():
    # oracle: gradient descent by hand on the deep linear networks y = b a x
    nets = [MLP(2, 2, 3, 1, activation=nn.Identity, bias=False, seed=k).double() for k in range(50)]
    x = torch.randn(50, 20, 2, dtype=torch.float64, generator=gen())
    ensemble = Ensemble(nets)
    opt = torch.optim.SGD(ensemble.parameters(), 0.1)
    a, b = (torch.stack([net.linear[i].weight.detach() for net in nets]) for i in (0, 1))
    for _ in range(3):
        opt.zero_grad()
        (ensemble(x) - x).square().sum(-1).mean(-1).sum().backward()
        opt.step()
        residual = 2 * (b @ a - torch.eye(2)) @ (x.mT @ x) / 20
        a, b = a - 0.1 * b.mT @ residual, b - 0.1 * residual @ a.mT
    assert torch.allclose(ensemble.stack.linear[0].weight, a, atol=1e-12)
    assert torch.allclose(ensemble.stack.linear[1].weight, b, atol=1e-12)


def test_member_is_a_copy_and_so_are_the_members():
    nets = members(MAKERS["TreeUNet"])
    ensemble, before = Ensemble(nets), [copy.deepcopy(net.state_dict()) for net in nets]
    picked = ensemble.member(1)
    assert type(picked) is TreeUNet and all(p.is_leaf and p.requires_grad for p in picked.parameters())
    nn.init.zeros_(picked.embed.weight)
    nn.init.ones_(ensemble.stack.embed.weight)
    for net, state in zip(nets, before, strict=True):
        assert all(torch.equal(net.state_dict()[name], state[name]) for name in state)
    assert not picked.embed.weight.any() and (ensemble.stack.embed.weight == 1).all()


def test_state_copies_modes_and_dtypes():
    q, _ = data()
    a, b = Ensemble(members(MAKERS["TreeUNet"])), Ensemble([TreeUNet(5, 2, 3, 12, 9).double() for _ in range(E)])
    assert a.state_dict()["stack.embed.weight"].shape == (E, 12, 5)
    assert not torch.equal(a(q), b(q))
    b.load_state_dict(a.state_dict())
    clone = copy.deepcopy(a)
    assert torch.equal(a(q), b(q)) and torch.equal(a(q), clone(q))
    nn.init.zeros_(clone.stack.readout.weight)
    assert a(q).any() and not clone(q).any()
    with torch.no_grad():
        assert not a(q).requires_grad
    assert a.float()(q.float()).dtype == torch.float32
    assert not a.eval().stack.training and not a.member(0).training


def test_buffers_and_frozen_parameters():
    class Scaled(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([scale]), requires_grad=False)
            self.bias = nn.Parameter(torch.zeros(1))
            self.register_buffer("shift", torch.tensor([10 * scale]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight * x + self.bias + self.shift

    ensemble = Ensemble([Scaled(1.0), Scaled(2.0)])
    assert torch.equal(ensemble(torch.ones(2, 3, 1)).squeeze(), torch.tensor([[11.0] * 3, [22.0] * 3]))
    assert count(ensemble) == 2 and count(ensemble.member(1)) == 1 and ensemble.member(1).shift == 20


@pytest.mark.parametrize("batched", [True, False])
def test_large_members_are_called_one_by_one_on_a_cpu(batched, monkeypatch):
    calls = []
    monkeypatch.setattr("hierlib.nets.ensemble.SMALL", count(MLP(2, 2, 3, 1)) * N - (not batched))
    ensemble = Ensemble([MLP(2, 2, 3, 1, seed=k) for k in range(E)])
    monkeypatch.setattr(ensemble, "_batched", lambda states, inputs, shared: calls.append(len(inputs[0])) or inputs[0])
    ensemble(torch.zeros(E, N, 2))
    assert calls == ([E] if batched else [1] * E)
    ensemble(torch.zeros(N, 2), shared=True)
    assert len(calls) == (2 if batched else 2 * E)


def test_one_member_and_many_chunks():
    q, _ = data(1)
    nets = members(MAKERS["TreeUNet"], 1)
    assert torch.allclose(Ensemble(nets)(q)[0], nets[0](q[0]), atol=1e-12)
    five = members(MAKERS["TreeUNet"], 5)
    assert torch.allclose(Ensemble(five, 2)(data(5)[0]), Ensemble(five)(data(5)[0]), atol=1e-12)


@chunks
def test_members_keep_their_memory_format(chunk):
    rng = gen()
    x, level = torch.randn(E, N, 1, 8, 8, generator=rng).double(), torch.rand(E, N, generator=rng).double()
    nets = members(lambda seed: UNet(widths=(4, 8), seed=seed))
    plain = Ensemble(nets, chunk)
    last = Ensemble([net.to(memory_format=torch.channels_last) for net in nets], chunk)
    for (name, t), u in zip(last.stack.named_parameters(), plain.stack.parameters(), strict=True):
        mine = dict(nets[1].named_parameters())[name]
        assert torch.equal(t, u) and torch.equal(t[1], mine) and t[1].stride() == mine.stride()
        assert u.is_contiguous() and dict(last.member(1).named_parameters())[name].stride() == mine.stride()
    assert last.stack.down[0][0].first.weight[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(last(x, level), plain(x, level), atol=1e-12)
    mixed = Ensemble([nets[0], UNet(widths=(4, 8), seed=1).double()])
    assert torch.equal(mixed.stack.readout.weight[0], nets[0].readout.weight)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: Ensemble([]), "members = \\[\\]"),
    (lambda: Ensemble([MLP(2, 2), MLP(2, 2), MLP(2, 3)]), "members\\[2\\]"),
    (lambda: Ensemble([MLP(2, 2), MLP(2, 2, activation=nn.ReLU)]), "members\\[1\\]"),
    (lambda: Ensemble([MLP(2, 2, activation=torch.tanh), MLP(2, 2, activation=torch.sin)]), "members\\[1\\]"),
    (lambda: Ensemble([Transformer(5, 8, 16, 2), Transformer(5, 8, 16, 4)]), "members\\[1\\]"),
    (lambda: Ensemble([MLP(2, 2), MLP(2, 2).double()]), "members\\[1\\]"),
    (lambda: Ensemble([MLP(2, 2)], chunk=0), "chunk = 0"),
    (lambda: chunked_loss(F.mse_loss, Ensemble([MLP(2, 2)]), torch.zeros(1, 2), chunk=0), "chunk = 0"),
    (lambda: Ensemble([MLP(2, 2)] * 3)(torch.zeros(4, 5, 2)), "x = "),
    (lambda: Ensemble([MLP(2, 2)] * 3)(torch.zeros(5, 2)), "x = "),
    (lambda: Ensemble([MLP(2, 2)] * 3)(torch.zeros(3)), "x = "),
    (lambda: Ensemble([UNet(condition=2)] * 3)(torch.zeros(3, 5, 1, 4, 4), torch.ones(3, 5), torch.zeros(5, 2)),
     "more\\[1\\]"),
    (lambda: Ensemble([MLP(2, 2)] * 3).member(3), "i = 3"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
