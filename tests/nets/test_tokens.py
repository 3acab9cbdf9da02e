import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from hierlib import nets
from hierlib.nets import MLP, ConvNet, TokenMLP, Transformer, TreeUNet

MAKERS = {
    "TreeUNet": lambda seed: TreeUNet(5, 2, 3, 16, seed),
    "TokenMLP": lambda seed: TokenMLP(5, 8, 16, 2, seed),
    "Transformer": lambda seed: Transformer(5, 8, 16, 2, 2, seed),
}
denoisers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def strings(n: int, d: int, v: int) -> torch.Tensor:
    return torch.randint(v, (n, d), generator=torch.Generator().manual_seed(0))


def likelihoods(n: int, d: int, v: int, hidden: float = 0.4) -> torch.Tensor:
    gen = torch.Generator().manual_seed(1)
    q = F.one_hot(strings(n, d, v), v).float()
    return torch.where(torch.rand(n, d, 1, generator=gen) < hidden, 1 / v, q)


def reading(net: nn.Module) -> nn.Module:
    """Return the network in double precision, with a random read-out in place of the zero one."""
    last = net.net.linear[-1] if isinstance(net, TokenMLP) else net.readout
    nn.init.normal_(last.weight, generator=torch.Generator().manual_seed(2))
    return net.double()


@given(v=st.integers(2, 9), s=st.integers(1, 4), L=st.integers(1, 3), width=st.integers(1, 6), blocks=st.integers(1, 2))
def test_tree_unet_of_any_tree(v, s, L, width, blocks):
    net = TreeUNet(v, s, L, width)
    d = blocks * s**L
    q = likelihoods(3, d, v)
    assert net(q).shape == (3, d, v) and net(q[:0]).shape == (0, d, v)
    C = width
    assert nets.count(net) == (v + 1) * C + (3 * L - 1) * s * C * C + 4 * L * C + (2 * C + 1) * v


@given(v=st.integers(2, 6), d=st.integers(1, 9), width=st.integers(1, 6), depth=st.integers(1, 3))
def test_token_mlp_of_any_string(v, d, width, depth):
    net = TokenMLP(v, d, width, depth)
    assert net(likelihoods(3, d, v)).shape == (3, d, v)
    assert nets.count(net) == (d * v + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * d * v


@given(v=st.integers(2, 6), d=st.integers(1, 9), heads=st.integers(1, 3), size=st.integers(1, 4),
       layers=st.integers(1, 2))
def test_transformer_of_any_string(v, d, heads, size, layers):
    W = heads * size
    net = Transformer(v, d, W, heads, layers)
    q = likelihoods(3, d, v)
    assert net(q).shape == (3, d, v) and net(q[:, :1]).shape == (3, 1, v)      # shorter strings, too
    block = 12 * W * W + 13 * W                    # attention 4 W², network 8 W²; biases 4 W + 5 W; norms 4 W
    assert nets.count(net) == layers * block + (2 * v + d + 3) * W + v


@denoisers
def test_untrained_networks_say_one_over_v(make):
    assert torch.equal(make(0)(likelihoods(4, 8, 5)), torch.zeros(4, 8, 5))


@denoisers
def test_seeds(make):
    state = torch.get_rng_state()
    a, b, other = make(3), make(3), make(4)
    assert torch.equal(state, torch.get_rng_state())                   # torch's global generator was left alone
    same = [torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True)]
    differ = [not torch.equal(p, q) for p, q in zip(a.parameters(), other.parameters(), strict=True) if p.std() > 0]
    assert all(same) and all(differ) and len(differ) > 1
    gen = torch.Generator().manual_seed(0)
    first, second = make(gen), make(gen)                               # a generator goes on
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


def test_networks_of_one_seed_do_not_share_draws():
    a, b = MLP(10, 10, seed=0), TokenMLP(5, 2, 64, 2, seed=0).net
    assert a.linear[0].weight.shape == b.linear[0].weight.shape
    assert not torch.equal(a.linear[0].weight, b.linear[0].weight)


@denoisers
def test_every_output_sees_every_input(make):
    net, q = reading(make(0)), likelihoods(1, 8, 5).double()
    slopes = torch.autograd.functional.jacobian(net, q)[0, :, :, 0].abs().amax((1, 3))         # (output, input)
    assert (slopes > 1e-4).all()


def test_tree_unet_pools_along_the_tree():
    # a network of L levels is blind to other blocks of s**L leaves, and treats all of them alike
    net, q = reading(TreeUNet(5, 2, 2, 16)), likelihoods(2, 12, 5).double()
    slopes = torch.autograd.functional.jacobian(net, q[:1])[0, :, :, 0].abs().amax((1, 3))
    assert torch.equal(slopes > 0, torch.block_diag(*[torch.ones(4, 4, dtype=torch.bool)] * 3))
    swap = torch.tensor([8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7])
    assert torch.allclose(net(q)[:, swap], net(q[:, swap]), atol=1e-12)
    assert not torch.allclose(net(q)[:, [1, 0, 2, 3]], net(q[:, [1, 0, 2, 3, *range(4, 12)]])[:, :4], atol=1e-3)


