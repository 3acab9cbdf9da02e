import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib.bumps.images import visible
from hierlib.bumps.labels import (
    cross,
    fourier,
    islands,
    lattice,
    one_hot,
    rim,
    sinusoidal,
    square,
    strip,
    stripes,
    uniform,
)

GRID = lattice(12, 0.5, dtype=torch.float64)


def at(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def chosen(mask: torch.Tensor, labels: torch.Tensor = GRID) -> set[tuple[float, float]]:
    return {tuple(row) for row in labels[mask].tolist()}


@pytest.mark.parametrize(("size", "spacing", "torus", "x"), [
    (4, 1.0, False, [0, 1, 2, 3]),
    (4, 1.0, True, [0, 1, 2, 3]),
    (4, 0.5, False, [0, 0.5, 1, 1.5, 2, 2.5, 3]),
    (4, 2.0, False, [0, 2]),
    (4, 4.0, True, [0]),
    (10, 10 / 3, True, [0, 10 / 3, 20 / 3]),
    (10, 0.1, False, [k / 10 for k in range(91)]),
])
def test_lattice(size, spacing, torus, x):
    labels = lattice(size, spacing, torus=torus)
    expected = [(a, b) for a in x for b in x]                    # x the slower
    assert labels.dtype == torch.float32 and labels.shape == (len(x) ** 2, 2)
    assert labels.numpy() == pytest.approx(np.array(expected), abs=1e-5)


def test_lattice_of_two_spacings():
    labels = lattice(10, (2.0, 0.5), torus=True).view(5, 20, 2)
    assert labels[3, 7].tolist() == [6.0, 3.5]


@pytest.mark.parametrize(("options", "low", "high"), [
    ({}, 0, 19), ({"margin": 4}, -4, 23), ({"torus": True}, 0, 20),
])
def test_uniform_is_uniform(options, low, high):
    n, cells = 40_000, 20
    labels = uniform(n, 20, 3, dtype=torch.float64, **options)
    unit = (labels - low) / (high - low)
    assert labels.shape == (n, 2) and unit.min() >= 0 and unit.max() < 1
    assert ((unit.mean(0) - 0.5).abs() < 5 * (1 / 12 / n) ** 0.5).all()
    assert abs(float(torch.corrcoef(unit.T)[0, 1])) < 5 / n**0.5
    counts = torch.bincount(((unit * cells).long() * torch.tensor([cells, 1])).sum(1), minlength=cells**2)
    chi2 = float((counts - n / cells**2).square().sum() / (n / cells**2))
    assert abs(chi2 - (cells**2 - 1)) < 5 * (2 * (cells**2 - 1)) ** 0.5


def test_uniform_seeds():
    few, many = uniform(17, 9, 5), uniform(400, 9, 5)
    assert few.dtype == torch.float32 and torch.equal(few, many[:17])    # nested
    assert torch.allclose(many.double(), uniform(400, 9, 5, dtype=torch.float64), rtol=0, atol=1e-6)
    assert not torch.equal(few, uniform(17, 9, 6)) and uniform(0, 9).shape == (0, 2)
    rng = torch.Generator().manual_seed(5)
    assert not torch.equal(uniform(3, 9, rng), uniform(3, 9, rng))
    half = uniform(200_000, 20, 1, torus=True, dtype=torch.float16)      # rounds to 20 at times, which is 0
    assert half.max() < 20 and half.min() == 0


def test_stripes():
    labels = stripes(8)
    hidden = {-4.0, -3.5, 10.5, 11.0}
    vertical = {(float(x), h) for x in range(8) for h in hidden}
    assert len(labels) == 64 and chosen(torch.ones(64, dtype=torch.bool), labels) == vertical | {
        (h, x) for x, h in vertical}
    assert visible(labels, 8).sum(-1).tolist() == [1] * 64 and visible(labels, 8)[:32, 0].all()
    assert len(stripes(8, 2.0, 0.5)) == 8 * 15 and stripes(8, 2.0).max() == 9


@given(width=st.floats(0.2, 11), c_x=st.floats(0, 11), c_y=st.floats(0, 11), torus=st.booleans())
def test_holes_label_by_label(width, c_x, c_y, torus):
    turns = (-12, 0, 12) if torus else (0,)
    in_x, in_y = ([min(abs(row[a] - c + k) for k in turns) < width / 2 for row in GRID.tolist()]
                  for a, c in ((0, c_x), (1, c_y)))
    options = {"torus": torus}
    assert strip(GRID, 12, width, c_x, **options).tolist() == in_x
    assert strip(GRID, 12, width, c_y, axis="y", **options).tolist() == in_y
    both, either = (f(GRID, 12, width, (c_x, c_y), **options).tolist() for f in (square, cross))
    assert both == [a and b for a, b in zip(in_x, in_y)]
    assert either == [a or b for a, b in zip(in_x, in_y)]


@pytest.mark.parametrize("width", [2, 4, 6])
def test_interpolation_and_composition(width):
    # in a strip values of x are never trained on, the gap is its width; in a square all are, but not their pairs
    seen = GRID[~strip(GRID, 12, width)]
    left, right = seen[seen[:, 0] < 5.5, 0].max(), seen[seen[:, 0] > 5.5, 0].min()
    assert right - left == width and len(seen[:, 1].unique()) == 23
    assert len(seen[:, 0].unique()) == 23 - (2 * width - 1)
    seen = GRID[~square(GRID, 12, width)]
    assert len(seen[:, 0].unique()) == len(seen[:, 1].unique()) == 23
    assert len(GRID) - len(seen) == (2 * width - 1) ** 2


def test_masks_combine():
    v, h = strip(GRID, 12, 3), strip(GRID, 12, 3, axis="y")
    assert torch.equal(square(GRID, 12, 3), v & h) and torch.equal(cross(GRID, 12, 3), v | h)
    exterior = ~square(GRID, 12, 5) & square(GRID, 12, 9)        # a ring
    assert chosen(exterior) == {(x, y) for x, y in GRID.tolist() if 2.5 <= max(abs(x - 5.5), abs(y - 5.5)) < 4.5}
    assert strip(torch.zeros(3, 4, 2), 12, 2, 0.0).shape == (3, 4)
    assert strip(at((-4, 5)), 12, 2, -4.0).item()                # in the margin, too


def test_cross_of_the_paper():
    # [13, 19] of a frame of 32 pixels, edges excluded
    labels = lattice(32)
    held = cross(labels, 32, 6, (16.0, 16.0))
    assert sorted(labels[held & ~strip(labels, 32, 6, 16.0, axis="y")][:, 0].unique().tolist()) == [14, 15, 16, 17, 18]
    assert int(held.sum()) == 2 * 5 * 32 - 25


@pytest.mark.parametrize("torus", [True, False])
def test_islands(torus):
    # 4 islands of 6 × 6 have the area of one block of 12 × 12, centres 10 apart and gaps of 4
    labels = uniform(40_000, 20, 1, torus=torus)
    origin, area = (0.0, 400) if torus else (-0.5, 361)
    four, one = islands(labels, 20, 4, 6, torus=torus), islands(labels, 20, 1, 12, torus=torus)
    blocks = [[(5, 5), (5, 15), (15, 5), (15, 15)], [(10, 10)]]
    for mask, centres, side in ((four, blocks[0], 6), (one, blocks[1], 12)):
        inside = torch.stack([square(labels, 20, side, (x + origin, y + origin)) for x, y in centres]).any(0)
        assert torch.equal(mask, inside)
        share = 144 / area
        assert abs(float(mask.float().mean()) - share) < 5 * (share * (1 - share) / 40_000) ** 0.5
    assert islands(labels, 20, 4, 10, torus=torus).float().mean() > 0.999


def test_rim():
    labels = torch.cat([lattice(8), at((-1, 3), (3, 8.5)).float()])
    assert chosen(rim(labels, 8, 2), labels) == {(x, y) for x, y in lattice(8).tolist() if min(x, y, 7 - x, 7 - y) < 2}


@given(K=st.integers(1, 5), amplitude=st.floats(0.1, 4), size=st.integers(4, 30))
def test_fourier(K, amplitude, size):
    labels = uniform(30, size, K, torus=True, dtype=torch.float64)
    code = fourier(labels, size, K, amplitude)
    assert code.shape == (30, 4 * K)
    x, y = labels[0].tolist()
    by_hand = [amplitude * f(2 * math.pi * k * u / size) for u in (x, y) for f in (math.sin, math.cos)
               for k in range(1, K + 1)]
    assert code[0].numpy() == pytest.approx(np.array(by_hand))
    # the kernel is a sum of two Dirichlet kernels of the displacement: (sin((K + ½)t)/sin(t/2) − 1)/2
    t = 2 * math.pi / size * (labels[:, None] - labels) + 1e-9
    kernel = (((K + 0.5) * t).sin() / (t / 2).sin() - 1) / 2
    assert torch.allclose(code @ code.T, amplitude**2 * kernel.sum(-1), atol=1e-5)
    ends = fourier(at((0, 3), (size, 3)), size, K, amplitude)    # it knows the torus
    assert torch.allclose(ends[0], ends[1], atol=1e-12)


def test_shortest_wavelengths():
    # oracle: the discrete spectrum of each component along x, in cycles per pixel; both from a long row of labels
    x = torch.arange(0, 1200, dtype=torch.float64) / 10          # 120 pixels, 10 labels per pixel
    row = torch.stack([x, torch.zeros_like(x)], 1)

    def fastest(code):
        power = torch.fft.rfft(code[:, : code.shape[1] // 2].T).abs().square()
        return float((power.argmax(1) / 120).max())
    assert 1 / fastest(fourier(row, 120, 12)) == pytest.approx(10.0)                 # N/K
    assert 1 / fastest(sinusoidal(row)) == pytest.approx(2 * math.pi, rel=0.03)
    assert 1 / fastest(sinusoidal(row, 16, 20.0)) == pytest.approx(2 * math.pi, rel=0.03)    # whatever the base


def test_sinusoidal_by_hand():
    code = sinusoidal(at((3, -2)))
    frequency = [10_000 ** (-k / 8) for k in range(8)]
    expected = [f(w * u) for u in (3, -2) for f in (math.sin, math.cos) for w in frequency]
    assert code.shape == (1, 32) and code[0].numpy() == pytest.approx(np.array(expected))
    # |code|² = 16, and inner products depend on differences alone
    a, b = uniform(9, 20, 1, dtype=torch.float64), uniform(9, 20, 2, dtype=torch.float64)
    assert torch.allclose(sinusoidal(a).square().sum(1), torch.full((9,), 16.0, dtype=torch.float64))
    assert torch.allclose((sinusoidal(a) * sinusoidal(b)).sum(1), (sinusoidal(a + 5) * sinusoidal(b + 5)).sum(1))


@pytest.mark.parametrize("torus", [False, True])
def test_one_hot_numbers_the_lattice(torus):
    for size, spacing in ((6, 1.0), (6, 0.5), (8, (2.0, 1.0)), (7, 7 / 3)):
        labels = lattice(size, spacing, torus=torus)
        assert torch.equal(one_hot(labels, size, spacing, torus=torus), torch.eye(len(labels)))
    code = one_hot(at((6, 1)), 6, torus=True)                    # N is 0
    assert code.argmax() == 1 and code.dtype == torch.float64


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: lattice(1), "size = 1"),
    (lambda: lattice(8, 0.0), "spacing = 0.0"),
    (lambda: lattice(8, (1.0, -1.0)), "spacing = -1.0"),
    (lambda: lattice(8, 9.0), "spacing = 9.0"),
    (lambda: lattice(8, 3.0, torus=True), "spacing = 3.0: must be a part of size = 8"),
    (lambda: uniform(-1, 8), "n = -1"),
    (lambda: uniform(3, 8, -1), "seed = -1"),
    (lambda: uniform(3, 8, margin=-2), "margin = -2"),
    (lambda: uniform(3, 8, margin=2, torus=True), "margin = 2"),
    (lambda: stripes(8, 0.5), "margin = 0.5"),
    (lambda: stripes(8, 4, 0.0), "spacing = 0.0"),
    (lambda: strip(GRID, 12, 0.0), "width = 0.0"),
    (lambda: square(GRID, 12, -1), "width = -1"),
    (lambda: cross(GRID, 12, math.nan), "width = nan"),
    (lambda: strip(GRID, 12, 2, axis="z"), "axis = 'z'"),
    (lambda: strip(GRID, 12, 2, math.inf), "centre = inf"),
    (lambda: islands(GRID, 12, 3, 2), "k = 3: must be a square number"),
    (lambda: islands(GRID, 12, 4, 7), "side = 7"),
    (lambda: islands(GRID, 12, 4, 0), "side = 0"),
    (lambda: islands(GRID, 8, 4, 2), "labels = \\[0.0, 7.5\\]"),
    (lambda: rim(GRID, 12, 0), "width = 0"),
    (lambda: fourier(at((1, 13)), 12), "labels = \\[1.0, 13.0\\]: must be in \\[0, 12\\]"),
    (lambda: fourier(at((-1, 3)), 12), "labels"),
    (lambda: fourier(GRID, 12, 0), "K = 0"),
    (lambda: fourier(GRID, 12, 2, 0.0), "amplitude = 0.0"),
    (lambda: sinusoidal(at((math.nan, 1))), "labels"),
    (lambda: sinusoidal(GRID, 15), "dims = 15"),
    (lambda: sinusoidal(GRID, 16, 1.0), "base = 1.0"),
    (lambda: one_hot(at((1, 0), (1, 2.5)), 8), "labels = \\[1.0, 2.5\\]: must be on the lattice"),
    (lambda: one_hot(at((1, 8)), 8), "labels"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
