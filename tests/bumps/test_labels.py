import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib.bumps import Domain, sos
from hierlib.bumps.labels import fourier, islands, lattice, one_hot, sinusoidal, square, strip, stripes, uniform

GRID = lattice(12, 0.5).double()


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
    labels = lattice(Domain(size, torus=torus), spacing)
    expected = [(a, b) for a in x for b in x]                    # x the slower
    assert labels.dtype == torch.float32 and labels.shape == (len(x) ** 2, 2)
    assert labels.numpy() == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.parametrize(("options", "low", "high"), [
    ({}, 0, 19), ({"margin": 4}, -4, 23), ({"torus": True}, 0, 20),
])
def test_uniform_is_uniform(options, low, high):
    n, cells = 40_000, 20
    labels = uniform(n, Domain(20, **options), 3).double()
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
    assert not torch.equal(few, uniform(17, 9, 6)) and uniform(0, 9).shape == (0, 2)
    rng = torch.Generator().manual_seed(5)
    assert not torch.equal(uniform(3, 9, rng), uniform(3, 9, rng))


def test_stripes():
    labels = stripes(Domain(8, margin=4))
    hidden = {-4.0, -3.5, 10.5, 11.0}
    vertical = {(float(x), h) for x in range(8) for h in hidden}
    assert len(labels) == 64 and chosen(torch.ones(64, dtype=torch.bool), labels) == vertical | {
        (h, x) for x, h in vertical}
    seen = (labels >= -0.5) & (labels <= 7.5)
    assert seen.sum(-1).tolist() == [1] * 64 and seen[:32, 0].all()
    assert len(stripes(Domain(16, margin=2))) == 8 * 16 and stripes(Domain(8, margin=2)).max() == 9
    image = sos(labels, Domain(8, margin=4))
    assert (torch.linalg.matrix_rank(image, atol=0.2) == 1).all() and image[:32].std(1).max() < 0.01


@given(width=st.floats(0.2, 11), torus=st.booleans())
def test_holes_label_by_label(width, torus):
    domain, centre = Domain(12, torus=torus), 6 if torus else 5.5
    in_x, in_y = ([abs(row[a] - centre) < width / 2 for row in GRID.tolist()] for a in (0, 1))
    assert strip(GRID, domain, width).tolist() == in_x
    assert square(GRID, domain, width).tolist() == [a and b for a, b in zip(in_x, in_y)]


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
    v, h = strip(GRID, 12, 3), strip(GRID.flip(1), 12, 3)
    assert torch.equal(square(GRID, 12, 3), v & h)
    exterior = ~square(GRID, 12, 5) & square(GRID, 12, 9)        # a ring
    assert chosen(exterior) == {(x, y) for x, y in GRID.tolist() if 2.5 <= max(abs(x - 5.5), abs(y - 5.5)) < 4.5}
    assert strip(torch.zeros(3, 4, 2), 12, 2).shape == (3, 4)
    assert strip(at((5.5, -4)), Domain(12, margin=4), 2).item()  # in the margin, too


@pytest.mark.parametrize("torus", [True, False])
def test_islands(torus):
    # 4 islands of 6 × 6 have the area of one block of 12 × 12, centres 10 apart and gaps of 4
    domain = Domain(20, torus=torus)
    labels = uniform(40_000, domain, 1)
    origin, area = (0.0, 400) if torus else (-0.5, 361)
    four, one = islands(labels, domain, 4, 6), islands(labels, domain, 1, 12)
    blocks = [[(5, 5), (5, 15), (15, 5), (15, 15)], [(10, 10)]]
    for mask, centres, side in ((four, blocks[0], 6), (one, blocks[1], 12)):
        inside = [((labels - torch.tensor(c) - origin).abs() < side / 2).all(-1) for c in centres]
        assert torch.equal(mask, torch.stack(inside).any(0))
        share = 144 / area
        assert abs(float(mask.float().mean()) - share) < 5 * (share * (1 - share) / 40_000) ** 0.5
    assert torch.equal(one, square(labels, domain, 12)) and islands(labels, domain, 4, 10).float().mean() > 0.999