@pytest.mark.parametrize("s", [2, 3])
def test_tree_unet_is_a_unet_of_convolutions(s):
    # oracle: the same network by strided convolutions, from the same weights
    net, v, L, C = reading(TreeUNet(4, s, 2, 6, seed=1)), 4, 2, 6
    for norm in (*net.down_norm, *net.up_norm):
        nn.init.normal_(norm.weight, 1.0), nn.init.normal_(norm.bias)
    q = likelihoods(3, s**L, v).double()

    def act(x: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
        mean, var = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
        x = (x - mean) / (var + 1e-5).sqrt() * norm.weight[None, :, None] + norm.bias[None, :, None]
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))

    x = ((q - 1 / v) / math.sqrt((v - 1) / v**2)).mT
    x = F.conv1d(x, net.embed.weight[..., None], net.embed.bias)
    x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    skips = []
    for linear, norm in zip(net.down, net.down_norm, strict=True):
        skips.append(x)
        x = act(F.conv1d(x, linear.weight.view(C, s, C).mT, stride=s), norm)
    for linear, norm in zip(net.up, net.up_norm, strict=True):
        x = act(F.conv_transpose1d(x, linear.weight.view(s, C, -1).permute(2, 1, 0), stride=s), norm)
        x = torch.cat([x, skips.pop()], 1)
    x = F.conv1d(x, net.readout.weight[..., None], net.readout.bias)
    assert torch.allclose(net(q), x.mT, atol=1e-10)


def test_transformer_without_positions_permutes_with_its_input():
    net, q = reading(Transformer(5, 8, 16, 2, 2)), likelihoods(2, 8, 5, 0.0).double()
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    assert not torch.allclose(net(q)[:, order], net(q[:, order]), atol=1e-2)
    nn.init.zeros_(net.position)
    assert torch.allclose(net(q)[:, order], net(q[:, order]), atol=1e-12)


def test_transformer_against_torchs_own_layer():
    # oracle: torch.nn.TransformerEncoderLayer with the same weights
    net, q = reading(Transformer(5, 8, 16, 4, 1, seed=3)), likelihoods(2, 8, 5).double()
    block = net.blocks[0]
    for norm in (block.attention_norm, block.mlp_norm, net.norm):
        nn.init.normal_(norm.weight, 1.0), nn.init.normal_(norm.bias)
    for linear in (block.query_key_value, block.mix, block.widen, block.narrow):
        nn.init.normal_(linear.bias)
    layer = nn.TransformerEncoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True).double()
    layer.load_state_dict({
        "self_attn.in_proj_weight": block.query_key_value.weight, "self_attn.in_proj_bias": block.query_key_value.bias,
        **{f"{theirs}.{kind}": getattr(getattr(block, ours), kind) for kind in ("weight", "bias") for theirs, ours in (
            ("self_attn.out_proj", "mix"), ("linear1", "widen"), ("linear2", "narrow"), ("norm1", "attention_norm"),
            ("norm2", "mlp_norm"))},
    })
    hidden = net.embed(nets.standardise(q)) + net.position
    assert torch.allclose(net(q), net.readout(net.norm(layer(hidden))), atol=1e-10)


