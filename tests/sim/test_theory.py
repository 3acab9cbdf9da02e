import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp

from hierlib.sim import theory
from hierlib.sim.theory import riccati, schur

float64 = torch.float64
A4 = torch.tensor([1, 1.5, 2, 2.5], dtype=float64) ** 2 / 4


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=float64)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=float64)


def field(W: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """V(W) of two layers, written out from the paper."""
    A = torch.diag_embed(a)
    return W @ A + A @ W - (A @ W @ W + W @ W @ A + 2 * W @ A @ W) / 2


def follow(U: torch.Tensor, a: torch.Tensor, time: float, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Times and W of the two-layer flow, by RK4 on U: dU/dt = AU − ½(AW + WA)U."""
    def slope(U):
        W, A = U @ U.mT, torch.diag_embed(a)
        return A @ U - (A @ W + W @ A) @ U / 2
    h, W = time / steps, [U @ U.mT]
    for _ in range(steps):
        k1 = slope(U)
        k2 = slope(U + h / 2 * k1)
        k3 = slope(U + h / 2 * k2)
        U = U + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(U + h * k3))
        W.append(U @ U.mT)
    return torch.linspace(0, time, steps + 1, dtype=float64), torch.stack(W)


def riccati_field(W: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """dW/dt = AW + WA − 2WAW."""
    A = torch.diag_embed(a)
    return A @ W + W @ A - 2 * W @ A @ W


def crossing(t: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """First time at which w (T, ...) passes ½, linear in between."""
    k = (w > 0.5).int().argmax(0, keepdim=True)
    low, high = w.gather(0, k - 1), w.gather(0, k)
    return (t[k - 1] + (0.5 - low) / (high - low) * t[1])[0]


# ---------------------------------------------------------------------------------------------- learning times

@given(d=st.integers(1, 5), seed=st.integers(0, 99), levels=st.integers(1, 5))
def test_schur_by_projection(d, seed, levels):
    # squared rest of row k of U after least squares on the rows of all coordinates of larger a; ties included
    U = randn(2, d, d + 2, seed=seed)
    a = (levels * rand(d, seed=seed + 1)).floor() + 1
    S = schur(U @ U.mT, a)
    for b, k in np.ndindex(2, d):
        rows, u = U[b][a > a[k]].numpy().T, U[b, k].numpy()
        rest = u - rows @ np.linalg.lstsq(rows, u)[0] if rows.size else u
        assert S[b, k] == pytest.approx(rest @ rest, rel=1e-8)
    order = torch.randperm(d, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(schur((U @ U.mT)[:, order][:, :, order], a[order]), S[:, order])


def test_schur_with_a_batch_of_rates():
    W, a = (lambda U: U @ U.mT)(randn(4, 3, 3)), rand(4, 3, seed=1)
    assert torch.allclose(schur(W, a), torch.stack([schur(*pair) for pair in zip(W, a, strict=True)]))
    assert torch.allclose(schur(W[0], a), torch.stack([schur(W[0], row) for row in a]))
    assert torch.equal(schur(W, 0 * a), W.diagonal(dim1=-2, dim2=-1))        # nothing is stronger: S_k = W_kk


def test_learning_times_of_the_flow():
    U = 0.03 * rand(64, 4, 4)
    t, W = follow(U, A4, 43.0, 1600)
    measured = crossing(t, W.diagonal(dim1=-2, dim2=-1))
    error = (theory.learning_times(W[0], A4) / measured - 1).abs()
    naive = (theory.naive_times(W[0], A4) / measured - 1).abs()
    assert (error.mean(0) < 0.02).all() and error.max() < 0.08
    assert (naive.mean(0)[:3] > 10 * error.mean(0)[:3]).all() and (naive.mean(0)[:3] > 0.1).all()
    assert torch.allclose(theory.naive_times(W[0], A4)[:, 3], theory.learning_times(W[0], A4)[:, 3])


def test_learning_times_are_exact_for_a_diagonal_start():
    w = torch.tensor([1e-3, 0.2, 0.02], dtype=float64)
    a = torch.tensor([0.3, 1.0, 0.0], dtype=float64)
    t = theory.learning_times(w.diag(), a)
    assert torch.equal(t, theory.naive_times(w.diag(), a)) and t[2] == math.inf
    times, W = follow(w.sqrt().diag(), a, 14.0, 1400)
    assert crossing(times, W.diagonal(dim1=-2, dim2=-1)[:, :2]).tolist() == pytest.approx(t[:2].tolist(), abs=1e-4)
    assert theory.learning_times(0.7 * torch.eye(2, dtype=float64), a[:2]).tolist() == [0, 0]


# ---------------------------------------------------------------------------------------------- the solvable cousin

def riccati_by_mpmath(U0: torch.Tensor, a: torch.Tensor, t: float) -> np.ndarray:
    """U(1 + Uᵀ(e^{2At} − 1)U)⁻¹Uᵀ between e^{At}, in 200 digits."""
    with mpmath.workdps(200):
        U, grow = mpmath.matrix(U0.tolist()), [mpmath.exp(x * t) for x in a.tolist()]
        E, D = mpmath.diag(grow), mpmath.diag([g**2 - 1 for g in grow])
        W = E * U * mpmath.inverse(mpmath.eye(U.cols) + U.T * D * U) * U.T * E
        return np.array(W.tolist(), dtype=float)


def test_riccati_against_integration():
    a, U0 = torch.tensor([0.5, 1.3, 0.9], dtype=float64), 0.2 * randn(3, 3)
    t = torch.linspace(0, 12, 13, dtype=float64)
    slope = lambda _, w: riccati_field(torch.from_numpy(w).view(3, 3), a).flatten().numpy()  # noqa: E731
    start = (U0 @ U0.T).flatten().numpy()
    exact = solve_ivp(slope, (0, 12), start, method="DOP853", rtol=1e-12, atol=1e-13, t_eval=t.numpy(), max_step=0.5).y
    W = riccati(U0, a, t)
    assert np.abs(W.numpy().reshape(13, 9).T - exact).max() < 1e-10
    assert torch.allclose(W[0], U0 @ U0.T, atol=1e-15)


@given(d=st.integers(1, 4), k=st.integers(1, 5), seed=st.integers(0, 99), scale=st.sampled_from([1e-6, 1e-2, 1.0]),
       t=st.sampled_from([0.0, 1e-9, 0.3, 5.0, 30.0, 150.0]))
def test_riccati_in_many_digits(d, k, seed, scale, t):
    # any number of columns, W(0) singular or not, saturation of one concept by 60 orders of magnitude before the next
    U0, a = scale * randn(d, k, seed=seed), rand(d, seed=seed + 1) + 0.02
    exact = riccati_by_mpmath(U0, a, t)
    W = riccati(U0, a, torch.tensor([t], dtype=float64))[0].numpy()
    assert np.abs(W - exact).max() < 1e-11 * np.abs(exact).max()


def test_riccati_solves_its_field_and_differs_from_two_layers_by_a_double_commutator():
    U0, a = 0.3 * randn(5, 3, 4), rand(5, 3, seed=1)
    before, W, after = riccati(U0, a, torch.tensor([-1e-4, 0, 1e-4], dtype=float64) + 1.7)
    assert torch.allclose((after - before) / 2e-4, riccati_field(W, a), atol=1e-7)
    A = torch.diag_embed(a)
    inner = A @ W - W @ A
    assert torch.allclose(field(W, a), riccati_field(W, a) - (inner @ W - W @ inner) / 2)


def test_riccati_batches_and_composes():
    U0, a, t = 0.1 * randn(6, 3, 3), rand(6, 3, seed=1), torch.tensor([0.0, 2.0, 5.0], dtype=float64)
    W = riccati(U0, a, t)
    for b in range(6):
        assert torch.allclose(W[:, b], riccati(U0[b], a[b], t), rtol=1e-12)
        assert torch.allclose(riccati(U0[b], a, t)[:, b], W[:, b])
        assert torch.allclose(riccati(U0, a[b], t)[:, b], W[:, b])
    restart = riccati(torch.linalg.cholesky(W[1]), a, t[2:] - t[1])
    assert torch.allclose(restart[0], W[2], rtol=1e-9)


def test_riccati_at_the_end_of_time():
    a, late = torch.tensor([0.4, 1.0, 0.7], dtype=float64), torch.tensor([1e4, 1e8], dtype=float64)
    assert torch.allclose(riccati(1e-3 * randn(3, 3), a, late), torch.eye(3, dtype=float64))
    W = riccati(1e-3 * randn(3, 2), a, late)                       # rank two: the weakest concept is never learned
    assert torch.allclose(W, torch.tensor([0.0, 1.0, 1.0], dtype=float64).diag(), atol=1e-12)
    U0 = 0.1 * randn(3, 3)
    U0[1] = 0                                                      # nothing of the strongest: it stays unknown
    W = riccati(U0, a, late)
    assert torch.allclose(W, torch.tensor([1.0, 0.0, 1.0], dtype=float64).diag(), atol=1e-12)
    W = riccati(U0, torch.tensor([0.0, 1.0, 0.7], dtype=float64), late)             # a = 0: row 1 is not driven
    assert torch.isfinite(W).all() and torch.linalg.eigvalsh(W).min() > -1e-12


def test_schur_times_are_exact_for_a_separated_riccati_flow():
    U0, a = 1e-3 * randn(8, 3, 3), torch.tensor([0.05, 1.0, 0.25], dtype=float64)
    T = theory.learning_times(U0 @ U0.mT, a)
    for k in range(3):
        own = riccati(U0, a, T[:, k])[range(8), range(8), k, k]                     # replica b at its own time
        assert torch.allclose(own, torch.tensor(0.5, dtype=float64), atol=2e-3)


# ---------------------------------------------------------------------------------------------- Gaussian start

@pytest.mark.parametrize("width", [2, 4, 16])
def test_correlations_of_gaussian_starts(width):
    n = 40_000
    U = randn(n, 2, width, seed=width)
    W = U @ U.mT
    rho = W[:, 0, 1] / (W[:, 0, 0] * W[:, 1, 1]).sqrt()
    for c in (0.3, 0.8, -0.2):
        p = theory.correlation_tail(c, width)
        assert abs((rho > c).double().mean() - p) < 5 * math.sqrt(p * (1 - p) / n)


@given(width=st.integers(3, 40), rho=st.floats(-0.99, 0.99))
def test_correlation_tail_by_quadrature(width, rho):
    density = lambda x: (1 - x * x) ** ((width - 3) / 2)  # noqa: E731
    assert theory.correlation_tail(rho, width) == pytest.approx(quad(density, rho, 1)[0] / quad(density, -1, 1)[0],
                                                                rel=1e-6, abs=1e-9)


def test_share_of_starts_that_swing_by():
    # measured on the flow, mu = (1, 1.5), 400 starts: 0.20 at width 2 and 0.05 at 4; the phase boundary is near 0.81
    assert theory.correlation_tail(0.81, 2) == pytest.approx(math.acos(0.81) / math.pi)
    assert theory.correlation_tail(0.81, 2) == pytest.approx(0.20, abs=0.05)
    assert theory.correlation_tail(0.81, 4) == pytest.approx(0.05, abs=0.02)
    assert theory.correlation_tail(0.81, 16) < 1e-4


# ---------------------------------------------------------------------------------------------- bad input

@pytest.mark.parametrize(("call", "name"), [
    (lambda: schur(torch.ones(2, 2), torch.ones(2)), "(?s)W0 = .*positive definite"),
    (lambda: schur(torch.tensor([[1, 0.2], [0.1, 1]]), torch.ones(2)), "(?s)W0 = .*symmetric"),
    (lambda: theory.naive_times(-torch.eye(2), torch.ones(2)), "W0 = "),
    (lambda: riccati(torch.ones(2, 2), torch.ones(2), torch.tensor([-1.0])), "t = "),
    (lambda: riccati(torch.eye(2), -torch.ones(2), torch.ones(1)), "a = "),
    (lambda: theory.learning_times(torch.eye(2), torch.tensor([1.0, -1.0])), "a = "),
    (lambda: theory.naive_times(torch.eye(2), torch.tensor([1.0, math.nan])), "a = "),
    (lambda: theory.correlation_tail(1.5, 3), "rho = 1.5"),
    (lambda: theory.correlation_tail(0.5, 1), "width = 1"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()


@pytest.mark.untyped
def test_bad_shapes():
    a = torch.ones(2)
    for call in (lambda: schur(torch.eye(3), a), lambda: riccati(torch.eye(3), a, torch.ones(1))):
        with pytest.raises(ValueError, match="of shape"):
            call()
