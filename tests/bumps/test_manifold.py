import math

import numpy as np
import pytest
import torch
from scipy.special import gammaln

from hierlib.bumps import manifold
from hierlib.bumps.images import bump, sos

ORDER = "f_add", "dimension", "explained", "parallelism", "orthogonality", "self_overlap"
RING = sum(abs(math.cos(2 * math.pi * k / 10)) for k in range(1, 10)) / 9      # |cos| of the steps on a ten-sided ring

ANCHORS = {
    "clifford torus": (manifold.clifford_torus(10), (1, 4, 1, 1, 0, RING)),
    "torus in 3D": (manifold.torus_3d(10), (0.9, 2.41, 1, 0.722, 0.419, RING)),
    "one-hot": (manifold.one_hot_axes(10), (1, 18, 4 / 18, 1, 0, 1 / 9)),
    "bumps": (manifold.pixels(bump, 10), (0.523, 16.26, 0.387, 0.283, 0.090, 0.301)),
    "stripes": (manifold.pixels(sos, 10), (1, 6.67, 0.740, 1, 0, 0.301)),
}


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", ANCHORS)
def test_anchors(name):
    F, expected = ANCHORS[name]
    found = manifold.geometry(F)
    assert tuple(found) == ORDER
    assert [float(value) for value in found.values()] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_example_of_the_docstring():
    found = {name: round(float(value), 3) for name, value in manifold.geometry(manifold.torus_3d(10)).items()}
    assert str(found) in manifold.geometry.__doc__


@pytest.mark.parametrize(("R", "r", "n"), [(2.0, 1.0, 10), (3.0, 0.5, 5), (1.0, 0.9, 16)])
def test_additive_fraction_of_tori(R, r, n):
    # |A|² = R², |B|² = r²/2 and |F|² = R² + r² in the mean, on grids, too
    f_add = manifold.additive_fraction(manifold.torus_3d(n, R, r))
    assert float(f_add) == pytest.approx((R**2 + r**2 / 2) / (R**2 + r**2), rel=1e-5)
    assert float(manifold.parallelism(manifold.torus_3d(n, R, r))[0]) == pytest.approx(1, abs=1e-5)    # rings around z


@pytest.mark.parametrize(("sigma", "n"), [(1.0, 10), (1.4, 16), (1.0, 32), (2.0, 32)])
def test_additive_fraction_of_bumps(sigma, n):
    # a product u(x) ⊗ u(y) of one-dimensional profiles: 2b/(a + b) with a = ⟨|u|²⟩ = √π σ and b = |⟨u⟩|² = 2π σ²/n
    f_add = manifold.additive_fraction(manifold.pixels(bump, n, sigma))
    assert float(f_add) == pytest.approx(4 * math.pi**0.5 * sigma / (n + 2 * math.pi**0.5 * sigma), rel=1e-3)


@pytest.mark.parametrize("torus", [True, False])
def test_brute_force(torus):
    nx, ny, h = 4, 5, 7
    F = randn(nx, ny, h)
    x = F.numpy()
    dx = {(i, j): x[(i + 1) % nx, j] - x[i, j] for i in range(nx if torus else nx - 1) for j in range(ny)}
    dy = {(i, j): x[i, (j + 1) % ny] - x[i, j] for i in range(nx) for j in range(ny if torus else ny - 1)}

    def mean(pairs):
        return np.mean([u @ v / np.linalg.norm(u) / np.linalg.norm(v) for u, v in pairs])

    def mean_abs(pairs):
        return np.mean([abs(u @ v) / np.linalg.norm(u) / np.linalg.norm(v) for u, v in pairs])

    parallel = (mean([(dx[p], dx[q]) for p in dx for q in dx if p[0] == q[0] and p[1] != q[1]]),
                mean([(dy[p], dy[q]) for p in dy for q in dy if p[1] == q[1] and p[0] != q[0]]))
    own = (mean_abs([(dx[p], dx[q]) for p in dx for q in dx if p[1] == q[1] and p[0] != q[0]]),
           mean_abs([(dy[p], dy[q]) for p in dy for q in dy if p[0] == q[0] and p[1] != q[1]]))
    assert manifold.parallelism(F, torus).numpy() == pytest.approx(parallel, rel=1e-10)
    assert manifold.self_overlap(F, torus).numpy() == pytest.approx(own, rel=1e-10)
    crossed = mean_abs([(u, v) for u in dx.values() for v in dy.values()])
    assert float(manifold.orthogonality(F, torus)) == pytest.approx(crossed, rel=1e-10)
    variance = np.sort(np.linalg.eigvalsh(np.cov(x.reshape(-1, h).T)))[::-1]
    assert float(manifold.participation_ratio(F)) == pytest.approx(variance.sum()**2 / (variance**2).sum(), rel=1e-10)
    for k in (1, 3, 7, 9):
        share = variance[:k].sum() / variance.sum()
        assert float(manifold.explained_variance(F, k)) == pytest.approx(share, rel=1e-10)
    # two-way analysis of variance, by least squares on the indicators of x and of y
    indicators = np.array([np.r_[np.eye(nx)[i], np.eye(ny)[j]] for i in range(nx) for j in range(ny)])
    flat = x.reshape(-1, h)
    rest = flat - indicators @ np.linalg.lstsq(indicators, flat, rcond=None)[0]
    explained = 1 - (rest**2).sum() / ((flat - flat.mean(0))**2).sum()
    assert float(manifold.additive_fraction(F)) == pytest.approx(explained, rel=1e-10)


