"""What large runs need of a T4, counted without computing."""

import torch

from hierlib import nets, sim
from tests.drawn import gen
from tests.simgpu import costs, device

T4 = 15.1 * 2**30


def step_of(denoisers):
    """Return a function that makes one step of the training, as `lab.train` makes it."""
    parameters, rng = list(denoisers.model.parameters()), gen()
    optimiser = torch.optim.AdamW(parameters, 1e-3, fused=True)

    def step():
        optimiser.zero_grad(set_to_none=True)
        denoisers.loss(denoisers.model, rng).sum().backward()
        optimiser.step()
    return step


def check_costs_by_hand():
    n = 3000
    x, before = torch.ones(n, n, device="cuda"), device.memory.live
    found = costs.cost(lambda: x @ x, repeats=7)
    assert found == {"seconds_T4": 7 * 2 * n**3 / 5e12, "peak_bytes": before + 4 * n * n, "syncs": 0, "launches": 7}
    found = costs.cost(lambda: float((x.double() + 1.0).sum()), repeats=2)       # 8 n² bytes are made twice
    assert found["syncs"] == 2 and found["launches"] == 2 * 4 and found["peak_bytes"] == before + 16 * n * n
    moved = [12 * n * n, 16 * n * n, 8 * n * n + 8, 0]
    assert abs(found["seconds_T4"] / 2 / sum(max(12e-6, each / 240e9) for each in moved) - 1) < 0.1
    try:
        costs.memory.limit = before + 2**20
        x + 1
    except torch.OutOfMemoryError as error:
        assert "memory" in str(error)
    else:
        raise AssertionError("no error for want of memory")
    finally:
        costs.memory.limit = None


def check_grouped_convolutions_are_counted_right():
    def flops(groups):
        net = torch.nn.Conv2d(8 * groups, 8 * groups, 3, padding=1, groups=groups).to("cuda")
        x = torch.ones(2, 8 * groups, 16, 16, device="cuda", requires_grad=True)
        costs.stats.reset()
        net(x).sum().backward()
        return costs.stats.flops

    assert flops(1) == 3 * 2 * 2 * 16**2 * 8 * 8 * 9 and flops(4) == 4 * flops(1)


def check_an_ensemble_of_unets_fits_in_chunks():
    def cost(chunk):
        made = sim.ConceptDenoisers(
            [sim.Concepts(0.1, pixels=32)] * 8, seeds=2, predicts="noise", images=10, steps=1,
            device="cuda", network=lambda k: nets.UNet(3, (64, 128, 256), 2, condition=4, attention=[2]), chunk=chunk)
        return costs.cost(step_of(made), repeats=1), costs.cost(made.measure, repeats=1) if chunk else None

    (whole, _), (chunks, measured) = cost(None), cost(4)
    assert whole["peak_bytes"] > 0.95 * T4 and max(chunks["peak_bytes"], measured["peak_bytes"]) < T4 / 3
    assert chunks["seconds_T4"] < 1.1 * whole["seconds_T4"] and chunks["syncs"] == whole["syncs"] == 0
