"""The training loop against explicit loops and closed forms, and against kills."""

import contextlib
import copy
import enum
import itertools
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from tqdm import tqdm

from hierlib.lab import generator
from hierlib.lab.training.report import Report, log_steps, warmup_decay
from hierlib.lab.training.train import train
from tests.lab.training import killed_run

ROOT = Path(__file__).parents[3]
train_module = sys.modules["hierlib.lab.training.train"]
GEN = torch.Generator().manual_seed(0)
X = torch.randn(64, 3, generator=GEN, dtype=torch.float64)
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]]).double() + 0.3 * torch.randn(64, 1, generator=GEN, dtype=torch.float64)


def linear() -> nn.Module:
    net = nn.Linear(3, 1, bias=False).double()
    nn.init.zeros_(net.weight)
    return net


def full(model, rng):
    return (model(X) - Y).square().mean()


def batch(model, rng):
    i = torch.randint(len(X), (8,), generator=rng)
    return (model(X[i]) - Y[i]).square().mean()


class Stack(nn.Module):
    """E perceptrons from a list of single ones."""

    def __init__(self, nets):
        super().__init__()
        self.a = nn.Parameter(torch.stack([net[0].weight.detach() for net in nets]))
        self.b = nn.Parameter(torch.stack([net[2].weight.detach() for net in nets]))

    def forward(self, x):
        return torch.tanh(x @ self.a.mT) @ self.b.mT


def perceptron(seed, width=6):
    net = nn.Sequential(nn.Linear(3, width, bias=False), nn.Tanh(), nn.Linear(width, 1, bias=False)).double()
    gen = torch.Generator().manual_seed(seed)
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=gen, dtype=torch.float64) / 2
    return net


def sgd(lr=0.1, **more):
    return lambda parameters: torch.optim.SGD(parameters, lr=lr, **more)


def last(reports) -> Report:
    return list(reports)[-1]


def dummy() -> nn.Module:
    return nn.Linear(1, 1)


def parabola(model, rng):
    return model.weight.square().sum()


# ---------------------------------------------------------------------------------------------- what it computes

def test_linear_regression_reaches_the_normal_equations():
    report = last(train(model := linear(), full, steps=400, optimiser=sgd(0.2), held_out=lambda m: full(m, None)))
    exact = torch.linalg.solve(X.T @ X, X.T @ Y)
    assert torch.allclose(model.weight.T, exact, atol=1e-10) and torch.equal(report.model.weight, model.weight)
    assert report.held_out == pytest.approx(float((X @ exact - Y).square().mean()), rel=1e-12)
    assert report.last and report.step == 400 and report.seconds > 0


def test_the_loop_is_the_explicit_one_bit_by_bit():
    # written out: AdamW, its rate, EMA, means of the loss between reports
    steps, ema, at = 150, 0.9, [0, 1, 5, 100]
    model, twin = perceptron(0), perceptron(0)
    reports = []
    for report in train(model, batch, steps=steps, seed=7, rate=warmup_decay(steps, 20), ema=ema, at=at):
        reports.append((report.step, report.loss, copy.deepcopy(report.model.state_dict()), report.last))

    rng, factor = generator(7, "train"), warmup_decay(steps, 20)
    adam = torch.optim.AdamW(twin.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    mean, losses, expected = copy.deepcopy(twin), [], [(0, None)]
    for t in range(steps):
        adam.param_groups[0]["lr"] = 1e-2 * factor(t)
        adam.zero_grad()
        loss = batch(twin, rng)
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
        beta = min(ema, (2 + t) / (11 + t))                        # (1 + t)/(10 + t) after update t = 1, 2, …
        with torch.no_grad():
            for m, p in zip(mean.parameters(), twin.parameters()):
                m.lerp_(p, 1 - beta)
        if t + 1 in (1, 5, 100, 150):
            total = float(np.cumsum(losses)[-1])     # one after the other: Python's sum is exact from 3.12 on
            expected.append((t + 1, total / len(losses), copy.deepcopy(mean.state_dict())))
            losses = []
    assert [r[0] for r in reports] == [0, 1, 5, 100, 150] and [r[3] for r in reports] == [False] * 4 + [True]
    assert reports[0][1] is None
    for (_, value, weights, _), (_, loss, averaged) in zip(reports[1:], expected[1:], strict=True):
        assert value == loss
        assert all(torch.equal(weights[k], averaged[k]) for k in averaged)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters()))


def test_constant_weights_are_their_own_average_and_the_start_is_forgotten():
    # SGD with lr = 1 on |w − 1|²/2 jumps to 1 at once; the start's weight in the average is Π min(β, (1+t)/(10+t))
    def loss(model, rng):
        return (model.weight - 1).square().sum() / 2

    net = linear()
    for report in train(net, loss, steps=30, optimiser=sgd(1.0), ema=0.8, at=range(31)):
        left = math.prod(min(0.8, (1 + t) / (10 + t)) for t in range(1, report.step + 1))
        assert torch.allclose(1 - report.model.weight, torch.full((1, 3), left).double(), atol=1e-12)
    assert torch.equal(net.weight, torch.ones(1, 3).double())


def test_buffers_are_copied_not_averaged():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()
    for report in train(model, batch, steps=8, ema=0.5, at=[3, 8]):
        assert torch.equal(report.model[1].running_mean, model[1].running_mean)
        assert int(report.model[1].num_batches_tracked) == report.step
        assert not report.model.training and model.training
        assert not torch.equal(report.model[0].weight, model[0].weight)