def test_additive_and_interacting_parts():
    f, g, both = randn(6, 1, 9), randn(1, 8, 9, seed=1), randn(6, 8, 9, seed=2)
    both = both - both.mean(0) - both.mean(1, keepdim=True) + both.mean((0, 1))
    assert float(manifold.additive_fraction(f + g)) == pytest.approx(1)
    assert manifold.parallelism(f + g).numpy() == pytest.approx([1, 1])
    assert float(manifold.additive_fraction(both)) == pytest.approx(0, abs=1e-12)
    power = [float((each - each.mean((0, 1))).square().sum(-1).mean()) for each in (f + g, both)]
    assert float(manifold.additive_fraction(f + g + both)) == pytest.approx(power[0] / sum(power))


def test_all_measures_are_invariant_and_batched():
    F = randn(2, 3, 5, 6, 8)
    rotation = torch.linalg.qr(randn(8, 8, seed=1))[0]
    found, moved = manifold.geometry(F), manifold.geometry(-3 * F @ rotation + randn(8, seed=2))
    swapped = manifold.geometry(F.transpose(-3, -2))
    for name, value in found.items():
        assert value.shape == (2, 3)
        assert torch.allclose(value, moved[name]) and torch.allclose(value, swapped[name]), name
        assert torch.allclose(value[1, 2], manifold.geometry(F[1, 2])[name]), name
        assert value.std() > 1e-3
    for measure in (manifold.parallelism, manifold.self_overlap):
        assert torch.allclose(measure(F), measure(F.transpose(-3, -2)).flip(-1))


def test_gradients():
    F = randn(3, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda F: tuple(manifold.geometry(F, False).values()), F)


def test_random_directions():
    for h in (1, 8, 128, 1024):
        exact = math.exp(gammaln(h / 2) - gammaln((h + 1) / 2)) / math.pi**0.5           # E|cos| in h dimensions
        assert manifold.random_overlap(h) == pytest.approx(exact, rel=0.3 / h)
    assert manifold.random_overlap(128) == pytest.approx(0.0705, abs=1e-4)


def test_a_coordinate_that_does_nothing():
    F = manifold.clifford_torus(6).clone()
    F[..., 2:] = 1.0
    assert float(manifold.additive_fraction(F)) == pytest.approx(1)
    assert manifold.parallelism(F).numpy() == pytest.approx([1, 0], abs=1e-6)
    assert float(manifold.orthogonality(F)) == 0
    assert float(manifold.participation_ratio(F)) == pytest.approx(2, rel=1e-5)
    assert math.isnan(manifold.additive_fraction(torch.ones(4, 4, 2)))


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: manifold.additive_fraction(torch.zeros(4, 4)), "F = "),
    (lambda: manifold.parallelism(torch.zeros(2, 4, 3)), "F = "),
    (lambda: manifold.explained_variance(torch.zeros(4, 4, 3), 0), "k = 0"),
    (lambda: manifold.torus_3d(5, 1.0, 2.0), "r = 2"),
    (lambda: manifold.torus_3d(5, 1.0, 0.0), "r = 0"),
    (lambda: manifold.clifford_torus(2), "n = 2"),
    (lambda: manifold.one_hot_axes(2), "n = 2"),
    (lambda: manifold.pixels(bump, 2), "n = 2"),
    (lambda: manifold.pixels(bump, 8, 0.0), "sigma"),
    (lambda: manifold.random_overlap(0), "h = 0"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
