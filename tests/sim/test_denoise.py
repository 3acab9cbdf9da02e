import copy

import numpy as np
import pytest
import torch
from torch import nn

from hierlib.diffusion import gaussian, schedule
from hierlib.lab import generator
from hierlib.nets import UNet, count
from hierlib.sim.concepts import Concepts, classes
from hierlib.sim.denoise import ConceptDenoisers, ConceptMLP, alpha_bar_vdm, square_steps
from tests.drawn import gen, randomised

SMALL = {"images": 40, "batch": 8, "samples": 6, "pairs": 10, "steps": 3}
PAIR = [Concepts(0.1), Concepts(0.4)]


def test_schedule_is_that_of_variational_diffusion():
    # σ² = sigmoid(γ), α² = sigmoid(−γ), γ linear from −5 (clean) to 10 (noise)
    tau = np.linspace(0, 1, 31)
    gamma = np.linspace(-5, 10, 31)
    sigma2 = 1 / (1 + np.exp(-gamma))
    assert alpha_bar_vdm(tau) == pytest.approx(1 - sigma2, rel=1e-9)
    assert -torch.logit(torch.from_numpy(alpha_bar_vdm(tau))).numpy() == pytest.approx(gamma, abs=1e-9)


def test_levels_of_training_are_uniform_in_gamma():
    levels = schedule.draw_alpha_bar(300, 0, schedule=alpha_bar_vdm, stratified=True, dtype=torch.float64)
    gamma = -torch.logit(levels).sort(descending=True).values
    edges = torch.linspace(-5, 10, 301, dtype=torch.float64)
    assert (gamma >= edges[:-1] - 1e-6).all() and (gamma <= edges[1:] + 1e-6).all()    # one in each 300th
    order = schedule.draw_alpha_bar(300, 0, schedule=alpha_bar_vdm, stratified=True)
    assert not torch.equal(order, order.sort().values)


def test_square_steps():
    assert square_steps(1500, 4) == [94, 375, 844, 1500]
    assert square_steps(10) == sorted(set(square_steps(10))) and square_steps(10)[-1] == 10 and square_steps(10)[0] == 1


def test_mlp_by_hand():
    net = randomised(ConceptMLP(4, 5, width=7, depth=2))
    x, c = (torch.randn(shape, generator=gen(), dtype=torch.float64) for shape in ((3, 3, 4, 4), (3, 5)))
    level = torch.tensor([0.1, 0.5, 0.99], dtype=torch.float64)
    phase = torch.log(level / (1 - level))[:, None] * net.level.frequency
    h = torch.cat([x.view(3, 48), phase.sin(), phase.cos(), c], 1)
    assert h.shape[1] == 48 + 16 + 5
    first, second, last = net.mlp.linear
    for layer in (first, second):
        h = h @ layer.weight.T + layer.bias
        h = h * torch.sigmoid(h)
    assert torch.allclose(net(x, level, c), (h @ last.weight.T + last.bias).view(x.shape), atol=1e-12)
    assert net.level.frequency.double().numpy() == pytest.approx(np.geomspace(0.05, 1.5, 8), rel=1e-6)


def test_mlp_is_of_the_stated_size_and_scale():
    net = ConceptMLP(8, 4)
    sizes = [(192 + 16 + 4, 128), (128, 128), (128, 128), (128, 192)]
    assert count(net) == sum((a + 1) * b for a, b in sizes)
    for linear, (a, _) in zip(net.mlp.linear, sizes, strict=True):
        assert float(linear.weight.detach().std()) == pytest.approx((3 * a) ** -0.5, rel=0.03)     # 5 standard errors
        assert float(nn.Linear(a, 400).weight.detach().std()) == pytest.approx((3 * a) ** -0.5, rel=0.03)
    a, b = ConceptMLP(8, 4, seed=3), ConceptMLP(8, 4, seed=3)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.mlp.linear[0].weight, net.mlp.linear[0].weight)


