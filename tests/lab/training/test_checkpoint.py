"""A checkpoint is whole or not there, and belongs to one run."""

import contextlib
import enum
import os
import random
from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hierlib
from hierlib.lab.training import checkpoint

STATE = {
    "step": 3, "weights": {"a": torch.arange(6.0).view(2, 3), "n": torch.tensor(7)}, "none": None, "done": False,
    "rows": [{"loss": 0.1, "name": "x"}], "rng": torch.Generator().get_state(), "pair": (0.9, 0.99),
}
RUN = {"v": 8, "grid": [1, 2, 3], "name": "uniform", "deep.flag": True, "steps": 10}


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


def test_round_trip_and_absence(tmp_path):
    path = tmp_path / "new" / "folder" / "run.pt"
    assert checkpoint.load(path, RUN) is None
    checkpoint.save(path, STATE, RUN)
    checkpoint.save(str(path), STATE | {"step": 4}, RUN)
    assert same(checkpoint.load(str(path), RUN), STATE | {"step": 4})
    assert [p.name for p in path.parent.iterdir()] == ["run.pt"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask           # not the private mode of temporary files


def test_a_configuration_may_hold_numbers_of_numpy(tmp_path):
    checkpoint.save(tmp_path / "a", STATE, {"P": np.int64(2), "lr": np.float32(0.5), "n": torch.tensor(3)})
    assert checkpoint.load(tmp_path / "a", {"P": 2, "lr": 0.5, "n": 3})
    with pytest.raises(ValueError, match=r"P = 2, here P = 3"):
        checkpoint.load(tmp_path / "a", {"P": np.int64(3), "lr": 0.5, "n": 3})


def test_what_json_cannot_tell_apart_is_the_same_run(tmp_path):
    checkpoint.save(tmp_path / "a", STATE, {"pair": (1, 2)})
    assert checkpoint.load(tmp_path / "a", {"pair": [1, 2]})


@pytest.mark.parametrize(("other", "key", "theirs", "ours"), [
    (RUN | {"v": 9, "steps": 11}, "v", "8", "9"),                   # the first one is named
    (RUN | {"grid": [1, 5, 3]}, "grid", r"\[1, 2, 3\]", r"\[1, 5, 3\]"), (RUN | {"steps": 12}, "steps", "10", "12"),
    (RUN | {"deep.flag": 1}, "deep.flag", "True", "1"), (RUN | {"new": 1}, "new", "absent", "1"),
    ({k: v for k, v in RUN.items() if k != "v"}, "v", "8", "absent"),
])
def test_another_run_is_refused_by_its_first_difference(tmp_path, other, key, theirs, ours):
    checkpoint.save(tmp_path / "a", STATE, RUN)
    with pytest.raises(ValueError, match=f"written with {key} = {theirs}, here {key} = {ours};"):
        checkpoint.load(tmp_path / "a", other)


def test_another_version_and_format_are_refused(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "a", STATE, RUN)
    with monkeypatch.context() as patch:
        patch.setattr(hierlib, "__version__", "99.0")
        with pytest.raises(ValueError, match=r"hierlib = '[\d.]+', here hierlib = '99.0'"):
            checkpoint.load(tmp_path / "a", RUN)
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes().replace(b"format 2", b"format 1", 1))
    with pytest.raises(ValueError, match="must be a checkpoint of hierlib"):
        checkpoint.load(tmp_path / "a", RUN)


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "a"
    checkpoint.save(path, {"step": 1}, RUN)
    whole = path.read_bytes()
    for length in [*range(0, 120), *range(120, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"checkpoint = .*cut short"):
            checkpoint.load(path, RUN)


def test_every_changed_byte_is_refused(tmp_path):
    path = tmp_path / "a"
    checkpoint.save(path, STATE, RUN)
    whole, draw = path.read_bytes(), random.Random(0)
    for place in [*range(100), *(draw.randrange(len(whole)) for _ in range(200))]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << draw.randrange(8))]) + whole[place + 1:])
        with pytest.raises(ValueError, match="checkpoint = "):
            checkpoint.load(path, RUN)


def test_other_files_and_folders_are_refused(tmp_path):
    torch.save({"model": 1}, tmp_path / "torch.pt")
    (tmp_path / "text").write_text("hello")
    for name in ("torch.pt", "text"):
        with pytest.raises(ValueError, match="must be a checkpoint of hierlib"):
            checkpoint.load(tmp_path / name, RUN)
    for call in (lambda: checkpoint.load(tmp_path, RUN), lambda: checkpoint.save(tmp_path, STATE, RUN)):
        with pytest.raises(ValueError, match="must be a file, not a folder"):
            call()


