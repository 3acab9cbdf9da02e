import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
import torch

from hierlib import lab


def state(x):
    elsewhere = multiprocessing.parent_process() is not None
    return {"threads": torch.get_num_threads(), "denormal": float(torch.tensor(1e-39) * 1.0), "process": elsewhere}


@pytest.mark.parametrize(("platform", "kind"), [("linux", ProcessPoolExecutor), ("darwin", ThreadPoolExecutor),
                                                ("win32", ThreadPoolExecutor)])
def test_workers_by_system(monkeypatch, platform, kind):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HIERLIB_DEVICE", "cpu")
    before = torch.get_num_threads()
    try:
        with lab.workers(2)() as made:
            assert type(made) is kind and made._max_workers == 2
        frame = lab.sweep(state, {"x": range(4)}, executor=lab.workers(2))
    finally:
        torch.set_num_threads(before)
    assert (frame.threads == 1).all() and (frame.denormal == 0).all()
    assert (frame.process == (kind is ProcessPoolExecutor)).all()
    assert float(torch.tensor(1e-39) * 1.0) > 0, "the driver itself is left alone"


def test_on_a_gpu_there_are_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("HIERLIB_DEVICE", raising=False)
    assert lab.workers() is None


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_a_number_of_workers_is_at_least_one(n):
    with pytest.raises(ValueError, match="n = "):
        lab.workers(n)
