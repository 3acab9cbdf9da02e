import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib.sim.concepts import Concepts, Probe, classes
from tests.drawn import gen

SIZES = [{}, {"position": 0.2}, {"size": 0.1, "pixels": 12}]


def r2(probe, images, cls):
    """R² of each concept on labelled images: 1 − mean squared error / variance of the bit."""
    return 1 - (probe(images) - cls).square().mean(0) / cls.to(images).var(0, correction=0)


def test_classes():
    assert classes("00", "01", n=2).tolist() == [[0, 0], [0, 0], [0, 1], [0, 1]]
    assert Concepts(0.1).all_classes() == ["00", "01", "10", "11"]
    assert Concepts(0.1, position=0.1).all_classes()[5] == "101"


def disc(red, green, blue, background, radius, centre, pixels):
    """Return one image, pixel by pixel."""
    image = np.zeros((3, pixels, pixels))
    for i in range(pixels):
        for j in range(pixels):
            y, x = 2 * i / (pixels - 1) - 1, 2 * j / (pixels - 1) - 1
            m = 1 / (1 + math.exp(-pixels * (radius - math.hypot(x - centre, y))))
            for k, (colour, back) in enumerate(zip((red, green, blue), background, strict=True)):
                image[k, i, j] = 2 * (m * colour + (1 - m) * back) - 1
    return image


@given(h=st.floats(0.01, 0.4), size=st.floats(0.01, 0.36), position=st.floats(0.01, 0.7), pixels=st.integers(2, 12),
       bits=st.tuples(*[st.integers(0, 1)] * 3))
def test_an_image_is_what_its_condition_says(h, size, position, pixels, bits):
    concepts = Concepts(h, size, pixels, position, noise=0.0)
    images, condition = concepts.render(torch.tensor([bits] * 4), 3, dtype=torch.float64)
    assert images.shape == (4, 3, pixels, pixels) and condition.shape == (4, 5)
    assert images.abs().max() <= 1
    attributes = condition / 4 + torch.tensor([0.5, 0.5, 0.5, 0.5, 0.0])
    colour, sized, placed = bits
    wanted = torch.tensor([0.5 - h if colour else 0.5 + h, 0.5 - h, 0.5 + h if colour else 0.5 - h,
                           0.5 - size if sized else 0.5 + size, position if placed else -position])
    spread = torch.tensor([h / 4] * 3 + [3 / 8 * size, 3 / 8 * position])
    assert ((attributes - wanted).abs() <= spread * (1 + 1e-5) + 1e-7).all()
    # the background, which the condition does not tell, is solved for from the pixel farthest from the disc
    *rgb, radius, centre = attributes[0].tolist()
    corner = -1 if centre < 0 else 0
    m = 1 / (1 + math.exp(-pixels * (radius - math.hypot(1 + abs(centre), 1))))
    background = [(float(v + 1) / 2 - m * c) / (1 - m) for v, c in zip(images[0, :, 0, corner], rgb, strict=True)]
    assert all(0.8 - 1e-9 <= b <= 1 + 1e-9 for b in background)
    expected = disc(*rgb, background, radius, centre, pixels)
    assert np.allclose(images[0].numpy(), expected, atol=1e-9)


def test_jitter_is_uniform_and_independent():
    # means and variances of the conditions: 0 and half-width²/3, within 5 standard errors; background from the corner
    n = 20_000
    concepts = Concepts(0.2, position=0.3, noise=0.0)
    images, condition = concepts.render(classes("000", n=n), 1, dtype=torch.float64)
    off = (condition - concepts.condition(classes("000"))) / 4
    half = torch.tensor([0.05] * 3 + [0.075, 0.1125])
    unit = off / half
    assert (unit.mean(0).abs() < 5 * (1 / 3 / n) ** 0.5).all()
    assert ((unit.square().mean(0) - 1 / 3).abs() < 5 * (4 / 45 / n) ** 0.5).all()
    assert (torch.corrcoef(unit.T) - torch.eye(5)).abs().max() < 5 / n**0.5
    corner = (images[:, :, 0, -1] + 1) / 2                       # 1.4 away from the disc's centre: m < 3e-3
    assert ((corner.mean(0) - 0.9).abs() < 5 * 0.1 / (3 * n) ** 0.5 + 3e-3).all()
    assert corner.std(0).numpy() == pytest.approx(0.1 / 3**0.5, rel=0.02)