class Evil:
    """Pickles as a call."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_no_code_of_the_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "loadable", lambda state: state)
        checkpoint.save("a", {"step": Evil()}, RUN)
    with pytest.raises(ValueError, match="tensors and plain values only"):
        checkpoint.load("a", RUN)
    assert not os.path.exists("ran")


class Flag(enum.IntEnum):
    UP = 1


class Marked(torch.Tensor):
    """A tensor of another class, which no file may name."""


Pair = namedtuple("Pair", ["a", "b"])
FORMS = [                                                          # and what they are loaded as
    (None, None), (True, True), (np.True_, True), (2**80, 2**80), (np.uint8(7), 7), (Flag.UP, 1), (0.1, 0.1),
    (np.float64(0.1), 0.1), (np.array(0.5), 0.5), (float("inf"), float("inf")), ("ν\ud800", "ν\ud800"),
    (np.str_("x"), "x"), (torch.tensor(3), torch.tensor(3)), (torch.float64, torch.float64),
    (torch.nn.Parameter(torch.ones(2)), torch.ones(2)), (torch.ones(2).as_subclass(Marked), torch.ones(2)),
    (torch.arange(6.0).view(2, 3).T, torch.arange(6.0).view(2, 3).T), (torch.device("cpu"), torch.device("cpu")),
]
KEYS = [("a", "a"), (3, 3), (np.int64(4), 4), (np.str_("b"), "b")]


def nested(inner):
    lists = st.lists(inner, max_size=3)
    dicts = st.lists(st.tuples(st.sampled_from(KEYS), inner), max_size=3, unique_by=lambda item: item[0][1])
    return st.one_of(
        lists.map(lambda x: ([a for a, _ in x], [b for _, b in x])),
        lists.map(lambda x: (tuple(a for a, _ in x), tuple(b for _, b in x))),
        st.tuples(inner, inner).map(lambda x: (Pair(x[0][0], x[1][0]), (x[0][1], x[1][1]))),
        st.tuples(st.sampled_from([dict, OrderedDict, lambda items: defaultdict(list, items)]), dicts).map(
            lambda x: (x[0]((k[0], v[0]) for k, v in x[1]), {k[1]: v[1] for k, v in x[1]})),
    )


def like(a, b):
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(like, a, b))
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(like(a[k], b[k]) for k in a)
    return type(a) is type(b) and same(a, b)


@given(st.recursive(st.sampled_from(FORMS), nested, max_leaves=8))
def test_what_is_written_is_loaded_as_plain_values(state):
    given, plain = state
    (FOLDER / "a").unlink(missing_ok=True)
    checkpoint.save(FOLDER / "a", {"x": given}, RUN)
    assert like(checkpoint.load(FOLDER / "a", RUN), {"x": plain})


@pytest.fixture(autouse=True, scope="module")
def _folder_of_the_property_test(tmp_path_factory):
    global FOLDER
    FOLDER = tmp_path_factory.mktemp("states")


@pytest.mark.parametrize("bad", [{1}, np.ones(2), 1j, b"x", object(), print, Evil(), np.datetime64("2020"), range(2)])
def test_what_could_not_be_loaded_is_refused(tmp_path, bad):
    with pytest.raises(ValueError, match=r"checkpoint: .*nothing else could be loaded"):
        checkpoint.save(tmp_path / "a", {"a": [0, {"b": bad}]}, RUN)
    with pytest.raises(ValueError, match=r"checkpoint: .*nothing else could be loaded"):
        checkpoint.save(tmp_path / "a", {"a": {(1, print): 0}}, RUN)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_former_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "a"
    checkpoint.save(path, STATE, RUN)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(path, STATE | {"step": 4}, RUN)
    assert list(tmp_path.iterdir()) == [path] and same(checkpoint.load(path, RUN), STATE)


def test_the_order_of_writing(tmp_path, monkeypatch):
    # a rename may reach the disk before the content unless the content is flushed first, and the folder last
    calls, fsync, replace = [], os.fsync, os.replace

    def flushed(number):
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{number}") else "file"
        size = os.fstat(number).st_size
        calls.append((kind, size) if kind == "file" else kind)
        return fsync(number)

    def renamed(a, b):
        calls.append("rename")
        return replace(a, b)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    checkpoint.save(tmp_path / "a", STATE, RUN)
    if os.path.isdir("/proc/self/fd"):
        assert calls == [("file", (tmp_path / "a").stat().st_size), "rename", "folder"]


def test_leftovers_of_a_killed_run_go_and_those_of_others_stay(tmp_path):
    path = tmp_path / "run[1]*.pt"
    checkpoint.save(path, STATE, RUN)
    mine, others = tmp_path / ".run[1]*.pt.0011aabb.tmp", [".run1x.pt.0011aabb.tmp", "run[1]*.pt.tmp", ".other.00.tmp"]
    for name in [mine.name, *others]:
        (tmp_path / name).write_bytes(b"half")
    assert same(checkpoint.load(path, RUN), STATE)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, *others])


def test_a_write_leaves_a_name_that_a_later_load_clears(tmp_path, monkeypatch):
    # what SIGKILL would leave: neither handler nor clean-up runs
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
    with contextlib.suppress(KeyboardInterrupt):
        checkpoint.save(tmp_path / "a", STATE, RUN)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.undo()
    assert checkpoint.load(tmp_path / "a", RUN) is None and not list(tmp_path.iterdir())
