import ast
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from hierlib.bumps import BumpDenoisers, Domain, Examples, bump, geometry, labels, sos

ORDER = "f_add", "dimension", "explained", "parallelism", "orthogonality", "self_overlap"
RING = sum(abs(math.cos(2 * math.pi * k / 10)) for k in range(1, 10)) / 9      # |cos| of the steps on a ten-sided ring

ANCHORS = {
    "clifford torus": (geometry.clifford_torus(10), (1, 4, 1, 1, 0, RING)),
    "torus in 3D": (geometry.torus_3d(10), (0.9, 2.41, 1, 0.722, 0.419, RING)),
    "one-hot": (geometry.one_hot_axes(10), (1, 18, 4 / 18, 1, 0, 1 / 9)),
    "bumps": (geometry.pixels(bump, 10), (0.523, 16.26, 0.387, 0.283, 0.090, 0.301)),
    "stripes": (geometry.pixels(sos, 10), (1, 6.67, 0.740, 1, 0, 0.301)),
}


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", ANCHORS)
def test_anchors(name):
    F, expected = ANCHORS[name]
    found = geometry.measures(F)
    assert tuple(found) == ORDER
    assert [float(value) for value in found.values()] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_example_of_the_docstring():
    found = {name: round(float(value), 3) for name, value in geometry.measures(geometry.torus_3d(10)).items()}
    assert str(found) in geometry.measures.__doc__


@pytest.mark.parametrize("n", [5, 10, 16])
def test_additive_fraction_of_tori(n):
    # radii R = 2 and r = 1: |A|² = R², |B|² = r²/2 and |F|² = R² + r² in the mean, on grids, too
    assert float(geometry.additive_fraction(geometry.torus_3d(n))) == pytest.approx(0.9, rel=1e-5)


@pytest.mark.parametrize(("sigma", "n"), [(1.0, 10), (1.4, 16), (1.0, 32), (2.0, 32)])
def test_additive_fraction_of_bumps(sigma, n):
    # a product u(x) ⊗ u(y) of one-dimensional profiles: 2b/(a + b) with a = ⟨|u|²⟩ = √π σ and b = |⟨u⟩|² = 2π σ²/n
    f_add = geometry.additive_fraction(geometry.pixels(bump, n, sigma))
    assert float(f_add) == pytest.approx(4 * math.pi**0.5 * sigma / (n + 2 * math.pi**0.5 * sigma), rel=1e-3)


def test_brute_force():
    nx, ny, h = 4, 5, 7
    F = randn(nx, ny, h)
    x = F.numpy()
    dx = {(i, j): x[(i + 1) % nx, j] - x[i, j] for i in range(nx) for j in range(ny)}
    dy = {(i, j): x[i, (j + 1) % ny] - x[i, j] for i in range(nx) for j in range(ny)}

    def mean(pairs):
        return np.mean([u @ v / np.linalg.norm(u) / np.linalg.norm(v) for u, v in pairs])

    def mean_abs(pairs):
        return np.mean([abs(u @ v) / np.linalg.norm(u) / np.linalg.norm(v) for u, v in pairs])

    parallel = (mean([(dx[p], dx[q]) for p in dx for q in dx if p[0] == q[0] and p[1] != q[1]]),
                mean([(dy[p], dy[q]) for p in dy for q in dy if p[1] == q[1] and p[0] != q[0]]))
    own = (mean_abs([(dx[p], dx[q]) for p in dx for q in dx if p[1] == q[1] and p[0] != q[0]]),
           mean_abs([(dy[p], dy[q]) for p in dy for q in dy if p[0] == q[0] and p[1] != q[1]]))
    crossed = mean_abs([(u, v) for u in dx.values() for v in dy.values()])
    variance = np.sort(np.linalg.eigvalsh(np.cov(x.reshape(-1, h).T)))[::-1]
    expected = {
        "dimension": variance.sum() ** 2 / (variance**2).sum(), "explained": variance[:4].sum() / variance.sum(),
        "parallelism": np.mean(parallel), "orthogonality": crossed, "self_overlap": np.mean(own),
    }
    found = geometry.measures(F)
    assert {name: float(found[name]) for name in expected} == pytest.approx(expected, rel=1e-10)
    # two-way analysis of variance, by least squares on the indicators of x and of y
    indicators = np.array([np.r_[np.eye(nx)[i], np.eye(ny)[j]] for i in range(nx) for j in range(ny)])
    flat = x.reshape(-1, h)
    rest = flat - indicators @ np.linalg.lstsq(indicators, flat, rcond=None)[0]
    explained = 1 - (rest**2).sum() / ((flat - flat.mean(0))**2).sum()
    assert float(geometry.additive_fraction(F)) == float(found["f_add"]) == pytest.approx(explained, rel=1e-10)


def test_additive_and_interacting_parts():
    f, g, both = randn(6, 1, 9), randn(1, 8, 9, seed=1), randn(6, 8, 9, seed=2)
    both = both - both.mean(0) - both.mean(1, keepdim=True) + both.mean((0, 1))
    assert float(geometry.additive_fraction(f + g)) == pytest.approx(1)
    assert float(geometry.measures(f + g)["parallelism"]) == pytest.approx(1)
    assert float(geometry.additive_fraction(both)) == pytest.approx(0, abs=1e-12)
    power = [float((each - each.mean((0, 1))).square().sum(-1).mean()) for each in (f + g, both)]
    assert float(geometry.additive_fraction(f + g + both)) == pytest.approx(power[0] / sum(power))


