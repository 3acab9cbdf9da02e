import math

import pytest
import scipy.ndimage
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib.bumps import Domain, bump, sos

DRAWN = {"x": st.floats(0, 9), "y": st.floats(0, 9), "sigma": st.floats(0.3, 4)}


def at(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def rand(n: int, low: float, high: float, seed: int = 0) -> torch.Tensor:
    return low + (high - low) * torch.rand(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gauss(distance: float, sigma: float) -> float:
    return math.exp(-0.5 * (distance / sigma) ** 2)


@given(**DRAWN)
def test_images_pixel_by_pixel(x, y, sigma):
    made = [f(at((x, y)), 10, sigma)[0] for f in (bump, sos)]
    for i in range(10):                                          # rows are y, columns are x
        for j in range(10):
            g_x, g_y = gauss(j - x, sigma), gauss(i - y, sigma)
            assert made[0][i, j].item() == pytest.approx(g_x * g_y, abs=1e-12)
            assert made[1][i, j].item() == pytest.approx(g_x + g_y, abs=1e-12)


@given(**DRAWN)
def test_on_the_torus_distance_is_to_the_nearest_image(x, y, sigma):
    image, stripes = (f(at((x, y)), Domain(10, torus=True), sigma)[0] for f in (bump, sos))
    for i in range(10):
        for j in range(10):
            near_x, near_y = (min(abs(p - c + k * 10) for k in (-1, 0, 1)) for p, c in ((j, x), (i, y)))
            assert image[i, j].item() == pytest.approx(gauss(near_x, sigma) * gauss(near_y, sigma), abs=1e-12)
            assert stripes[i, j].item() == pytest.approx(gauss(near_x, sigma) + gauss(near_y, sigma), abs=1e-12)


@given(shift_x=st.integers(0, 15), shift_y=st.integers(0, 15), sigma=st.floats(0.3, 3))
def test_torus_has_no_origin(shift_x, shift_y, sigma):
    mu, torus = rand(5, 0, 16), Domain(16, torus=True)
    for render in (bump, sos):
        moved = render(torch.remainder(mu + at((shift_x, shift_y)), 16), torus, sigma)
        assert torch.allclose(moved, render(mu, torus, sigma).roll((shift_y, shift_x), (1, 2)), atol=1e-12)
    ends = bump(at((0, 3), (16, 3)), torus, sigma)
    assert torch.allclose(ends[0], ends[1], atol=1e-12)


@pytest.mark.parametrize(("sigma", "error"), [(32 / 11, 1e-6), (32 / 8, 4e-4)])
def test_torus_against_the_sum_over_images(sigma, error):
    # oracle: scipy's normal density summed over images of the centre; the kink at N/2 is exp(−N²/8σ²)
    mu = rand(50, 0, 32)
    pixel = torch.arange(32)
    rows, columns = (sum(
        scipy.stats.norm.pdf((pixel - mu[:, a, None]).numpy(), scale=sigma, loc=32 * k) for k in range(-4, 5)
    ) * sigma * math.sqrt(2 * math.pi) for a in (0, 1))
    wrapped = torch.from_numpy(columns)[:, :, None] * torch.from_numpy(rows)[:, None, :]
    difference = (wrapped - bump(mu, Domain(32, torus=True), sigma)).abs().max()
    assert difference < error and difference > error / 30        # and the bound is not idle


def test_moments():
    # mass 2πσ², centre μ, variances σ²: the trapezoidal rule is exact up to exp(−2π²σ²)
    mu = rand(20, 16, 24)
    image = bump(mu, 41, 2.5)
    mass = image.sum((1, 2))
    pixel = torch.arange(41, dtype=torch.float64)
    assert torch.allclose(mass, torch.full_like(mass, 2 * math.pi * 2.5**2), rtol=1e-6)
    for a, axis in ((0, 1), (1, 2)):
        weight = image.sum(axis) / mass[:, None]
        mean = weight @ pixel
        assert torch.allclose(mean, mu[:, a], atol=1e-5)
        variance = (weight * (pixel - mean[:, None]).square()).sum(1)
        assert variance.numpy() == pytest.approx(2.5**2, rel=1e-4)
    centres = [scipy.ndimage.center_of_mass(x.numpy()) for x in image]
    assert torch.allclose(torch.tensor(centres, dtype=torch.float64).flip(1), mu, atol=1e-5)     # (row, column)


def test_margin_is_a_crop_of_the_canvas():
    mu, margin = rand(200, -6, 37), 6
    seen = sos(mu, Domain(32, margin=margin), 1.0)
    canvas = sos(mu + margin, 32 + 2 * margin, 1.0)
    assert torch.allclose(seen, canvas[:, margin:-margin, margin:-margin], atol=1e-12)


def test_images_of_no_one_and_two_dimensions():
    # oracle: rank and values of the image itself; in the margin beyond 3.5 σ a stripe is not seen
    mu = at((-5, -4), (-4.5, 9), (3, 35.5), (10.2, 20.8), (36, 37))
    image = sos(mu, Domain(32, margin=6), 1.0)
    assert torch.linalg.matrix_rank(image, atol=0.15).tolist() == [0, 1, 1, 2, 0]
    assert image[[0, 4]].max() < 4e-4 and image[1:4].amax((1, 2)).min() > 0.9
    profile = torch.tensor([gauss(i - 9, 1.0) for i in range(32)], dtype=torch.float64)
    assert torch.allclose(image[1], profile[:, None].expand(32, 32), atol=1e-4)


@given(sigma=st.floats(0.7, 2), dx=st.floats(-3, 3), dy=st.floats(-3, 3), torus=st.booleans())
def test_overlap_of_two_bumps_is_a_gaussian(sigma, dx, dy, torus):
    mu = at((15.3, 14.8), (15.3 + dx, 14.8 + dy))
    mu = torch.remainder(mu + 14, 32) if torus else mu           # on the torus at the seam
    a, b = bump(mu, Domain(32, torus=torus), sigma)
    # Poisson summation: the sum over pixels of each of four Gaussians is off by 2 exp(−π²σ²) at most
    error = 9 * math.exp(-((math.pi * sigma) ** 2)) + 1e-9
    cosine = float((a * b).sum() / (a.norm() * b.norm()))
    assert cosine == pytest.approx(math.exp(-(dx**2 + dy**2) / (4 * sigma**2)), rel=error)


def test_two_bumps_merge_at_two_sigma():
    # the sum of two equal bumps has one maximum up to Δ = 2σ, overlap 1/e, and two beyond
    sigma = 6.0
    for ratio, maxima in ((1.9, 1), (2.1, 2)):
        half = ratio * sigma / 2
        row = bump(at((31.5 - half, 32), (31.5 + half, 32)), 64, sigma).sum(0)[32]
        rising = row.diff() > 0
        assert int((rising[:-1] & ~rising[1:]).sum()) == maxima


def test_gradients():
    mu = rand(3, 1, 6).requires_grad_()
    for call in (lambda m: bump(m, 8, 0.9), lambda m: sos(m, Domain(8, torus=True), 0.9)):
        assert torch.autograd.gradcheck(call, mu)


def test_displacement():
    a, b = rand(500, 0, 7, 1), rand(500, 0, 7, 2)
    assert torch.equal(Domain(7).displacement(a, b), a - b)
    wrapped = Domain(7, torus=True).displacement(a, b)
    assert wrapped.min() >= -3.5 and wrapped.max() < 3.5
    assert torch.allclose(wrapped.abs(), torch.stack([(a - b + k).abs() for k in (-7, 0, 7)]).amin(0))
    turns = (a - b - wrapped) / 7
    assert torch.allclose(turns, turns.round(), atol=1e-12)


def test_domains():
    assert Domain(7) == Domain.of(7) and Domain.of(Domain(7, margin=2)) == Domain(7, margin=2.0) != Domain(7)
    kinds = Domain(7), Domain(7, torus=True), Domain(7, margin=1.5)
    assert [domain.bounds for domain in kinds] == [(0, 6), (0, 7), (-1.5, 7.5)]
    for domain in kinds:
        low, high = domain.bounds
        domain.check("labels", at((low, high), (high, low)))
        for outside in (low - 0.01, high + 0.01, math.nan):
            with pytest.raises(ValueError, match=r"labels = \["):
                domain.check("labels", at((low, high), (low, outside)))


def test_dtype_is_kept():
    assert bump(at((1, 1)).float(), 4).dtype == sos(at((1, 1)).float(), 4).dtype == torch.float32
    assert bump(at((1, 1)), 4).dtype == torch.float64
    assert bump(torch.zeros(0, 2), 4).shape == (0, 4, 4)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: bump(at((1, 1)), 8, 0.0), "sigma = 0.0"),
    (lambda: bump(at((1, 1)), 8, -1.0), "sigma = -1.0"),
    (lambda: bump(at((1, 1)), 8, (1.0, 1.0)), "sigma"),
    (lambda: bump(at((1, 1)), 8, math.nan), "sigma"),
    (lambda: bump(at((1, 1)), 1), "size = 1"),
    (lambda: bump(at((1, 1), (7.5, 1)), 8), "mu = \\[7.5, 1.0\\]: must be in \\[0, 7\\]"),
    (lambda: bump(at((-0.1, 1)), Domain(8, torus=True)), "mu = \\[-0.1, 1.0\\]: must be in \\[0, 8\\]"),
    (lambda: bump(at((1, math.nan)), 8), "mu"),
    (lambda: bump(torch.ones(3, 2, dtype=torch.int64), 8), "mu"),
    (lambda: bump(torch.ones(3, 3), 8), "mu"),
    (lambda: sos(at((1, 11)), Domain(8, margin=3.5)), "mu = \\[1.0, 11.0\\]: must be in \\[-3.5, 10.5\\]"),
    (lambda: Domain(1, torus=True), "size = 1"),
    (lambda: Domain(8, margin=-1.0), "margin = -1.0"),
    (lambda: Domain(8, margin=2.0, torus=True), "margin = 2.0: must be 0 on the torus"),
    (lambda: Domain(8).check("labels", at((1, math.inf))), "labels"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
