import math

import numpy as np
import pytest

from hierlib.diffusion import schedule


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


@pytest.mark.parametrize(("call", "name"), [
    (lambda: schedule.alpha_bar_linear(1.1), "tau"),
    (lambda: schedule.alpha_bar_linear(0.5, beta_min=0.1, beta_max=0.01), "beta_max"),
    (lambda: schedule.alpha_bar_linear(0.5, steps=0), "steps"),
    (lambda: schedule.alpha_bar_cosine(0.5, offset=-1), "offset"),
    (lambda: schedule.time_of_alpha_bar(1.5), "alpha_bar"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
