import gc
import types

import pytest
import torch
from torch import nn

from hierlib import lab
from hierlib.lab import keep


def count(x):
    return {"y": x}


@pytest.fixture
def paper(monkeypatch, tmp_path):
    """A notebook at paper scale: the list of its cells so far."""
    cells = ["", "import hierlib", "K = 2"]
    monkeypatch.setenv("HIERLIB_SCALE", "paper")
    monkeypatch.setenv("HIERLIB_KEEP", str(tmp_path))
    monkeypatch.setenv("HIERLIB_DEVICE", "cpu")
    shell = types.SimpleNamespace(user_ns={"In": cells})
    monkeypatch.setattr(keep, "ipython", lambda: shell)
    return cells


def test_at_quick_scale_nothing_is_kept(monkeypatch):
    monkeypatch.setenv("HIERLIB_SCALE", "quick")
    kept = lab.Keep("chapter")
    assert kept.sweep("part") == {} == kept.train("part") and lab.forecast({"part": (lambda: 1 / 0, 3)}) is None
    folder = kept.folder("part")
    assert folder == kept.folder("part") != kept.folder("other") and folder.is_dir()
    del kept
    gc.collect()
    assert not folder.exists(), "nothing is left behind"


def test_what_is_kept_counts_for_the_cells_so_far(paper, tmp_path):
    kept = lab.Keep("chapter")
    first = kept.sweep("part")
    assert list(lab.sweep(count, {"x": [1, 2]}, **first).y) == [1, 2]
    assert first["store"].is_relative_to(tmp_path / "chapter") and len(list(first["store"].iterdir())) == 2
    assert kept.folder("part").is_relative_to(first["store"].parent) and kept.folder("part") != first["store"]
    paper.append("K = 2")                                    # run again: the same text
    assert kept.sweep("part") == first
    paper.append("K = 3")
    changed = kept.sweep("part")
    assert changed["store"] != first["store"] and changed["version"] != first["version"]
    paper.pop()
    assert lab.Keep("chapter").sweep("part") == first, "as after a restart"


def test_a_training_goes_on_where_it_was_stopped(paper):
    kept = lab.Keep("chapter")

    def run(stop):
        model = nn.Linear(2, 1)
        with torch.no_grad():
            model.weight.copy_(torch.ones(1, 2))
            model.bias.zero_()
        for report in lab.train(model, lambda m, rng: m(torch.randn(8, 2, generator=rng)).square().mean(), steps=8,
                                **kept.train("net")):
            if report.step == stop:
                return report.step, model
        return report.step, model

    assert run(4)[0] == 4
    resumed = run(None)[1]
    kept.train("net")["checkpoint"].unlink()
    assert torch.equal(resumed.weight, run(None)[1].weight)


def test_outside_of_a_notebook_a_version_is_needed(paper, monkeypatch):
    monkeypatch.setattr(keep, "ipython", lambda: None)
    with pytest.raises(ValueError, match="version = None: must be a string"):
        lab.Keep("chapter")
    assert lab.Keep("chapter", "1").sweep("p") != lab.Keep("chapter", "2").sweep("p")
    for wrong in ("", "a/b", ".."):
        with pytest.raises(ValueError, match="chapter = "):
            lab.Keep(wrong, "1")


def test_a_forecast_multiplies_what_a_probe_takes(paper, monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(keep, "_now", lambda where: now[0])

    def probe(seconds):
        now[0] += seconds

    frame = lab.forecast({"slow": (lambda: probe(3.0), 20), "quick": (lambda: probe(0.5), 60)})
    assert frame.minutes.to_dict() == pytest.approx({"slow": 1.0, "quick": 0.5}) and (frame.GB > 0.05).all()
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 3 and "1.0 min" in told[0] and told[0].endswith("slow") and "1.5 min in all" in told[2]