def test_an_ensemble_is_separate_runs():
    # AdamW, its rate, averages and best weights: as if each ran alone
    nets, steps = [perceptron(seed) for seed in range(3)], 60
    more = {"steps": steps, "rate": warmup_decay(steps, 10), "ema": 0.9, "at": range(0, steps, 4)}

    def each(model, rng):
        i = torch.randint(len(X), (8,), generator=rng)
        return (model(X[i]) - Y[i]).square().mean((1, 2))

    def held_out(model):
        return (model(X[:9]) - Y[:9]).square().mean((-1, -2))

    stacked = last(train(Stack(nets), each, held_out=held_out, **more))
    for i, net in enumerate(nets):
        alone = last(train(net, batch, held_out=held_out, **more))
        for mine, theirs in ((stacked.model, alone.model), (stacked.best, alone.best)):
            assert torch.allclose(mine.a[i], theirs[0].weight, atol=1e-12)
            assert torch.allclose(mine.b[i], theirs[2].weight, atol=1e-12)
        assert alone.held_out == pytest.approx(float(stacked.held_out[i]), rel=1e-10)
        assert alone.loss == pytest.approx(float(stacked.loss[i]), rel=1e-10)
        assert alone.best_step == stacked.best_step[i]


# ------------------------------------------------------------------------------------------------- steps and rates

def test_log_steps():
    assert log_steps(1) == [1] and log_steps(2) == [1, 2] and log_steps(8) == [1, 2, 4, 8]
    assert log_steps(1000) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]
    assert log_steps(16, per_octave=2) == [1, 2, 3, 4, 6, 8, 11, 16]
    for steps in (1, 7, 100, 4096, 5000):
        for k in (1, 3, 5):
            made = log_steps(steps, k)
            assert made == sorted(set(made)) and made[0] == 1 and made[-1] == steps
            assert all(b <= max(a + 1, math.ceil(a * 2 ** (1 / k)) + 1) for a, b in itertools.pairwise(made))


def test_warmup_decay():
    f = warmup_decay(100, warmup=10, decay=0.4)
    assert [f(t) for t in (0, 4, 9, 10, 59, 60, 80, 99)] == pytest.approx([0.1, 0.5, 1, 1, 1, 1, 0.5, 1 / 40])
    assert [warmup_decay(5, 0, 0)(t) for t in range(5)] == [1.0] * 5
    both = warmup_decay(10, warmup=10, decay=1.0)                   # they overlap: the lower one
    assert [both(t) for t in range(10)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert all(0 < warmup_decay(7, 30, 0.4)(t) <= 1 for t in range(7))


def test_the_factor_multiplies_each_groups_own_rate():
    # loss = Σ w: SGD moves each weight by −lr · factor, so that the rates can be read off the weights
    net = nn.ParameterList([nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2)])
    f, seen = warmup_decay(20, 5), []

    def groups(ps):
        return torch.optim.SGD([{"params": ps[:1], "lr": 1.0}, {"params": ps[1:], "lr": 0.1}])

    for report in train(net, lambda m, rng: m[0].sum() + m[1].sum(), steps=20, optimiser=groups, rate=f,
                        at=range(21)):
        seen.append([float(p) for p in report.model])
    moved = -np.diff(np.array(seen), axis=0)
    assert moved == pytest.approx(np.outer([f(t) for t in range(20)], [1.0, 0.1]), abs=1e-12)


# ------------------------------------------------------------------------------- held-out loss, best weights, stops

def fed(values):
    """Return a held-out loss that takes `values` one after the other."""
    stream = iter(values)
    return lambda model: next(stream)


def climb(model, rng):
    """Loss whose weight counts the steps: SGD with lr = 1 adds 1 at each."""
    return -sum(p.sum() for p in model.parameters())


def counter(E=None):
    net = nn.ParameterList([nn.Parameter(torch.zeros(E or 1)), nn.Parameter(torch.zeros(E or 1, 2))])
    return net, (lambda m, rng: -(m[0] + m[1].sum(1)) if E else climb(m, rng))


def test_best_weights_of_one_network():
    net, loss = counter()
    values, rows = [5.0, 3.0, 4.0, 3.0, 2.5, 9.0], []
    for report in train(net, loss, steps=6, optimiser=sgd(1.0), at=range(1, 7), held_out=fed(values)):
        rows.append((report.held_out, report.best_held_out, report.best_step, float(report.best[0]),
                     float(report.model[0])))
    lowest = [5.0, 3.0, 3.0, 3.0, 2.5, 2.5]                        # a tie does not replace the earlier one
    assert rows == list(zip(values, lowest, [1, 2, 2, 2, 5, 5], [1.0, 2, 2, 2, 5, 5], [1.0, 2, 3, 4, 5, 6]))


def test_best_weights_per_member():
    net, loss = counter(3)
    values = torch.tensor([[3.0, 1.0, math.inf], [2.0, 2.0, 5.0], [2.5, 0.5, 4.0], [9.0, 9.0, 3.0]])
    report = last(train(net, loss, steps=4, optimiser=sgd(1.0), at=range(1, 5), held_out=fed(values)))
    assert report.best_step.tolist() == [2, 3, 4] and report.best_held_out.tolist() == [2.0, 0.5, 3.0]
    assert report.best[0].tolist() == [2, 3, 4] and report.best[1].tolist() == [[2, 2], [3, 3], [4, 4]]
    assert report.held_out.tolist() == [9, 9, 3] and report.loss.shape == (3,)


