import pytest
import torch
from torch import nn

from hierlib import nets
from hierlib.nets import MLP


def test_initial_weights_keep_the_scale():
    net = MLP(400, 300, 350, 3, activation=nn.Identity, seed=0)
    x = torch.randn(200, 400, generator=torch.Generator().manual_seed(0))
    assert net(x).var().item() == pytest.approx(1.0, rel=0.1)
    for linear in net.linear:
        linear.weight.data.mul_(3.0)
    nets.initialise(net, torch.Generator().manual_seed(1))
    assert net(x).var().item() == pytest.approx(1.0, rel=0.1)
    norm = nn.LayerNorm(3)
    nn.init.zeros_(norm.weight), nn.init.ones_(norm.bias)
    nets.initialise(norm, torch.Generator())
    assert (norm.weight == 1).all() and (norm.bias == 0).all()


def test_mlp_is_what_it_says():
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    linear = MLP(3, 2, 5, 2, activation=nn.Identity, bias=False)
    a, b, c = (layer.weight for layer in linear.linear)
    assert nets.count(linear) == 15 + 25 + 10 and torch.allclose(linear(x), x @ (c @ b @ a).T, atol=1e-6)
    relu = MLP(3, 2, 5, 1, activation=nn.ReLU)
    first, last = relu.linear
    nn.init.normal_(first.bias), nn.init.normal_(last.bias)
    expected = (x @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias
    assert torch.allclose(relu(x), expected, atol=1e-6)
    assert torch.equal(MLP(3, 2, 5, 1, torch.tanh)(x), MLP(3, 2, 5, 1, nn.Tanh)(x))
    assert nets.count(MLP(3, 2, 5, 0)) == 8
    assert "tanh" in repr(MLP(3, 2, 5, 1, torch.tanh)) and "ReLU" in repr(relu)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: MLP(3, 2, 0), "width = 0"),
    (lambda: MLP(3, 2, depth=-1), "depth = -1"),
    (lambda: MLP(3, 2, activation="relu"), "activation"),
    (lambda: MLP(3, 2)(torch.zeros(7, 4)), "x = "),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
