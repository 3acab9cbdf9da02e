import pytest
import torch

from hierlib import rhm
from hierlib.rhm import Grammar, channels, controls, dynamics, population


def test_correlations_and_susceptibility_equal_those_of_the_dense_covariance():
    gen = torch.Generator().manual_seed(0)
    same = (torch.rand(3, 40, 9, generator=gen) + torch.rand(3, 40, 1, generator=gen)) > 1.0
    covariances = [torch.cov(row.T) for row in 2.0 * same.double() - 1]
    each = [(same[row:row + 1], C) for row, C in enumerate(covariances)]
    for rows, C in (*each, (same, torch.stack(covariances).mean(0))):
        found, inside = dynamics.correlations(rows, 3), sum(C[i:i + 3, i:i + 3].sum() for i in (0, 3, 6))
        expected = [C.trace() / 9, (inside - C.trace()) / 18, (C.sum() - inside) / 54]
        assert torch.allclose(found, torch.stack(expected), atol=1e-12)
        assert dynamics.susceptibility(rows, 3) == pytest.approx(float(C.sum() / C.trace()))


def test_leaves_that_change_together_or_alone():
    gen = torch.Generator().manual_seed(0)
    together = (torch.rand(2, 500, 1, generator=gen) < 0.5).expand(-1, -1, 8)
    assert dynamics.susceptibility(together, 2) == pytest.approx(8)
    alone = torch.rand(20, 500, 8, generator=gen) < 0.5
    assert dynamics.susceptibility(alone, 2) == pytest.approx(1, abs=0.05)


def test_u_turn_limits():
    g = Grammar.random(8, 3, 2, 4, seed=0)
    trees = g.sample(50, seed=0)
    same = dynamics.u_turn(g, trees, channels.masking(trees[0], 0.0, 8), samples=3, seed=0)
    assert [tuple(t.shape) for t in same] == [(50, 3, 2 ** (4 - l)) for l in range(5)]
    assert all(t.all() for t in same)
    same = dynamics.u_turn(g, trees, channels.masking(trees[0], 1.0, 8), samples=40, seed=0)
    assert same[4].float().mean() == pytest.approx(1 / 8, abs=0.02)     # a fresh class, uniform


def test_kept_fraction_is_the_marginal_belief():
    g = Grammar.random(8, 3, 2, 3, seed=1)
    trees = g.sample(40, seed=0)
    likelihood = channels.epsilon_process(trees[0], 0.6, 8, dtype=torch.float64)
    same = dynamics.u_turn(g, trees, likelihood, samples=200, seed=0)
    for p, tree, s in zip(rhm.marginals(g, likelihood), trees, same, strict=True):
        truth = p.gather(-1, tree[..., None])[..., 0]
        z = (s.double().mean(1) - truth) / (truth * (1 - truth) / 200).sqrt()
        assert abs(z.mean()) < 4 / len(z) ** 0.5 and 0.7 < z.std() < 1.3


def test_population_dynamics_agrees_with_trees():
    g = Grammar.random(16, 4, 2, 5, seed=0)
    x = g.sample(3000, seed=1)
    for channel, level in ((channels.masking, 0.25), (channels.uniform, 0.15)):
        likelihood = channel(x[0], level, 16, seed=2)
        up = rhm.marginals(g, likelihood)[5][:, 0].gather(-1, x[5])[:, 0]          # the root's is its posterior
        pools = list(population.upward_pools(g, channel, level, size=400, seed=3))
        assert [tuple(p.shape) for p in pools] == [(16, 400, 16)] * 6
        belief = torch.diagonal(pools[5], dim1=0, dim2=2).mean()
        assert abs(belief - up.mean()) < 0.03, (channel, belief, up.mean())


def test_population_dynamics_symbol_by_symbol():
    # one level, synonyms of very different worth: symbol 0 is told by its first rule, hardly by its second
    g = Grammar(torch.tensor([[[[0, 0], [1, 2]], [[1, 1], [2, 2]], [[2, 1], [1, 0]]]]))
    def soft(x0, noise, v, seed):                             # not normalised: any scale must do
        return 5.0 * channels.uniform(x0, noise, v, seed=seed, dtype=torch.float64)

    x = g.sample(60_000, seed=0)
    exact = rhm.marginals(g, soft(x[0], 0.5, 3, 1))[1][:, 0]
    *_, pool = population.upward_pools(g, soft, 0.5, size=20_000, seed=2)
    for a in range(3):
        rows = exact[x[1][:, 0] == a]
        error = (rows.var(0) / len(rows) + pool[a].var(0) / len(pool[a])).sqrt()
        assert ((pool[a].mean(0) - rows.mean(0)).abs() < 4.5 * error).all(), a
    *_, first = population.upward_pools(g, soft, 0.0, size=10, seed=0)
    assert (first.sum(-1) - 1).abs().max() < 1e-12