def stops_at(values, patience, margin=0.0, E=None):
    net, loss = counter(E)
    steps = len(values)
    reports = [(r.step, r.last) for r in train(net, loss, steps=steps, optimiser=sgd(1.0), at=range(1, steps + 1),
                                               held_out=fed(values), patience=patience, margin=margin)]
    assert [flag for _, flag in reports] == [False] * (len(reports) - 1) + [True]
    assert float(net[0][0].detach()) == reports[-1][0]                      # no step is made after the stop
    return reports[-1][0]


def test_early_stopping():
    down_up = [9, 8, 7, 6, 7, 7, 7, 7, 7, 7, 7, 7]                 # best at 4
    assert stops_at(down_up, 2) == 8 and stops_at(down_up, 1.5) == 6 and stops_at(down_up, 2.75) == 11
    assert stops_at(down_up, 3.5) == 12                            # 14 is never reached: the last step
    assert stops_at(down_up, 2, margin=1.0) == 12                  # never above 6 by more than 1
    assert stops_at([9, 8, 7, 6, 7, 7, 7, 7, 7, 7.5, 7, 7], 2, margin=1.0) == 10
    assert stops_at([9, 8, 7, 6, 7, 7, 5, 7, 7, 7, 7, 7, 7, 7], 2) == 14           # a new best at 7 starts anew
    assert stops_at([9, 8, 7, 6, 7, 7, 7, 6, 6, 7, 7, 7], 2) == 10                 # equal to the best: not above it


def test_early_stopping_waits_for_every_member():
    values = torch.tensor([[5.0, 5], [4, 4], [5, 3], [5, 4], [5, 4], [5, 4], [5, 4], [5, 4]])    # best at 2 and 3
    assert stops_at(values, 2, E=2) == 6 and stops_at(values[:, :1], 2, E=1) == 4


def test_a_best_step_zero_counts_as_one():
    net, loss = counter()
    reports = list(train(net, loss, steps=9, at=range(10), held_out=fed([1.0] + [2.0] * 9), patience=3))
    assert reports[-1].step == 3 and reports[-1].best_step == 0


# -------------------------------------------------------------------------------------------- reports and the table

def test_history_and_frame_of_one_network():
    for report in train(linear(), full, steps=4, at=[0, 2], held_out=lambda m: full(m, None)):
        report.log(twice=2 * report.step, name="x", pair=np.array([1.0, 2.0]), flag=torch.tensor(True))
    table = report.frame()
    assert list(table.columns) == ["step", "loss", "held_out", "twice", "name", "pair", "flag"]
    assert table.step.tolist() == [0, 2, 4] and table.twice.tolist() == [0, 4, 8] and table.loss.isna().tolist()[0]
    assert report.history[1] | {"loss": 0, "held_out": 0} == {
        "step": 2, "loss": 0, "held_out": 0, "twice": 4, "name": "x", "pair": [1.0, 2.0], "flag": True}
    assert "held_out" not in last(train(linear(), full, steps=1)).frame()


def test_frame_of_an_ensemble_has_a_row_per_member():
    net, loss = counter(2)
    for report in train(net, loss, steps=2, optimiser=sgd(1.0), at=[0, 1], held_out=fed(torch.tensor([[1.0, 2]] * 3))):
        report.log(size=report.model[0], one=1, triple=[1, 2, 3])
    table = report.frame()
    assert table.step.tolist() == [0, 0, 1, 1, 2, 2] and table.member.tolist() == [0, 1] * 3
    assert table["size"].tolist() == [0, 0, 1, 1, 2, 2] and table.held_out.tolist() == [1, 2] * 3
    assert table.one.tolist() == [1] * 6 and table.triple[3] == [1, 2, 3]
    assert table.loss.tolist()[2:] == [0, 0, -3, -3] and table.loss.isna().tolist() == [True, True] + [False] * 4


def test_log_refuses_what_cannot_be_kept():
    reports = train(linear(), full, steps=2)
    report = next(reports)
    for name in ("step", "loss", "held_out", "member"):
        with pytest.raises(ValueError, match=f"log = '{name}'"):
            report.log(**{name: 1})
    for value in (object(), {1: 2}, 1j, [1, [object()]]):
        with pytest.raises(ValueError, match=r"bad = .*must be a number"):
            report.log(fine=1, bad=value)
    assert "fine" not in report.history[-1]
    next(reports)
    with pytest.raises(RuntimeError, match="report of step 1 is over"):
        report.log(late=1)


@pytest.mark.untyped                                               # beartype draws from `random`
def test_modes_gradients_and_global_generators():
    def states():
        numbers = np.random.get_state()  # noqa: NPY002
        return [torch.get_rng_state().tolist(), random.getstate(), numbers[1].tolist(), numbers[2]]

    net, before, modes = perceptron(0).eval(), states(), []

    def loss(model, rng):
        modes.append(model.training)
        return batch(model, rng)

    def held_out(model):
        modes.append(model.training)
        return full(model, None)

    with torch.no_grad():                                          # of the caller: not the loop's affair
        for report in train(net, loss, steps=5, at=[1, 3], held_out=held_out):
            assert not report.model(X).requires_grad and not torch.is_grad_enabled()
            assert not any(p.requires_grad for p in report.best.parameters())
            net.train(report.last)                                 # a turn may switch the mode
    assert modes == [True, False, True, True, False, True, True, False]
    assert not net.training and states() == before


def test_held_out_runs_without_gradients_in_eval_mode():
    seen = []
    for report in train(linear(), full, steps=4, held_out=lambda m: seen.append(
            (torch.is_grad_enabled(), m.training)) or full(m, None)):
        report.model.train()                                       # what a turn leaves behind
        assert torch.is_grad_enabled()
    assert seen == [(False, False)] * 3


