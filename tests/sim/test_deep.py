import math
from itertools import pairwise

import pytest
import torch

from hierlib.lab import generator
from hierlib.sim.deep import deep, initial
from hierlib.sim.flow import flow, loss, one_layer, ood_loss
from hierlib.sim.rises import ascents, largest_rise
from hierlib.sim.task import Task

F64 = torch.float64
A3 = torch.tensor([0.3, 0.7, 1.6], dtype=F64)


def product(layers: list[torch.Tensor]) -> torch.Tensor:
    W = layers[0]
    for layer in layers[1:]:
        W = layer @ W
    return W


def test_one_layer_is_the_closed_form():
    Ws = initial("gaussian", 1, 3, 1, 0.5, replicas=4)
    run = deep(Ws, A3, [0.5, 4.0], dt=0.02)
    assert (run.W - one_layer(Ws[0], A3, run.t)).abs().max() < 1e-8


def test_two_tied_layers_of_equal_rates_are_the_symmetric_flow_in_V_time():
    U = 0.3 * torch.randn(5, 3, 4, generator=generator(0, "test"), dtype=F64)
    a = torch.full((3,), 0.7, dtype=F64)
    assert (deep([U.mT, U], a, [0.5, 5.0]).W - flow(U, a, [0.5, 5.0]).W).abs().max() < 1e-13          # by default, too


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_steps_follow_the_gradient_of_the_loss(depth):
    Ws = [W.requires_grad_() for W in initial("gaussian", depth, 3, 4, 0.5, replicas=2, seed=1)]
    slopes = torch.autograd.grad(loss(product(Ws), A3).sum(), Ws)
    Ws = [W.detach() for W in Ws]
    h = 1e-5
    after = deep(Ws, A3, [h], dt=h).factors
    for W, new, slope in zip(Ws, after, slopes, strict=True):
        assert ((new - W) / h + slope).abs().max() < 1e-3 * slope.abs().max() + 1e-9


def test_differences_of_neighbouring_layers_are_conserved():
    Ws = initial("positive", 4, 3, 5, 0.3, replicas=3)
    run = deep(Ws, A3, [10.0], dt=0.005)
    assert torch.allclose(run.W[-1], product(run.factors), atol=1e-14)
    assert (run.W[-1] - product(Ws)).abs().max() > 0.3
    for (low, high), (low0, high0) in zip(pairwise(run.factors), pairwise(Ws), strict=True):
        assert ((high.mT @ high - low @ low.mT) - (high0.mT @ high0 - low0 @ low0.mT)).abs().max() < 1e-8


def test_a_batch_is_a_loop_and_second_moments_broadcast():
    Ws, a = initial("gaussian", 3, 3, 4, 0.1, replicas=2), torch.stack([A3, 2 * A3, A3.flip(0)])[:, None]
    run = deep(Ws, a, [1.0, 6.0], dt=0.05, record=lambda W: loss(W, a))
    assert run.W is None and run.record.shape == (2, 3, 2)
    for i in range(2):
        alone = deep([W[i] for W in Ws], a[2, 0], [1.0, 6.0], dt=0.05)
        assert (loss(alone.W, a[2, 0]) - run.record[:, 2, i]).abs().max() < 1e-13


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_scale_of_the_initial_products(depth):
    h, omega, n = 6, 0.02, 4000
    W = product(initial("positive", depth, 3, h, omega, n))
    mean = W.mean((-2, -1))
    assert (W > 0).all() and abs(mean.mean() - omega) < 5 * mean.std() / math.sqrt(n)
    W = product(initial("gaussian", depth, 3, h, omega, n, seed=1))
    square = W.square().mean((-2, -1))
    assert abs(square.mean() - omega**2) < 5 * square.std() / math.sqrt(n)
    assert abs(W.mean()) < 5 * omega / math.sqrt(9 * n)
    assert [w.shape for w in initial("positive", depth, 3, h, omega, 2)] == [
        (2, 3 if i == depth - 1 else h, 3 if i == 0 else h) for i in range(depth)]


@pytest.mark.parametrize(("kind", "share"), [("positive", 1.0), ("gaussian", 0.19)])
def test_three_layers_swing_by_often_from_positive_weights_only(kind, share):
    task, n = Task((1, 2), 0, d=4), 64
    run = deep(initial(kind, 3, 4, 8, 0.02, n), task.second_moment(), torch.arange(0, 100, 0.5), dt=0.1,
               record=lambda W: ood_loss(W, task))
    found = float((ascents(run.record, 0.01) > 0).double().mean())
    assert abs(found - share) <= 5 * math.sqrt(2 * share * (1 - share) / n)         # the reference has 64 seeds too
    rise = float((largest_rise(run.record, 0.01) / run.record[0]).mean())
    assert abs(rise - 0.10) < 0.03 if kind == "positive" else rise < 0.02


@pytest.mark.untyped
def test_bad_input_is_refused():
    Ws = initial("positive", 2, 3, 4, 0.1)
    for call, name in (
        (lambda: initial("uniform", 2, 3, 4, 0.1), "kind"), (lambda: initial("positive", 0, 3, 4, 0.1), "depth"),
        (lambda: initial("positive", 2, 0, 4, 0.1), "d ="), (lambda: initial("positive", 2, 3, 0, 0.1), "width"),
        (lambda: initial("positive", 2, 3, 4, 0.0), "omega"), (lambda: initial("positive", 2, 3, 4, 1, 0), "replicas"),
        (lambda: deep([], A3, [1.0]), "Ws"), (lambda: deep(Ws[:1], A3, [1.0]), "Ws"),
        (lambda: deep(Ws[::-1], A3, [1.0]), "Ws|a ="), (lambda: deep(Ws, A3[:2], [1.0]), "a ="),
        (lambda: deep(Ws, -A3, [1.0]), "a ="), (lambda: deep(Ws, A3, [1.0], dt=-1.0), "dt"),
    ):
        with pytest.raises(ValueError, match=name):
            call()
