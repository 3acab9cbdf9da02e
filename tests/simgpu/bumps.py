"""Bumps, stripes, their percolation and denoisers on the device."""

from functools import partial

import torch

from hierlib import bumps, nets
from hierlib.bumps import BumpDenoisers, Domain, Examples, geometry, labels, lattice, percolation, readout
from tests.drawn import gen
from tests.simgpu.compare import both, counted, grows

N = 8
BOX, TORUS = DOMAINS = Domain(N), Domain(N, torus=True)
AT = labels.uniform(6, N, 1)


def check_images():
    for domain in DOMAINS:
        for draw in (bumps.bump, bumps.sos):
            images = both(lambda d: draw(AT.to(d), domain, 0.7))
            both(lambda d: readout.position(images.to(d), torus=domain.torus))
        both(lambda d: readout.accuracy(AT.to(d), AT.flip(0).to(d), domain))
    both(lambda d: readout.fidelity(images.to(d), images.flip(0).to(d)))


def check_labels():
    for domain in DOMAINS:
        for mask in (labels.strip, labels.square):
            both(lambda d: mask(AT.to(d), domain, 2.0))
        both(lambda d: labels.islands(AT.to(d), domain, 4, 2.0))
        both(lambda d: labels.one_hot(labels.lattice(domain).to(d), domain))
    both(lambda d: [labels.fourier(AT.to(d), N), labels.sinusoidal(AT.to(d))])


def check_lattice():
    sites = both(lambda d: lattice.occupy(torch.tensor([0.3, 0.6]).to(d), 9, n=3, seed=1))
    for torus in (False, True):
        for R2 in (0.5, 2.0, 4.0, 5.0):           # of 0, 4, 8 and 12 neighbours; the second and third by scipy.ndimage
            both(lambda d: lattice.clusters(sites.to(d), R2, torus))
            both(lambda d: lattice.mass_ratio(sites.to(d), R2, torus))
        both(lambda d: lattice.links(sites.to(d), 5.0, torus))
    both(lambda d: lattice.threshold(2.0, 6, n=5).times, host=True)
    both(lambda d: lattice.neighbours(5.0), host=True)


def check_percolation():
    points = 6 * torch.rand(3, 12, 2, generator=gen())
    for box in (None, 6.0):
        both(lambda d: percolation.links(points.to(d), 1.5, box))
        both(lambda d: percolation.components(points.to(d), 1.5, box))
        both(lambda d: percolation.largest_cluster(points.to(d), 1.5, box))
    edges = torch.randint(40, (2, 30), generator=gen())
    both(lambda d: percolation.components_of(edges.to(d), 40))
    both(lambda d: percolation.threshold(3.0, 5).times, host=True)
    both(lambda d: percolation.largest_share(1.2, 4.0, 3), host=True)


def check_geometry():
    F = torch.randn(2, 5, 4, 7, generator=gen())
    both(lambda d: geometry.measures(F.to(d)))
    assert counted(lambda: geometry.measures(F.to("cuda")))[0] <= 1                # of the eigenvalues


def examples(n, seed, d):
    return Examples.of(labels.uniform(n, TORUS, seed).to(d), partial(bumps.bump, size=TORUS),
                       partial(labels.fourier, size=N, K=1))


def check_training_steps_do_not_wait():
    train = examples(3, 0, "cpu")
    made, conditions = BumpDenoisers([train], 2, batch=4, device="cuda"), train.conditions.to("cuda")
    grows(lambda n: [made.loss(made.model, torch.Generator()) for _ in range(n)], uploads=3)   # rows, noises, levels
    grows(lambda n: setattr(made, "steps", n) or made.sample(conditions))


def check_denoisers():
    unet = lambda k: nets.UNet(1, (4, 8), condition=4, attention=(1,), seed=k).to(memory_format=torch.channels_last)
    for network, common, predicts, chunk in ((None, False, "data", None), (None, True, "noise", 3),
                                             (unet, False, "velocity", 2)):
        for data in (lambda d: "cpu", lambda d: d):                                # examples may stay on the CPU
            def train(d):
                sets, test = [examples(n, n, data(d)) for n in (3, 5)], examples(4, 9, data(d))
                made = BumpDenoisers(sets, 2, network, predicts, batch=4, common=common, steps=2, device=d, chunk=chunk)
                frame = made.follow(test, 2, torus=True, ema=0.9)
                extra = made.layers(test.conditions) if network is None else []
                return frame, made.sample(test.conditions), made.measure([test, test], True), extra
            both(train, tolerance=1e-4)