def test_gaussian_field_against_simulation():
    n, modes, tau = 400_000, torch.tensor([9.0, 4.0, 1.0, 0.25], dtype=torch.float64), 0.5
    gen = torch.Generator().manual_seed(0)
    x0 = modes.sqrt() * torch.randn(4, generator=gen, dtype=torch.float64)            # one field, many U-turns
    x_t = x0 + tau**0.5 * torch.randn(n, 4, generator=gen, dtype=torch.float64)
    gain = modes / (modes + tau)
    spread = (gain * tau).sqrt() * torch.randn(n, 4, generator=gen, dtype=torch.float64)
    power = (gain * x_t + spread - x0).var(0)
    found = controls.gaussian_field_susceptibility(1 / (1 + tau), modes.numpy())
    assert found == pytest.approx(float(power[0] / power.mean()), rel=0.02)


def test_flat_mixture_posterior_equals_enumeration():
    data = controls.FlatMixture.random(v=5, m=2, d=4, seed=0)
    x, label = data.sample(60, seed=1)
    assert (data.allowed[label] == x[..., None]).any(-1).all()
    big = controls.FlatMixture.random(v=40, m=10, d=60, seed=1).allowed.sort(-1).values
    shared = (big[:1, :, :, None] == big[1:, :, None]).any(-1).double().mean()            # classes are independent
    assert shared == pytest.approx(10 / 40, abs=0.01)
    hidden = torch.rand(60, 4, generator=torch.Generator().manual_seed(2)) < 0.6
    found = data.class_posterior(x, hidden)
    for row in range(60):
        weight = torch.tensor([float(all(hidden[row, i] or x[row, i] in data.allowed[a, i] for i in range(4)))
                               for a in range(5)]).double()
        assert torch.allclose(found[row], weight / weight.sum())
    same = data.u_turn(x, hidden, samples=500, seed=3)
    assert same[~hidden[:, None].expand_as(same)].all()
    truth = found.gather(-1, label[:, None])[:, 0]
    # a hidden token is kept when drawn again: 1/m under each class that allows it
    allow = (data.allowed[None] == x[:, None, :, None]).any(-1).double()               # (n, class, d)
    expected = torch.where(hidden, (found[..., None] * allow).sum(1) / 2, 1.0)
    assert (same.double().mean(1) - expected).abs().max() < 5 * (0.25 / 500) ** 0.5
    assert (truth > 0).all()


@pytest.mark.untyped
def test_bad_input():
    g = Grammar.random(4, 2, 2, 2, seed=0)
    trees = g.sample(3, seed=0)
    with pytest.raises(ValueError, match="samples = 0"):
        dynamics.u_turn(g, trees, torch.ones(3, 4, 4), samples=0)
    with pytest.raises(ValueError, match="trees"):
        dynamics.u_turn(g, trees, torch.ones(2, 4, 4))
    with pytest.raises(ValueError, match="at least 2"):
        dynamics.correlations(torch.ones(2, 1, 4, dtype=torch.bool), 2)
    with pytest.raises(ValueError, match="power of s"):
        dynamics.susceptibility(torch.ones(2, 3, 6, dtype=torch.bool), 2)
    with pytest.raises(ValueError, match="size = 0"):
        next(population.upward_pools(g, channels.masking, 0.2, size=0))
    with pytest.raises(ValueError, match="channel"):
        next(population.upward_pools(g, lambda x, noise, v, seed: torch.ones(3, 1, 4), 0.2, size=1))
    with pytest.raises(ValueError, match="derivations of"):
        dynamics.u_turn(g, [t[:, :1] for t in trees], torch.ones(3, 4, 4))
    with pytest.raises(ValueError, match="impossible message"):
        next(population.upward_pools(g, lambda x, noise, v, seed: torch.zeros(4, 1, 4), 0.2, size=1))
    mixture = controls.FlatMixture(torch.tensor([[[0]], [[1]], [[1]]]))
    with pytest.raises(ValueError, match=r"x0\[1\] is impossible"):
        mixture.class_posterior(torch.tensor([[0], [2]]), torch.tensor([[False], [False]]))
    with pytest.raises(ValueError, match="n = -1"):
        mixture.sample(-1)
    with pytest.raises(ValueError, match="alpha_bar"):
        controls.gaussian_field_susceptibility(1.0, [1.0, 2.0])
    with pytest.raises(ValueError, match="spectrum"):
        controls.gaussian_field_susceptibility(0.5, [1.0, -2.0])
    with pytest.raises(ValueError, match="m = 6"):
        controls.FlatMixture.random(v=5, m=6, d=2)
