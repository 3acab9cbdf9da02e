import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from hierlib import lab
from hierlib.diffusion import schedule

D64 = torch.float64


def test_linear_schedule_is_the_running_product():
    beta = np.linspace(1e-4, 0.02, 1000)
    product = 1.0
    for t in range(1000):
        product *= 1 - beta[t]
        if t % 111 == 0:
            assert schedule.alpha_bar_linear((t + 1) / 1000) == pytest.approx(product, rel=1e-12)
    assert schedule.alpha_bar_linear(0.0) == 1.0
    assert schedule.alpha_bar_linear(1.0) == pytest.approx(4.0358e-5, rel=1e-4)     # known value of DDPM


def test_cosine_schedule():
    assert schedule.alpha_bar_cosine(0.0) == pytest.approx(1.0)
    assert schedule.alpha_bar_cosine(1.0) == pytest.approx(0.0, abs=1e-30)
    ratio = math.cos(math.pi / 2 * 0.108 / 1.008) / math.cos(math.pi / 2 * 0.008 / 1.008)
    assert schedule.alpha_bar_cosine(0.1) == pytest.approx(ratio**2, rel=1e-12)
    assert schedule.alpha_bar_cosine(0.5, offset=0.0) == pytest.approx(math.cos(math.pi / 4) ** 2)


@pytest.mark.parametrize("function", [schedule.alpha_bar_linear, schedule.alpha_bar_cosine])
def test_schedules_fall_and_invert(function):
    tau = np.linspace(0.01, 0.99, 50)
    signal = function(tau)
    assert (np.diff(signal) < 0).all()
    assert schedule.time_of_alpha_bar(signal, function) == pytest.approx(tau, abs=2e-5)


@pytest.mark.parametrize("name", schedule.SCHEDULES)
def test_grids_of_every_schedule(name):
    grid = schedule.grid(10, name)
    assert grid.shape == (11,) and grid.dtype == D64 and float(grid[-1]) == 1.0 and (grid.diff() > 0).all()
    turn = schedule.grid(4, name, start=0.5)
    assert float(turn[0]) == 0.5 and (turn.diff() > 0).all() and len(turn) == 5


def test_grids_are_at_equal_times():
    assert schedule.grid(4, "uniform").tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert schedule.grid(4, "cosine").tolist() == pytest.approx(
        [0, *(float(schedule.alpha_bar_cosine(t)) for t in (0.75, 0.5, 0.25)), 1], abs=1e-12)
    assert float(schedule.grid(4, "cosine")[0]) == 0.0 and float(schedule.grid(4, "linear")[0]) == pytest.approx(
        4.0358e-5, rel=1e-4)
    own = schedule.grid(3, lambda tau: np.cos(np.pi * np.asarray(tau) / 2) ** 2, start=0.5)
    assert own.tolist() == pytest.approx([0.5, math.cos(math.pi / 6) ** 2, math.cos(math.pi / 12) ** 2, 1], abs=1e-6)
    snr = torch.logit(schedule.grid(20, "log_snr"))
    assert snr[:-1].tolist() == pytest.approx(list(range(-10, 10)), abs=1e-9) and math.isinf(snr[-1])


def test_draws_follow_the_schedule():
    n = 20_000
    uniform = schedule.draw_alpha_bar(n, 0, dtype=D64)
    assert kstest(uniform.numpy(), "uniform").pvalue > 1e-3
    for k, name in enumerate(("cosine", "linear"), 1):
        tau = schedule.time_of_alpha_bar(schedule.draw_alpha_bar(n, k, schedule=name, dtype=D64).numpy(), name)
        assert kstest(tau, "uniform").pvalue > 1e-3
    snr = torch.logit(schedule.draw_alpha_bar(n, 3, schedule="log_snr", dtype=D64))
    assert kstest(snr.numpy(), "uniform", (-10, 20)).pvalue > 1e-3


def test_draws_are_seeded_and_stratified():
    one, same = schedule.draw_alpha_bar(7, 4), schedule.draw_alpha_bar(7, 4)
    assert torch.equal(one, same) and one.dtype == torch.float32
    gen = lab.generator(4)
    assert not torch.equal(schedule.draw_alpha_bar(7, gen), schedule.draw_alpha_bar(7, gen))
    even = schedule.draw_alpha_bar(100, 5, stratified=True, dtype=D64)
    assert sorted((100 * even).floor().int().tolist()) == list(range(100)) and (even.diff() < 0).any()
    assert len(schedule.draw_alpha_bar(0, 0)) == 0


@pytest.mark.parametrize(("call", "name"), [
    (lambda: schedule.alpha_bar_linear(1.1), "tau"),
    (lambda: schedule.alpha_bar_cosine(0.5, offset=-1), "offset"),
    (lambda: schedule.time_of_alpha_bar(1.5), "alpha_bar"),
    (lambda: schedule.grid(0), "steps"),
    (lambda: schedule.grid(2, "quadratic"), "schedule"),
    (lambda: schedule.grid(2, start=1.0), "start"),
    (lambda: schedule.grid(2, "log_snr", start=0.99999), "start"),
    (lambda: schedule.draw_alpha_bar(-1, 0), "n"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=rf"^{name} = "):
        call()
