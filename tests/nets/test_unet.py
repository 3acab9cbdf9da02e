import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from hierlib import nets
from hierlib.nets import MLP, Ensemble, Skip, UNet


def images(n: int, channels: int = 1, size: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reading(net: nn.Module) -> nn.Module:
    """Return the network in double precision, every weight and bias random: nothing is hidden behind a zero."""
    gen = torch.Generator().manual_seed(2)
    net = net.double()
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5, generator=gen)
            nn.init.normal_(module.bias, std=0.1, generator=gen)
        elif isinstance(module, nn.GroupNorm):
            nn.init.normal_(module.weight, 1.0, generator=gen), nn.init.normal_(module.bias, generator=gen)
    return net


def level_and_condition(n: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(3)
    return torch.rand(n, generator=gen, dtype=torch.float64), torch.randn(n, k, generator=gen, dtype=torch.float64)


def parameters(channels, widths, blocks, condition, attention, time, added) -> int:
    """Return the number of parameters, counted by hand."""
    size = 2 * widths[0] if time or condition else 0
    total = time * (17 * size + (size + 1) * size) + (condition > 0) * (condition + 1) * size
    total += (9 * channels + 1) * widths[0] + (9 * widths[0] + 1) * channels
    levels = len(widths)
    stages = [(widths[max(k - 1, 0)], k) for k in range(levels)]
    stages += [(widths[k] + (not added) * widths[k + 1], k) for k in range(levels - 1)]
    total += added * sum((widths[k + 1] + 1) * widths[k] for k in range(levels - 1))
    for first, k in stages:
        c = widths[k]
        for c_in in [first] + [c] * (blocks - 1):
            total += (9 * c_in + 1) * c + (9 * c + 1) * c + (size > 0) * (size + 1) * 2 * c
            total += (c_in != c) * (c_in + 1) * c
            total += (k in attention) * ((c + 1) * 3 * c + (c + 1) * c)
    return total


@settings(max_examples=15)
@given(data=st.data(), channels=st.integers(1, 3), widths=st.lists(st.sampled_from([2, 4, 6]), min_size=1, max_size=3),
       blocks=st.integers(1, 2), condition=st.integers(0, 2), time=st.booleans(), added=st.booleans())
def test_any_unet_has_the_shape_and_the_parameters(data, channels, widths, blocks, condition, time, added):
    attention = data.draw(st.sets(st.integers(0, len(widths) - 1)))
    net = UNet(channels, widths, blocks, condition, attention, 2, time, skips="added" if added else "concatenated")
    assert nets.count(net) == parameters(channels, widths, blocks, condition, attention, time, added)
    rows, columns = (data.draw(st.integers(1, 2)) * 2 ** len(widths) for _ in range(2))
    x = torch.randn(3, channels, rows, columns)
    level, told = torch.rand(3) if time else None, torch.randn(3, condition) if condition else None
    assert torch.equal(net(x, level, told), torch.zeros(x.shape))               # nothing learned, nothing said
    assert reading(net)(x[:0].double(), 0.5, told if told is None else told[:0].double()).shape == (0, *x.shape[1:])


@pytest.mark.parametrize("skips", ["concatenated", "added"])
def test_it_is_the_network_that_is_written_down(skips):
    # oracle: two levels by torch's functions, pooling by means of 2×2 blocks, copying by a Kronecker product
    net = reading(UNet(2, (4, 8), condition=3, skips=skips))
    x = images(3, 2)
    level, told = level_and_condition(3, 3)

    def conv(y, layer):
        return F.conv2d(F.pad(y, (1, 1, 1, 1)) if layer.weight.shape[-1] == 3 else y, layer.weight, layer.bias)

    def silu(y):
        return y / (1 + torch.exp(-y))

    def linear(y, layer):
        return y @ layer.weight.T + layer.bias

    def block(y, b, e):
        scale, shift = linear(e, b.modulate)[..., None, None].split(y.new_empty(b.first.out_channels).numel(), 1)
        h = conv(silu(y), b.first) * (1 + scale) + shift
        skip = y if isinstance(b.shortcut, nn.Identity) else conv(y, b.shortcut)
        return skip + conv(silu(h), b.second)

    frequency = torch.tensor([0.05 * 30 ** (k / 7) for k in range(8)], dtype=torch.float64)
    phase = torch.logit(level)[:, None] * frequency
    e = linear(torch.cat([phase.sin(), phase.cos()], 1), net.level[1])
    e = silu(linear(silu(e), net.level[3]) + linear(told, net.embed))
    top = block(conv(x, net.stem), net.down[0][0], e)
    low = block(top.view(3, 4, 4, 2, 4, 2).mean((3, 5)), net.down[1][0], e)
    copied = torch.kron(low, torch.ones(1, 1, 2, 2, dtype=torch.float64))
    up = torch.cat([copied, top], 1) if skips == "concatenated" else conv(copied, net.rise[0]) + top
    out = conv(silu(block(up, net.up[0][0], e)), net.readout)
    assert torch.allclose(net(x, level, told), out, atol=1e-6)                  # frequencies are made in float32


def test_attention_against_torchs_own():
    net = reading(UNet(1, (8,), attention=(0,), heads=2, time=False))
    layer = net.down[0][0].attention
    theirs = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict({
        "in_proj_weight": layer.query_key_value.weight[:, :, 0, 0], "in_proj_bias": layer.query_key_value.bias,
        "out_proj.weight": layer.mix.weight[:, :, 0, 0], "out_proj.bias": layer.mix.bias})
    x = images(3, 8, 4)
    pixels = x.flatten(2).mT
    expected = x + theirs(pixels, pixels, pixels)[0].mT.view(x.shape)
    assert torch.allclose(layer(x), expected, atol=1e-12)


def test_one_width_sees_a_window_and_more_widths_see_further():
    # the receptive field of one level: stem, two convolutions per block, read-out; 3 blocks: 8 convolutions, 17 pixels
    for blocks in (1, 3):
        x = images(1, size=32).requires_grad_()
        reading(UNet(widths=(4,), blocks=blocks))(x, 0.5)[0, 0, 16, 16].backward()
        seen, reach = x.grad[0, 0] != 0, 2 * blocks + 2
        assert seen[16 - reach:17 + reach, 16 - reach:17 + reach].all() and seen.sum() == (2 * reach + 1) ** 2
    x = images(1, size=32).requires_grad_()
    reading(UNet(widths=(4, 4, 4)))(x, 0.5)[0, 0, 16, 16].backward()
    assert (x.grad[0, 0] != 0).all()
    x = images(1, size=16).requires_grad_()
    reading(UNet(widths=(4,), attention=(0,)))(x, 0.5)[0, 0, 0, 0].backward()
    assert (x.grad[0, 0] != 0).all()


def test_level_and_condition_are_used():
    net = reading(UNet(widths=(4, 8), condition=3))
    x = images(4)
    level, told = level_and_condition(4, 3)
    level.requires_grad_(), told.requires_grad_()
    out = net(x, level, told)
    slopes = torch.autograd.grad(out.square().sum(), (level, told))
    assert (slopes[0].abs() > 1e-4).all() and (slopes[1].abs() > 1e-4).all()
    assert torch.allclose(out[1:2], net(x[1:2], level[1].item(), told[1:2]), atol=1e-12)      # rows do not mix
    assert torch.allclose(out[1:2], net(x[1:2], level[1].detach(), told[1:2]), atol=1e-12)
    deaf = reading(UNet(widths=(4, 8), time=False))
    assert torch.equal(deaf(x), deaf(x, level)) and not any("level" in name for name, _ in deaf.named_parameters())


def test_level_is_told_by_its_log_snr():
    net = reading(UNet(widths=(4,)))
    x = images(1)
    # smooth in log-SNR over the whole range: a small step of it changes the output by the derivative
    snr = torch.linspace(-9, 9, 37, dtype=torch.float64)
    level = torch.sigmoid(snr).requires_grad_()
    out = net(x.expand(37, -1, -1, -1), level).sum((1, 2, 3))
    slope = torch.autograd.grad(out.sum(), level)[0] * (level * (1 - level)).detach()
    step = 1e-4
    rise = (net(x.expand(37, -1, -1, -1), torch.sigmoid(snr + step)).sum((1, 2, 3)) - out) / step
    assert torch.allclose(rise, slope, rtol=1e-2, atol=1e-2 * float(slope.abs().max()))
    # the embedding tells any two levels apart that lie one unit of log-SNR apart
    vectors = net.level(torch.sigmoid(torch.arange(-9.0, 10.0, dtype=torch.float64)))
    assert torch.pdist(vectors).min() > 0.05
    for end, near in ((0.0, 1e-12), (1.0, 1 - 1e-12)):                          # ends are cut, not infinite
        assert torch.isfinite(net(x, end)).all() and torch.equal(net(x, end), net(x, near))
    assert net(x, torch.tensor([1.5], dtype=torch.float64)).isnan().all()


class Packed(nn.Module):
    """A U-Net with one input: level and condition are in the first column of a further channel."""

    def __init__(self, seed: int, norm: bool) -> None:
        super().__init__()
        self.net = reading(UNet(1, (4, 8), 1, 2, (1,), 2, norm, seed=seed))
        for p in self.net.parameters():
            p.data *= 1 + 0.1 * seed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x[:, :1], torch.sigmoid(x[:, 1, 0, 0]), x[:, 1, 1:3, 0])