def test_a_generator_as_seed_is_continued():
    gen = torch.Generator().manual_seed(4)
    one, two = perceptron(0), perceptron(0)
    last(train(one, batch, steps=3, seed=gen))
    assert not torch.equal(gen.get_state(), torch.Generator().manual_seed(4).get_state())
    last(train(two, batch, steps=3, seed=torch.Generator().manual_seed(4)))
    assert torch.equal(one[0].weight, two[0].weight)
    last(train(three := perceptron(0), batch, steps=3, seed=5))
    assert not torch.equal(one[0].weight, three[0].weight)


def test_progress_bar(tmp_path, monkeypatch, capsys):
    bars, made = [], train_module.bar

    def bar(*arguments, **more):
        shown = made(*arguments, **more)
        if isinstance(shown, tqdm):
            bars.append(shown)
        return shown

    monkeypatch.setattr(train_module, "bar", bar)
    next(train(linear(), full, steps=5, checkpoint=tmp_path / "a", every=3))
    assert not bars and not capsys.readouterr().err                # none by default
    assert last(train(linear(), full, steps=5, progress=True)).last
    shown, = bars
    assert (shown.total, shown.initial, shown.n) == (5, 0, 5) and "0/5" in capsys.readouterr().err
    reports = train(linear(), full, steps=5, checkpoint=tmp_path / "a", every=3)
    while next(reports).step < 4:
        pass
    last(train(linear(), full, steps=5, checkpoint=tmp_path / "a", every=3, progress="fitting a line"))
    assert (bars[1].initial, bars[1].n) == (3, 5) and "fitting a line:  60%" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------ checkpoints

def job(path=None, *, stop=None, every=None, log=True, counts=None):
    """Train a net with every kind of state; raise KeyboardInterrupt in the loss of update `stop`."""
    gen, net, calls = torch.Generator().manual_seed(1), perceptron(3), [0]

    def loss(model, rng):
        calls[0] += 1
        if calls[0] == stop:
            raise KeyboardInterrupt
        return batch(model, rng) + 0.01 * torch.randn((), generator=rng).double()

    def held_out(model):
        return full(model, None) + 0.1 * torch.rand((), generator=gen).double()

    seen = []
    for report in train(net, loss, steps=90, seed=gen, rate=warmup_decay(90), ema=0.9, at=[0, 1, 2, 5, 30, 70, 71],
                        held_out=held_out, checkpoint=path, every=every, patience=40):
        seen.append(report.step)
        if log:
            report.log(draw=torch.rand(2, generator=gen))
    if counts is not None:
        counts.append(calls[0])
    bits = [p.detach() for m in (net, report.model, report.best) for p in m.parameters()]
    return seen, report, bits, [gen.get_state()]


def equal(one, two):
    return (one[1].history == two[1].history and all(map(torch.equal, one[2], two[2]))
            and all(map(torch.equal, one[3], two[3])) and one[1].best_step == two[1].best_step)


@pytest.fixture(scope="module")
def reference():
    return job()


@pytest.mark.parametrize(("every", "stops"), [
    (None, (1, 2, 3, 6, 31, 71, 72, 90)), (1, (2, 50)), (7, (1, 20, 64, 65)), (1000, (2, 72)),
])
def test_interrupted_at_any_step_and_resumed(tmp_path, reference, every, stops):
    for stop in stops:
        path = tmp_path / f"{stop}.pt"
        with pytest.raises(KeyboardInterrupt):
            job(path, stop=stop, every=every)
        resumed = job(path, every=every)
        assert equal(reference, resumed)
        assert resumed[1].seconds > 0


def test_interrupted_again_and_again(tmp_path, reference):
    for _ in range(200):
        try:
            done = job(tmp_path / "a", stop=9, every=4)
            break
        except KeyboardInterrupt:
            pass
    assert equal(reference, done)


def test_a_report_is_yielded_again_unless_its_turn_is_covered(tmp_path):
    net = linear()

    def reports(every=None):
        return train(net, full, steps=40, at=[0, 10, 20, 30], checkpoint=tmp_path / f"{every}", every=every)

    for report in reports():
        report.log(turn=report.step)
        if report.step == 20:
            break                                                  # within the turn: not covered
    assert [(r.step, len(r.history)) for r in reports()] == [(20, 3), (30, 4), (40, 5)]
    seen = []
    for report in reports(15):                                     # written at 0, 15 and 30
        seen.append(report.step)
        if report.step == 20:
            break
    assert [r.step for r in reports(15)] == [20, 30, 40]


def test_a_finished_run_yields_its_last_report_only(tmp_path, reference):
    path, counts = tmp_path / "a", []
    first = job(path, counts=counts)
    mark = path.stat().st_mtime_ns, path.stat().st_ino
    again = job(path, counts=counts)
    assert counts == [90, 0] and again[0] == [90] and again[1].last and equal(first, again) and equal(first, reference)
    assert again[1].loss == first[1].loss and again[1].held_out == first[1].held_out
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == mark   # nothing new, nothing written
    assert again[1].seconds >= first[1].seconds


def test_a_finished_run_takes_a_new_measurement(tmp_path):
    def run(**values):
        for report in train(linear(), full, steps=2, checkpoint=tmp_path / "a"):
            report.log(**values)
        return report.history

    run(one=1)
    assert run(two=2)[-1]["one"] == 1 and run()[-1]["two"] == 2


