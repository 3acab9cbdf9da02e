import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib.sim.rises import ascents, largest_rise


def walks(n: int, T: int, seed: int) -> torch.Tensor:
    """Random walks (T, n) that begin at 20 and stay positive, so that a threshold of 0.1 is 2 steps' spread."""
    gen = torch.Generator().manual_seed(seed)
    steps = torch.randn(T, n, generator=gen, dtype=torch.float64)
    steps[0] = 20.0
    return steps.cumsum(0)


def most_ascents(loss: list[float], height: float) -> int:
    """Longest chain of rises with falls between them, by dynamic programming over all pairs of times."""
    top, bottom = [-math.inf] * len(loss), [0.0] * len(loss)         # chains whose last rise, or fall, ends here
    for j, y in enumerate(loss):
        for i, x in enumerate(loss[:j]):
            if y - x > height:
                top[j] = max(top[j], bottom[i] + 1)
            if x - y > height:
                bottom[j] = max(bottom[j], top[i])
    return int(max(0.0, *top))


@pytest.mark.parametrize(("loss", "count", "rise"), [
    ([1.0], 0, 0),
    ([1.0, 1.0, 1.0], 0, 0),
    ([4.0, 3.0, 1.0, 0.0], 0, 0),
    ([4.0, 1.0, 3.0, 0.0], 1, 2),
    ([4.0, 5.0, 3.0, 0.0], 1, 1),                            # a rise from the beginning
    ([4.0, 1.0, 3.0], 1, 2),                                 # a rise that does not end
    ([4.0, 1.0, 1.5, 2.0, 2.5, 3.0, 0.0], 1, 2),             # many steps, one rise
    ([4.0, 1.0, 3.0, 0.5, 1.5, 0.0], 2, 2),
    ([4.0, 1.0, 2.0, 0.5, 3.5, 0.0], 2, 3),
    ([4.0, 1.0, 3.0, 2.0, 3.5, 0.0], 2, 2.5),                # the rise spans both
    ([4.0, 1.0, 3.0, 2.75, 3.5, 0.0], 1, 2.5),               # a fall of 1/16 of the first value is below 1/8
    ([4.0, 2.0, 2.5, 0.0], 0, 0),                            # exactly the threshold does not count
    ([4.0, 2.0, 2.5625, 0.0], 1, 0.5625),
    ([4.0, 2.0, 2.25, 2.125, 2.5, 2.375, 2.75, 0.0], 1, 0.75),   # small steps up and down that add up
    ([0.0, 1.0, 0.0, 1e-9, 0.0], 2, 1),                      # from 0 on, every rise counts
])
def test_hand_made_curves(loss, count, rise):
    curve = torch.tensor(loss, dtype=torch.float64)
    assert ascents(curve, 1 / 8).item() == count
    assert largest_rise(curve, 1 / 8).item() == rise


def test_the_threshold_is_relative_to_the_first_value_of_each_curve():
    curve = torch.tensor([4.0, 2.0, 2.25, 0.0], dtype=torch.float64)
    scales = torch.tensor([2.0**-20, 1.0, 2.0**20], dtype=torch.float64)
    assert ascents(curve[:, None] * scales, 0.06).tolist() == [1, 1, 1]
    assert ascents(curve[:, None] * scales, 0.07).tolist() == [0, 0, 0]
    assert torch.equal(largest_rise(curve[:, None] * scales, 0.06), 0.25 * scales)
    default = torch.tensor([[4.0, 4.0], [1.0, 1.0], [1.0039, 1.0041], [0.0, 0.0]], dtype=torch.float64)   # 1e-3
    assert ascents(default).tolist() == [0, 1] and (largest_rise(default) > 0).tolist() == [False, True]


