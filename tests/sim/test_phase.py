import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from hierlib.sim.flow import field, flow, ood_loss, ood_slope
from hierlib.sim.phase import boundary, phase_grid
from hierlib.sim.rises import largest_rise
from hierlib.sim.task import Task

R, RHO = torch.linspace(0.05, 0.95, 19), torch.linspace(0.05, 0.99, 20)


@pytest.fixture(scope="module")
def grid():
    return phase_grid(R, RHO, 0.01)


@pytest.mark.parametrize(("i", "j"), [(3, 15), (7, 17), (7, 10), (14, 19)])
def test_a_cell_is_the_flow_of_its_task(grid, i, j):
    r, rho = float(R[i]), float(RHO[j])
    task = Task([2 * math.sqrt(r), 2.0], 0)
    W0 = 0.01 * torch.tensor([[1, rho], [rho, 1]], dtype=torch.float64)
    t = torch.linspace(0, 8 / r, 1601)
    L = flow(torch.linalg.cholesky(W0), task.second_moment(), t, dt=0.02).W
    L = ood_loss(L, task)
    assert abs(largest_rise(L) / L[0] - grid[i, j]) < 1e-4


def test_rises_of_the_prototype_grid(grid):
    assert abs(grid.max() - 0.067) < 0.002                            # at r = .35
    assert abs(R[grid.amax(1).argmax()] - 0.35) < 0.06
    # first ρ of the grid with a rise above a thousandth, for r = .05, .1, .2, .3, .4, .5, .6; none from r = .8
    first = RHO[(grid[[0, 1, 3, 5, 7, 9, 11]] > 1e-3).int().argmax(1)]
    assert (first - torch.tensor([0.15, 0.20, 0.45, 0.64, 0.84, 0.94, 0.99])).abs().max() < 0.006
    assert (grid[15:] < 1e-3).all()


def test_ascents_fill_all_rho_above_the_boundary():
    r = torch.tensor([0.12, 0.3, 0.45, 0.65])
    up = phase_grid(r, RHO, 0.01) > 0
    rho_c = boundary(r, [0.01])
    assert torch.equal(up, rho_c[:, None] < RHO)
    assert (rho_c.diff() > 0).all()


def test_the_boundary_does_not_depend_on_the_step():
    r, omega = [0.2, 0.5, 0.8], [1e-5, 1e-3, 0.1]
    coarse, fine = boundary(r, omega), boundary(r, omega, step=0.05)
    assert ((coarse / fine).log().abs() < 2e-3).all()


@pytest.mark.parametrize("omega", [1e-3, 1e-5])
def test_the_loss_rises_above_the_boundary_and_not_below(omega):
    # by scipy, from one turning point of the loss to the next: its derivative changes sign twice, or never
    rho_c = float(boundary([0.3], [omega], ratio=[0.4]))
    a, x = torch.tensor([[0.3, 1.0], [0.4, 1.0]], dtype=torch.float64)

    def rate(_, w):
        return float(ood_slope(torch.as_tensor(w).view(2, 2), a, x)) if w[3] > 0.5 and w[0] < 0.9 else -1.0

    def run(rho):
        def speed(_, w):
            return field(torch.from_numpy(w).view(2, 2), a).flatten().numpy()
        start = omega * np.array([1, rho, rho, 1])
        done = solve_ivp(speed, (0, 30), start, "DOP853", events=rate, rtol=1e-9, atol=1e-13, max_step=0.1)
        return len(done.t_events[0])

    assert run(rho_c * 1.01) == 2 and run(rho_c * 0.99) == 0


def test_no_boundary_where_nothing_rises():
    assert boundary([1.0], [0.01]).isnan().all() and boundary([0.97], [0.01]).isfinite().all()
    assert (phase_grid([0.1, 0.4], [-0.9, -0.3, 0.0], 0.01) == 0).all()


def test_rises_vanish_with_the_scale_of_the_start():
    rise = torch.stack([phase_grid([0.3], [0.9], omega)[0, 0] for omega in (1e-2, 1e-3, 1e-4)])
    slope = rise.log().diff() / math.log(0.1)
    assert (rise > 0).all() and ((slope - 0.35).abs() < 0.15).all()  # ρ ω^{(1−r)/2}, with corrections


@pytest.mark.untyped
def test_bad_input_is_refused():
    for call, name in (
        (lambda: phase_grid([0.0], [0.5], 0.1), "r ="), (lambda: phase_grid([1.1], [0.5], 0.1), "r ="),
        (lambda: phase_grid([0.5], [1.0], 0.1), "rho"), (lambda: phase_grid([0.5], [0.5], 0.0), "omega"),
        (lambda: phase_grid([0.5], [0.5], 1.5), "omega"), (lambda: phase_grid([], [0.5], 0.1), "r ="),
        (lambda: boundary([0.0], [0.1]), "r ="),
        (lambda: boundary([0.5], [0.0]), "omega"), (lambda: boundary([0.5], [1.0]), "omega"),
        (lambda: phase_grid([0.5], [0.5], 1.0), "omega"), (lambda: boundary([0.5], [0.1], ratio=[0.0]), "ratio"),
        (lambda: boundary([0.5], [0.1], step=0.0), "step"),
    ):
        with pytest.raises(ValueError, match=name):
            call()