@given(v=st.integers(2, 1000))
def test_standardised_tokens(v):
    q = torch.stack([F.one_hot(torch.tensor(v // 2), v).double(), torch.full((v,), 1 / v, dtype=torch.float64)])
    seen, masked = nets.standardise(q)
    assert seen.mean().abs() < 1e-12 and seen.var(unbiased=False) == pytest.approx(1.0)
    assert not masked.any() and not nets.standardise(torch.full((3, v), 1 / v)).any()


@denoisers
def test_the_value_of_a_masked_token_cannot_be_seen(make):
    net, x = reading(make(0)), strings(4, 8, 5)
    hidden = torch.zeros(4, 8, dtype=torch.bool)
    hidden[:, [2, 5]] = True
    out = []
    for tokens in (x, torch.where(hidden, (x + 1) % 5, x), torch.where(hidden, x, (x + 1) % 5)):
        out.append(net(torch.where(hidden[..., None], 1 / 5, F.one_hot(tokens, 5).double())))
    assert torch.equal(out[0], out[1]) and not torch.allclose(out[0], out[2], atol=1e-2)


@pytest.mark.parametrize("net", [TreeUNet(5, 2, 1, 2000), Transformer(5, 50, 2000, 1, 1)])
def test_seen_and_masked_tokens_are_embedded_at_one_scale(net):
    embedded = net.embed(nets.standardise(torch.stack([torch.eye(5)[0], torch.full((5,), 0.2)]))).detach()
    assert embedded[1].var().item() == pytest.approx(1.0, rel=0.1)
    assert (embedded[0] - embedded[1]).var().item() == pytest.approx(1.0, rel=0.1)
    if isinstance(net, Transformer):
        assert net.position.detach().var().item() == pytest.approx(1.0, rel=0.1)


def test_tree_unet_learns_a_deterministic_tree():
    # the whole string is a function of its first token: from one visible token, all others follow
    v, d = 4, 8
    gen = torch.Generator().manual_seed(0)
    table = torch.stack([torch.randperm(v, generator=gen) for _ in range(d)], 1)       # string of class a
    net = TreeUNet(v, 2, 3, 24)
    opt = torch.optim.AdamW(net.parameters(), 1e-2)
    for _ in range(100):
        x = table[torch.randint(v, (64,), generator=gen)]
        seen = F.one_hot(torch.randint(d, (64,), generator=gen), d).bool()
        loss = F.cross_entropy(net(torch.where(seen[..., None], F.one_hot(x, v).float(), 1 / v)).mT, x)
        opt.zero_grad(), loss.backward(), opt.step()
    assert loss < 0.02


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: TreeUNet(1, 2, 3), "v = 1"),
    (lambda: TreeUNet(5, 0, 3), "s = 0"),
    (lambda: TreeUNet(5, 2, 0), "L = 0"),
    (lambda: TreeUNet(5, 2, 3, 0), "width = 0"),
    (lambda: TreeUNet(5, 2, 3)(torch.zeros(2, 12, 5)), "d = 12: must be a multiple of s\\*\\*L = 8"),
    (lambda: TreeUNet(5, 2, 3)(torch.zeros(2, 8, 6)), "likelihood"),
    (lambda: TreeUNet(5, 2, 3)(torch.zeros(8, 5)), "likelihood"),
    (lambda: TokenMLP(5, 8)(torch.zeros(2, 4, 5)), "likelihood"),
    (lambda: TokenMLP(5, 8, depth=0), "depth = 0"),
    (lambda: Transformer(5, 8, 16, 3), "width = 16: must be a multiple of heads = 3"),
    (lambda: Transformer(5, 8, layers=0), "layers = 0"),
    (lambda: Transformer(5, 8)(torch.zeros(2, 9, 5)), "likelihood"),
    (lambda: TreeUNet(5, 2, 3, seed=-1), "seed = -1"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()


# ---- dilated convolutions: reach, translation, start

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


def test_networks_of_other_dilations_are_no_ensemble():
    # of the same shapes: an ensemble would call both with the dilations of the first
    with pytest.raises(ValueError, match="members\\[1\\]"):
        nets.Ensemble([ConvNet(5, 8, (1, 2)), ConvNet(5, 8, (2, 1))])


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
def test_bad_convolutions(arguments):
    with pytest.raises(ValueError, match="must be"):
        ConvNet(**arguments)
    with pytest.raises(ValueError, match="likelihood"):
        ConvNet(5)(torch.rand(2, 9, 4))


@pytest.mark.parametrize("net", [TreeUNet(5, 2, 3, 64), Transformer(5, 8, 64), ConvNet(5, 64)])
def test_rows_go_through_in_blocks_without_gradients(net):
    nn.init.normal_(net.readout.weight)
    likelihood = torch.softmax(torch.randn(1100, 8, 5), -1)           # 1100 · 8 · 64 numbers: more than two blocks
    whole = net(likelihood)
    with torch.no_grad():
        assert torch.allclose(net(likelihood), whole, atol=1e-4)


def test_activations_are_what_submodules_put_out():
    net, x = TreeUNet(5, 2, 2, width=6, seed=0), torch.rand(9000, 4, 5)
    whole, first, embedded = nets.activations(net, x, "", "down_norm.0", "embed")
    assert torch.equal(whole, net(x)) and first.shape == (9000, 2, 6)          # in blocks, but complete and in order
    tokens = F.gelu(F.linear(nets.standardise(x), net.embed.weight, net.embed.bias))
    assert torch.allclose(embedded, F.linear(nets.standardise(x), net.embed.weight, net.embed.bias), atol=1e-6)
    expected = net.down_norm[0](net.down[0](tokens.unflatten(1, (2, 2)).flatten(2)))
    assert torch.allclose(first, expected, atol=1e-5)
    assert not any(module._forward_hooks for module in net.modules())
    with pytest.raises(AttributeError, match="no attribute `7`"):
        nets.activations(net, x, "down_norm.7")


def test_a_convolution_is_a_product_of_three_positions():
    net = ConvNet(5, width=6, dilations=(1, 3), seed=1)
    x = torch.randn(4, 9, 6, generator=torch.Generator().manual_seed(0))
    wanted = x
    for norm, mix, r in zip(net.norms, net.mixes, net.dilations, strict=True):
        y = F.pad(F.gelu(norm(wanted)), (0, 0, r, r))
        wanted = wanted + mix(torch.cat([y[:, :-2 * r], y[:, r:-r], y[:, 2 * r:]], -1))
    assert (net.hidden(x) - net.norm(wanted)).abs().max() < 1e-5