def test_all_measures_are_invariant_and_batched():
    F = randn(2, 3, 5, 6, 8)
    rotation = torch.linalg.qr(randn(8, 8, seed=1))[0]
    found, moved = geometry.measures(F), geometry.measures(-3 * F @ rotation + randn(8, seed=2))
    swapped = geometry.measures(F.transpose(-3, -2))
    for name, value in found.items():
        assert value.shape == (2, 3)
        assert torch.allclose(value, moved[name]) and torch.allclose(value, swapped[name]), name
        assert torch.allclose(value[1, 2], geometry.measures(F[1, 2])[name]), name
        assert value.std() > 1e-3


def test_gradients():
    F = randn(3, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda F: tuple(geometry.measures(F).values()), F)


def test_a_coordinate_that_does_nothing():
    F = geometry.clifford_torus(6).clone()
    F[..., 2:] = 1.0
    found = {name: float(value) for name, value in geometry.measures(F).items()}
    assert found["f_add"] == pytest.approx(1) and found["dimension"] == pytest.approx(2, rel=1e-5)
    assert found["parallelism"] == pytest.approx(1 / 2, abs=1e-6) and found["orthogonality"] == 0
    assert math.isnan(geometry.additive_fraction(torch.ones(4, 4, 2)))


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: geometry.additive_fraction(torch.zeros(4, 4)), "F = "),
    (lambda: geometry.measures(torch.zeros(2, 4, 3)), "F = "),
    (lambda: geometry.clifford_torus(2), "n = 2"),
    (lambda: geometry.one_hot_axes(2), "n = 2"),
    (lambda: geometry.pixels(bump, 2), "n = 2"),
    (lambda: geometry.pixels(bump, 8, 0.0), "sigma"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def loops_of(F: torch.Tensor) -> list[float]:
    """Return death over birth of all loops in the Rips complex of the points, longest first, by gudhi."""
    gudhi = pytest.importorskip("gudhi")
    tree = gudhi.RipsComplex(points=F.flatten(0, -2).double().numpy()).create_simplex_tree(max_dimension=2)
    tree.compute_persistence()
    return sorted((float(death / birth) for birth, death in tree.persistence_intervals_in_dimension(1)), reverse=True)


def standing_out(F: torch.Tensor) -> float:
    """Return the life of the second loop over that of the third: well above 1 for a torus."""
    return loops_of(F)[1] / loops_of(F)[2]


def test_tori_by_persistent_homology():
    clifford, no_torus = geometry.clifford_torus(12), geometry.one_hot_axes(12)
    doughnut = geometry.torus_3d(20)[:, ::2]
    # a ring of 12 points: a loop from the side of the polygon to that of the triangle
    assert loops_of(clifford)[:2] == pytest.approx(2 * [math.sin(math.pi / 3) / math.sin(math.pi / 12)], rel=1e-5)
    assert standing_out(clifford) > 2 and standing_out(doughnut) > 1.15
    assert standing_out(no_torus) == pytest.approx(1, rel=1e-5)
    # what homology does not tell: which torus it is, and that of one unit per value has no neighbours
    of = {name: [float(geometry.measures(F)[name]) for F in (clifford, doughnut, no_torus)]
          for name in ("f_add", "dimension", "self_overlap")}
    assert of["f_add"] == pytest.approx([1, 0.9, 1], rel=1e-5)
    assert of["dimension"][1] < 3 < of["dimension"][0] < 4.01 < of["dimension"][2]
    assert of["self_overlap"][2] < 0.1 < min(of["self_overlap"][:2])


def test_a_representation_by_persistent_homology():
    torus = Domain(8, torus=True)
    found = []
    for encode in (partial(labels.fourier, size=8, K=1), partial(labels.one_hot, domain=torus)):
        every = Examples.of(labels.lattice(torus), partial(bump, size=torus), encode)
        denoisers = BumpDenoisers([every])
        *_, report = denoisers.fit(150, lr=5e-3, warmup=50)
        F = denoisers.layers(every.conditions, report.model)[0][0].view(8, 8, -1)
        found.append((loops_of(F)[1], standing_out(F), float(geometry.additive_fraction(F))))
    parts, joint = found                                                # the second loop; over the third; f_add
    assert parts[0] > 1.7 > joint[0] and parts[1] > 1.2 > joint[1] and parts[2] > 0.75 > joint[2]


def test_loops_of_the_chapter():
    source = Path(__file__).parents[2] / "book/src/percolation.md"
    cell = next(each for each in source.read_text(encoding="utf-8").split("```") if "def loops(F)" in each)
    body = cell[cell.index("def loops"):]
    assert len(ast.parse(body).body) == 1
    names = {"torch": torch}
    exec(body, names)
    for F in (geometry.clifford_torus(8), geometry.pixels(bump, 7), randn(5, 6, 3)):
        mine = [life for life in names["loops"](F) if life > 1 + 1e-9]
        assert mine == pytest.approx(loops_of(F), rel=1e-6)