def test_early_stop_is_remembered(tmp_path):
    def run(values):
        net, loss = counter()
        return [r.step for r in train(net, loss, steps=20, at=range(1, 21), held_out=fed(values), patience=2,
                                      optimiser=sgd(1.0), checkpoint=tmp_path / "a")]

    assert run([3.0, 2.0, 4.0, 4.0, 4.0]) == [1, 2, 3, 4] and run([]) == [4]


def test_what_changes_nothing_may_change(tmp_path, reference):
    with pytest.raises(KeyboardInterrupt):
        job(tmp_path / "a", stop=50, every=9)
    assert equal(reference, job(tmp_path / "a", every=4))


def variants():
    base = {"steps": 6, "seed": 0, "ema": 0.5, "held_out": lambda m: full(m, None), "patience": 50.0,
            "margin": 0.1, "optimiser": sgd(0.1, momentum=0.9), "rate": warmup_decay(6)}
    yield base, None
    for name, value, key in [
        ("steps", 7, "steps = 6, here steps = 7"),
        ("seed", 1, "seed = 0, here seed = 1"), ("ema", 0.6, "ema = 0.5, here ema = 0.6"),
        ("ema", None, "ema = 0.5, here ema = None"),
        ("patience", 60.0, "patience = 50.0"), ("margin", 0.2, "margin = 0.1"), ("at", [3], "at = "),
        ("optimiser", sgd(0.2, momentum=0.9), r"optimiser\[0\].lr = 0.1, here optimiser\[0\].lr = 0.2"),
        ("optimiser", None, "optimiser = 'SGD', here optimiser = 'AdamW'"),
        ("rate", warmup_decay(6, 3), r"rate\(0\)"), ("rate", None, r"rate\(0\) = .*, here rate\(0\) = absent"),
    ]:
        yield base | {name: value}, key


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "a"
    (base, _), *others = variants()
    last(train(linear(), full, checkpoint=path, **base))
    whole = path.read_bytes()
    for arguments, key in others:
        with pytest.raises(ValueError, match=key):
            next(train(linear(), full, checkpoint=path, **arguments))
    wide = nn.Linear(4, 1, bias=False).double()
    with pytest.raises(ValueError, match=r"model.weight = 'torch.float64 \[1, 3\]', here .*\[1, 4\]"):
        next(train(wide, full, checkpoint=path, **base))
    with pytest.raises(ValueError, match=r"model.weight = 'torch.float64.*float32"):
        next(train(linear().float(), full, checkpoint=path, **base))
    assert path.read_bytes() == whole and next(train(linear(), full, checkpoint=path, **base)).last
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="cut short"):
        next(train(linear(), full, checkpoint=path, **base))


@pytest.mark.skipif(sys.platform != "linux", reason="forks after torch is imported")
def test_killed_at_any_instant(tmp_path):
    # SIGKILL at random times, and at each fsync and rename in turn; see killed_run
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}       # autograd on GPUs does not fork
    done = subprocess.run([sys.executable, "-m", "tests.lab.training.killed_run", tmp_path], cwd=ROOT, env=env,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kills = dict(line.split() for line in done.stdout.splitlines())
    assert int(kills["random"]) >= 5 and int(kills["writing"]) >= 10
    expected = torch.load(tmp_path / "reference.pt", weights_only=True)
    assert len(expected["history"]) == 21
    for kind in kills:
        found = torch.load(tmp_path / f"{kind}.pt", weights_only=True)
        assert found["history"] == expected["history"] and found["best_step"] == expected["best_step"]
        assert all(map(torch.equal, found["rng"], expected["rng"]))
        for net, state in expected["states"].items():
            assert all(torch.equal(found["states"][net][name], t) for name, t in state.items())
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".ckpt"] * 2 + [".pt"] * 3     # no leftovers
    assert len(expected["best_step"]) == killed_run.E


class Interrupted:
    """A loss that stops the run in its update `stop` and counts the updates."""

    def __init__(self, loss, stop=None):
        self.loss, self.stop, self.calls = loss, stop, 0

    def __call__(self, model, rng):
        self.calls += 1
        if self.calls == self.stop:
            raise KeyboardInterrupt
        return self.loss(model, rng)


def resumed(path, run, stop):
    """Return ``run(None, None)`` left alone, and what becomes of it when its update `stop` is interrupted."""
    with pytest.raises(KeyboardInterrupt):
        run(path, stop)
    return run(None, None), run(path, None)


@pytest.mark.untyped
@pytest.mark.parametrize("number", [float, np.float64, np.float32, np.array, lambda x: np.array(x, np.float32)])
def test_rates_from_numpy_are_resumed_as_pythons_own(tmp_path, number):
    def run(path, stop, plain=lambda x: x):
        def adam(parameters):
            made = torch.optim.AdamW(parameters)
            for name, value in {"lr": 0.03, "eps": 1e-3, "weight_decay": 0.1}.items():
                made.param_groups[0][name] = plain(number(value))
            made.param_groups[0]["betas"] = plain(number(0.9)), plain(number(0.99))
            return made

        net = perceptron(0)
        report = last(train(net, Interrupted(batch, stop), steps=9, optimiser=adam, checkpoint=path, every=1, ema=0.5,
                            rate=lambda t: plain(number(1 - t / 12)), margin=number(0.0)))
        return [*net.parameters(), *report.model.parameters()]

    alone, again = resumed(tmp_path / "a", run, 5)
    assert all(map(torch.equal, alone, again)) and all(map(torch.equal, alone, run(None, None, float)))