@pytest.mark.parametrize("norm", [False, True])
def test_ensemble_is_a_loop(norm):
    members = [Packed(seed, norm) for seed in range(3)]
    x = images(12, 2).view(3, 4, 2, 8, 8)
    ensemble = Ensemble(members, chunk=3)
    out = ensemble(x)
    assert torch.allclose(out, torch.stack([net(y) for net, y in zip(members, x, strict=True)]), atol=1e-10)
    out.square().sum().backward()
    for k, (net, y) in enumerate(zip(members, x, strict=True)):
        net(y).square().sum().backward()
        for p, g in zip(net.parameters(), ensemble.parameters(), strict=True):
            assert torch.allclose(p.grad, g.grad[k], atol=1e-9 * float(p.grad.abs().max() + 1))


def test_seeds_and_first_weights():
    state = torch.get_rng_state()
    a, b, other = UNet(seed=3), UNet(seed=3), UNet(seed=4)
    assert torch.equal(state, torch.get_rng_state())                   # torch's global generator was left alone
    same = [torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True)]
    differ = [not torch.equal(p, q) for p, q in zip(a.parameters(), other.parameters(), strict=True) if p.any()]
    assert all(same) and all(differ) and len(differ) > 10
    gen = torch.Generator().manual_seed(0)
    assert not torch.equal(UNet(seed=gen).stem.weight, UNet(seed=gen).stem.weight)
    # variance 1/fan-in: a weight's relative standard error is √(2/number)
    weight = UNet(widths=(64,)).down[0][0].first.weight.detach()
    assert weight.var().item() * 9 * 64 == pytest.approx(1, abs=5 * math.sqrt(2 / weight.numel()))


