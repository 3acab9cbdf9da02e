import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from hierlib.sim import theory
from hierlib.sim.theory import schur

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
    alone = -torch.logit(W[0].diagonal(dim1=-2, dim2=-1)) / (2 * A4)                # as if W(0) were diagonal
    naive = (alone / measured - 1).abs()
    assert (error.mean(0) < 0.02).all() and error.max() < 0.08
    assert (naive.mean(0)[:3] > 10 * error.mean(0)[:3]).all() and (naive.mean(0)[:3] > 0.1).all()
    assert torch.allclose(alone[:, 3], theory.learning_times(W[0], A4)[:, 3])


def test_learning_times_are_exact_for_a_diagonal_start():
    w = torch.tensor([1e-3, 0.2, 0.02], dtype=float64)
    a = torch.tensor([0.3, 1.0, 0.0], dtype=float64)
    t = theory.learning_times(w.diag(), a)
    assert t[2] == math.inf
    times, W = follow(w.sqrt().diag(), a, 14.0, 1400)
    assert crossing(times, W.diagonal(dim1=-2, dim2=-1)[:, :2]).tolist() == pytest.approx(t[:2].tolist(), abs=1e-4)
    assert theory.learning_times(0.7 * torch.eye(2, dtype=float64), a[:2]).tolist() == [0, 0]


# ---------------------------------------------------------------------------------------------- the solvable cousin

def test_the_cousin_solves_its_field_and_differs_from_two_layers_by_a_double_commutator():
    U0, a, eye = 0.3 * randn(5, 3, 4), rand(5, 3, seed=1), torch.eye(3, dtype=float64)

    def riccati(t):
        decay = torch.exp(-a * t).diag_embed()
        return torch.linalg.inv(eye + decay @ (torch.linalg.inv(U0 @ U0.mT) - eye) @ decay)

    W, A = riccati(1.7), torch.diag_embed(a)
    assert torch.allclose((riccati(1.7 + 1e-4) - riccati(1.7 - 1e-4)) / 2e-4, riccati_field(W, a), atol=1e-7)
    inner = A @ W - W @ A
    assert torch.allclose(field(W, a), riccati_field(W, a) - (inner @ W - W @ inner) / 2)


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
    (lambda: theory.learning_times(torch.eye(2), torch.tensor([1.0, -1.0])), "a = "),
    (lambda: theory.correlation_tail(1.5, 3), "rho = 1.5"),
    (lambda: theory.correlation_tail(0.5, 1), "width = 1"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()


@pytest.mark.untyped
def test_bad_shapes():
    a = torch.ones(2)
    with pytest.raises(ValueError, match="of shape"):
        schur(torch.eye(3), a)