@given(st.dictionaries(st.sampled_from(["name", "more"]), st.recursive(
    st.sampled_from([None, True, 3, 0.5, "w", np.float32(0.5), np.int64(2), np.True_, np.array(0.5), torch.float32,
                     torch.ones(2), nn.Parameter(torch.ones(1)), np.ones(2), {1}, object(), print, 1j, b"", Path("a")]),
    lambda inner: st.lists(inner, max_size=2) | st.tuples(inner, inner) | st.dictionaries(st.integers(0, 3), inner),
    max_leaves=4)))
def test_what_a_group_holds_is_refused_before_the_first_step_or_loaded_again(extra):
    path, loss = FOLDER / "group.pt", Interrupted(batch)
    path.unlink(missing_ok=True)

    def start():
        return train(linear(), loss, steps=3, checkpoint=path, optimiser=lambda p: torch.optim.SGD(
            [{"params": p} | extra], 0.1))

    try:
        last(start())
    except ValueError as error:
        assert not path.exists() and loss.calls == 0
        assert "nothing else could be loaded" in str(error) or "must be a number" in str(error)
    else:
        loss.stop, loss.calls = 1, 0
        assert last(start()).step == 3 and loss.calls == 0


@pytest.fixture(autouse=True, scope="module")
def _folder_of_the_property_test(tmp_path_factory):
    global FOLDER
    FOLDER = tmp_path_factory.mktemp("groups")


def test_what_is_logged_is_plain(tmp_path):
    class Size(enum.IntEnum):
        SMALL = 1

    class Name(enum.StrEnum):
        A = "a"

    for _ in range(2):
        for report in train(linear(), full, steps=2, checkpoint=tmp_path / "a"):
            report.log(size=Size.SMALL, name=[Name.A], rate=np.float64(0.5), pair=(np.int8(1), np.bool_(True)))
    row = report.history[-1]
    assert [type(x) for x in (row["size"], *row["name"], row["rate"], *row["pair"])] == [int, str, float, int, bool]
    assert (row["size"], row["name"], row["rate"], row["pair"]) == (1, ["a"], 0.5, [1, True])


OPTIMISERS = [name for name, kind in vars(torch.optim).items() if isinstance(kind, type)
              and name not in ("Optimizer", "LBFGS", "SparseAdam", "Muon")]      # a closure; sparse ones, matrices only


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_is_resumed(tmp_path, name, dtype):
    # NAdam's product of momenta is float32 for weights of float64, and torch casts it when it loads
    def run(path, stop):
        net = perceptron(0).to(dtype)
        last(train(net, Interrupted(lambda m, rng: m(torch.rand(8, 3, generator=rng).to(dtype)).square().mean(), stop),
                   steps=9, checkpoint=path, every=1, optimiser=lambda p: getattr(torch.optim, name)(p, lr=0.01)))
        return list(net.parameters())

    alone, again = resumed(tmp_path / "a", run, 6)
    assert all(map(torch.equal, alone, again)) and not torch.equal(alone[0], perceptron(0).to(dtype)[0].weight)


@pytest.mark.parametrize("E", [None, 2])
def test_resuming_where_a_part_is_trained(tmp_path, E):
    # the first layer is not trained: it gets no step, and keeps none of the gradients that were there before
    def make():
        net = perceptron(0) if E is None else Stack([perceptron(seed) for seed in range(E)])
        return net, list(net.parameters())

    def loss(model, rng):
        i = torch.randint(len(X), (8,), generator=rng)
        return (model(X[i]) - Y[i]).square().mean(None if E is None else (1, 2))

    def run(path, stop):
        net, parameters = make()
        for p in parameters:
            p.grad = torch.full_like(p, 1e9)                       # of whatever was done before
        last(train(net, Interrupted(loss, stop), steps=9, seed=2, checkpoint=path, every=1,
                   optimiser=lambda p: torch.optim.SGD(p[1:], 0.1)))
        return parameters

    alone, again = resumed(tmp_path / "a", run, 5)
    net, (first, second) = make()
    rng = generator(2, "train")
    for _ in range(9):
        grad, = torch.autograd.grad(loss(net, rng).sum(), [second])
        second.data -= 0.1 * grad
    assert torch.equal(alone[0], first) and all(map(torch.equal, alone, again))
    assert torch.allclose(alone[1], second, atol=1e-5) and float(alone[0].grad.abs().max()) < 1e6


class Empty(nn.Sequential):
    """A network that passes for false."""

    def __len__(self):
        return 0


@pytest.mark.parametrize("wrap", [Empty, lambda net: torch.compile(net, backend="eager"),
                                  lambda net: torch.compile(Empty(net), backend="eager")])