def test_channels_last_is_the_same_network():
    net, x = reading(UNet(widths=(8, 8), attention=(1,))), images(3)
    out = net(x, 0.4).detach()
    last = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), 0.4)
    assert torch.allclose(last, out, atol=1e-12)


def test_unet_denoises_what_no_linear_map_can():
    # one bright column per image, anywhere: all shifts alike, so the best linear denoiser is a filter; its error is
    # the mean over frequencies of b²S/(a²S + b²), with S the power spectrum, white but for the mean
    n, size, a2 = 64, 8, 0.8
    gen = torch.Generator().manual_seed(0)

    def noisy(n):
        x = F.one_hot(torch.randint(size, (n,), generator=gen), size).float() * size**0.5
        x = (x - size**-0.5)[:, None, None, :].expand(n, 1, size, size) / (1 - 1 / size) ** 0.5
        return x, a2**0.5 * x + (1 - a2) ** 0.5 * torch.randn(x.shape, generator=gen)

    power = size**2 / (size - 1)                # S of the size − 1 modes that are constant along columns, 0 elsewhere
    wiener = (size - 1) / size**2 * power * (1 - a2) / (a2 * power + 1 - a2)
    x, y = noisy(4000)
    assert x.var(unbiased=False).item() == pytest.approx(1, rel=1e-4)
    net = UNet(widths=(8, 8))
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(150):
        clean, seen = noisy(n)
        loss = (net(seen, a2) - clean).square().mean()
        optimiser.zero_grad(), loss.backward(), optimiser.step()
    with torch.no_grad():
        assert (net(y, a2) - x).square().mean().item() < 0.5 * wiener


