import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlib.cumulants.simulate import Plan, Trajectories, device_generator


def ramp(speeds: torch.Tensor):
    """Return a step that moves α_v of replica s by speeds[s], and leaves α_u at 0."""
    alpha = torch.zeros(2, len(speeds), dtype=torch.float64)

    def step() -> torch.Tensor:
        nonlocal alpha
        alpha = alpha + torch.stack([0 * speeds, speeds])
        return alpha

    return step, alpha


@given(steps=st.integers(1, 300), batch=st.integers(1, 7), records=st.integers(1, 20))
def test_hits_and_records_of_a_known_path(steps, batch, records):
    speeds = torch.tensor([2.0, -5.0, 11.0, 0.001], dtype=torch.float64) / 128
    step, start = ramp(speeds)
    plan = Plan(0.1, batch, max(1, steps * batch - 0.5), target="v", threshold=0.5, records=records)
    n, u, v, hit = plan.follow(step, start)
    first = [math.ceil(64 / abs(speed * 128)) for speed in speeds.tolist()]
    assert hit.tolist() == [k * batch if k <= steps else math.inf for k in first]
    assert n[0] == 0 and n[-1] == steps * batch and bool((n.diff() > 0).all())
    assert torch.allclose(v, n[:, None] / batch * speeds) and not u.any()
    assert min(records, steps) < len(n) <= 2 * records + 1
    assert len(set(n.diff()[:-1].tolist())) <= 1                                   # evenly spaced, the last one apart


def test_a_run_ends_when_enough_have_hit():
    step, start = ramp(torch.tensor([2**-3, 2**-7, 2**-20]))
    n, _, _, hit = Plan(0.1, 2, 1e6, target="v", threshold=0.5, fraction=0.6).follow(step, start)
    assert hit[:2].tolist() == [8, 128] and hit[2] == math.inf
    assert n[-1] == 128                                                            # 64 steps: two looks
    n, _, _, hit = Plan(0.1, 2, 1e6, target="v", threshold=0.5).follow(step, torch.full((2, 3), -0.7))
    assert n.tolist() == [0] and hit.tolist() == [0, 0, 0]                         # there already
    n, _, _, hit = Plan(0.1, 2, 10).follow(*ramp(torch.ones(3)))
    assert n[-1] == 10 and hit.isinf().all()


def test_fraction_that_has_hit():
    nothing = torch.zeros(1, 4)
    half = Trajectories(torch.zeros(1), nothing, nothing, torch.tensor([1.0, 2.0, math.inf, math.inf]))
    assert half.fraction_hit == 0.5 and half.w is None


def test_generators_of_a_device():
    draws = [torch.rand(3, generator=device_generator(seed, key, None)).tolist() for seed, key in
             ((0, "a"), (0, "a"), (1, "a"), (0, "b"))]
    assert draws[0] == draws[1] and len({tuple(d) for d in draws}) == 3


@pytest.mark.untyped
@pytest.mark.parametrize("bad", [
    {"step": -0.1}, {"step": math.nan}, {"batch": 0}, {"batch": 1.5}, {"samples": 0.5}, {"samples": math.inf},
    {"target": "w"}, {"threshold": 0}, {"threshold": 1.1}, {"records": 0}, {"fraction": 0}, {"fraction": 2},
    {"replicas": 0}, {"start": (0.8, 0.8)}, {"start": (0.1, 0.1, 0.1)}, {"start": (0.1, math.nan)},
], ids=str)
def test_bad_plans(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Plan(**({"step": 0.1, "batch": 1, "samples": 10} | bad))


def test_a_plan_holds_plain_numbers_and_cannot_be_changed():
    plan = Plan(np.float32(0.5), np.uint8(200), np.float16(1000.0), replicas=np.int16(3), start=(0, -1))
    kinds = {"step": float, "batch": int, "samples": float, "replicas": int}
    assert {name: type(getattr(plan, name)) for name in kinds} == kinds and plan.batch * 2 == 400
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.step = 0.1