def test_mlp_uses_all_its_inputs():
    net = randomised(ConceptMLP(4, 5))
    x, c = (torch.randn(shape, generator=gen(), dtype=torch.float64) for shape in ((1, 3, 4, 4), (1, 5)))
    level = torch.tensor([0.3], dtype=torch.float64)
    for slope in torch.autograd.functional.jacobian(net, (x, level, c)):
        assert (slope.flatten(4).abs().sum((0, 1, 2, 3)) > 1e-6).all()


@pytest.mark.parametrize(("common", "predicts"), [(True, "velocity"), (False, "velocity"), (False, "data")])
def test_members_train_as_networks_alone(common, predicts):
    # oracle: each network on its own, with its signal's images and the same minibatches, levels and noises
    d = ConceptDenoisers(PAIR, seeds=2, predicts=predicts, common=common, **SMALL)
    draws = 1 if common else 2
    alone = [gaussian.Denoiser(d.model.network.member(i), predicts) for i in range(4)]
    start = copy.deepcopy(alone)
    assert torch.equal(alone[0].network.mlp.linear[0].weight, alone[2].network.mlp.linear[0].weight)    # by seed
    assert not torch.equal(alone[0].network.mlp.linear[0].weight, alone[1].network.mlp.linear[0].weight)
    told = {} if common else {"betas": (0.5, 0.6)}
    optimisers = [torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.01, **told) for net in alone]
    rng, losses = generator(5), []
    for _ in range(4):
        all_rows = torch.randint(120, (draws, 8), generator=rng)
        noises = torch.randn(draws, 8, 3, 8, 8, generator=rng)
        levels = [schedule.draw_alpha_bar(8, rng, schedule=alpha_bar_vdm, stratified=True) for _ in range(draws)]
        losses.append([])
        for i, (net, opt) in enumerate(zip(alone, optimisers, strict=True)):
            opt.zero_grad()
            rows, noise, level = (each[i % draws] for each in (all_rows, noises, levels))
            x0, c = (each.unflatten(0, (2, 120))[i // 2, rows] for each in (d.x0, d.c))
            a, b = (s.sqrt()[:, None, None, None] for s in (level, 1 - level))
            target = {"velocity": a * noise - b * x0, "data": x0}[predicts]
            loss = (net.network(a * x0 + b * noise, level, c) - target).square().mean()
            loss.backward(), opt.step()
            losses[-1].append(loss.item())
    frame = d.follow(4, at=[1, 2, 3, 4], seed=generator(5), **told)
    assert frame["loss"].to_numpy().reshape(4, 4) == pytest.approx(np.array(losses), rel=1e-4)
    for i, (net, old) in enumerate(zip(alone, start, strict=True)):
        for p, q, r in zip(net.parameters(), d.model.network.member(i).parameters(), old.parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-4) and (p - r).abs().max() > 1e-3     # Adam moves by 1e-3 a step
    # … and what is measured of them: the losses and the coordinates of a network alone
    validation, ood = d.losses()
    d.model.requires_grad_(False)
    images, x_T = d.draw(), d.noise(6)
    assert images.shape == (4, 6, 3, 8, 8)
    for i in range(4):
        net = gaussian.Denoiser(d.model.network.member(i), predicts)
        prompt = PAIR[i // 2].condition(classes("11")).float().expand(6, -1)
        with torch.no_grad():
            x = x_T[0]
            assert torch.equal(x, x_T[i])
            for gamma in (10, 5, 0):                                         # DDIM, γ = 10, 5, 0 and then clean
                now, then = 1 / (1 + np.exp(gamma)), 1.0 if gamma == 0 else 1 / (1 + np.exp(gamma - 5))
                x0 = net(x, float(now), prompt)
                eps = (x - now**0.5 * x0) / (1 - now) ** 0.5
                x = then**0.5 * x0 + (1 - then) ** 0.5 * eps
            assert torch.allclose(images[i], x, atol=1e-4)
            for found, fixed in zip((validation, ood), d.held_out, strict=True):
                x0, c, level, noise = (each[i] for each in fixed)
                assert torch.equal(noise, fixed[3][0]) and torch.equal(level, fixed[2][0])
                guess = net(gaussian.noised(x0, level, noise), level, c)
                assert float(found[i]) == pytest.approx(float((guess - x0).square().mean()), rel=1e-4)
    expected = torch.stack([d.probes[k // 2](images[k]).mean(0) for k in range(4)])
    assert torch.allclose(d.coordinates(), expected)
    last = frame[frame["step"] == 4]
    assert last["size"].to_numpy() == pytest.approx(expected[:, 1].numpy(), abs=1e-3)


def test_a_frame_is_tidy():
    d = ConceptDenoisers([Concepts(h, position=0.2) for h in (0.1, 0.2)], seeds=3, **SMALL)
    assert d.trained == ["000", "100", "010", "001"]
    assert d.asked == "111" and len(d) == 6 and d.x0.shape == (320, 3, 8, 8) and d.c.shape == (320, 5)
    frame = d.follow(3, at=[2])
    assert list(frame) == ["step", "member", "set", "seed", "h", "loss", "validation", "ood", "colour", "size",
                           "position"]
    assert frame["step"].tolist() == [2] * 6 + [3] * 6 and frame["h"].tolist() == [0.1, 0.1, 0.1, 0.2, 0.2, 0.2] * 2
    assert frame["seed"].tolist() == [0, 1, 2] * 4 and frame.notna().all(axis=None)


def test_data_are_of_the_classes():
    d = ConceptDenoisers(PAIR, seeds=1, **SMALL)
    assert d.trained == ["00", "10", "01"]
    (inside, told, *_), (_, asked, *_) = d.held_out
    x0, trained = (each.unflatten(0, (2, 120)) for each in (d.x0, d.c))
    for c, blue, small in ((trained, range(40, 80), range(80, 120)), (told, range(1, 10, 3), range(2, 10, 3))):
        for row in range(c.shape[1]):
            for signal in range(2):
                red, _, blueness, radius = c[signal, row].tolist()
                assert (blueness > red) == (row in blue) and (radius < 0) == (row in small)
    assert asked.shape == (2, 10, 4) and ((asked[..., 2] > asked[..., 0]) & (asked[..., 3] < 0)).all()
    assert (x0[0, :, None] != inside[0]).flatten(2).any(-1).all()               # none is one of the training images
    every = ConceptDenoisers(PAIR, seeds=1, trained=PAIR[0].all_classes(), asked="10", **SMALL)
    assert len(every.x0) == 320 and (every.held_out[1][1][..., 3] > 0).all()


def test_runs_repeat_and_resume(tmp_path):
    whole = ConceptDenoisers(PAIR[:1], seeds=2, **SMALL).follow(6, at=[3, 6])
    path = tmp_path / "run.pt"
    again = ConceptDenoisers(PAIR[:1], seeds=2, **SMALL).follow(6, at=[3, 6], checkpoint=path)
    assert whole.equals(again)
    assert whole.equals(ConceptDenoisers(PAIR[:1], seeds=2, **SMALL).follow(6, at=[3, 6], checkpoint=path))
    other = ConceptDenoisers(PAIR[:1], seeds=2, seed=1, **SMALL).follow(6, at=[3, 6])
    assert (other["loss"] != whole["loss"]).all()


def test_training_lowers_the_loss_and_the_condition_is_used():
    # all classes are trained on, and each is then made on demand: coordinates on its side of ½
    d = ConceptDenoisers([Concepts(0.3)], seeds=2, trained=["00", "01", "10", "11"], images=300, samples=32, batch=32,
                         common=True)
    frame = d.follow(600, at=[1, 600], lr=3e-3, ema=0.95)
    for column in ("loss", "validation", "ood"):
        early, late = frame[column].to_numpy().reshape(2, 2)
        assert (late < 0.6 * early).all(), column
    for name in d.trained:
        asked = ConceptDenoisers([Concepts(0.3)], seeds=2, asked=name, samples=32, images=1, pairs=1)
        found = asked.coordinates(d.model)[0]
        assert ((found > 0.5) == classes(name).bool()).all(), (name, found)


def test_a_swing_by():
    # strong colour: the size of the class never seen swings to that of the class seen, and the loss of that class rises
    # again while that of the classes seen falls; not so where all classes are seen.
    # Over six networks: size at most -.02, control .38 above it or more; rise 24-34 %, control 2 % at most
    options = {"seeds": 2, "images": 300, "samples": 64, "batch": 64, "pairs": 128, "common": True}
    lowest, rise = {}, {}
    for trained in (None, ("00", "01", "10", "11")):
        d = ConceptDenoisers([Concepts(0.4)], trained=trained, **options)
        frame = d.follow(140, at=range(20, 141, 20), ema=0.95)
        size, ood, validation = (frame[key].to_numpy().reshape(-1, 2) for key in ("size", "ood", "validation"))
        assert (np.diff(validation, axis=0) < 0).all()
        lowest[trained], rise[trained] = size.min(0), (ood / np.minimum.accumulate(ood)).max(0)
    three, control = lowest
    assert (lowest[three] < 0.15).all() and (lowest[control] - lowest[three] > 0.2).all(), lowest
    assert (rise[three] > 1.15).all() and (rise[control] < 1.1).all(), rise


@pytest.mark.parametrize("common", [True, False])
def test_members_in_chunks_are_the_same_members(common):
    # random numbers are drawn for all members, whatever the chunks: the same rows, levels, noises for each
    def run(chunk):
        d = ConceptDenoisers(PAIR, seeds=2, common=common, chunk=chunk, **SMALL)
        return d.follow(6, at=[3, 6], ema=0.9).to_numpy(), d.draw()

    (whole, images), *others = map(run, (None, 1, 2, 3))
    for frame, other in others:
        assert frame == pytest.approx(whole, rel=1e-4) and torch.allclose(images, other, atol=1e-4)


def test_another_network():
    d = ConceptDenoisers(PAIR, seeds=2, network=lambda k: UNet(3, (4, 4), condition=4, seed=k), **SMALL)
    assert d.draw().shape == (4, 6, 3, 8, 8)
    assert torch.isfinite(torch.tensor(d.follow(2)["loss"].to_numpy())).all()


def test_a_model_is_used_whatever_its_length():
    d = ConceptDenoisers(PAIR[:1], seeds=2, **SMALL)
    other = randomised(copy.deepcopy(d.model)).float()
    known = d.draw(other), d.losses(other)
    other.__class__ = type("Empty", (gaussian.Denoiser,), {"__len__": lambda self: 0})
    assert torch.equal(d.draw(other), known[0]) and not torch.equal(d.draw(), known[0])
    assert all(map(torch.equal, d.losses(other), known[1])) and not torch.equal(d.losses()[0], known[1][0])


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: ConceptDenoisers([]), "concepts = \\[\\]"),
    (lambda: ConceptDenoisers([Concepts(0.1), Concepts(0.1, pixels=9)]), "concepts"),
    (lambda: ConceptDenoisers([Concepts(0.1), Concepts(0.1, position=0.1)]), "concepts"),
    (lambda: ConceptDenoisers(PAIR, seeds=0), "seeds = 0"),
    (lambda: ConceptDenoisers(PAIR, samples=0), "samples = 0"),
    (lambda: ConceptDenoisers(PAIR, trained=["000"]), "class = '000'"),
    (lambda: ConceptDenoisers(PAIR, trained=[]), "trained"),
    (lambda: ConceptDenoisers(PAIR, asked="2"), "class = '2'"),
    (lambda: ConceptDenoisers(PAIR, predicts="image"), "predicts = 'image'"),
    (lambda: ConceptMLP(8, 4)(torch.zeros(2, 3, 9, 9), torch.ones(2), torch.zeros(2, 4)), "x = "),
    (lambda: ConceptMLP(8, 4)(torch.zeros(2, 3, 8, 8), torch.ones(2), torch.zeros(2, 3)), "c = "),
    (lambda: square_steps(0), "steps = 0"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
