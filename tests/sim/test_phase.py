import math

import pytest
import torch

from hierlib.sim.flow import flow, ood_loss
from hierlib.sim.phase import boundary, phase_grid
from hierlib.sim.rises import ascents, largest_rise
from hierlib.sim.task import Task

RHO = torch.linspace(0.05, 0.99, 20)


@pytest.fixture(scope="module")
def grid():
    return phase_grid(torch.linspace(0.05, 0.95, 19), RHO, 0.01)


@pytest.mark.parametrize(("i", "j"), [(3, 15), (7, 17), (7, 10), (14, 19)])
def test_a_cell_is_the_flow_of_its_task(grid, i, j):
    r, rho = float(grid.r[i]), float(grid.rho[j])
    task = Task([2 * math.sqrt(r), 2.0], 0)
    W0 = 0.01 * torch.tensor([[1, rho], [rho, 1]], dtype=torch.float64)
    t = torch.linspace(0, 8 / r, 1601)
    L = flow(torch.linalg.cholesky(W0), task.second_moment(), t, dt=0.02).W
    L = ood_loss(L, task)
    assert ascents(L) == grid.ascents[i, j]
    assert abs(largest_rise(L) / L[0] - grid.rise[i, j]) < 1e-4


def test_no_more_than_one_ascent_and_a_rise_where_there_is_one(grid):
    assert set(grid.ascents.unique().tolist()) == {0, 1}
    assert torch.equal(grid.rise > 0, grid.ascents > 0)
    assert abs(grid.rise.max() - 0.067) < 0.002                       # prototype: .067 at r = .35
    assert abs(grid.r[grid.rise.amax(1).argmax()] - 0.35) < 0.06


def test_boundary_of_the_prototype_grid(grid):
    # first ρ of the grid with an ascent, for r = .05, .1, .2, .3, .4, .5, .6; none from r = .8
    rows = [0, 1, 3, 5, 7, 9, 11]
    first = RHO[grid.ascents[rows].argmax(1)]
    assert (first - torch.tensor([0.15, 0.20, 0.45, 0.64, 0.84, 0.94, 0.99])).abs().max() < 0.006
    assert (grid.ascents[15:] == 0).all()


def test_ascents_fill_all_rho_above_the_boundary(grid):
    up = grid.ascents > 0
    assert torch.equal(up, up.cummax(1).values)
    rho_c = boundary(grid.r, 0.01)
    inside = rho_c[:, None] < RHO                                     # NaN: nowhere
    assert torch.equal(up, inside)
    assert (rho_c[1:12].diff() > 0).all()


def test_boundary_is_found_to_a_thousandth():
    r = [0.2, 0.5]
    rho_c = boundary(r, 0.02)
    for i in range(2):
        above, below = phase_grid(r, [float(rho_c[i]), float(rho_c[i]) - 1e-3], 0.02).ascents[i]
        assert above == 1 and below == 0


def test_no_boundary_where_nothing_rises():
    assert boundary([1.0], 0.01).isnan().all() and boundary([0.3], 0.01, threshold=0.5).isnan().all()
    assert (phase_grid([0.1, 0.4], [-0.9, -0.3, 0.0], 0.01).ascents == 0).all()


def test_rises_vanish_with_the_scale_of_the_start():
    rise = torch.stack([phase_grid([0.3], [0.9], omega).rise[0, 0] for omega in (1e-2, 1e-3, 1e-4)])
    slope = rise.log().diff() / math.log(0.1)
    assert (rise > 0).all() and ((slope - 0.35).abs() < 0.15).all()  # ρ ω^{(1−r)/2}, with corrections


@pytest.mark.untyped
def test_bad_input_is_refused():
    for call, name in (
        (lambda: phase_grid([0.0], [0.5], 0.1), "r ="), (lambda: phase_grid([1.1], [0.5], 0.1), "r ="),
        (lambda: phase_grid([0.5], [1.0], 0.1), "rho"), (lambda: phase_grid([0.5], [0.5], 0.0), "omega"),
        (lambda: phase_grid([0.5], [0.5], 1.0), "omega"), (lambda: phase_grid([], [0.5], 0.1), "r ="),
        (lambda: phase_grid([0.5], [0.5], 0.1, threshold=-1.0), "threshold"), (lambda: boundary([0.0], 0.1), "r ="),
    ):
        with pytest.raises(ValueError, match=name):
            call()