@given(K=st.integers(1, 5), size=st.integers(4, 30))
def test_fourier(K, size):
    labels = uniform(30, Domain(size, torus=True), K).double()
    code = fourier(labels, size, K)
    assert code.shape == (30, 4 * K)
    x, y = labels[0].tolist()
    by_hand = [2 * f(2 * math.pi * k * u / size) for u in (x, y) for f in (math.sin, math.cos)
               for k in range(1, K + 1)]
    assert code[0].numpy() == pytest.approx(np.array(by_hand))
    # the kernel is a sum of two Dirichlet kernels of the displacement: (sin((K + ½)t)/sin(t/2) − 1)/2
    t = 2 * math.pi / size * (labels[:, None] - labels) + 1e-9
    kernel = (((K + 0.5) * t).sin() / (t / 2).sin() - 1) / 2
    assert torch.allclose(code @ code.T, 4 * kernel.sum(-1), atol=1e-5)
    ends = fourier(at((0, 3), (size, 3)), size, K)    # it knows the torus
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


def test_sinusoidal_by_hand():
    code = sinusoidal(at((3, -2)))
    frequency = [10_000 ** (-k / 8) for k in range(8)]
    expected = [f(w * u) for u in (3, -2) for f in (math.sin, math.cos) for w in frequency]
    assert code.shape == (1, 32) and code[0].numpy() == pytest.approx(np.array(expected))
    # |code|² = 16, and inner products depend on differences alone
    a, b = uniform(9, 20, 1).double(), uniform(9, 20, 2).double()
    assert torch.allclose(sinusoidal(a).square().sum(1), torch.full((9,), 16.0, dtype=torch.float64))
    assert torch.allclose((sinusoidal(a) * sinusoidal(b)).sum(1), (sinusoidal(a + 5) * sinusoidal(b + 5)).sum(1))


@pytest.mark.parametrize("torus", [False, True])
def test_one_hot_numbers_the_lattice(torus):
    for domain in (Domain(size, torus=torus) for size in (2, 6, 7)):
        labels = lattice(domain)
        assert torch.equal(one_hot(labels, domain), torch.eye(len(labels)))
    code = one_hot(at((6, 1)), Domain(6, torus=True))            # N is 0
    assert code.argmax() == 1 and code.dtype == torch.float64


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: lattice(1), "size = 1"),
    (lambda: lattice(8, 0.0), "spacing = 0.0"),
    (lambda: lattice(8, -1.0), "spacing = -1.0"),
    (lambda: lattice(8, 9.0), "spacing = 9.0"),
    (lambda: lattice(Domain(8, torus=True), 3.0), "spacing = 3.0: must be a part of size = 8"),
    (lambda: uniform(-1, 8), "n = -1"),
    (lambda: uniform(3, 8, -1), "seed = -1"),
    (lambda: stripes(Domain(8, margin=0.5)), "margin = 0.5"),
    (lambda: stripes(Domain(8)), "margin = 0.0"),
    (lambda: strip(GRID, 12, 0.0), "width = 0.0"),
    (lambda: square(GRID, 12, -1), "width = -1"),
    (lambda: square(GRID, 12, math.nan), "width = nan"),
    (lambda: islands(GRID, 12, 3, 2), "k = 3: must be a square number"),
    (lambda: islands(GRID, 12, 4, 7), "side = 7"),
    (lambda: islands(GRID, 12, 4, 0), "side = 0"),
    (lambda: islands(GRID, 8, 4, 2), "labels = \\[0.0, 7.5\\]"),
    (lambda: fourier(at((1, 13)), 12), "labels = \\[1.0, 13.0\\]: must be in \\[0, 12\\]"),
    (lambda: fourier(at((-1, 3)), 12), "labels"),
    (lambda: fourier(GRID, 12, 0), "K = 0"),
    (lambda: sinusoidal(at((math.nan, 1))), "labels"),
    (lambda: one_hot(at((1, 0), (1, 2.5)), 8), "labels = \\[1.0, 2.5\\]: must be on the lattice"),
    (lambda: one_hot(at((1, 8)), 8), "labels"),
    (lambda: one_hot(at((1, -1)), Domain(8, margin=4)), "labels = \\[1.0, -1.0\\]: must be on the lattice"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
