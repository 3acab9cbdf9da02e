"""The device itself: known bugs are seen on it, with CUDA's kind of error, and what is right passes.

All of these bugs pass unseen on the CPU. Where a bug is of hierlib's own past, its name says so.
"""

import copy
import io
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from torch import nn

from tests.drawn import gen
from tests.simgpu import device

HERE = torch.ones(3)                              # on the CPU
THERE = "cuda"


def ones(*shape, **options):
    return torch.ones(shape, device=THERE, **options)


def train_wrong():
    net = nn.Linear(4, 2).to(THERE)
    nn.functional.mse_loss(net(ones(8, 4)), torch.zeros(8, 2)).backward()          # the target was forgotten


class Wrong(torch.autograd.Function):
    """A backward pass that multiplies by a constant of the CPU."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g * HERE


def forked():
    return float(ones(3).sum())


def fork():
    ones(1)
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(forked).result()


def limited(work, bytes_):
    """Run with less memory."""
    device.memory.limit = device.memory.live + bytes_
    try:
        work()
    finally:
        device.memory.limit = None


def large_backward():
    x = ones(1000, requires_grad=True)
    x.exp().exp().exp().sum().backward()


def fused_state_on_the_cpu():
    there, here = [ones(3)], [torch.zeros(3)]
    torch._fused_adamw_(there, there, here, here, [], [torch.zeros(())], lr=0.1, beta1=0.9, beta2=0.99,
                        weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False)


TWO, HOST, GENERATOR, OUT = "same device", "cpu()", "generator", "memory"
BUGS = {                                          # name -> what it does, the error's kind, part of its text
    "operands on two devices": (lambda: ones(3) + HERE, RuntimeError, TWO),
    "two devices and dtypes (a chapter's `judge`)": (lambda: ones(3, dtype=torch.float64) * torch.tensor([1, 2, 3]),
                                                     RuntimeError, TWO),
    "CPU vector with a scalar of the device": (lambda: HERE * ones(), RuntimeError, TWO),
    "forgotten target": (train_wrong, RuntimeError, TWO),
    "inputs of a module on the CPU": (lambda: nn.Linear(3, 2).to(THERE)(HERE), RuntimeError, TWO),
    "written in place from the wrong side": (lambda: torch.ones(()).add_(ones()), RuntimeError, TWO),
    "stack": (lambda: torch.stack([ones(3), HERE]), RuntimeError, TWO),
    "where with a CPU mask (sim.theory.schur)": (lambda: torch.where(HERE > 0, ones(3), 0.0), RuntimeError, TWO),
    "gather": (lambda: ones(3).gather(0, torch.tensor([1])), RuntimeError, TWO),
    "scatter": (lambda: ones(3).scatter_(0, torch.tensor([0]).to(THERE), HERE), RuntimeError, TWO),
    "CPU table, indices of the device (rhm.controls)": (lambda: HERE[torch.tensor([0, 1], device=THERE)], RuntimeError,
                                                        "indices"),
    "CPU values into a tensor of the device": (lambda: ones(3).__setitem__(torch.tensor([0, 1]), HERE[:2]),
                                               RuntimeError, TWO),
    "vmap": (lambda: torch.func.vmap(lambda x: x + HERE)(ones(2, 3)), RuntimeError, TWO),
    "vmap, made by arange": (lambda: torch.func.vmap(lambda x: x * torch.arange(3))(ones(2, 3)), RuntimeError, TWO),
    "einsum": (lambda: torch.einsum("i,i->", ones(3), HERE), RuntimeError, TWO),
    "in a backward pass": (lambda: Wrong.apply(ones(3, requires_grad=True)).sum().backward(), RuntimeError, TWO),
    "state of an optimiser on the CPU": (fused_state_on_the_cpu, RuntimeError, TWO),
    ".numpy()": (lambda: ones(3).numpy(), TypeError, HOST),
    "np.asarray": (lambda: np.asarray(ones(3)), TypeError, HOST),
    "list of tensors to numpy": (lambda: np.array([ones(2), ones(2)]), TypeError, HOST),
    "rand with a CPU generator": (lambda: torch.rand(3, device=THERE, generator=torch.Generator()), RuntimeError,
                                  GENERATOR),
    "normal_ with one": (lambda: ones(3).normal_(generator=torch.Generator()), RuntimeError, GENERATOR),
    "randint with one": (lambda: torch.randint(9, (3,), device=THERE, generator=torch.Generator()), RuntimeError,
                         GENERATOR),
    "randperm with one": (lambda: torch.randperm(9, device=THERE, generator=torch.Generator()), RuntimeError,
                          GENERATOR),
    "multinomial with one (rhm.controls)": (lambda: torch.multinomial(ones(3), 2, generator=torch.Generator()),
                                            RuntimeError, GENERATOR),
    "CPU draw with a generator of the device": (lambda: torch.rand(3, generator=torch.Generator(THERE)), RuntimeError,
                                                GENERATOR),
    "product of integers": (lambda: ones(2, 2, dtype=torch.int64) @ ones(2, 2, dtype=torch.int64), RuntimeError,
                            "not implemented"),
    "a second device": (lambda: torch.ones(3, device="cuda:1"), RuntimeError, "ordinal"),
    "fork after use": (fork, RuntimeError, "fork"),
    "out of memory": (lambda: limited(lambda: ones(1000), 3999), torch.OutOfMemoryError, OUT),
    "out of memory in a backward pass": (lambda: limited(large_backward, 16_500), torch.OutOfMemoryError, OUT),
}


def check_bugs_are_seen():
    for name, (bug, kind, text) in BUGS.items():
        try:
            bug()
        except kind as error:
            assert text in str(error), (name, error)
        else:
            raise AssertionError(f"not seen: {name}")


def check_what_is_right_passes():
    expected, found = ([t.detach().cpu().double() for t in right(d)] for d in ("cpu", THERE))
    for k, (a, b) in enumerate(zip(expected, found, strict=True)):
        assert a.shape == b.shape and torch.allclose(a, b, atol=1e-5), (k, a, b)
    before = device.memory.live
    x = ones(1000)
    assert torch.cuda.memory_allocated() == before + 4000
    view = x[3:]
    del x
    assert device.memory.live == before + 4000
    del view
    assert device.memory.live == before


def right(d):
    """Yield results of code that is right on CUDA."""
    x = torch.randn(6, 4, generator=gen()).to(d)
    assert x.to(d) is x and (d == "cpu" or x.device == torch.device("cuda", 0) == torch.zeros(1, device=d).device)
    yield from (x + torch.tensor(2.0), x * 3, torch.where(x > 0, x, torch.tensor(0.0)), x[torch.tensor([0, 2])],
                x.clamp(min=torch.tensor(0.1)), torch.arange(5, device=d), torch.full_like(x, 2.0), x.new_zeros(2),
                x.new_tensor([1, 2]), torch.tensor([1.0, 2.0], device=d), torch.as_tensor(np.ones(2), device=d),
                torch.eye(3, device=d), torch.linspace(0, 1, 4, device=d), x.double().cumsum(0), x.sort(0).values,
                x.topk(2).indices, torch.linalg.eigvalsh(x.T @ x), torch.linalg.qr(x)[1].abs(), x.unique(), x.nonzero(),
                torch.bincount(torch.arange(3, device=d)), x.unsqueeze(0).squeeze_(0),
                torch.searchsorted(torch.arange(5.0, device=d), x), x.half().float())
    y = torch.zeros(3, device=d)
    y[torch.tensor([True, False, True])], y[0] = 1.0, torch.tensor(5.0)
    view = (z := torch.zeros(2, 3, device=d))[0]                                   # views share memory
    view.add_(1)
    z.T[2] = 7
    leaf, w = x.clone().requires_grad_(), torch.zeros(4, requires_grad=True)
    (leaf.exp() * leaf).sum().backward()
    (x.cpu() @ w + (x @ w.to(d)).cpu()).sum().backward()                           # across devices
    yield from (y, z, leaf.grad, w.grad, torch.func.vmap(torch.func.grad(lambda v: (v**3).sum()))(x),
                torch.func.hessian(lambda v: (v**3).sum())(x[0]), torch.func.jvp(torch.sin, (x,), (x,))[1])
    for make in (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, fused=True), torch.optim.RMSprop,
                 lambda p: torch.optim.Adam(p, 0.1, fused=True), lambda p: torch.optim.AdamW(p, 0.1, foreach=True)):
        yield from trained(make, x)
    q = x.view(1, 2, 3, 4)
    torch.manual_seed(2)
    conv = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.AvgPool2d(2),
                         nn.Conv2d(4, 2, 1)).to(memory_format=torch.channels_last).to(d)
    conv(x.view(6, 1, 2, 2)).square().sum().backward()
    yield from (*(p.grad for p in conv.parameters()), nn.functional.scaled_dot_product_attention(q, q, q))
    g = torch.Generator(d).manual_seed(3)
    draws, state = torch.rand(1000, generator=g, device=d), g.get_state()
    again = torch.rand(3, generator=g, device=d)
    g.set_state(state)
    assert torch.equal(again, torch.rand(3, generator=g, device=d)) and abs(float(draws.mean()) - 0.5) < 0.05
    assert g.device.type == d and isinstance(torch.Generator(), torch.Generator)
    assert f"{x.sum():.2f}" == f"{x.sum().item():.2f}" and ("cuda" in repr(x)) == (d == THERE)
    assert isinstance(nn.Parameter(x), nn.Parameter) and len(x.tolist()) == 6 and bool((x == x).all())
    with torch.device(d):
        assert torch.ones(2).device.type == torch.get_default_device().type == d
    torch.set_default_device(d)
    assert torch.ones(2).device.type == torch.get_default_device().type == d != torch.Generator().device.type \
        or d == "cpu"
    torch.set_default_device(None)
    assert torch.get_default_device().type == torch.ones(2).device.type == "cpu"


def trained(make, x):
    """Yield weights after some steps with a checkpoint by way of the CPU between, and what a copy from there says."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 2)).to(x.device)
    optimiser = make(net.parameters())
    for k in range(6):
        optimiser.zero_grad()
        net(x).square().mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if k == 3:
            torch.save((net.state_dict(), optimiser.state_dict()), buffer := io.BytesIO())
            states = torch.load(io.BytesIO(buffer.getvalue()), map_location="cpu", weights_only=True)
            assert not states[0]["0.weight"].is_cuda
            net.load_state_dict(states[0])
            optimiser.load_state_dict(states[1])
            twin = copy.deepcopy(net)
    yield from (*net.parameters(), twin(x))