def test_skip_is_a_sum():
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    net = MLP(3, 3, 5, 1, torch.tanh, bias=False)
    skip = Skip(net, 0.7)
    assert nets.count(skip) == nets.count(net) + 1
    assert torch.allclose(skip(x), 0.7 * x + net(x), atol=1e-6)
    slope = torch.autograd.grad(skip(x).sum(), skip.scale)[0]
    assert slope.item() == pytest.approx(x.sum().item(), abs=1e-5)              # c is trained
    unet = reading(Skip(UNet(widths=(4,), condition=2), 0.5))
    y, told = images(3), level_and_condition(3, 2)
    assert torch.allclose(unet(y, *told), 0.5 * y + unet.net(y, *told), atol=1e-6)
    ensemble = Ensemble([Skip(MLP(3, 3, 5, 1, seed=k), k) for k in range(3)])
    expected = torch.stack([k * x + MLP(3, 3, 5, 1, seed=k)(x) for k in range(3)])
    assert torch.allclose(ensemble(x, shared=True), expected, atol=1e-6)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: UNet(0), "channels = 0"),
    (lambda: UNet(widths=()), "widths"),
    (lambda: UNet(widths=(8, 0)), "widths = 0"),
    (lambda: UNet(blocks=0), "blocks = 0"),
    (lambda: UNet(condition=-1), "condition = -1"),
    (lambda: UNet(attention=(3,)), "attention = 3: must be an integer in \\[0, 2\\]"),
    (lambda: UNet(widths=(6, 8), attention=(0,)), "heads = 4: must be a divisor of widths\\[0\\] = 6"),
    (lambda: UNet(heads=0), "heads = 0"),
    (lambda: UNet(seed=-1), "seed = -1"),
    (lambda: UNet(skips="none"), "skips = 'none'"),
    (lambda: UNet()(torch.zeros(2, 1, 10, 8), 0.5), "x = .*divisible by 4"),
    (lambda: UNet()(torch.zeros(2, 1, 8, 10), 0.5), "x = .*divisible by 4"),
    (lambda: UNet()(torch.zeros(2, 3, 8, 8), 0.5), "x = "),
    (lambda: UNet()(torch.zeros(1, 8, 8), 0.5), "x = "),
    (lambda: UNet()(torch.zeros(2, 1, 8, 8)), "alpha_bar = None"),
    (lambda: UNet()(torch.zeros(2, 1, 8, 8), 1.5), "alpha_bar = 1.5"),
    (lambda: UNet()(torch.zeros(2, 1, 8, 8), torch.rand(3)), "alpha_bar = \\(3,\\): must be of shape \\(2,\\)"),
    (lambda: UNet()(torch.zeros(2, 1, 8, 8), 0.5, torch.zeros(2, 3)), "condition = 'given'"),
    (lambda: UNet(condition=3)(torch.zeros(2, 1, 8, 8), 0.5), "condition = None"),
    (lambda: UNet(condition=3)(torch.zeros(2, 1, 8, 8), 0.5, torch.zeros(2, 2)), "condition = \\(2, 2\\)"),
    (lambda: Skip(torch.tanh), "net"),
    (lambda: Skip(MLP(3, 3), math.inf), "scale = inf"),
    (lambda: Skip(MLP(3, 2))(torch.zeros(7, 3)), "net\\(x\\) = \\(7, 2\\)"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_rows_go_through_in_blocks_without_gradients():
    x, level, c = torch.randn(70, 1, 16, 16), torch.rand(70), torch.randn(70, 2)
    told, untold = UNet(widths=(16, 16), condition=2), UNet(widths=(16, 16), time=False)
    nn.init.normal_(told.readout.weight)
    nn.init.normal_(untold.readout.weight)
    for net, inputs in (told, (x, level, c)), (untold, (x,)):
        whole = net(*inputs)                                          # 70 · 16 · 16² numbers: more than a block
        with torch.no_grad():
            assert torch.allclose(net(*inputs), whole, atol=1e-4)