def test_a_network_is_there_whatever_its_length(tmp_path, wrap):
    # a compiled module asks the one within for its length, which a linear layer has not
    def run(path, stop):
        net, values = nn.Linear(1, 1, bias=False), [5.0, 3.0, 1.0, 4.0, 2.0, 6.0]
        nn.init.zeros_(net.weight)                                 # it counts the steps
        return last(train(wrap(net), Interrupted(lambda m, rng: -m(torch.ones(1)).sum(), stop), steps=5, at=range(6),
                          optimiser=sgd(1.0), held_out=lambda m: values[round(float(m(torch.ones(1))))],
                          checkpoint=path))

    for report in resumed(tmp_path / "a", run, 5):
        assert report.best_step == 2 and report.step == 5 and [float(p) for p in report.best.parameters()] == [2.0]
        assert [float(p) for p in report.model.parameters()] == [5.0]


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    last(train(linear(), full, steps=2, checkpoint="~/new/a.pt"))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.pt"] and not (tmp_path / "~").exists()
    assert [r.step for r in train(linear(), full, steps=2, checkpoint=Path("~/new/a.pt"))] == [2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_resume_on_a_gpu(tmp_path):
    def run(path, stop, device="cuda"):
        net = perceptron(0).to(device)
        data = X.to(device), Y.to(device)
        calls = [0]

        def loss(model, rng):
            calls[0] += 1
            if calls[0] == stop:
                raise KeyboardInterrupt
            i = torch.randint(len(X), (8,), generator=rng)
            return (model(data[0][i]) - data[1][i]).square().mean()

        return last(train(net, loss, steps=40, ema=0.9, checkpoint=path, held_out=lambda m: loss(m, generator(0, "h"))))

    for path, stop in (("a", 20), ("b", 21)):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / path, stop)
    one, two = run(tmp_path / "a", None), run(None, None)
    assert one.history == two.history and torch.equal(one.best[0].weight, two.best[0].weight)
    assert run(tmp_path / "b", None, "cpu").loss == pytest.approx(two.loss, rel=1e-6)


# ------------------------------------------------------------------------------------------------- numbers that blow

@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("step", [1, 30, 64, 65, 100])
def test_a_loss_that_is_not_finite_is_named_with_its_step(tmp_path, bad, step):
    calls = [0]

    def loss(model, rng):
        calls[0] += 1
        return batch(model, rng) * (bad if calls[0] == step else 1.0)

    with pytest.raises(FloatingPointError, match=rf"loss = {bad} at step {step}:"):
        last(train(linear(), loss, steps=100, checkpoint=tmp_path / "a", every=10))
    assert calls[0] <= 100
    resumed = next(train(linear(), batch, steps=100, checkpoint=tmp_path / "a", every=10))
    assert resumed.model.weight.isfinite().all()


def test_a_member_that_blows_up_is_named():
    net, loss = counter(3)
    calls = [0]

    def broken(model, rng):
        calls[0] += 1
        return loss(model, rng) * torch.tensor([1.0, 1.0, math.nan if calls[0] == 5 else 1.0])

    with pytest.raises(FloatingPointError, match="loss = nan at step 5, member 2"):
        last(train(net, broken, steps=20))
    with pytest.raises(FloatingPointError, match=r"held_out = \[1.0, nan, 2.0\] at step 1"):
        last(train(counter(3)[0], loss, steps=20, held_out=lambda m: torch.tensor([1.0, math.nan, 2.0])))


@pytest.mark.parametrize(("at", "every"), [([0, 1], None), ([0], 1)])      # seen at a report, and without one
def test_weights_that_blow_up_under_a_finite_loss_are_not_written(tmp_path, at, every):
    # sqrt has a finite value and an infinite slope at 0: the loss is finite, the step is not
    def loss(model, rng):
        a, b, c = model[0].square() + 0 * model[1].sum(1)
        return torch.stack([a, b.sqrt(), c])

    more = {"steps": 20, "optimiser": sgd(), "checkpoint": tmp_path / "a", "at": at, "every": every}
    net = nn.ParameterList([nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3, 2))])
    with pytest.raises(FloatingPointError, match="weights: '0' is not finite at step 1, member 1"):
        last(train(net, loss, **more))
    fresh = nn.ParameterList([nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3, 2))])
    assert next(train(fresh, lambda m, rng: m[0] * 0, **more)).step > 0
    assert torch.equal(fresh[0], torch.zeros(3))                   # as the turn of step 0 left it


# ------------------------------------------------------------------------------------------------- modes of torch

def test_modes_in_which_steps_go_wrong_are_refused_before_the_first(tmp_path):
    loss = Interrupted(batch)
    for mode, name in ((torch.inference_mode, "torch.inference_mode"),
                       (lambda: torch.autocast("cpu", torch.bfloat16), "torch.autocast")):
        reports, net = train(linear(), loss, steps=3, checkpoint=tmp_path / name, at=[0]), linear()
        next(reports)
        with mode():
            for start in (lambda net=net: train(net, loss, steps=3), lambda reports=reports: next(reports)):
                with pytest.raises(ValueError, match=f"{name} = True: must be off around train"):
                    start()
    with pytest.raises(ValueError, match="was not made in inference mode"):
        train(torch.inference_mode()(linear)(), loss, steps=3)
    with pytest.raises(ValueError, match="not on the meta device"):
        train(linear().to("meta"), loss, steps=3)
    assert loss.calls == 0 and last(train(linear(), loss, steps=3, checkpoint=tmp_path / name, at=[0])).step == 3


def test_autocast_within_the_loss_trains():
    net, x, y = linear().float(), X.float(), Y.float()

    def loss(model, rng):
        with torch.autocast("cpu", torch.bfloat16):
            return (model(x) - y).square().mean()

    last(train(net, loss, steps=400, optimiser=sgd(0.2)))
    assert torch.allclose(net.weight.double(), torch.linalg.lstsq(X, Y).solution.T, atol=0.05)


