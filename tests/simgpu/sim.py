"""The structured identity mapping on the device."""

import torch

from hierlib import nets, sim
from hierlib.sim import Concepts, Probe, Task, theory, two_concepts
from hierlib.sim.concepts import classes
from tests.drawn import gen
from tests.simgpu.compare import both, counted, grows

TASK = Task((1.0, 2.0), 0.3, d=3, origin=True)
A = TASK.second_moment()
U0 = 0.1 * torch.randn(4, 3, 3, generator=gen(), dtype=torch.float64)
W0 = U0 @ U0.mT
TIMES = torch.tensor([0.5, 1.0, 2.0])


def places():
    """Yield where the second moment may be, beside W on the device `d`: there too, or on the CPU, as a task has it."""
    yield lambda d: A.to(d)
    yield lambda d: A


def check_task():
    both(lambda d: TASK.sample(9, seed=1, labels=True, device=d))
    assert TASK.family()[1].device.type == TASK.comparable().device.type == "cpu"
    Task(torch.ones(2, device="cuda"), torch.ones(2, device="cuda"))


def check_flows():
    for a in places():
        both(lambda d: sim.one_layer(W0.to(d), a(d), 0.5))
        for times in (lambda d: TIMES, TIMES.to):
            both(lambda d: sim.one_layer(W0.to(d), a(d), times(d)))
            both(lambda d: sim.flow(U0.to(d), a(d), times(d), dt=0.5, record=lambda W: sim.ood_loss(W, TASK)).record)
        both(lambda d: sim.flow(U0.to(d), a(d), TIMES).W)
        both(lambda d: [sim.field(W0.to(d), a(d)), *sim.terms(W0.to(d), a(d)), sim.loss(W0.to(d), a(d))])
        for kind in ("positive", "gaussian"):
            layers = lambda d: sim.initial(kind, 3, 3, 4, 0.01, 5, seed=1, device=d)
            both(layers)
            both(lambda d: sim.deep(layers(d), a(d), TIMES).W)
            both(lambda d: sim.deep(layers(d), a(d), TIMES, dt=0.5).factors)
    both(lambda d: [sim.output(W0.to(d), TASK), sim.ood_loss(W0.to(d), TASK), sim.loss(W0.to(d), TASK)])


def check_flows_wait_for_the_device_as_often_as_documented():
    U, a = U0.to("cuda"), A.to("cuda")
    layers = sim.initial("positive", 3, 3, 4, 0.01, device="cuda")
    for run in (lambda t, **k: sim.flow(U, a, t, **k), lambda t, **k: sim.deep(layers, a, t, **k)):
        grows(lambda n: run([0.5 * n], dt=0.5))
        grows(lambda n: run([0.5 * k for k in range(1, n + 1)], dt=0.5))


def check_theory():
    for a in places():
        both(lambda d: [theory.schur(W0.to(d) + 0.01 * torch.eye(3, device=d), a(d)),
                        theory.learning_times(W0.to(d) + 0.01 * torch.eye(3, device=d), a(d))])
    for t in (lambda d: TIMES, TIMES.to):
        both(lambda d: two_concepts.entries(t(d), 0.9, 0.01, 0.4, torch.tensor(1.0, device=d)), host=False)
    both(lambda d: two_concepts.entries(TIMES.to(d), 0.9, 0.01, 0.4, 1.0).loss(0.6, 1.0))
    both(lambda d: two_concepts.minor_peak(torch.tensor([0.5, 0.9], device=d), 0.01, 0.4, 1.0))
    both(lambda d: two_concepts.critical(torch.tensor([1e-3, 0.1], device=d), 0.4, 1.0, 0.6, 1.0))
    both(lambda d: two_concepts.loss_rise(torch.tensor([0.5, 0.9], device=d), 0.01, 0.4, 1.0, 0.6, 1.0))


def check_rises_and_phase():
    loss = torch.rand(20, 3, generator=gen())
    both(lambda d: [sim.ascents(loss.to(d)), sim.largest_rise(loss.to(d))])
    assert counted(lambda: sim.ascents(loss.to("cuda")))[0] == counted(lambda: sim.ascents(loss[:5].to("cuda")))[0]
    both(lambda d: sim.phase_grid([0.6, 0.9], [0.5, 0.9], 0.2, device=d), tolerance=1e-9)
    both(lambda d: sim.boundary(torch.tensor([0.6, 0.9]).to(d), [0.2], device=d), tolerance=1e-9)


def check_concepts():
    for concepts in (Concepts(0.1), Concepts(0.1, position=0.3)):
        bits = classes(*concepts.all_classes(), n=3)
        for rows in (lambda d: bits, bits.to):
            x, _ = both(lambda d: concepts.render(rows(d), 1, device=d))
        both(lambda d: concepts.mean(bits.to(d)), host=True)
        both(lambda d: concepts.condition(bits.to(d)), host=True)
        for labels in (lambda d: bits, bits.to):
            both(lambda d: Probe(x.to(d), labels(d))(x.to(d)), tolerance=1e-4)
        host = Probe.of(concepts, 9)
        both(lambda d: [Probe.of(concepts, 9, device=d)(x.to(d)), host(x.to(d))], tolerance=1e-4)     # fitted elsewhere


def check_training_steps_do_not_wait():
    concepts = [Concepts(h, pixels=8) for h in (0.1, 0.2)]
    for common in (True, False):
        made = sim.ConceptDenoisers(concepts, 2, common=common, images=8, batch=4, samples=3, pairs=4, steps=3,
                                    device="cuda")
        grows(lambda n: [made.loss(made.model, torch.Generator()) for _ in range(n)], uploads=3)  # rows, noises, levels
        made.measure()                                                             # the first one fits the probes
        assert counted(made.measure) == (0, 2)                                     # noise to start from, prompts


def check_denoisers():
    concepts = [Concepts(h, pixels=8) for h in (0.1, 0.2)]
    unet = lambda k: nets.UNet(3, (4, 8), condition=4, seed=k)
    for network, common, predicts, chunk in ((None, True, "velocity", None), (unet, False, "noise", 3)):
        def train(d):
            made = sim.ConceptDenoisers(concepts, 2, network=network, common=common, predicts=predicts, images=8,
                                        batch=4, samples=3, pairs=4, steps=2, device=d, chunk=chunk)
            return made.follow(3, ema=0.9), made.draw(), made.losses()
        both(train, tolerance=1e-4)
