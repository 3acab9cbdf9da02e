"""Gaussian and discrete diffusion on the device."""

import torch

from hierlib.diffusion import discrete, gaussian, ideal, levels, schedule
from tests.drawn import gen
from tests.simgpu.compare import both, grows

GEN = gen()
X, NOISE = torch.randn(8, 3, generator=GEN), torch.randn(8, 3, generator=GEN)
S = torch.randint(4, (6, 5), generator=GEN)
LEVELS = torch.linspace(0.1, 0.9, 8)


def wiener(d, dtype=torch.float64):
    return ideal.Wiener.fit(X.to(d, dtype))


def check_levels():
    for name in levels.SCHEDULES:
        for stratified in (False, True):
            both(lambda d: levels.draw_alpha_bar(9, 1, schedule=name, stratified=stratified, device=d))
    assert levels.levels(4).device.type == "cpu"
    both(lambda d: levels.log_snr(LEVELS.to(d)))
    assert schedule.alpha_bar_linear(0.5) > 0


def check_gaussian():
    for level in (0.3, LEVELS):
        there = (lambda d: LEVELS.to(d)) if level is LEVELS else (lambda d: 0.3)
        both(lambda d: gaussian.noised(X.to(d), there(d), NOISE.to(d)))
        for kind in gaussian.KINDS:
            both(lambda d: [gaussian.convert(X.to(d), NOISE.to(d), there(d), kind, to) for to in gaussian.KINDS])
            net = gaussian.Denoiser(lambda x, a: x * a[:, None], kind)
            both(lambda d: [net(X.to(d), there(d)), net.noise(X.to(d), there(d)),
                            gaussian.loss(net, X.to(d), there(d), NOISE.to(d))])
            both(lambda d: gaussian.loss(net, X.to(d), there(d), NOISE.to(d), weight=LEVELS.to(d)))
    for eta in (0.0, 1.0):
        for grid in (lambda d: levels.levels(5), lambda d: levels.levels(5).to(d)):
            both(lambda d: gaussian.sample(wiener(d), X.to(d), grid(d), eta=eta, seed=1, clip=(-3, 3)))
    both(lambda d: gaussian.forward_backward(wiener(d), X.to(d), 0.3, 4, seed=1))


def check_ideal():
    K = X.T @ X / 8
    for level in (0.3, 1.0, LEVELS):
        there = (lambda d: LEVELS.to(d)) if level is LEVELS else (lambda d: level)
        for make in (wiener, lambda d: ideal.Empirical(X.to(d)),
                     lambda d: ideal.GaussianMixture(X[:3].to(d), K.to(d), torch.tensor([1.0, 2, 3], device=d))):
            both(lambda d: make(d)(NOISE.to(d), there(d)))
            both(lambda d: make("cpu")(NOISE.to(d), there(d)))                         # made on the CPU
            both(lambda d: make(d).weights(NOISE.to(d), there(d)))
    assert wiener("cuda").mmse(0.3) == wiener("cpu").mmse(0.3)


def check_gaussian_samplers_do_not_wait():
    net = gaussian.Denoiser(lambda x, a: x * a[:, None], "velocity")
    x, exact = X.to("cuda"), wiener("cuda")
    for eta, draws in ((0.0, 0), (1.0, 1)):
        for each in (net, exact):
            grows(lambda n: gaussian.sample(each, x, levels.levels(n), eta=eta), uploads=draws)


def check_discrete():
    masked, uniform = (kind(4, discrete.masking_alpha_bar(6)) for kind in (discrete.Masked, discrete.Uniform))
    net = lambda q: 3 * q + q.roll(1, -1)
    t = torch.tensor([1, 2, 3, 4, 5, 6])
    for process in (masked, uniform, discrete.Uniform(4, discrete.linear_alpha_bar(6))):
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
        both(lambda d: discrete.u_turn_masked(net, S.to(d), 0.5, 4, seed=1, per_step=per_step))


def check_discrete_samplers_do_not_wait():
    net, empty = (lambda q: 3 * q), (lambda n: torch.full((3, n), 4, device="cuda"))
    grows(lambda n: discrete.any_order(net, empty(n), 4, seed=1))
    for kind in (discrete.Masked, discrete.Uniform):
        grows(lambda n: discrete.ancestral(kind(4, discrete.masking_alpha_bar(n)), net, (3, 5), seed=1,
                                           device="cuda"), uploads=1)