@pytest.mark.parametrize("default", [
    lambda: contextlib.nullcontext(), lambda: torch.device("meta"), lambda: default_dtype(torch.float64),
    lambda: default_dtype(torch.bfloat16),
], ids=["none", "meta device", "float64", "bfloat16"])
def test_the_defaults_of_torch_change_nothing(tmp_path, default):
    def run(path, stop, default=default):
        net = Stack([perceptron(seed) for seed in range(2)]).float()
        x, y, gen = X.float(), Y.float(), torch.Generator().manual_seed(0)

        def loss(model, rng):
            i = torch.randint(len(x), (8,), generator=rng, device="cpu")
            return (model(x[i]) - y[i]).square().mean((1, 2))

        reports = train(net, Interrupted(loss, stop), steps=9, checkpoint=path, every=1, ema=0.5,
                        seed=gen, held_out=lambda m: loss(m, gen).tolist(), patience=100)
        with default():                                            # another device is refused at the call, by generator
            for report in reports:
                report.log(size=report.model.a.flatten(1).norm(dim=1))
                assert report.held_out.dtype == report.best_held_out.dtype == torch.float64
            assert report.loss.device.type == report.held_out.device.type == "cpu"
        return [*net.parameters(), *report.best.parameters(), report.loss, torch.tensor(report.frame()["size"])]

    alone, again = resumed(tmp_path / "a", run, 5)
    assert all(map(torch.equal, alone, again))
    assert all(map(torch.equal, alone, run(None, None, contextlib.nullcontext)))


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


# -------------------------------------------------------------------------------------------------------- bad input

@pytest.mark.untyped
@pytest.mark.parametrize(("arguments", "message"), [
    ({"steps": 0}, "steps = 0"), ({"steps": 1.5}, "steps = 1.5"), ({"steps": True}, "steps = True"),
    ({"ema": 1.0}, "ema = 1.0"), ({"ema": -0.1}, "ema = -0.1"), ({"ema": math.nan}, "ema = nan"),
    ({"at": [2, 1]}, r"at = \[2, 1\]: must be increasing"), ({"at": [1, 1]}, "at = "), ({"at": [1, 11]}, "at = 11"),
    ({"at": [-1]}, "at = -1"), ({"at": [1.5]}, "at = 1.5"), ({"patience": 1.0, "held_out": parabola}, "patience = 1.0"),
    ({"patience": 2.0}, "patience = 2.0: must be None without held_out"), ({"margin": -1.0}, "margin = -1.0"),
    ({"every": 0}, "every = 0"), ({"seed": -1}, "seed = -1"),
    ({"rate": lambda t: -1.0}, "rate = -1.0"), ({"rate": lambda t: math.nan}, "rate = nan"),
])
def test_bad_arguments_are_refused_before_anything_runs(arguments, message):
    with pytest.raises(ValueError, match=message):
        train(dummy(), parabola, **{"steps": 10} | arguments)


@pytest.mark.untyped
@pytest.mark.parametrize(("loss", "message"), [
    (lambda m, rng: m.weight, r"loss = \(1, 1\)"), (lambda m, rng: 3.0, "loss = 'float'"),
    (lambda m, rng: torch.tensor(1.0), r"loss = \(\): must be a tensor with a gradient"),
    (lambda m, rng: m.weight.sum().expand(2), r"loss = 'of shape \(2,\)': .*'weight' \(1, 1\) is not stacked"),
    (lambda m, rng: m.weight[0, :0], r"loss = \(0,\)"),
])
def test_bad_losses(loss, message):
    with pytest.raises(ValueError, match=message):
        next(train(dummy(), loss, steps=1))


@pytest.mark.untyped
def test_bad_models_and_held_out_values():
    with pytest.raises(ValueError, match="model = 'Tanh'"):
        train(nn.Tanh(), parabola, steps=1)
    with pytest.raises(ValueError, match="model = 'Linear'"):
        train(dummy().requires_grad_(False), parabola, steps=1)
    with pytest.raises(ValueError, match="optimiser = 'SGD': must be over parameters of the model only"):
        train(dummy(), parabola, steps=1, optimiser=lambda p: sgd()([*p, nn.Parameter(torch.zeros(1))]))
    for value in (torch.ones(1, 1), torch.ones(0)):
        with pytest.raises(ValueError, match="held_out = "):
            next(train(dummy(), parabola, steps=1, held_out=lambda m, value=value: value))
    with pytest.raises(ValueError, match=r"held_out = .* is not stacked"):
        next(train(dummy(), parabola, steps=1, held_out=lambda m: torch.ones(2)))
    with pytest.raises(ValueError, match=r"held_out = \(\).*the same each time"):
        last(train(counter(2)[0], counter(2)[1], steps=2, held_out=fed([torch.ones(2), torch.ones(())])))
    shapes = iter([1, 2])
    with pytest.raises(ValueError, match=r"loss = .*of one shape"):
        last(train(dummy(), lambda m, rng: m.weight.view(-1) if next(shapes) == 1 else m.weight.sum(), steps=2))


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "message"), [
    (lambda: log_steps(0), "steps = 0"), (lambda: log_steps(4, 0), "per_octave = 0"),
    (lambda: warmup_decay(0), "steps = 0"), (lambda: warmup_decay(9, -1), "warmup = -1"),
    (lambda: warmup_decay(9, 1, 1.5), "decay = 1.5"),
])
def test_bad_steps_and_rates(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_first_checkpoint_exists_before_the_first_step(tmp_path):
    def stopped(model, rng):
        raise KeyboardInterrupt

    net, more = linear(), {"steps": 3, "checkpoint": tmp_path / "a", "optimiser": sgd()}
    with pytest.raises(KeyboardInterrupt):
        next(train(net, stopped, **more))
    net.weight.data.fill_(9.0)                                     # in one session, the model may have moved on
    next(train(net, lambda m, rng: m.weight.sum() * 0, **more))
    assert torch.equal(net.weight, torch.zeros(1, 3).double())