@given(seed=st.integers(0, 10**6), T=st.integers(1, 30), threshold=st.sampled_from([0.0, 0.02, 0.1, 0.2]))
def test_brute_force_on_random_walks(seed, T, threshold):
    loss = walks(6, T, seed)
    counts, rises = ascents(loss, threshold), largest_rise(loss, threshold)
    for k, curve in enumerate(loss.T.tolist()):
        height = threshold * curve[0]
        assert counts[k] == most_ascents(curve, height)
        rise = max([y - x for j, y in enumerate(curve) for x in curve[:j]], default=0.0)
        assert rises[k] == (rise if rise > height else 0.0)
    assert torch.equal(rises > 0, counts > 0)


def test_walks_have_many_ascents():
    counts = ascents(walks(200, 200, 0), 0.1)                # the property tests above are not about zeros
    assert counts.min() >= 1 and counts.max() >= 8


@given(seed=st.integers(0, 10**6), threshold=st.sampled_from([0.0, 0.05, 0.15]))
def test_times_do_not_matter(seed, threshold):
    # other clocks: records repeated, and points added on the way from one record to the next
    loss, gen = walks(5, 25, seed), torch.Generator().manual_seed(seed)
    counts, rises = ascents(loss, threshold), largest_rise(loss, threshold)
    slow = loss.repeat_interleave(torch.randint(1, 4, (25,), generator=gen), 0)
    share = torch.rand(24, 5, generator=gen, dtype=torch.float64)
    between = torch.stack([loss[:-1], loss[:-1] + share * loss.diff(dim=0)], 1).flatten(0, 1)
    for other in (slow, torch.cat([between, loss[-1:]])):
        assert torch.equal(ascents(other, threshold), counts) and torch.equal(largest_rise(other, threshold), rises)


def test_sampled_analytic_curve():
    t = torch.linspace(0, 6, 6001, dtype=torch.float64)
    loss = 2 - 0.3 * t + 0.2 * torch.cos(2 * math.pi * t)          # one rise per period, as 0.4 π > 0.3
    x = math.asin(0.3 / (0.4 * math.pi)) / (2 * math.pi)           # slope 0 at 1/2 + x (minimum) and 1 − x (maximum)
    rise = 0.4 * math.cos(2 * math.pi * x) - 0.3 * (0.5 - 2 * x)
    assert ascents(loss).item() == 6
    assert largest_rise(loss).item() == pytest.approx(rise, abs=1e-5)
    assert ascents(loss, 0.99 * rise / 2.2).item() == 6 and ascents(loss, 1.01 * rise / 2.2).item() == 0


def test_batches_are_curves_one_by_one():
    loss = walks(12, 60, 3).float()
    counts, rises = ascents(loss.view(60, 3, 4), 0.05), largest_rise(loss.view(60, 3, 4), 0.05)
    assert counts.shape == rises.shape == (3, 4) and counts.dtype == torch.int64 and rises.dtype == torch.float32
    assert torch.equal(counts.flatten(), torch.stack([ascents(curve, 0.05) for curve in loss.T]))
    assert torch.equal(rises.flatten(), torch.stack([largest_rise(curve, 0.05) for curve in loss.T]))


@pytest.mark.untyped
@pytest.mark.parametrize("function", [ascents, largest_rise])
@pytest.mark.parametrize(("loss", "threshold", "name"), [
    (torch.ones(3), -0.1, "threshold = -0.1"),
    (torch.ones(3), math.nan, "threshold = nan"),
    (torch.ones(3), True, "threshold = True"),
    (torch.tensor(1.0), 0.1, r"loss = \(\)"),
    (torch.ones(0, 2), 0.1, r"loss = \(0, 2\)"),
    (torch.tensor([1.0, math.nan]), 0.1, "diverged"),
    (torch.tensor([1.0, math.inf]), 0.1, "diverged"),
    (torch.tensor([-1.0, 0.0]), 0.1, r"loss\[0\]"),
])
def test_bad_input(function, loss, threshold, name):
    with pytest.raises(ValueError, match=name):
        function(loss, threshold)
