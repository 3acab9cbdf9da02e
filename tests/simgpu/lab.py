"""Training, sweeps and correlations on the device."""

import tempfile
from pathlib import Path

import torch
from torch import nn

from hierlib import lab, nets
from tests.drawn import gen
from tests.simgpu.compare import both, grows

X = torch.randn(64, 3, generator=gen())


def loss(model, rng):
    """Return the losses of one network, or of the members of an ensemble, on rows drawn on the CPU."""
    E = len(model) if isinstance(model, nets.Ensemble) else None
    device = next(model.parameters()).device
    x = X[torch.randint(len(X), (8,) if E is None else (E, 8), generator=rng)].to(device)
    return (model(x) - x[..., :2].square()).square().mean((-2, -1))


def held_out(model):
    x = X.to(next(model.parameters()).device)
    y = model(x, shared=True) if isinstance(model, nets.Ensemble) else model(x)
    return (y - x[:, :2].square()).square().mean((-2, -1))


def model(d, ensemble):
    nets_ = [nets.MLP(3, 2, 8, seed=k) for k in range(3)]
    return (nets.Ensemble(nets_) if ensemble else nets_[0]).to(d)


def train(d, ensemble, steps=12, **options):
    """Return the last report's networks and the history of a run."""
    net = model(d, ensemble)
    options = {"ema": 0.9, "held_out": held_out, "rate": lab.warmup_decay(steps, 3)} | options
    for report in lab.train(net, loss, steps=steps, **options):
        report.log(norm=sum(p.square().sum() for p in report.model.parameters()))
    return net, report.model, report.best, report.frame()


def check_training():
    for ensemble in (False, True):
        both(lambda d: train(d, ensemble), tolerance=1e-4)
        both(lambda d: train(d, ensemble, ema=None, held_out=None, rate=None)[:2], tolerance=1e-4)
        for make in (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), lambda p: torch.optim.Adam(p, fused=True)):
            both(lambda d: train(d, ensemble, optimiser=make, patience=2.0), tolerance=1e-4)


def check_a_resumed_run_ends_with_the_same_bits():
    for ensemble in (False, True):
        whole = train("cuda", ensemble)
        with tempfile.TemporaryDirectory() as folder:
            path, options = Path(folder) / "run.pt", {"ema": 0.9, "held_out": held_out}
            net = model("cuda", ensemble)
            for report in lab.train(net, loss, steps=12, checkpoint=path, rate=lab.warmup_decay(12, 3), **options):
                report.log(norm=sum(p.square().sum() for p in report.model.parameters()))
                if report.step == 8:
                    break                         # killed in this report's turn
            for _ in range(2):                    # gone on, and asked again when it is finished
                again = train("cuda", ensemble, checkpoint=path)
                for a, b in zip(whole[1:3], again[1:3], strict=True):
                    pairs = zip(a.parameters(), b.parameters(), strict=True)
                    assert all(p.is_cuda and torch.equal(p, q) for p, q in pairs)
                assert whole[3].equals(again[3])
            # ... and on the CPU, from a file of the device
            host = train("cpu", ensemble, checkpoint=path)
            assert whole[3].equals(host[3]) and not next(host[1].parameters()).is_cuda


def check_steps_do_not_wait():
    options = {"held_out": None, "rate": None}
    for ensemble in (False, True):
        grows(lambda n: train("cuda", ensemble, steps=n, at=[n], **options), uploads=1)
    # the losses are looked at every 64 steps
    grows(lambda n: train("cuda", False, steps=64 * n, at=[64 * n], **options), waits=1, uploads=64, n=1)


def accuracy(k, seed):
    """A task that computes on the device."""
    x = torch.randn(4, generator=lab.generator(seed)).to(lab.device())
    return {"place": x.device.type, "value": float(x.square().sum()) + k}


def check_devices_and_sweeps():
    assert lab.device().type == "cuda" and lab.scale() == "quick"
    frame = lab.sweep(accuracy, {"k": [1, 2]}, seed=0)
    assert frame.place.tolist() == ["cuda"] * 2 and frame.value.notna().all()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            assert lab.sweep(accuracy, {"k": [1, 2]}, seed=0, store=folder, version="1").equals(frame)


class Counting(nn.Module):
    """A network with a buffer that each training step changes."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.seen += self.training
        return self.linear(x)


def check_buffers():
    def run(d):
        torch.manual_seed(0)
        return [*lab.train(Counting().to(d), loss, steps=4)][-1].model
    assert int(both(run).seen) == 4