@pytest.mark.parametrize("kind", SIZES, ids=str)
def test_mean_images_are_the_means_of_images(kind):
    concepts, n = Concepts(0.3, **kind), 4000
    for name in concepts.all_classes()[-3:]:
        images, condition = concepts.render(classes(name, n=n), 2, dtype=torch.float64)
        error = images.mean(0) - concepts.mean(classes(name))[0]
        z = error / (images.std(0) / n**0.5)
        assert z.abs().max() < 5
        assert (condition.mean(0) - concepts.condition(classes(name))[0]).abs().max() < 5 * 0.6 / n**0.5


@pytest.mark.parametrize(("radius", "name"), [(0.7, "0"), (0.3, "1")])
def test_area_of_the_disc(radius, name):
    # ∫ σ(k(r − ρ)) 2πρ dρ = π (r² + π²/3k²), and the radius' uniform jitter adds its variance to r²
    concepts = Concepts(0.2, pixels=64)
    white, mean = 0.9, concepts.mean(classes("0" + name))[0, 1]
    mask = (white - (mean + 1) / 2) / (white - 0.3)              # green is ½ − h in both classes
    area = float(mask.sum()) * (2 / 63) ** 2
    expected = math.pi * (radius**2 + 0.075**2 / 3 + math.pi**2 / (3 * 64**2))
    assert area == pytest.approx(expected, rel=1e-3)


def test_signals_are_those_of_the_trial():
    # of images of an earlier program, with its sampling error
    table = {0.05: (1.1, 14.8), 0.1: (4.5, 16.6), 0.2: (17.8, 21.1), 0.4: (72.7, 36.4)}
    for h, wanted in table.items():
        assert Concepts(h).signals().numpy() == pytest.approx(np.array(wanted), rel=0.03)


def test_signals_by_hand():
    concepts = Concepts(0.1, position=0.3)
    zero, blue, small, right = concepts.mean(classes("000", "100", "010", "001"))
    expected = [float((x - zero).square().sum()) for x in (blue, small, right)]
    assert concepts.signals().numpy() == pytest.approx(np.array(expected))
    # red and blue differ in two channels by 2 · 2h m, and left and right are mirror images
    assert torch.allclose((blue - zero)[0], -(blue - zero)[2]) and (blue - zero)[1].abs().max() < 1e-12
    assert torch.allclose(right.flip(-1), zero, atol=1e-12)
    assert Concepts(0.2).signals()[0] == pytest.approx(4 * Concepts(0.1).signals()[0])


def test_red_and_blue_are_one_thing_with_channels_swapped():
    means = Concepts(0.25).mean(classes("00", "10", "01", "11"))
    assert torch.allclose(means[[0, 2]].flip(1), means[[1, 3]], rtol=0, atol=1e-12)
    assert torch.allclose(means, means.mT) and torch.allclose(means, means.flip(-1))     # a centred disc
    assert means[0, 1].sum() < means[2, 1].sum() - 1                                     # bit 1 is small


