import numpy as np
import pytest
import torch

from hierlib.rhm import Grammar, complexity, contexts, theory
from hierlib.rhm.contexts import Pair

RHM = {"v": 12, "m": 3, "s": 2}                                # f = 1/4


def mean_square(v, m, s, k, *, below=0, replicas=6, **place):
    """Measured variance of C(mu, nu) over tuples, tokens and grammars, of infinitely many strings."""
    grammars = (Grammar.random(v, m, s, k + 1 + below, seed) for seed in range(replicas))
    return np.mean([float(contexts.population_covariance(g, Pair(k, **place)).square().mean()) for g in grammars])


def test_values_by_hand():
    assert [theory.sample_complexity(l, **RHM) for l in (1, 2, 3)] == pytest.approx([36, 432, 1296])
    assert theory.latent_sample_complexity(**RHM) == pytest.approx(432)
    assert theory.covariance_variance(2, **RHM) == pytest.approx(0.75 / (1728 * 243))
    assert theory.token_covariance_variance(2, **RHM) == pytest.approx(0.75 / (1728 * 27))
    assert theory.sampling_variance([1, 1000], **RHM) == pytest.approx([1 / 432, 1 / 432000])
    assert theory.covariance_variance(1, **RHM, below=2) == pytest.approx(0.75 / (1728 * 81) * (1 + 1 / 3 + 1 / 9))
    assert theory.sample_complexity(2, v=8, m=8, s=3) == pytest.approx(8**4 * 8 / 7)      # f = 8/64


def test_theory_offers_the_same_functions():
    for name in complexity.__all__:
        assert getattr(theory, name) is getattr(complexity, name) and name in theory.__all__


@pytest.mark.parametrize("s", [2, 3])
@pytest.mark.parametrize("level", [2, 3, 4])
def test_signal_equals_noise_at_the_threshold(level, s):
    rhm = {"v": 32, "m": 8, "s": s}
    P = theory.sample_complexity(level, **rhm)
    assert theory.sampling_variance(P, **rhm) == pytest.approx(theory.covariance_variance(level - 1, **rhm))
    latent = theory.latent_sample_complexity(**rhm)
    assert theory.sampling_variance(latent, **rhm) == pytest.approx(theory.covariance_variance(1, **rhm))


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize(("v", "m", "s"), [(64, 8, 2), (128, 8, 2), (256, 16, 2), (64, 128, 3)])
def test_variance_of_tuple_and_token(v, m, s, k):
    measured = mean_square(v, m, s, k, sibling=s - 1, replicas=16 if v < 128 else 2)
    ratio = measured / theory.covariance_variance(k, v=v, m=m, s=s)
    assert 0.85 < ratio < 1.05
    assert ratio == pytest.approx(1 - (k + 2) / v, abs=0.05)              # as said in the module's docstring


@pytest.mark.parametrize("k", [2, 3])
def test_variance_with_latent_contexts(k):
    measured = mean_square(64, 8, 2, k, level=k - 1)
    assert measured / theory.covariance_variance(1, v=64, m=8, s=2) == pytest.approx(0.95, abs=0.06)


@pytest.mark.parametrize("m", [2, 4])
def test_an_ancestor_below_the_root_strengthens_the_signal(m):
    root = mean_square(64, m, 2, 1, replicas=40)
    for below in (1, 2):
        gain = mean_square(64, m, 2, 1, below=below, replicas=40) / root
        assert gain == pytest.approx(sum(m**-i for i in range(below + 1)), rel=0.06)
        predicted = [theory.covariance_variance(1, v=64, m=m, s=2, below=j) for j in (below, 0)]
        assert gain == pytest.approx(predicted[0] / predicted[1], rel=0.06)


@pytest.mark.parametrize("l", [1, 2, 3])
def test_variance_of_two_tokens(l):
    squares = []
    for seed in range(8):
        g = Grammar.random(64, 8, 2, l, seed)
        hot = torch.nn.functional.one_hot(g.rules, g.v).double()         # (L, parent, rule, place, child)
        law = torch.einsum("prb,prc->bc", hot[l - 1, :, :, 0], hot[l - 1, :, :, 1]) / (g.v * g.m)
        for level in range(l - 2, -1, -1):                               # leftmost tokens of both subtrees
            step = hot[level, :, :, 0].mean(1)
            law = step.T @ law @ step
        squares.append(float(contexts.covariance(law).square().mean()))
    ratio = np.mean(squares) / theory.token_covariance_variance(l, v=64, m=8, s=2)
    assert ratio == pytest.approx(1 - 2 * l / 64, abs=0.06)


def test_sampling_variance_is_that_of_counts():
    g, P = Grammar.random(32, 4, 2, 2, seed=0), 5000
    law = contexts.joint(g, Pair(1))
    errors = [(contexts.draws(law, [P], seed=seed)[0] / P - law).square().mean() for seed in range(5)]
    assert float(sum(errors) / 5) == pytest.approx(theory.sampling_variance(P, v=32, m=4, s=2), rel=0.02)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: theory.sample_complexity(0, **RHM), "level = 0"),
    (lambda: theory.sample_complexity(1.5, **RHM), "level = 1.5"),
    (lambda: theory.sample_complexity(2, v=8, m=8, s=2), "m = 8"),               # f = 1
    (lambda: theory.sample_complexity(1, v=8, m=9, s=2), "m = 9"),
    (lambda: theory.sample_complexity(2, v=1, m=1, s=2), "v = 1"),
    (lambda: theory.sample_complexity(2, v=8, m=2, s=1), "s = 1"),
    (lambda: theory.latent_sample_complexity(v=4, m=16, s=3), "m = 16"),
    (lambda: theory.covariance_variance(0, **RHM), "k = 0"),
    (lambda: theory.covariance_variance(1, **RHM, below=-1), "below = -1"),
    (lambda: theory.token_covariance_variance(0, **RHM), "l = 0"),
    (lambda: theory.sampling_variance(0, **RHM), "P = "),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_without_correlations_tuples_can_still_be_counted():
    assert theory.sample_complexity(1, v=8, m=8, s=2) == 64
    assert theory.covariance_variance(1, v=8, m=8, s=2) == 0
