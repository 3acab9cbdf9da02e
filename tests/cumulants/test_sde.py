import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp, trapezoid

from hierlib.cumulants import simulate
from hierlib.cumulants.simulate import scaled_sde

C4, SIGMA2 = 0.02462, 0.13997                              # of the reference neuron


def mean_time(C4: float, sigma2: float, delta0: float, x0: float, level: float) -> float:
    """Return the mean first-passage time: T' = −I, with I' = 2/D² − 2μI/D² and I(0) = 0 (reflection at 0)."""
    D2 = delta0**2 * sigma2

    def slope(y: float, I: np.ndarray) -> np.ndarray:
        drift = 4 * C4 * delta0 * y**3 - D2 * y / 2
        return (2 - 2 * drift * I) / D2

    inner = solve_ivp(slope, (0, level), [0.0], method="LSODA", rtol=1e-9, atol=1e-12, dense_output=True)
    y = np.linspace(x0, level, 20001)
    return float(trapezoid(inner.sol(y)[0], y))


@pytest.mark.parametrize(("C4", "sigma2", "delta0", "level"), [
    (C4, SIGMA2, 0.4, 20.0), (C4, SIGMA2, 3.2, 20.0), (C4, SIGMA2, 12.8, 20.0), (C4, SIGMA2, 3.2, 5.0),
    (2 * C4, 0.3, 1.0, 20.0),
])
def test_mean_time_is_that_of_the_backward_equation(C4, sigma2, delta0, level, monkeypatch):
    monkeypatch.setattr(simulate, "_LEVEL", level)
    times = scaled_sde(C4, sigma2, delta0, replicas=8000)
    expected = mean_time(C4, sigma2, delta0, 1.0, level)
    error = float(times.std()) / math.sqrt(8000)
    assert abs(float(times.mean()) - expected) < 5 * error and error < 0.03 * expected


def test_without_noise_the_time_is_known_and_the_scheme_is_of_second_order(monkeypatch):
    errors = []
    monkeypatch.setattr(simulate, "_LEVEL", 1e4)
    for resolution in (0.2, 0.1):
        monkeypatch.setattr(simulate, "_RESOLUTION", resolution)
        time = float(scaled_sde(C4, 0.0, 1.5, replicas=1)[0])
        errors.append(time * 8 * C4 * 1.5 - 1)             # 1/(8 C₄ δ₀ x₀²)
    assert 0 < errors[1] < 2e-3 and 3.5 < errors[0] / errors[1] < 4.5
    assert float(scaled_sde(C4, 0.0, 1.5, replicas=1, x0=2.0)[0]) == pytest.approx(
        1 / (8 * C4 * 1.5 * 4), rel=2e-3)


def test_halving_the_time_step_changes_nothing(monkeypatch):
    coarse = scaled_sde(C4, SIGMA2, [0.2, 3.2], replicas=6000).median(1).values
    monkeypatch.setattr(simulate, "_RESOLUTION", 0.05)
    fine = scaled_sde(C4, SIGMA2, [0.2, 3.2], replicas=6000).median(1).values
    assert bool(((coarse / fine).log().abs() < 5 * 0.02).all())        # standard error of a median near 0.014


def test_medians_against_the_step_size():
    deltas = [0.1 * 2**k for k in range(9)]
    medians = scaled_sde(C4, SIGMA2, deltas, replicas=2000).median(1).values
    recorded = torch.tensor([52.0, 26.8, 14.0, 7.95, 4.84, 2.85, 1.77, 1.52, 3.54], dtype=torch.float64)
    assert bool(((medians / recorded).log().abs() < 0.1).all()), medians       # recorded at resolution 0.005
    assert float(medians[0]) == pytest.approx(1 / (8 * C4 * 0.1), rel=0.1)     # little noise


def test_several_step_sizes_are_several_runs():
    both = scaled_sde(C4, SIGMA2, torch.tensor([1.6, 6.4], dtype=torch.float64), replicas=4000)
    alone = scaled_sde(C4, SIGMA2, 6.4, replicas=4000, seed=1)
    assert both.shape == (2, 4000) and alone.shape == (4000,)
    assert float(both[1].median() / alone.median()) == pytest.approx(1, abs=0.12)
    assert float(both[0].median()) > 2 * float(both[1].median())


def test_time_scales_with_the_constants():
    """C₄ → cC₄, σ² → cσ² makes time run c times as fast at the same δ₀."""
    slow, fast = scaled_sde(C4, SIGMA2, 1.6, replicas=500), scaled_sde(4 * C4, 4 * SIGMA2, 1.6, replicas=500)
    assert torch.allclose(slow, 4 * fast)


def test_repelled_paths_do_not_arrive():
    assert scaled_sde(-C4, SIGMA2, 1.6, replicas=200, horizon=50.0).isinf().all()
    some = scaled_sde(C4, SIGMA2, 1.6, replicas=2000, horizon=4.8).isfinite().double().mean()
    assert 0.4 < float(some) < 0.6                         # the median


def test_starts_and_seeds():
    assert not scaled_sde(C4, SIGMA2, 1.6, replicas=3, x0=-21.0).any()
    near = scaled_sde(C4, SIGMA2, 0.8, replicas=2000, x0=-2.0).mean()
    assert float(near) == pytest.approx(mean_time(C4, SIGMA2, 0.8, 2.0, 20.0), rel=0.05)
    again, other = (scaled_sde(C4, SIGMA2, 0.8, replicas=50, seed=seed) for seed in (0, 1))
    assert torch.equal(again, scaled_sde(C4, SIGMA2, 0.8, replicas=50)) and not torch.equal(again, other)


@pytest.mark.parametrize(("bad", "name"), [
    ({"C4": math.nan}, "C4"), ({"sigma2": -1}, "sigma2"), ({"delta0": 0.0}, "delta0"),
    ({"delta0": [1.0, -1.0]}, "delta0"), ({"delta0": math.inf}, "delta0"), ({"replicas": 0}, "replicas"),
    ({"x0": math.inf}, "x0"), ({"horizon": -1}, "horizon"), ({"seed": 0.5}, "seed"),
], ids=str)
def test_bad_input(bad, name):
    with pytest.raises(ValueError, match=name):
        scaled_sde(**({"C4": C4, "sigma2": SIGMA2, "delta0": 1.0, "replicas": 2} | bad))