def test_seeds():
    cls = classes("00", "11", n=3)
    a, c = Concepts(0.1, noise=0.0).render(cls, 5)
    assert torch.equal(a, Concepts(0.1, noise=0.0).render(cls, 5)[0])
    assert not torch.equal(a, Concepts(0.1, noise=0.0).render(cls, 6)[0])
    b, e = Concepts(0.2, noise=0.0).render(cls, 5)               # common random numbers: the same sizes, double colours
    assert torch.equal(c[:, 3], e[:, 3]) and torch.allclose(2 * c[[0, 1], 0], e[[0, 1], 0], atol=1e-6)
    assert torch.equal(a[:, :, 0, 0] > 0.9, b[:, :, 0, 0] > 0.9)
    rng = gen()
    assert not torch.equal(Concepts(0.1).render(cls, rng)[0], Concepts(0.1).render(cls, rng)[0])


def test_pixel_noise():
    cls = classes("00", n=500)
    noise = (Concepts(0.1, noise=0.3).render(cls)[0] - Concepts(0.1, noise=0.0).render(cls)[0]).flatten()
    assert abs(float(noise.mean())) < 5 * 0.3 / len(noise) ** 0.5
    assert float(noise.std()) == pytest.approx(0.3, abs=5 * 0.3 / (2 * len(noise)) ** 0.5)


@pytest.mark.parametrize("h", [0.05, 0.4])
@pytest.mark.parametrize("position", [None, 0.25])
def test_probe_reads_new_images(h, position):
    concepts = Concepts(h, position=position)
    probe = Probe.of(concepts)
    cls = classes(*concepts.all_classes(), n=100)
    images, _ = concepts.render(cls, 99)
    assert (r2(probe, images, cls) > 0.9).all()
    assert probe(images.view(4, -1, *images.shape[1:])).shape == (4, len(cls) // 4, len(concepts.names))
    # and it reads the classes that are named, not the opposite or another concept
    means = probe(concepts.mean(classes(*concepts.all_classes())).float())
    assert (means - classes(*concepts.all_classes())).abs().max() < 0.3


def test_probe_is_ridge_regression():
    # oracle: the gradient of Σ |xw + b − y|² + λ|w|² vanishes (autograd); least squares as λ → 0
    x = torch.randn(40, 2, 3, generator=gen(), dtype=torch.float64)
    y = torch.randint(2, (40, 2), generator=gen(1))
    probe = Probe(x, y, ridge=0.7)
    w, b = probe.weight.clone().requires_grad_(), probe.bias.clone().requires_grad_()
    cost = (x.flatten(1) @ w + b - y).square().sum() + 0.7 * w.square().sum()
    assert all(g.abs().max() < 1e-10 for g in torch.autograd.grad(cost, (w, b)))
    ones = torch.cat([x.flatten(1), torch.ones(40, 1, dtype=torch.float64)], 1)
    plain = torch.linalg.lstsq(ones, y.double()).solution
    assert torch.allclose(Probe(x, y, ridge=1e-9).weight, plain[:-1], atol=1e-8)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: Concepts(0.0), "h = 0.0"),
    (lambda: Concepts(0.41), "h = 0.41"),
    (lambda: Concepts(0.1, size=0.5), "size = 0.5"),
    (lambda: Concepts(0.1, position=-0.1), "position = -0.1"),
    (lambda: Concepts(0.1, pixels=1), "pixels = 1"),
    (lambda: Concepts(0.1, noise=-1.0), "noise = -1.0"),
    (lambda: Concepts(0.1).render(torch.tensor([[0, 2]])), "cls"),
    (lambda: Concepts(0.1).render(classes("000")), "cls"),
    (lambda: Concepts(0.1, position=0.1).mean(classes("00")), "cls"),
    (lambda: classes(), "names"),
    (lambda: classes("00", "1"), "names"),
    (lambda: classes("02"), "names"),
    (lambda: classes("00", n=0), "n = 0"),
    (lambda: Probe(torch.zeros(3, 2), torch.zeros(4, 2, dtype=torch.int64)), "images = 3"),
    (lambda: Probe(torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int64), 0.0), "ridge = 0.0"),
    (lambda: Probe.of(Concepts(0.1), 4)(torch.zeros(5, 3, 9, 9)), "images = \\(5, 3, 9, 9\\)"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
