"""Processes and losses of discrete diffusion against explicit transition matrices and full enumeration."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binom, chisquare

from hierlib import rhm
from hierlib.diffusion import discrete, schedule
from hierlib.diffusion.discrete import Masked, Uniform, any_order_loss, variational_loss

V = 3
SCHEDULES = [[1.0, 0.7, 0.2, 0.0], [0.999, 0.9, 0.9, 0.4], [1.0, 1.0, 0.6, 0.6, 0.0, 0.0], [0.8, 0.8, 0.3]]
PROCESSES = [kind(V, table) for kind in (Uniform, Masked) for table in SCHEDULES]
TINY = rhm.Grammar.random(v=3, m=2, s=2, L=2, seed=0)
STRINGS = TINY.enumerate()                                   # 24 strings of 4 tokens
ENTROPY = math.log(len(STRINGS))


def exact(q):
    return rhm.marginals(TINY, q)[0].log()


def leave_one_out(q):
    return rhm.cavity(TINY, q)[0].log()


def toy(q):
    """A denoiser that looks at the token to the left."""
    return 9 * q.roll(1, -2) + torch.linspace(0, 1, q.shape[-1], dtype=q.dtype)


def transition(process, a):
    """The one-step matrix Q[from, to] of a token that keeps its value with probability a."""
    k, v = process.states, process.v
    noise = torch.full((k, k), 1 / v, dtype=torch.float64) if k == v else F.one_hot(torch.full((k,), v), k).double()
    Q = a * torch.eye(k, dtype=torch.float64) + (1 - a) * noise
    if k > v:
        Q[v] = F.one_hot(torch.tensor(v), k).double()         # absorbing
    return Q


def chain(process):
    """One-step matrices Q_1 … Q_T (None first) and products Q̄_0 … Q̄_T from the clean token."""
    table = process.alpha_bar.tolist()
    steps, products = [None], [transition(process, table[0])]
    for before, now in itertools.pairwise(table):
        steps.append(transition(process, 1.0 if now == before else now / before))
        products.append(products[-1] @ steps[-1])
    return steps, products


def every(process, length=1):
    """All strings of states, (k^length, length)."""
    return torch.cartesian_prod(*[torch.arange(process.states)] * length).view(-1, length)


def masking(T):
    return 1 - torch.arange(T + 1, dtype=torch.float64) / T


def brute_divergence(process, x0, x_t, t, logits):
    q = process.posterior(x_t, t, F.one_hot(x0, process.v).double())
    p = process.posterior(x_t, t, logits.softmax(-1))
    return torch.where(q > 0, q * (q / torch.where(q > 0, p, 1.0)).clamp(min=1e-300).log(), 0.0).sum(-1)


# processes

def test_schedules():
    table = discrete.linear_alpha_bar()
    assert table.shape == (201,) and table.dtype == torch.float64
    product = 1.0
    for t in range(201):
        product *= 1 - (1e-3 + (0.1 - 1e-3) * t / 200)
        assert table[t] == pytest.approx(product, rel=1e-12)
    assert table[0] == pytest.approx(0.999)
    assert Uniform(5, schedule.alpha_bar_cosine(np.arange(11) / 10)).T == 10    # any schedule, as numpy


@pytest.mark.parametrize("process", PROCESSES)
def test_likelihood_is_a_column_of_the_products(process):
    x = every(process).T                                      # one string that holds every state
    for t, Q in enumerate(chain(process)[1]):
        column = Q[:process.v].T
        possible = column.sum(1) > 0                          # at ᾱ = 1 nothing is masked
        q = process.likelihood(x, t, dtype=torch.float64)[0]
        assert torch.allclose(q.sum(-1), q.new_ones(()))
        expected = column[possible] / column[possible].sum(1, keepdim=True)
        assert torch.allclose(q[possible], expected, atol=1e-14)


@pytest.mark.parametrize("process", PROCESSES)
def test_forward_marginals(process):
    n, products = 4000, chain(process)[1]
    x0 = torch.arange(V).repeat(n, 1)
    for t in range(process.T + 1):
        x_t = process.noised(x0, t, seed=t)
        for a in range(V):
            counts = torch.bincount(x_t[:, a], minlength=process.states).double()
            p = products[t][a]
            assert (counts[p == 0] == 0).all()
            if (p > 0).sum() > 1:
                assert chisquare(counts[p > 0], n * p[p > 0]).pvalue > 1e-4


@pytest.mark.parametrize("process", PROCESSES)
def test_posterior_is_bayes_rule(process):
    # oracle: P(x_{t-1} | x_t) ∝ Q_t[x_{t-1}, x_t] Σ_x0 p0(x0) Q̄_{t-1}[x0, x_{t-1}] for point masses and mixtures
    steps, products = chain(process)
    p0 = torch.cat([torch.eye(V).double(), torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0]]).double()])
    x, p = (a.flatten() for a in torch.meshgrid(torch.arange(process.states), torch.arange(len(p0)), indexing="ij"))
    for t in range(1, process.T + 1):
        joint = steps[t][:, x].T * (p0[p] @ products[t - 1][:V])
        possible = joint.sum(1) > 0
        found = process.posterior(x[:, None], t, 7 * p0[p][:, None])[:, 0]      # any scale
        assert found.isfinite().all() and torch.allclose(found.sum(-1), found.new_ones(()))
        expected = joint[possible] / joint[possible].sum(1, keepdim=True)
        assert torch.allclose(found[possible], expected, atol=1e-14)


@pytest.mark.parametrize("process", PROCESSES)
def test_divergence_in_closed_form(process):
    torch_rng = torch.Generator().manual_seed(0)
    x0, x_t = (a.flatten()[:, None] for a in torch.meshgrid(torch.arange(V), torch.arange(process.states),
                                                             indexing="ij"))
    products = chain(process)[1]
    for t in range(1, process.T + 1):
        possible = products[t][x0, x_t][:, 0] > 0
        a, b = x0[possible], x_t[possible]
        logits = (3 * torch.randn(len(a), 1, V, generator=torch_rng, dtype=torch.float64)).requires_grad_()
        found, brute = process.divergence(a, b, t, logits), brute_divergence(process, a, b, t, logits)
        assert torch.allclose(found, brute, atol=1e-12) and (found > -1e-12).all()
        gradients = [torch.autograd.grad(kl.sum(), logits)[0] for kl in (found, brute)]
        assert gradients[0].isfinite().all() and torch.allclose(*gradients, atol=1e-12)
        truth = 80.0 * F.one_hot(a, V)                        # a sure and right model
        assert torch.allclose(process.divergence(a, b, t, truth.double()), torch.zeros(1).double(), atol=1e-12)
        single = process.divergence(a, b, t, logits.detach().float())
        assert single.dtype == torch.float32 and torch.allclose(single.double(), found, atol=3e-6)


def test_first_step_of_a_clean_chain_is_the_likelihood_of_the_string():
    logits = torch.randn(5, 4, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x0 = torch.randint(V, (5, 4), generator=torch.Generator().manual_seed(1))
    process = Uniform(V, SCHEDULES[0])
    x_1 = process.noised(x0, 1, seed=0)
    p = process.posterior(x_1, 1, logits.softmax(-1))
    expected = -p.gather(-1, x0[..., None]).squeeze(-1).log()
    assert torch.allclose(process.divergence(x0, x_1, 1, logits), expected)
    assert expected.min() > 0


def test_times_per_string():
    process, x0 = Uniform(V, SCHEDULES[0]), torch.arange(V).repeat(4, 1)
    t = torch.tensor([0, 1, 2, 3])
    x_t = process.noised(x0, t, seed=5)
    p0 = torch.full((4, 3, V), 1 / V)
    for row in range(4):
        assert torch.equal(x_t[row], process.noised(x0, row, seed=5)[row])
        assert torch.allclose(process.likelihood(x_t, t)[row], process.likelihood(x_t, row)[row])
    later = t.clamp(min=1)
    for row in range(4):
        assert torch.allclose(process.posterior(x_t, later, p0)[row], process.posterior(x_t, int(later[row]), p0)[row])
        assert torch.allclose(process.divergence(x0, x_t, later, p0)[row],
                              process.divergence(x0, x_t, int(later[row]), p0)[row])


def test_noise_is_nested_in_time_and_drawn_row_by_row():
    x0 = torch.zeros(500, 8, dtype=torch.int64)
    process = Uniform(50, masking(10))
    one, two = process.noised(x0, 3, seed=0), process.noised(x0, 7, seed=0)
    assert torch.equal(one[one > 0], two[one > 0]) and (two > 0).sum() > (one > 0).sum()
    rng = torch.Generator().manual_seed(0)
    halves = [process.noised(part, 3, seed=rng) for part in x0.split(250)]
    assert torch.equal(torch.cat(halves), process.noised(x0, 3, seed=torch.Generator().manual_seed(0)))


def test_stationary_states():
    assert (Masked(V, [1.0, 0.0]).stationary((4, 5), seed=0) == V).all()
    x = Uniform(V, [1.0, 0.0]).stationary((2, 500, 4), seed=0)
    counts = torch.bincount(x.flatten())
    assert x.shape == (2, 500, 4) and len(counts) == V and chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(("scale", "dtype"), [(1e-36, torch.float32), (3e38, torch.float32), (1e-305, torch.float64),
                                              (1.7e308, torch.float64)])
@pytest.mark.parametrize("process", [Uniform(4, [1.0, 0.5, 0.2]), Masked(4, [1.0, 0.5, 0.2])])
def test_posterior_takes_any_scale(process, scale, dtype):
    p0, x = torch.rand(9, 3, 4, generator=torch.Generator().manual_seed(0), dtype=dtype), torch.full((9, 3), 3)
    p0[..., :2] = 1.0                                       # their sum overflows at the largest scales
    x[:, -1] = process.states - 1
    assert torch.allclose(process.posterior(x, 2, scale * p0), process.posterior(x, 2, p0), rtol=1e-5, atol=0)


def test_leave_one_out_posterior_makes_the_reverse_step_exact():
    # oracle: P(x_{t-1,i} | x_t) = Σ_x0 P(x0 | x_t) q(x_{t-1,i} | x_t, x0), all strings enumerated
    for process, kinds in ((Uniform(3, SCHEDULES[0]), 1), (Masked(3, SCHEDULES[0]), 2)):
        x_t, (_, products), t = every(process, 4), chain(process), 2
        joint = products[t][STRINGS[None], x_t[:, None]].prod(-1)                       # (x_t, x0)
        weight = joint / joint.sum(1, keepdim=True)
        assert (joint.sum(1) > 0).all() == (kinds == 1)
        seen = joint.sum(1) > 0
        bridge = torch.stack([process.posterior(x_t, t, F.one_hot(x0, 3).double().expand(*x_t.shape, 3))
                              for x0 in STRINGS], 1)
        truth = torch.einsum("ts,tsik->tik", weight[seen], bridge[seen])
        q = process.likelihood(x_t[seen], t, dtype=torch.float64)
        right, plain = (process.posterior(x_t[seen], t, f(q).softmax(-1)) for f in (leave_one_out, exact))
        assert torch.allclose(right, truth, atol=1e-12)
        assert torch.allclose(plain, truth, atol=1e-12) == (kinds == 2)                # the trap is Uniform's alone
        if kinds == 1:                      # and the other way round where the process is told of a full posterior
            other = Uniform(3, SCHEDULES[0], full=True)
            right, wrong = (other.posterior(x_t[seen], t, f(q).softmax(-1)) for f in (exact, leave_one_out))
            assert torch.allclose(right, truth, atol=1e-12) and not torch.allclose(wrong, truth, atol=1e-2)


@pytest.mark.parametrize("table", SCHEDULES)
def test_step_of_a_full_posterior_is_the_mean_of_the_bridge(table):
    # oracle: Σ_x0 q(x_{t-1} | x_t, x0) p0(x0), the bridge from explicit transition matrices; any p0
    process, (steps, products) = Uniform(V, table, full=True), chain(Uniform(V, table))
    x_t, gen = every(process), torch.Generator().manual_seed(0)
    for t in range(1, process.T + 1):
        p0 = torch.rand(len(x_t), 1, V, generator=gen, dtype=torch.float64)
        p0 = p0 * (products[t][:, x_t[:, 0]].T > 0)[:, None]      # without noise x0 is x_t, whatever was said
        bridge = torch.stack([products[t - 1][x0] * steps[t][:, x_t[:, 0]].T for x0 in range(V)], 1)
        bridge = bridge / bridge.sum(-1, keepdim=True).clamp_min(1e-300)
        truth = torch.einsum("xa,xak->xk", p0[:, 0] / p0.sum(-1), bridge)
        assert torch.allclose(process.posterior(x_t, t, 5 * p0)[:, 0], truth, atol=1e-12)
        logits = p0.log().where(p0 > 0, torch.tensor(-80.0, dtype=torch.float64))
        for x0 in range(V) if table[t] < 1 else ():
            q = process.posterior(x_t, t, F.one_hot(torch.full_like(x_t, x0), V).double())
            p = process.posterior(x_t, t, logits.softmax(-1))
            kl = torch.where(q > 0, q * (q / p).log(), 0.0).sum(-1)
            assert torch.allclose(process.divergence(torch.full_like(x_t, x0), x_t, t, logits), kl, atol=1e-9)


# any-order loss

def order_losses():
    """c_1 … c_d: mean cross-entropy of the exact denoiser over all strings, masks of size k and masked tokens."""
    out = []
    for k in range(1, 5):
        found = []
        for places in itertools.combinations(range(4), k):
            x = STRINGS.clone()
            x[:, places] = 3
            q = Masked(3, [1.0, 0.0]).likelihood(x, 1, dtype=torch.float64)
            nats = -exact(q).gather(-1, STRINGS[..., None]).squeeze(-1)
            found.append(nats[:, places].mean())
        out.append(float(torch.stack(found).mean()))
    return np.array(out)


def test_mean_over_all_masks_is_the_entropy():
    c = order_losses()
    assert c.mean() * 4 == pytest.approx(ENTROPY, abs=1e-12)
    x0 = STRINGS.repeat(1000, 1)
    loss = any_order_loss(exact, x0, 3, seed=0, dtype=torch.float64)
    assert abs(loss.mean() - ENTROPY / 4) < 4 * loss.std() / len(loss) ** 0.5


def test_masks_and_values_of_the_any_order_loss():
    seen, n, d, v = [], 20_000, 3, 4

    def spy(q):
        seen.append(q)
        return q * torch.tensor([1.0, 2.0, 3.0, 4.0]) + torch.arange(d)[:, None]

    x0 = torch.randint(v, (n, d), generator=torch.Generator().manual_seed(0))
    loss = any_order_loss(spy, x0, v, seed=1)
    masked = seen[0].amax(-1) < 1
    assert torch.equal(seen[0].argmax(-1)[~masked], x0[~masked]) and (seen[0][masked] == 1 / v).all()
    code = (masked * torch.tensor([1, 2, 4])).sum(-1)         # which subset
    expected = [n / d / math.comb(d, bin(c).count("1")) for c in range(1, 2**d)]
    counts = torch.bincount(code, minlength=2**d)
    assert counts[0] == 0 and chisquare(counts[1:], expected).pvalue > 1e-3
    p = spy(seen[0]).softmax(-1).gather(-1, x0[..., None]).squeeze(-1)
    for row in range(50):
        assert loss[row] == pytest.approx(float(-p[row][masked[row]].log().mean()), rel=1e-5)


def test_one_token_is_always_masked():
    loss = any_order_loss(torch.zeros_like, torch.zeros(7, 1, dtype=torch.int64), 5, seed=0)
    assert torch.allclose(loss, torch.tensor(math.log(5.0)))


# variational loss

def masked_bound(T):
    """Exact bound on ln(number of strings) by enumeration over times, masks and strings."""
    process, total = Masked(3, masking(T)), 0.0
    x0 = STRINGS.repeat_interleave(16, 0)
    hidden = torch.cartesian_prod(*[torch.tensor([False, True])] * 4).repeat(len(STRINGS), 1)
    x_t = x0.masked_fill(hidden, 3)
    logits = exact(process.likelihood(x_t, 1, dtype=torch.float64))
    for t in range(1, T + 1):
        weight = torch.where(hidden, torch.tensor(t / T, dtype=torch.float64), 1 - t / T).prod(-1)
        total += float((weight * process.divergence(x0, x_t, t, logits).sum(-1)).sum()) / len(STRINGS)
    return total


def test_masked_bound_falls_to_the_entropy():
    c = order_losses()
    bounds = {T: masked_bound(T) for T in (1, 10, 50)}
    for T, bound in bounds.items():
        # k masked of d at t: Σ_t (1/t) Σ_k Binom(k; d, t/T) k c_k = (d/T) Σ_t Σ_k Binom(k-1; d-1, t/T) c_k
        mean = sum(binom.pmf(range(4), 3, t / T) @ c for t in range(1, T + 1)) / T
        assert bound == pytest.approx(4 * mean, abs=1e-12) and bound > ENTROPY
    assert bounds[1] == pytest.approx(4 * c[-1], abs=1e-12)   # one step: tokens are drawn independently
    # Euler–Maclaurin: the excess is d (c_d − c_1)/(2T)
    assert (bounds[50] - ENTROPY) * 50 == pytest.approx(2 * (c[-1] - c[0]), rel=0.05)


def test_masked_loss_samples_the_bound():
    T = 10
    loss = variational_loss(Masked(3, masking(T)), exact, STRINGS.repeat(1000, 1), seed=0,
                            dtype=torch.float64)
    assert abs(loss.mean() - masked_bound(T) / (4 * T)) < 4 * loss.std() / len(loss) ** 0.5


def uniform_bound(T, denoiser):
    process = Uniform(3, masking(T))
    x_t, products, total = every(process, 4), chain(process)[1], 0.0
    for t in range(1, T + 1):
        logits = denoiser(process.likelihood(x_t, t, dtype=torch.float64))
        weight = products[t][STRINGS[:, None], x_t[None]].prod(-1)                     # (x0, x_t)
        x0 = STRINGS[:, None].expand(-1, len(x_t), -1).flatten(0, 1)
        kl = process.divergence(x0, x_t.repeat(len(STRINGS), 1), t, logits.repeat(len(STRINGS), 1, 1)).sum(-1)
        total += float(torch.where(weight.flatten() > 0, weight.flatten() * kl, 0.0).sum()) / len(STRINGS)
    return total


def test_uniform_bound_falls_to_the_entropy_with_the_leave_one_out_posterior_only():
    excess, plain = ([uniform_bound(T, f) - ENTROPY for T in (20, 40)] for f in (leave_one_out, exact))
    assert excess[1] > 0 and 1.7 < excess[0] / excess[1] < 2                     # ~ ln T/T: to zero
    assert 10 * excess[1] < plain[1] < 100 and plain[1] > 0.8 * plain[0]         # stays
    loss = variational_loss(Uniform(3, masking(20)), leave_one_out, STRINGS.repeat(1000, 1),
                            seed=0, dtype=torch.float64)
    assert abs(loss.mean() * 80 - (excess[0] + ENTROPY)) < 4 * 80 * loss.std() / len(loss) ** 0.5


def test_all_times_are_drawn():
    process, seen = Uniform(V, [1.0, 0.8, 0.6, 0.4, 0.2]), []

    def spy(q):
        seen.append(q)
        return q

    x0 = torch.zeros(8000, 2, dtype=torch.int64)
    variational_loss(process, spy, x0, seed=0, dtype=torch.float64)
    signal = seen[0].amax(-1)[:, 0] * 1.5 - 0.5               # ν(x_t) = ᾱ + (1 − ᾱ)/3
    t = ((1 - signal) * 5).round().long()
    counts = torch.bincount(t, minlength=5)
    assert counts[0] == 0 and len(counts) == 5 and chisquare(counts[1:]).pvalue > 1e-3
    for fixed in (1, 4, torch.full((8000,), 4)):
        variational_loss(process, spy, x0, seed=0, t=fixed, dtype=torch.float64)
        level = float(process.alpha_bar[4 if isinstance(fixed, torch.Tensor) else fixed])
        assert torch.allclose(seen[-1].amax(-1), torch.tensor(level + (1 - level) / 3).double())


def test_masked_extremes():
    x0 = torch.zeros(6, 4, dtype=torch.int64)
    clean = Masked(V, [1.0, 1.0, 0.0])
    for logits in (torch.zeros, lambda *shape: torch.full(shape, -torch.inf)):
        loss = variational_loss(clean, lambda q, f=logits: f(*q.shape), x0, seed=0, t=1)
        assert torch.equal(loss, torch.zeros(6))              # none masked: nothing to learn, whatever the model says
    loss = variational_loss(clean, torch.zeros_like, x0, seed=0, t=2)
    assert torch.allclose(loss, torch.tensor(math.log(V)))     # all masked, all unmasked in one step


@pytest.mark.parametrize("kind", [Uniform, Masked])
@pytest.mark.parametrize("table", [[1.0, 1.0, 0.5], [0.5, 0.5, 0.0], [0.0, 0.0]])
def test_a_step_without_noise_costs_nothing(kind, table):
    def wrong(q):                                             # rules out symbol 0, which is the truth
        return torch.tensor([-torch.inf, 0.0, 0.0]).expand_as(q)

    x0 = torch.zeros(50, 4, dtype=torch.int64)
    process = kind(V, table)
    assert torch.equal(variational_loss(process, wrong, x0, seed=0, t=1), torch.zeros(50))
    x_t = process.noised(x0, 1, seed=0)
    p = process.posterior(x_t, 1, wrong(torch.zeros(50, 4, V)).softmax(-1))
    assert torch.equal(p, F.one_hot(x_t, process.states).float())


LOSSES = [
    lambda f, x, rng: any_order_loss(f, x, 12, seed=rng),
    lambda f, x, rng: variational_loss(Uniform(12, discrete.linear_alpha_bar()), f, x, seed=rng, t=40),
    lambda f, x, rng: variational_loss(Uniform(12, [1.0, 0.5, 0.0]), f, x, seed=rng, t=1),
    lambda f, x, rng: variational_loss(Masked(12, masking(20)), f, x, seed=rng, t=9),
]


@pytest.mark.parametrize("loss", LOSSES)
def test_ensemble_equals_loop(loss):
    x = torch.randint(12, (3, 5, 8), generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([1.0, -2.0, 5.0])
    together = loss(lambda q: toy(q) * scale.view(3, 1, 1, 1), x, torch.Generator().manual_seed(7))
    rng = torch.Generator().manual_seed(7)
    single = [loss(lambda q, a=a: a * toy(q), part, rng) for a, part in zip(scale, x)]
    assert together.shape == (3, 5) and torch.allclose(together, torch.stack(single), atol=1e-6)
    assert not torch.allclose(together[0], together[1])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [0.0, 1.0, 300.0])
def test_gradients_are_finite(loss, size):
    x = torch.randint(12, (64, 8), generator=torch.Generator().manual_seed(0))
    logits = (size * torch.randn(64, 8, 12, generator=torch.Generator().manual_seed(1))).requires_grad_()
    value = loss(lambda q: logits, x, torch.Generator().manual_seed(2))
    value.mean().backward()
    assert value.isfinite().all() and logits.grad.isfinite().all() and logits.grad.abs().max() > 0
    assert value.shape == (64,) and value.dtype == torch.float32


@pytest.mark.parametrize("loss", LOSSES)
def test_empty_batch(loss):
    assert loss(lambda q: q, torch.zeros(0, 8, dtype=torch.int64), torch.Generator()).shape == (0,)


@pytest.mark.parametrize("loss", [
    lambda x, seed: any_order_loss(toy, x, 5, seed=seed),
    lambda x, seed: variational_loss(PROCESSES[0], toy, x % V, seed=seed),
])
def test_losses_are_seeded(loss):
    x = torch.randint(5, (40, 6), generator=torch.Generator().manual_seed(0))
    assert torch.equal(loss(x, 3), loss(x, 3)) and not torch.equal(loss(x, 3), loss(x, 4))


def test_any_order_loss_draws_row_by_row():
    x = torch.randint(5, (40, 6), generator=torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(1)
    halves = [any_order_loss(toy, part, 5, seed=rng) for part in x.split(13)]
    whole = any_order_loss(toy, x, 5, seed=torch.Generator().manual_seed(1))
    assert torch.allclose(torch.cat(halves), whole)


U, X = Uniform(V, SCHEDULES[0]), torch.zeros(2, 4, dtype=torch.int64)
P0 = torch.full((2, 4, V), 1 / V)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "name"), [
    (lambda: Uniform(1, [1.0, 0.0]), "v = 1"),
    (lambda: Uniform(3, [1.0]), "alpha_bar"),
    (lambda: Uniform(3, [[1.0, 0.0]]), "alpha_bar"),
    (lambda: Masked(3, [0.5, 0.6]), "alpha_bar"),
    (lambda: Masked(3, [1.1, 0.6]), "alpha_bar"),
    (lambda: Masked(3, [1.0, math.nan]), "alpha_bar"),
    (lambda: Masked(3, [1.0, -0.1]), "alpha_bar"),
    (lambda: discrete.linear_alpha_bar(0), "T = 0"),
    (lambda: U.noised(X, 4, seed=0), "t = 4"),
    (lambda: U.noised(X, -1, seed=0), "t = -1"),
    (lambda: U.noised(X, 1.5, seed=0), "t = 1.5"),
    (lambda: U.noised(X, torch.tensor([1, 2, 3]), seed=0), "t = "),
    (lambda: U.noised(X, torch.tensor([1, 4]), seed=0), "t = 4"),
    (lambda: U.noised(X, torch.tensor([1.0, 2.0]), seed=0), "t = "),
    (lambda: U.noised(X + V, 1, seed=0), "x0"),
    (lambda: U.noised(X - 1, 1, seed=0), "x0"),
    (lambda: U.noised(X.float(), 1, seed=0), "x0"),
    (lambda: U.noised(X[:, :0], 1, seed=0), "x0"),
    (lambda: U.noised([[0, 1]], 1, seed=0), "x0"),
    (lambda: U.likelihood(X + V, 1), "x_t"),
    (lambda: Masked(V, [1, 0]).likelihood(X + V + 1, 1), "x_t"),
    (lambda: Masked(V, [1, 0]).likelihood(X, 2), "t = 2"),
    (lambda: U.posterior(X, 0, P0), "t = 0"),
    (lambda: U.posterior(X, 1, P0[..., :2]), "p0"),
    (lambda: U.divergence(X, X, 1, P0[:1]), "logits"),
    (lambda: U.divergence(X + V, X, 1, P0), "x0"),
    (lambda: U.divergence(X[:1], X, 1, P0), "x0"),
    (lambda: Masked(V, [1, 0]).divergence(X[:1], X, 1, P0), "x0"),
    (lambda: any_order_loss(lambda q: q, X + V, V, seed=0), "x0"),
    (lambda: any_order_loss(lambda q: q[..., :2], X, V, seed=0), "denoiser"),
    (lambda: any_order_loss(lambda q: q, X, V, seed=-1), "seed"),
    (lambda: variational_loss(U, lambda q: q[:1], X, seed=0), "denoiser"),
    (lambda: variational_loss(U, lambda q: q, X, seed=0, t=0), "t = 0"),
    (lambda: variational_loss(U, lambda q: q, X, seed=0, t=4), "t = 4"),
    (lambda: variational_loss(Masked(V, [1, 0]), lambda q: q, X + V, seed=0), "x0"),
])
def test_bad_input(call, name):
    with pytest.raises(ValueError, match=name):
        call()
