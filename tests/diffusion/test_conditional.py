"""Ensembles of conditional denoisers: who sees what, and how they are asked; the two phenomena test what they learn."""

import numpy as np
import pytest
import torch
from torch import nn

from hierlib import lab
from hierlib.diffusion import gaussian, schedule
from hierlib.diffusion.conditional import Denoisers
from tests.drawn import gen


class Affine(nn.Module):
    """A network whose weights are random and that uses all that it is told."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, generator=lab.generator(seed, "Affine")))

    def forward(self, x, alpha_bar, c):
        w = self.weight
        return w[0] * x + w[1] * alpha_bar[:, None] + w[2] * c.sum(1, keepdim=True) + w[3]


def data(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 2, generator=gen(seed))
    return x, x.cumsum(1)[:, [1, 0, 1]]                                # no two conditions are alike


def test_minibatches_are_drawn_from_ones_own_set():
    sets = [data(n, seed) for seed, n in enumerate((3, 50, 1))]
    d = Denoisers(sets, Affine, 2, batch=4000)
    assert len(d) == 6 and d.sizes.tolist() == [3, 50, 1]
    x0, conditions = d.minibatch(gen())
    assert x0.shape == (6, 4000, 2) and conditions.shape == (6, 4000, 3)
    for member in range(6):
        x, c = sets[member // 2]
        same = (conditions[member, :, None] == c).all(-1)              # (4000, n)
        assert (same.sum(1) == 1).all()
        assert torch.equal(x0[member], x[same.long().argmax(1)])
        expected = 4000 / len(x)                                       # χ² of uniform counts
        chi2 = float(((same.sum(0) - expected) ** 2 / expected).sum())
        assert abs(chi2 - len(x) + 1) <= 5 * (2 * (len(x) - 1)) ** 0.5
    assert not torch.equal(conditions[2], conditions[3])


@pytest.mark.parametrize("common", [False, True])
def test_pairs_of_members_differ_in_their_data_only(common):
    sets = [data(20), data(20, 1)]
    d = Denoisers(sets, Affine, 3, batch=50, paired=True, common=common)
    (x0, c), weights = d.minibatch(gen()), d.model.network.stack.weight
    rows = [(x0[k, :, None] == sets[k // 3][0]).all(-1).long().argmax(1) for k in range(6)]
    for a in range(3):
        assert torch.equal(rows[a], rows[a + 3]) and torch.equal(weights[a], weights[a + 3])
        assert torch.equal(c[a + 3], sets[1][1][rows[a]])
    assert torch.equal(rows[0], rows[1]) is common and not torch.equal(weights[0], weights[1])
    seen = []
    spy = gaussian.Denoiser(lambda x, alpha_bar, c: seen.append((x, alpha_bar)) or torch.zeros_like(x), "noise", 2)
    loss = d.loss(spy, gen())                                          # of which only the noise is left
    assert torch.equal(loss[:3], loss[3:]) and (len(loss.unique()) == 1) is common
    assert torch.equal(seen[0][1][:3], seen[0][1][3:])


def test_times_are_uniform_and_stratified():
    d = Denoisers([data(5)], Affine, schedule="cosine")
    signals = d.signals(gen(), 2, 3, 400)
    assert signals.shape == (2, 3, 400) and signals.dtype == torch.float32
    tau = np.sort(schedule.time_of_alpha_bar(signals.double().numpy(), "cosine"))        # of each minibatch
    assert (np.floor(400 * tau) == np.arange(400)).mean() > 0.98                           # one in each 400th
    assert abs(tau.mean() - 0.5) < 5 / (12 * 2400) ** 0.5


@pytest.mark.parametrize("predicts", ["data", "noise", "velocity"])
def test_all_members_start_from_the_same_noises(predicts):
    d = Denoisers([data(4), data(6, 1)], Affine, 2, predicts, steps=3, seed=5)
    own = torch.stack([data(7, 2)[1], data(7, 3)[1]])
    found = d.sample(own)
    assert found.shape == (4, 7, 2) and torch.equal(found, d.sample(own))
    assert torch.allclose(d.sample(own[0])[:2], found[:2]) and not torch.allclose(d.sample(own[0])[2:], found[2:])
    x, start = d.noise(7), 1e-4 if predicts == "noise" else None       # ᾱ = 0 says nothing of the data
    assert torch.equal(x[0], x[3]) and not torch.equal(x[0], Denoisers([data(4)], Affine, seed=6).noise(7)[0])
    for k in range(4):
        alone = gaussian.Denoiser(d.model.network.member(k), predicts)
        with torch.no_grad():
            expected = gaussian.sample(alone, x[0], schedule.grid(3, "cosine", start=start), own[k // 2])
        assert torch.allclose(found[k], expected, atol=1e-4 * float(expected.abs().max()))


def test_a_table_says_what_the_sets_are():
    d = Denoisers([data(4), data(6, 1)], Affine, 2, batch=3, labels={"M": [4, 6], "name": ["a", "b"]})
    frame = d.follow(3, lambda model: {"weight": model.network.stack.weight[:, 0], "both": 1}, at=[2], lr=0.1)
    assert list(frame) == ["step", "member", "set", "seed", "M", "name", "loss", "weight", "both"]
    assert frame.M.tolist() == [4, 4, 6, 6] * 2 and frame.name.tolist() == ["a", "a", "b", "b"] * 2
    assert frame.seed.tolist() == [0, 1] * 4 and frame.step.tolist() == [2] * 4 + [3] * 4
    moved = (frame.weight.to_numpy()[4:] - frame.weight.to_numpy()[:4])
    assert (abs(moved) > 0.01).all()
    again = Denoisers([data(4), data(6, 1)], Affine, 2, batch=3)
    *_, report = again.fit(3, at=[2], lr=0.1)
    assert again.table(report)["loss"].tolist() == frame["loss"].tolist()


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: Denoisers([], Affine), "sets = '0 with"),
    (lambda: Denoisers([data(3), (data(3)[0], torch.zeros(3, 1))], Affine), "sets = '2 with"),
    (lambda: Denoisers([data(3), data(4)], Affine, paired=True), "sets = 'of sizes \\[3, 4\\]"),
    (lambda: Denoisers([data(3)], Affine, batch=0), "batch = 0"),
    (lambda: Denoisers([data(3)], Affine, chunk=0), "chunk = 0"),
    (lambda: Denoisers([data(3)], Affine, predicts="score"), "predicts = 'score'"),
    (lambda: Denoisers([data(3)], Affine).sample(torch.zeros(2, 5)), "conditions = "),
    (lambda: Denoisers([data(3)] * 3, Affine).sample(torch.zeros(2, 5, 3)), "for 2 sets"),
    (lambda: Denoisers([data(3)], Affine).fit(3, lr=0.0), "lr = 0"),
    (lambda: Denoisers([data(3)], Affine).fit(3, decay=-0.1), "decay = -0.1"),
    (lambda: Denoisers([data(3)], Affine).fit(3, betas=(0.9, 1.0)), "betas = \\(0.9, 1.0\\)"),
    (lambda: Denoisers([data(3)], Affine).fit(3, betas=0.9), "betas = 0.9"),
    (lambda: Denoisers([data(3)], Affine).fit(0), "steps = 0"),
    (lambda: Denoisers([data(3)], Affine, schedule="none").loss(None, gen()), "schedule = 'none'"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
