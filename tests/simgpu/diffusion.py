"""Gaussian and discrete diffusion on the device."""

import torch

from hierlib import nets
from hierlib.diffusion import conditional, discrete, gaussian, ideal, schedule
from tests.drawn import gen
from tests.simgpu.compare import both, grows

GEN = gen()
X, NOISE = torch.randn(8, 3, generator=GEN), torch.randn(8, 3, generator=GEN)
S = torch.randint(4, (6, 5), generator=GEN)
LEVELS = torch.linspace(0.1, 0.9, 8)


class Told(torch.nn.Module):
    """A network that is told level and condition beside its input."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, alpha_bar, c):
        return self.net(torch.cat([x, alpha_bar[:, None], c], 1))


def masking(T):
    return 1 - torch.arange(T + 1) / T


def wiener(d, dtype=torch.float64):
    return ideal.Wiener.fit(X.to(d, dtype))


def check_schedules():
    for name in schedule.SCHEDULES:
        for stratified in (False, True):
            both(lambda d: schedule.draw_alpha_bar(9, 1, schedule=name, stratified=stratified, device=d))
    assert schedule.grid(4).device.type == "cpu"
    assert schedule.alpha_bar_linear(0.5) > 0


def check_gaussian():
    for level in (0.3, LEVELS):
        there = (lambda d: LEVELS.to(d)) if level is LEVELS else (lambda d: 0.3)
        both(lambda d: gaussian.noised(X.to(d), there(d), NOISE.to(d)))
        for kind in gaussian.KINDS:
            both(lambda d: [gaussian.convert(X.to(d), NOISE.to(d), there(d), kind, to) for to in gaussian.KINDS])
            net = gaussian.Denoiser(lambda x, a: x * a[:, None], kind)
            both(lambda d: [net(X.to(d), there(d)), gaussian.loss(net, X.to(d), there(d), NOISE.to(d))])
    for eta in (0.0, 1.0):
        for grid in (lambda d: schedule.grid(5), lambda d: schedule.grid(5).to(d)):
            both(lambda d: gaussian.sample(wiener(d), X.to(d), grid(d), eta=eta, seed=1))
    both(lambda d: gaussian.forward_backward(wiener(d), X.to(d), 0.3, 4, seed=1))


def check_ideal():
    for level in (0.3, 1.0, LEVELS):
        there = (lambda d: LEVELS.to(d)) if level is LEVELS else (lambda d: level)
        both(lambda d: wiener(d)(NOISE.to(d), there(d)))
        both(lambda d: wiener("cpu")(NOISE.to(d), there(d)))                           # made on the CPU
    assert wiener("cuda").mmse(0.3) == wiener("cpu").mmse(0.3)


def check_gaussian_samplers_do_not_wait():
    net = gaussian.Denoiser(lambda x, a: x * a[:, None], "velocity")
    x, exact = X.to("cuda"), wiener("cuda")
    for eta, draws in ((0.0, 0), (1.0, 1)):
        for each in (net, exact):
            grows(lambda n: gaussian.sample(each, x, schedule.grid(n), eta=eta), uploads=draws)


def check_discrete():
    masked, uniform = (kind(4, masking(6)) for kind in (discrete.Masked, discrete.Uniform))
    net = lambda q: 3 * q + q.roll(1, -1)
    t = torch.tensor([1, 2, 3, 4, 5, 6])
    table = discrete.linear_alpha_bar(6)
    for process in (masked, uniform, discrete.Uniform(4, table), discrete.Uniform(4, table, full=True)):
        for times in (lambda d: 3, lambda d: t, t.to):
            x_t = both(lambda d: process.noised(S.to(d), times(d), seed=1))
            both(lambda d: process.likelihood(x_t.to(d), times(d)))
            p0 = process.likelihood(S, 1).softmax(-1)
            both(lambda d: process.posterior(x_t.to(d), times(d), p0.to(d)))
            both(lambda d: process.divergence(S.to(d), x_t.to(d), times(d), p0.log().to(d)))
        both(lambda d: process.stationary((3, 5), seed=1), host=True)
        both(lambda d: discrete.variational_loss(process, net, S.to(d), seed=1))
        both(lambda d: discrete.ancestral(process, net, (3, 5), seed=1, device=d))
        both(lambda d: discrete.forward_backward(process, net, S.to(d), 3, seed=1))
    both(lambda d: discrete.any_order_loss(net, S.to(d), 4, seed=1))
    for per_step in (1, 2):
        both(lambda d: discrete.any_order(net, torch.full((3, 5), 4, device=d), 4, seed=1, per_step=per_step))


def check_discrete_samplers_do_not_wait():
    net, empty = (lambda q: 3 * q), (lambda n: torch.full((3, n), 4, device="cuda"))
    grows(lambda n: discrete.any_order(net, empty(n), 4, seed=1))
    for kind in (discrete.Masked, discrete.Uniform):
        grows(lambda n: discrete.ancestral(kind(4, masking(n)), net, (3, 5), seed=1, device="cuda"), uploads=1)


def check_conditional():
    sets = [(torch.randn(n, 3, generator=gen(n)), torch.randn(n, 2, generator=gen(n + 1))) for n in (4, 4)]
    make = lambda k: Told(nets.MLP(6, 3, 8, 1, seed=k))
    for data in (lambda d: "cpu", lambda d: d):                                    # data may stay on the CPU
        for options in ({}, {"common": True, "predicts": "noise"}, {"paired": True, "chunk": 3}):
            def train(d):
                given = [tuple(y.to(data(d)) for y in each) for each in sets]
                made = conditional.Denoisers(given, make, 2, batch=4, steps=3, device=d, **options)
                told = given[0][1]
                return made.follow(3, lambda model: {"first": made.sample(told, model)[:, 0, 0]}), made.sample(told)
            both(train, tolerance=1e-4)
    for paired in (False, True):
        made = conditional.Denoisers(sets, make, 2, batch=4, device="cuda", paired=paired)
        grows(lambda n: [made.loss(made.model, torch.Generator()) for _ in range(n)], uploads=3)   # rows, noises, times
        there = sets[0][1].to("cuda")
        grows(lambda n: setattr(made, "steps", n) or made.sample(there))
