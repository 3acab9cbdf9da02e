import cmath
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib.bumps import Domain, bump, sos
from hierlib.bumps.labels import uniform
from hierlib.bumps.readout import accuracy, fidelity, position

RENDER = [bump, sos]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("render", RENDER)
@pytest.mark.parametrize("sigma", [0.4, 0.5, 0.7, 0.85, 1.0, 1.4, 2.0])
def test_position_on_the_torus(render, sigma):
    # the phase of the first harmonic has its alias of −1 and +1 turns per pixel, e^(−2π²σ²(1 ∓ 2/N)) e^(∓2πiμ)
    torus = Domain(16, torus=True)
    mu = uniform(2000, torus, 1).double()
    found = position(render(mu, torus, sigma), torus=True)
    assert found.min() >= 0 and found.max() < 16
    error = float(torus.displacement(found, mu).abs().max())
    k = 2 * math.pi**2 * sigma**2
    alias = 16 / math.pi * math.exp(-k) * math.sinh(2 * k / 16)
    assert error < 1.02 * alias + 1e-5                           # the rest is the kink at N/2
    assert sigma > 0.7 or error > 0.95 * alias


@pytest.mark.parametrize("render", RENDER)
def test_position_in_the_box(render):
    # the numbers that the docstring states
    inner, all_of_it = uniform(3000, 8, 1).double() + 4, uniform(3000, 16, 1).double()
    for sigma in (0.5, 0.7, 0.85, 1.0, 1.4, 2.0):
        assert (position(render(inner, 16, sigma)) - inner).abs().max() < 0.335
        error = (position(render(all_of_it, 16, sigma)) - all_of_it).abs().max()
        assert error < max(0.335, 0.45 * sigma) and (error < 0.5) == (sigma < 2)


def test_position_marginal_by_marginal():
    # oracle: the definitions, in complex numbers and loops, on noisy images
    image = bump(uniform(20, 12, 2).double(), 12, 1.3) + 0.05 * noise(20, 12, 12)
    box, torus = position(image), position(image, torus=True)
    for k in range(20):
        for axis, along in ((0, 0), (1, 1)):
            marginal = image[k].numpy().sum(along)
            mean = cmath.phase(sum(max(m, 0.0) * cmath.exp(2j * math.pi * p / 12) for p, m in enumerate(marginal)))
            assert float(torus[k, axis]) == pytest.approx(mean * 12 / (2 * math.pi) % 12)
            above = marginal - marginal.min()
            kept = [p for p in range(12) if above[p] > above.max() / 2]
            centroid = sum(p * above[p] for p in kept) / sum(above[p] for p in kept)
            assert float(box[k, axis]) == pytest.approx(centroid)


@given(shift_x=st.integers(0, 11), shift_y=st.integers(0, 11))
def test_position_moves_with_the_image(shift_x, shift_y):
    image = noise(6, 12, 12).square()
    before, after = position(image, torus=True), position(image.roll((shift_y, shift_x), (1, 2)), torus=True)
    moved = Domain(12, torus=True).displacement(after, before) - torch.tensor([shift_x, shift_y])
    assert (moved - 12 * (moved / 12).round()).abs().max() < 1e-9


@pytest.mark.parametrize("torus", [False, True])
def test_position_of_nothing(torus):
    for dtype in (torch.float32, torch.float64):
        flat = torch.stack([torch.zeros(10, 10), torch.full((10, 10), 0.1), torch.full((10, 10), -3.0)]).to(dtype)
        assert position(flat, torus=torus).isnan().all()
        stripe = bump(torch.tensor([[4.0, 4.0]], dtype=dtype), Domain(10, torus=torus))[:, 4:5].expand(1, 10, 10)
        single = position(stripe, torus=torus)
        assert float(single[0, 0]) == pytest.approx(4.0, abs=1e-5) and single[0, 1].isnan()
        assert not accuracy(position(flat, torus=torus), torch.zeros(3, 2, dtype=dtype), Domain(10, torus=torus)).any()


def test_leading_axes_and_brightness():
    mu = uniform(6, 12, 3)
    image = bump(mu, 12)
    folded = image.view(2, 3, 12, 12)
    assert torch.allclose(position(folded).view(6, 2), position(image))
    assert torch.allclose(position(7 * image), position(image), atol=1e-5)
    assert torch.allclose(position(7 * image + 2, torus=False), position(image), atol=1e-4)


def test_accuracy():
    found = torch.tensor([[0.2, 3.0], [9.8, 3.5], [9.8, 3.6], [math.nan, 3.0]])
    label, torus = torch.tensor([0.0, 3.0]), Domain(10, torus=True)
    assert accuracy(found, label, 10).tolist() == [[True, True], [False, True], [False, False], [False, True]]
    assert accuracy(found, label, torus).tolist() == [[True, True], [True, True], [True, False], [False, True]]
    assert accuracy(found, label, 10, 0.1).any(0).tolist() == [False, True]
    # right by chance: (1/N)² on the torus for random positions, tolerance ½
    a, b = (uniform(40_000, torus, seed) for seed in (1, 2))
    share = accuracy(a, b, torus).float().mean(0)
    assert ((share - 0.1).abs() < 5 * (0.09 / 40_000) ** 0.5).all()


@given(dx=st.floats(-2, 2), dy=st.floats(-2, 2), sigma=st.floats(1, 2), gain=st.floats(0.1, 5))
def test_fidelity_of_a_misplaced_bump_is_the_overlap(dx, dy, sigma, gain):
    mu = torch.tensor([[15.0, 16.0], [15.0 + dx, 16.0 + dy]], dtype=torch.float64)
    a, b = bump(mu, 32, sigma)
    closed = math.exp(-(dx**2 + dy**2) / (4 * sigma**2))
    assert float(fidelity(gain * a, b)) == pytest.approx(closed, rel=9 * math.exp(-((math.pi * sigma) ** 2)) + 1e-9)


def test_fidelity():
    a, b = noise(5, 8, 8), noise(5, 8, 8, seed=1)
    expected = [np.sum(x * y) / np.sqrt(np.sum(x**2) * np.sum(y**2)) for x, y in zip(a.numpy(), b.numpy())]
    assert fidelity(a, b).numpy() == pytest.approx(np.array(expected))
    assert torch.allclose(fidelity(a, -a), torch.full((5,), -1.0, dtype=torch.float64))
    assert fidelity(torch.zeros(2, 8, 8), torch.ones(2, 8, 8)).tolist() == [0.0, 0.0]
    assert fidelity(a.view(5, 1, 8, 8).expand(5, 3, 8, 8), b[:3]).shape == (5, 3)
    # c9 is 0.65 σ: √(4 ln 1/0.9)
    mu = torch.tensor([[15.0, 16.0], [15.64, 16.0], [15.66, 16.0]], dtype=torch.float64)
    assert (fidelity(bump(mu, 32), bump(mu[:1], 32)) > 0.9).tolist() == [True, True, False]


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: position(torch.zeros(3, 4, 5)), "images"),
    (lambda: position(torch.zeros(4)), "images"),
    (lambda: position(torch.zeros(3, 4, 4, dtype=torch.int64)), "images"),
    (lambda: accuracy(torch.zeros(3, 2), torch.zeros(3, 2), 8, 0.0), "tolerance = 0.0"),
    (lambda: accuracy(torch.zeros(3, 2), torch.zeros(3, 2), 1), "size = 1"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
