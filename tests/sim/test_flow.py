import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import simpson, solve_ivp
from scipy.linalg import expm

from hierlib.lab import generator
from hierlib.sim.flow import field, flow, loss, one_layer, ood_loss, ood_slope, output, terms
from hierlib.sim.rises import ascents
from hierlib.sim.task import Task

F64 = torch.float64
A3 = torch.tensor([0.3, 0.7, 1.6], dtype=F64)


def rand(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.rand(*shape, generator=generator(seed, "test"), dtype=F64)


def gauss(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=generator(seed, "test"), dtype=F64)


def symmetric(*shape: int, seed: int = 0) -> torch.Tensor:
    X = gauss(*shape, seed=seed)
    return X + X.mT


def by_scipy(velocity, W0: torch.Tensor, times: list[float]) -> torch.Tensor:
    """Integrate a matrix ODE of numpy arrays from time 0."""
    shape = W0.shape
    run = solve_ivp(lambda t, w: velocity(w.reshape(shape)).ravel(), (0, times[-1]), W0.numpy().ravel(), "DOP853",
                    times, rtol=1e-11, atol=1e-13, max_step=0.5)                   # times are interpolated
    return torch.as_tensor(run.y.T.reshape(len(times), *shape))


def V(W: np.ndarray, a: torch.Tensor) -> np.ndarray:
    A = np.diag(a.numpy())
    return W @ A + A @ W - (A @ W @ W + W @ W @ A + 2 * W @ A @ W) / 2


# ---- one layer


def test_one_layer_is_the_solution_of_its_ode():
    W0, times = gauss(3, 3), [0.0, 0.4, 3.0]
    expected = by_scipy(lambda W: (np.eye(3) - W) @ np.diag(A3), W0, times)
    found = one_layer(W0, A3, torch.tensor(times, dtype=F64))
    assert (found - expected).abs().max() < 1e-9
    exact = np.eye(3) + (W0.numpy() - np.eye(3)) @ expm(-3 * np.diag(A3))
    assert np.abs(one_layer(W0, A3, 3.0).numpy() - exact).max() < 1e-12


def test_one_layer_is_the_gradient_flow_of_the_loss_and_halves_in_ln2_over_a():
    W = gauss(3, 3).requires_grad_()
    slope, = torch.autograd.grad(loss(W, A3), W)
    h, W = 1e-5, W.detach()
    assert ((one_layer(W, A3, h) - W) / h + slope).abs().max() < 1e-4
    eye = torch.eye(3, dtype=F64)
    for p in range(3):
        ratio = (one_layer(W, A3, math.log(2) / float(A3[p])) - eye)[:, p] / (W - eye)[:, p]
        assert (ratio - 0.5).abs().max() < 1e-12


def test_one_layer_broadcasts():
    W0, a, t = gauss(5, 1, 3, 3), rand(2, 3, seed=1), torch.tensor([0.5, 2.0])
    found = one_layer(W0, a, t)
    assert found.shape == (2, 5, 2, 3, 3)
    assert torch.allclose(found[1, 4, 0], one_layer(W0[4, 0], a[0], 2.0), atol=1e-14)


# ---- the vector field and its terms


def test_field_is_half_the_gradient_flow_of_the_loss_by_U():
    U = gauss(4, 3, 5, scale=0.7).requires_grad_()
    slope, = torch.autograd.grad(loss(U @ U.mT, A3).sum(), U)
    U, dU = U.detach(), -slope
    assert ((dU @ U.mT + U @ dU.mT) - 2 * field(U @ U.mT, A3)).abs().max() < 1e-12


def test_terms_add_up_to_the_field_and_equal_the_sums_entry_by_entry():
    W, a = symmetric(6, 4, 4), rand(6, 4, seed=1)
    G, S, N = terms(W, a)
    assert (G - S - N - field(W, a)).abs().max() < 1e-12
    w, b = W[2], a[2]
    for i, j in itertools.product(range(4), repeat=2):
        noise = sum(w[k, i] * w[k, j] * (b[i] + b[j] + 2 * b[k]) for k in range(4) if k not in (i, j)) / 2
        other = (i != j) * w[j, j] * (3 * b[j] + b[i])
        assert math.isclose(N[2, i, j], noise, abs_tol=1e-12)
        assert math.isclose(S[2, i, j], w[i, j] * (w[i, i] * (3 * b[i] + b[j]) + other) / 2, abs_tol=1e-12)
        assert math.isclose(G[2, i, j], w[i, j] * (b[i] + b[j]), abs_tol=1e-12)


# ---- the flow


@pytest.mark.parametrize(("dt", "error"), [(None, 1e-7), (0.03, 1e-7), (0.01, 1e-9)])
@pytest.mark.parametrize("k", [3, 7])
def test_flow_is_the_solution_of_the_matrix_ode(dt, error, k):
    U0, times = gauss(3, k, scale=0.2), [0.0, 1.3, 4.0, 9.0]
    expected = by_scipy(lambda W: V(W, A3), U0 @ U0.mT, times)
    run = flow(U0, A3, times, dt=dt)
    assert run.W.shape == (4, 3, 3) and torch.equal(run.t, torch.tensor(times, dtype=F64))
    assert (run.W - expected).abs().max() < error
    U, = run.factors
    assert torch.allclose(U @ U.mT, run.W[-1], atol=1e-14)


def test_order_of_the_steps_and_their_default():
    U0, times = rand(8, 3, 3, scale=0.2), [12.0]
    exact = flow(U0, A3, times, dt=0.005).W
    coarse, fine = ((flow(U0, A3, times, dt=dt).W - exact).abs().max() for dt in (0.1, 0.05))
    assert 13 < coarse / fine < 19                                                  # 2⁴ for order 4
    assert torch.equal(flow(U0, A3, times).W, flow(U0, A3, times, dt=0.05 / 1.6).W)
    assert (flow(U0 / 9, 1e3 * A3, [0.012]).W - flow(U0 / 9, A3, times).W).abs().max() < 1e-12        # a unit of time
    assert torch.equal(flow(U0, 0 * A3, times).factors[0], U0)                      # no data, nothing is learned


def test_a_batch_is_a_loop_and_axes_broadcast():
    U0, a, times = rand(3, 1, 3, 4, scale=0.3), rand(2, 3, seed=1) + 0.2, [0.5, 4.0]
    run = flow(U0, a, times, dt=0.05)
    assert run.W.shape == (2, 3, 2, 3, 3)
    for i, j in itertools.product(range(3), range(2)):
        alone = flow(U0[i, 0], a[j], times, dt=0.05)
        assert (alone.W - run.W[:, i, j]).abs().max() < 1e-13


def test_record_is_what_the_maps_give_and_a_run_can_be_continued():
    task = Task((1, 1.5), 0.1)
    U0, a = rand(4, 2, 2, scale=0.4), task.second_moment()
    whole = flow(U0, a, [0.0, 1.0, 2.5])
    seen = flow(U0, a, [0.0, 1.0, 2.5], record=lambda W: ood_loss(W, task))
    assert seen.W is None and whole.record is None
    assert torch.allclose(seen.record, ood_loss(whole.W, task), rtol=1e-12, atol=0)
    half = flow(U0, a, [1.0])
    assert (flow(half.factors[0], a, [1.5]).W[0] - whole.W[2]).abs().max() < 1e-7


@given(seed=st.integers(0, 10**6), d=st.integers(1, 4), scale=st.floats(0.05, 1.0))
def test_determinant_identity(seed, d, scale):
    # d/dt log det W = 2 tr A(I − W): the change of the logarithm is an integral along the trajectory
    U0, a = gauss(d, d, seed=seed, scale=scale) + scale * torch.eye(d, dtype=F64), rand(d, seed=seed + 1) + 0.1
    t = torch.linspace(0, 3, 121, dtype=F64)
    W = flow(U0, a, t, dt=0.025, allow_rank_deficient=True).W
    rate = 2 * (a * (1 - W.diagonal(dim1=-2, dim2=-1))).sum(-1)
    change = W[-1].logdet() - W[0].logdet()
    assert abs(float(change) - simpson(rate, x=t)) < 1e-4 * (1 + abs(float(change)))


def test_a_diagonal_map_is_logistic():
    w0, t = torch.tensor([0.01, 0.2, 1.7], dtype=F64), torch.linspace(0, 8, 9, dtype=F64)
    W = flow(w0.sqrt().diag(), A3, t, dt=0.01).W
    exact = 1 / (1 + (1 / w0 - 1) * (-2 * A3 * t[:, None]).exp())
    assert (W - exact.diag_embed()).abs().max() < 1e-8


def test_correlations_are_conserved_while_the_map_is_small():
    U0 = rand(5, 3, 3, scale=1e-4)
    W = flow(U0, A3, [0.0, 2.0]).W
    size = W.diagonal(dim1=-2, dim2=-1).sqrt()
    rho = W / size[..., :, None] / size[..., None, :]
    assert (W[1] / W[0]).min() > 3 and (rho[1] - rho[0]).abs().max() < 1e-5


def test_the_end_is_exponential_with_twice_the_smallest_rate():
    t = torch.tensor([40.0, 44.0], dtype=F64)
    U0 = rand(6, 3, 3, scale=0.5) + 0.3 * torch.eye(3, dtype=F64)
    distance = (flow(U0, A3, t, dt=0.02).W - torch.eye(3)).norm(dim=(-2, -1))
    slope = (distance[1] / distance[0]).log() / 4
    assert (slope + 2 * A3[0]).abs().max() < 0.01 * A3[0]


def test_rank_is_conserved_and_less_than_full_rank_is_refused():
    thin = rand(3, 2, scale=0.3)
    with pytest.raises(ValueError, match="never learns"):
        flow(thin, A3, [1.0])
    W = flow(thin, A3, [200.0], allow_rank_deficient=True).W[0]
    assert torch.linalg.matrix_rank(W, atol=1e-8) == 2 and loss(W, A3) > 0.01
    a = torch.tensor([0.3, 0.7, 0.0], dtype=F64)                     # two concepts only: two columns are enough
    for U0 in (thin, rand(3, 3, seed=1, scale=0.3)):
        W = flow(U0, a, [200.0]).W[0]
        assert (W[:2, :2] - torch.eye(2)).abs().max() < 1e-6


def test_every_full_rank_start_learns_with_at_most_s_minus_1_ascents():
    for s in (2, 3, 4):
        task = Task([1.0, 1.5, 2.2, 2.7][:s], 0.05)
        U0, a = rand(60, s, s, seed=s, scale=0.2), task.second_moment() ** 2
        run = flow(U0, a, torch.arange(0, 120, 0.1), dt=0.1, record=lambda W, task=task: ood_loss(W, task))
        count = ascents(run.record)
        assert 1 <= count.max() <= s - 1
        final = flow(U0[:20], a, [400.0], dt=0.2).W
        assert (final - torch.eye(s)).abs().max() < 1e-4


def figure_5(power: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return loss and maps at t = 0, .01, .02 … of figure 5 with the script's seed, for a to a power."""
    U0 = torch.rand(3, 3, generator=torch.Generator().manual_seed(2333)).to(F64) / 5
    a = torch.tensor([0.5025, 1.1275, 0.0025], dtype=F64) ** power
    W = flow(U0, a, torch.arange(0, 1001, 2) / 100, dt=0.02).W
    return ood_loss(W, torch.tensor([1, 1.5, 0])), W


def test_figure_5_is_an_ascent_with_the_squared_rates_of_the_script_only():
    L, W = figure_5(2)
    low = int(L[:200].argmin())
    high = low + int(L[low:].argmax())
    assert ascents(L) == 1
    assert abs(L[low] - 0.1835) < 5e-4 and abs(L[high] - 0.2528) < 5e-4            # prototype: .1835 → .2528
    assert abs(2 * low - 253) <= 3 and abs(2 * high - 435) <= 3                    # at steps 253 and 435
    assert abs(2 * int((W[:, 1, 1] > 0.5).int().argmax()) - 188) <= 3 and abs(W[:, 0, 1].max() - 0.195) < 1e-3
    assert ascents(figure_5(1)[0]) == 0


@pytest.mark.parametrize(("power", "share"), [(2, 0.877), (1, 0.372)])
def test_share_of_random_starts_with_an_ascent(power, share):
    U0, n = rand(256, 3, 3, seed=5, scale=0.2), 256
    a = torch.tensor([0.5025, 1.1275, 0.0025], dtype=F64) ** power
    run = flow(U0, a, torch.arange(0, 30, 0.1), dt=0.1, record=lambda W: ood_loss(W, torch.tensor([1, 1.5, 0])))
    found = float((ascents(run.record) > 0).double().mean())
    assert abs(found - share) < 5 * math.sqrt(share * (1 - share) * (1 / n + 1 / 400))       # reference: 400 starts


# ---- Euler steps on W


def figure_10() -> tuple[torch.Tensor, torch.Tensor]:
    U0 = torch.rand(3, 3, generator=torch.Generator().manual_seed(233333)).to(F64) / 10
    return U0, (torch.tensor([0.7, 1.7, 3.0], dtype=F64) ** 2 / 3 + 0.05**2) ** 2


def test_failure_of_figure_10_is_an_artefact_of_the_steps():
    U0, a = figure_10()

    def by_euler(eta: float, steps: int) -> torch.Tensor:
        W = [U0 @ U0.mT]
        for _ in range(steps):
            W.append(W[-1] + eta * field(W[-1], a))
        return torch.stack(W)

    coarse, fine = (torch.linalg.eigvalsh(by_euler(eta, round(2 / eta))).min() for eta in (1e-2, 5e-3))
    assert coarse < -1e-6 and fine > -1e-9
    assert by_euler(1e-2, 10_000)[-1, 0, 0] < -0.01                                # the script ends here: −.019
    W = flow(U0, a, [600.0], dt=0.12).W
    assert (W[-1] - torch.eye(3)).abs().max() < 1e-4


# ---- what is read from a map


def test_output_and_losses():
    task = Task((1, 2, 1.5), (0.3, 0.1, 0.5), d=4)
    W = gauss(5, 4, 4)
    x = task.probe
    assert torch.allclose(output(W, task)[2], W[2] @ x) and torch.allclose(output(W, x), output(W, task))
    assert torch.allclose(ood_loss(W, task), (output(W, task) - x).square().sum(-1) / 2)
    assert torch.allclose(ood_loss(W, task)[1], (W[1] @ x - x).square().sum() / 2)
    assert torch.equal(loss(W, task), loss(W, task.second_moment()))
    sample = task.sample(40_000, 3, dtype=F64)
    each = (sample @ W[0].T - sample).square().sum(1) / 2
    assert abs(each.mean() - loss(W[0], task)) < 5 * each.std() / 200


@pytest.mark.untyped
def test_bad_input_is_refused():
    U, a = rand(3, 3), A3
    for call, name in (
        (lambda: flow(U, -a, [1.0]), "a ="),
        (lambda: flow(U, a[:2], [1.0]), "a ="), (lambda: flow(U[0], a, [1.0]), "U0"),
        (lambda: flow(U, a, [1.0, 0.5]), "times"), (lambda: flow(U, a, [-1.0]), "times"),
        (lambda: flow(U, a, []), "times"), (lambda: flow(U, a, [1.0], dt=0.0), "dt"),
        (lambda: flow(30 * U, a, [50.0], dt=5.0), "dt"),
        (lambda: field(U[:2], a), "W"), (lambda: terms(U, a[:2]), "a ="), (lambda: one_layer(U, -a, 1.0), "a ="),
        (lambda: flow(U * math.nan, a, [1.0], allow_rank_deficient=True), "state"),
    ):
        with pytest.raises(ValueError, match=name):
            call()


def test_slope_of_the_loss_is_that_of_the_flow():
    task, gen = Task((1.0, 1.5), 0.1), generator(8)
    U0, a = torch.randn(5, 2, 2, generator=gen, dtype=torch.float64) / 3, task.second_moment()
    h = 1e-3
    run = flow(U0, a, [0.0, 0.5 - h, 0.5, 0.5 + h, 1.0], dt=0.01)
    logs = ood_loss(run.W, task).log()
    assert torch.allclose(ood_slope(run.W[2], a, task), (logs[3] - logs[1]) / (2 * h), rtol=1e-4)
    assert torch.allclose(ood_slope(run.W[2], a, task), ood_slope(run.W[2], a, task.probe))
