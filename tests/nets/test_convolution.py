"""The dilated convolutions: reach, translation, start."""

import pytest
import torch

from hierlib import nets
from hierlib.nets.convolution import ConvNet


def random_readout(net: ConvNet) -> ConvNet:
    with torch.no_grad():
        net.readout.weight.normal_(generator=torch.Generator().manual_seed(1))
    return net.double()


def test_a_token_sees_its_surroundings_up_to_the_sum_of_the_dilations_and_no_further():
    net = random_readout(ConvNet(5, 16, dilations=(1, 3), seed=0))
    q = torch.rand(1, 21, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (grad,) = torch.autograd.grad(net(q)[0, 10].sum(), q)
    seen = grad[0].abs().sum(-1) > 0
    # offsets from (-1, 0, 1) and (-3, 0, 3): every sum of the two
    assert {i - 10 for i in seen.nonzero().flatten().tolist()} == {a + b for a in (-1, 0, 1) for b in (-3, 0, 3)}


def test_translation_moves_the_output_away_from_the_ends():
    net = random_readout(ConvNet(5, 16, dilations=(1, 2), seed=0))
    q = torch.rand(2, 30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shifted = net(q.roll(4, 1))
    torch.testing.assert_close(shifted[:, 8:-4], net(q).roll(4, 1)[:, 8:-4])


def test_each_block_is_a_convolution():
    """One block against torch's own Conv1d with the same weights."""
    net = random_readout(ConvNet(5, 8, dilations=(2,), seed=0))
    conv = torch.nn.Conv1d(8, 8, 3, dilation=2, padding=2).double()
    with torch.no_grad():
        conv.weight.copy_(net.mixes[0].weight.view(8, 3, 8).transpose(1, 2))
        conv.bias.copy_(net.mixes[0].bias)
    q = torch.rand(3, 11, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = net.embed(nets.standardise(q))
    y = torch.nn.functional.gelu(net.norms[0](x)).mT
    torch.testing.assert_close(net(q), net.readout(net.norm(x + conv(y).mT)))


def test_it_starts_from_the_uniform_distribution_and_from_its_seed():
    q = torch.rand(2, 9, 5)
    before = torch.random.get_rng_state()
    a, b, c = ConvNet(5, seed=3), ConvNet(5, seed=3), ConvNet(5, seed=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (a(q) == 0).all()
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters()))
    assert not torch.equal(a.mixes[0].weight, c.mixes[0].weight)


def test_an_ensemble_is_its_members():
    members = [random_readout(ConvNet(5, 8, (1, 2), seed=k)) for k in range(3)]
    q = torch.rand(3, 4, 9, 5, dtype=torch.float64)
    together = nets.Ensemble(members)(q)
    for k, member in enumerate(members):
        torch.testing.assert_close(together[k], member(q[k]))


@pytest.mark.untyped
@pytest.mark.parametrize("arguments", [
    {"v": 1}, {"v": 5, "width": 0}, {"v": 5, "dilations": ()}, {"v": 5, "dilations": (0,)},
])
def test_bad_input(arguments):
    with pytest.raises(ValueError, match="must be"):
        ConvNet(**arguments)
    with pytest.raises(ValueError, match="likelihood"):
        ConvNet(5)(torch.rand(2, 9, 4))
