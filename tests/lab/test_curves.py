"""Crossings, means and medians against closed forms and independent computations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from hierlib.lab import curves

X = np.array([1.0, 2.0, 4.0, 8.0, 16.0])


@given(st.floats(0.05, 0.95), st.booleans(), st.booleans())
def test_crossing_of_a_line_is_exact(level, falling, log):
    t = np.log2(X) / 4 if log else (X - 1) / 15                    # from 0 to 1, linear in x or in ln x
    place = curves.crossing(X, 1 - t if falling else t, 1 - level if falling else level, falling=falling, log=log)
    assert place == pytest.approx(16**level if log else 1 + 15 * level, rel=1e-12)


def test_the_first_crossing_counts_and_none_is_nan():
    y = np.array([[0.0, 1.0, 0.0, 1.0, 1.0], [0.0, 0.1, 0.2, 0.3, 0.4], [0.6, 0.7, 0.0, 0.9, 1.0],
                  [0.0, np.nan, 0.2, 0.8, 1.0]])
    assert curves.crossing(X, y, 0.5) == pytest.approx([1.5, np.nan, np.nan, 6.0], nan_ok=True)
    assert curves.crossing(X, y[0], 1.0) == 2.0                    # a point on the level
    assert curves.crossing(X, 1 - y[:2], 0.5, falling=True) == pytest.approx([1.5, np.nan], nan_ok=True)


@pytest.mark.parametrize("log", [False, True])
def test_the_error_of_a_crossing_is_that_of_many_noisy_curves(log):
    x, rng = np.linspace(1, 9, 9), np.random.default_rng(0)
    y, sigma = np.tanh((x - 4.3) / 4), np.linspace(0.002, 0.01, 9)
    place, error = curves.crossing(x, y, 0.1, log=log, error=sigma)
    many = curves.crossing(x, y + sigma * rng.standard_normal((4000, 9)), 0.1, log=log)
    assert error == pytest.approx(many.std(), rel=0.06) and place == pytest.approx(many.mean(), abs=4 * error / 60)


def test_crossing_agrees_with_a_root_finder():
    x = np.linspace(0.1, 3, 30)
    y = np.sin(x)
    root = optimize.brentq(lambda t: np.interp(t, x, y) - 0.6, 0.1, 1.5, xtol=1e-14)
    assert curves.crossing(x, y, 0.6) == pytest.approx(root, abs=1e-12)


def test_mean_and_standard_error():
    values = np.random.default_rng(0).standard_normal((7, 3, 2))
    mean, sem = curves.mean_sem(values)
    assert mean == pytest.approx(values.mean(0)) and sem == pytest.approx(stats.sem(values, axis=0))
    mean, sem = curves.mean_sem([1.0, np.nan, 3.0])
    assert (mean, sem) == (2.0, 1.0) and np.isnan(curves.mean_sem([2.0])[1])


def test_the_interval_of_a_median_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(1)
    ends = [curves.median(rng.exponential(size=81), seed=k) for k in range(300)]
    covered = np.mean([low <= np.log(2) <= high for _, low, high in ends])
    assert abs(covered - 0.68) < 4 * (0.68 * 0.32 / 300) ** 0.5


def test_medians_of_what_did_not_happen():
    inf = np.inf
    assert curves.median([inf] * 9) == (inf, inf, inf) and curves.median([3.0]) == (3.0, 3.0, 3.0)
    value, low, high = curves.median([1.0, 2.0, 3.0, 4.0, 5.0, inf, inf, inf, inf])
    assert value == 5.0 and 2.0 <= low <= 5.0 and high == inf
    assert curves.median([-inf, 1.0, 2.0, 3.0, 4.0])[0] == 2.0
    assert curves.median([1.0, 2.0, 7.0], seed=1) == curves.median([1.0, 2.0, 7.0], seed=1)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "message"), [
    (lambda: curves.crossing([2, 1], [0, 1], 0.5), "x = .*must be increasing"),
    (lambda: curves.crossing([0, 1], [0, 1], 0.5, log=True), "x = .*must be positive and increasing"),
    (lambda: curves.crossing([1, 2, 3], [0, 1], 0.5), r"x = \(3,\): must be at least two points, as y \(2,\)"),
    (lambda: curves.crossing([1, 2], [0, 1], np.nan), "level = nan"), (lambda: curves.median([]), "values = "),
    (lambda: curves.median([1, np.nan]), "values = "),
    (lambda: curves.median([1.0], level=1), "level = 1.0: must be strictly"),
])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
