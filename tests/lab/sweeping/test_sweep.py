import copyreg
import functools
import itertools
import json
import math
import multiprocessing
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import time
import weakref
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from hierlib.lab.sweeping import store as stores
from hierlib.lab.sweeping.store import Store, code_version
from hierlib.lab.sweeping.sweep import SweepError, sweep
from hierlib.lab.sweeping.workers import _Errand
from tests.lab.sweeping import sweep_tasks as tasks

GRID = {"x": [3, 1, 2], "y": ["a", "b"]}
forks = functools.partial(ProcessPoolExecutor, 2, mp_context=multiprocessing.get_context("fork"))
processes = functools.partial(ProcessPoolExecutor, 2, mp_context=multiprocessing.get_context("spawn"))
threads = functools.partial(ThreadPoolExecutor, 2)


def pair(x, y=0):
    return {"sum": x + y}


ROOT = Path(__file__).parents[3]
DASK = """if True:
    import sys
    from pathlib import Path
    from pandas.testing import assert_frame_equal
    from hierlib.lab.sweeping.sweep import SweepError, sweep
    from tests.lab.sweeping import sweep_tasks as tasks
    assert "dask" not in sys.modules and "distributed" not in sys.modules
    import dask, distributed

    folder = Path(sys.argv[1])
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        pool = client.get_executor()
        grid = {"x": [3, 1, 2], "y": ["a", "b"]}
        frame = sweep(tasks.several, grid, executor=pool, seed=3)
        assert_frame_equal(frame, sweep(tasks.several, grid, seed=3), check_exact=True)
        assert not sweep(tasks.loaded, {"x": [0]}, executor=pool).hierlib[0]

        grid = {"x": range(5), "folder": [str(folder)]}
        try:
            sweep(tasks.kills, grid, executor=pool, store=folder / "store", version="1")
        except SweepError as error:
            (configuration, died), = error.failures
            assert configuration["x"] == 3 and "died again when it ran alone" in str(died)
            assert type(died.__cause__).__name__ == "KilledWorker"
            assert list(error.frame.x) == [0, 1, 2, 4] and tasks.calls(folder).count(3) == 2
        else:
            raise AssertionError("nothing failed")
        (folder / "cured").touch()
        (folder / "log").unlink()
        frame = sweep(tasks.kills, grid, executor=pool, store=folder / "store", version="1")
        assert list(frame.square) == [0, 1, 4, 9, 16]
        # neither the store nor the cluster's own cache answers for the failed task
        assert tasks.calls(folder) == [3]
    print("as it should be")
"""


# ---- the table

def test_rows_stand_in_grid_order_with_configuration_first():
    frame = sweep(tasks.several, GRID, seed=0)
    assert list(frame.columns) == ["x", "y", "row", "value", "name"]
    assert list(zip(frame.x, frame.y)) == [pair for pair in itertools.product([3, 1, 2], "ab") for _ in range(2)]
    assert (frame.name == frame.x.astype(str) + frame.y).all() and list(frame.row) == [0, 1] * 6
    listed = sweep(tasks.several, [{"y": y, "x": x} for y, x in itertools.product("ba", [2, 3])], seed=0)
    merged = listed.merge(frame, on=["x", "y", "row"])
    assert list(listed.y) == ["b"] * 4 + ["a"] * 4 and (merged.value_x == merged.value_y).all()


@pytest.mark.parametrize("result", [
    {"a": 1, "b": 0.1}, [{"a": 1, "b": 0.1}], {"a": np.int32(1), "b": torch.tensor(0.1, dtype=torch.float64)},
    {"a": torch.tensor(1), "b": np.array(0.1)}, pd.DataFrame({"a": [1], "b": [0.1]}, index=["z"]),
])
def test_results_of_every_form_become_plain_columns(result):
    frame = sweep(lambda x: result, {"x": np.array([7, 8])})
    assert_frame_equal(frame, pd.DataFrame({"x": [7, 8], "a": [1, 1], "b": [0.1, 0.1]}), check_exact=True)


def test_configurations_reach_the_task_in_plain_python():
    seen = []

    def task(**configuration):
        seen.append(configuration)
        configuration["shape"].append(0) if isinstance(configuration["shape"], list) else None
        return {}

    grid = {"n": [np.int64(3)], "p": torch.tensor([0.25]), "shape": [(1, np.int8(2)), [4]], "none": [None]}
    frame = sweep(task, grid)
    assert seen[0] == {"n": 3, "p": 0.25, "shape": (1, 2), "none": None}
    assert type(seen[0]["n"]) is int and type(seen[0]["p"]) is float and type(seen[0]["shape"][1]) is int
    assert list(frame["shape"]) == [(1, 2), [4]], "a task that changes its arguments leaves the table alone"
    assert len(sweep(lambda x: [{"k": k} for k in range(x)], {"x": [0, 2]})) == 2
    assert list(sweep(lambda x: [], {"x": [0]}).columns) == ["x"]


@pytest.mark.parametrize("executor", [threads, processes], ids=["threads", "processes"])
def test_every_executor_gives_the_serial_table(executor):
    with executor() as pool:
        frame = sweep(tasks.several, GRID, executor=pool, seed=3)
        assert pool.submit(int).result() == 0, "the user's pool stays open"
    assert_frame_equal(frame, sweep(tasks.several, GRID, seed=3), check_exact=True)


def test_dask_gives_the_serial_table_and_names_the_killer(tmp_path):
    # a process of its own: a cluster that loses a worker leaves sockets to the garbage collector
    pytest.importorskip("distributed")
    done = subprocess.run([sys.executable, "-c", DASK, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "as it should be\n", done.stderr


def test_workers_load_the_task_alone():
    frame = sweep(tasks.loaded, {"x": [0]}, executor=processes)
    assert not frame[["hierlib", "torch", "pandas"]].any(axis=None)


def test_tasks_are_handed_out_as_there_is_room():
    class Counting(ThreadPoolExecutor):
        now = most = 0

        def submit(self, *args):
            self.now += 1
            self.most = max(self.most, self.now)
            future = super().submit(*args)
            future.add_done_callback(lambda _: setattr(self, "now", self.now - 1))
            return future

    with Counting(2) as pool:
        assert list(sweep(pair, {"x": range(200)}, executor=pool)["sum"]) == list(range(200))
    assert 2 <= pool.most <= 3


# ---- the store

def test_a_second_call_is_a_no_op_and_a_larger_grid_runs_the_rest(tmp_path):
    grid = {"x": [2, 0, 1], "folder": [str(tmp_path)]}
    first = sweep(tasks.logged, grid, store=tmp_path / "deep" / "store", version="1")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "deep" / "store").iterdir()}

    def never():
        raise AssertionError("no executor is made when nothing is missing")

    again = sweep(tasks.logged, grid, store=tmp_path / "deep" / "store", version="1", executor=never)
    assert_frame_equal(first, again, check_exact=True)
    assert tasks.calls(tmp_path) == [2, 0, 1] and len(files) == 3
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "deep" / "store").iterdir()}
    sweep(tasks.logged, grid | {"x": [5, 1, 0, 4]}, store=tmp_path / "deep" / "store", version="1")
    assert tasks.calls(tmp_path) == [2, 0, 1, 5, 4]
    sweep(tasks.logged, grid, store=tmp_path / "deep" / "store", version="mine")
    assert tasks.calls(tmp_path) == [2, 0, 1, 5, 4, 2, 0, 1], "another version is another result"


def test_what_the_store_gives_back_is_bitwise_what_was_computed(tmp_path):
    values = [math.pi, -0.0, 5e-324, math.inf, -math.inf, math.nan, 0.1 + 0.2, 2**70, True, None, "ν\ud800\n", -7]
    grid = {"i": range(len(values))}
    frames = [sweep(lambda i: {"value": values[i]}, grid, store=tmp_path, version="1") for _ in range(2)]
    for value, *stored in zip(values, *(frame.value.astype(object) for frame in frames)):
        for one in stored:
            assert type(one) is type(value)
            assert struct.pack("d", one) == struct.pack("d", value) if isinstance(value, float) else one == value


@given(st.lists(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.floats())))
def test_rows_survive_the_store(rows):
    store = Store(_folder, pair, "1")
    store.write({"rows": 1}, rows)
    assert repr(store.read({"rows": 1})) == repr(rows), "repr of a double is its value, to the bit"


@pytest.fixture(autouse=True, scope="module")
def _folder_of_the_property_test(tmp_path_factory):
    global _folder
    _folder = tmp_path_factory.mktemp("rows")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"{}", b'{"rows": 3}', b'{"rows": [{"a": [1]}]}', None])
def test_a_damaged_or_foreign_file_is_named(tmp_path, content):
    (tmp_path / "notes.json").write_text("not ours, never looked at")
    sweep(pair, {"x": [0, 1]}, store=tmp_path, version="1")
    victim, other = sorted(path for path in tmp_path.glob("*.json") if len(path.stem) == 32)
    victim.write_bytes(other.read_bytes() if content is None else content)
    with pytest.raises(ValueError, match=rf"{victim.name} is damaged or foreign.*remove it"):
        sweep(pair, {"x": [0, 1]}, store=tmp_path, version="1")
    victim.unlink()
    assert list(sweep(pair, {"x": [0, 1]}, store=tmp_path, version="1")["sum"]) == [0, 1]


def test_files_of_others_are_left_alone_and_a_failed_write_leaves_none(tmp_path, monkeypatch):
    (tmp_path / ".a.1.tmp").write_text("{")                        # half-written by a driver that was killed
    sweep(pair, {"x": [0]}, store=tmp_path, version="1")
    assert len(list(tmp_path.iterdir())) == 2

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        sweep(pair, {"x": [0, 1]}, store=tmp_path, version="1")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_stored_sweep_needs_a_version_and_follows_the_source(monkeypatch):
    """What else a task reads (constants of any type, helpers, classes, closures) is told apart by `version` alone."""
    before = code_version(tasks.several, "1")
    assert before == code_version(tasks.several, "1") != code_version(tasks.several, "2")
    assert code_version(tasks.fails, "1") != code_version(tasks.waits, "1")
    cached = functools.lru_cache(tasks.several)
    assert code_version(cached, "1") == before, "a wrapper is seen through"
    with monkeypatch.context() as patch:
        patch.setattr(stores, "_library", lambda: "another hierlib")
        assert code_version(tasks.several, "1") != before
    partials = [functools.partial(pair, y=1), functools.partial(pair, y=np.int64(2)), functools.partial(pair, 1), pair]
    assert len({code_version(task, "1") for task in partials}) == 4
    with pytest.raises(ValueError, match="plain values only bound"):
        code_version(functools.partial(pair, y=object()), "1")
    namespace = {}
    exec("def unseen(x): return {}", namespace)
    assert code_version(namespace["unseen"], "1") != code_version(namespace["unseen"], "2")


@pytest.mark.parametrize("version", [None, ""])
def test_a_store_without_a_version_is_refused_before_anything_runs(tmp_path, version):
    with pytest.raises(ValueError, match=f"version = {version!r}: must be a string where there is a store"):
        sweep(tasks.logged, {"x": [1], "folder": [str(tmp_path)]}, store=tmp_path / "store", version=version)
    assert tasks.calls(tmp_path) == []


def test_a_store_at_home_is_found_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    sweep(pair, {"x": [0]}, store="~/rows", version="1")
    assert len(list((tmp_path / "rows").glob("*.json"))) == 1 and not Path("~").exists()


def test_the_library_digest_covers_every_module(tmp_path, monkeypatch):
    for name in ("a.py", "b/c.py"):
        (tmp_path / "hierlib" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "hierlib" / name).write_text("one")
    (tmp_path / "hierlib" / "lab").mkdir()
    monkeypatch.setattr(stores, "__file__", str(tmp_path / "hierlib" / "lab" / "sweeping" / "store.py"))
    read = stores._library.__wrapped__
    before = read()
    (tmp_path / "hierlib" / "b" / "c.py").write_text("two")
    assert read() != before


# ---- seeds

def test_seeds_belong_to_configurations():
    def draw(seed, **_):
        return {"drawn": seed}

    frame = sweep(draw, {"x": range(20), "y": [0.5, 1]}, seed=1)
    assert frame.drawn.nunique() == 40 and frame.drawn.between(0, 2**63 - 1).all()
    wider = sweep(draw, {"y": [1, 7, 0.5], "x": range(25)[::-1]}, seed=1)
    both = frame.merge(wider, on=["x", "y"])
    assert len(both) == 40 and (both.drawn_x == both.drawn_y).all()
    assert not set(frame.drawn) & set(sweep(draw, {"x": range(20), "y": [0.5, 1]}, seed=2).drawn)
    assert sweep(draw, [{"x": 4, "y": 1}], seed=1).drawn[0] == frame.drawn[9]
    bits = np.array([[int(s) >> k & 1 for k in range(62)] for s in frame.drawn])
    assert abs(bits.mean() - 0.5) < 4 * 0.5 / bits.size**0.5
    assert list(sweep(draw, {"seed": [5, 6]}).columns) == ["seed", "drawn"], "a seed of one's own is a name like others"


def test_a_seed_is_part_of_what_is_stored(tmp_path):
    def draw(x, seed):
        return {"drawn": seed}

    one, two, again = (sweep(draw, {"x": [0]}, seed=seed, store=tmp_path, version="1").drawn[0] for seed in (1, 2, 1))
    assert one == again != two and len(list(tmp_path.iterdir())) == 2


# ---- failures

@pytest.mark.parametrize("executor", [None, threads, processes], ids=["serial", "threads", "processes"])
def test_an_exception_costs_its_own_task_only(tmp_path, executor):
    grid = {"x": range(6), "folder": [str(tmp_path)]}
    with pytest.raises(SweepError, match="2 of 6 tasks failed") as caught:
        sweep(tasks.fails, grid, executor=executor, store=tmp_path / "store", version="1")
    error = caught.value
    assert [configuration["x"] for configuration, _ in error.failures] == [1, 4]
    assert "'x': 4" in str(error) and "ArithmeticError: no 4" in str(error)
    assert error.__cause__ is error.failures[0][1] and isinstance(error.__cause__, ArithmeticError)
    assert list(error.frame.square) == [0, 4, 9, 25] and len(list((tmp_path / "store").iterdir())) == 4
    (tmp_path / "cured").touch()
    (tmp_path / "log").unlink()
    assert list(sweep(tasks.fails, grid, store=tmp_path / "store", version="1").square) == [0, 1, 4, 9, 16, 25]
    assert tasks.calls(tmp_path) == [1, 4]


@pytest.mark.parametrize("result", [None, 3, [1], {1: 2}, {"a": [1, 2]}, {"a": 1j}, {"a": torch.zeros(1)}, ({"a": 1},),
                                    pd.DataFrame([[1, 2]], columns=["a", "a"]), pd.DataFrame([[1]])])
def test_a_result_that_is_no_row_is_a_failure_of_its_task(result, tmp_path):
    with pytest.raises(SweepError, match=r"(?s)ValueError: result = .*: must") as caught:
        sweep(lambda x: result if x else {"a": 0}, {"x": [0, 1]}, store=tmp_path, version="1")
    assert list(caught.value.frame.a) == [0] and len(list(tmp_path.iterdir())) == 1


def test_all_may_fail_and_exits_are_failures():
    with pytest.raises(SweepError, match="SystemExit: 3") as caught:
        sweep(lambda x: sys.exit(3), {"x": range(25)})
    assert len(caught.value.failures) == 25 and "and 5 more" in str(caught.value)
    assert list(caught.value.frame.columns) == ["x"] and len(caught.value.frame) == 0


def test_what_a_failed_task_held_is_let_go():
    held = []

    def task(x):
        big = torch.zeros(10)
        held.append(weakref.ref(big))
        raise ArithmeticError

    with pytest.raises(SweepError) as caught:
        sweep(task, {"x": [0, 1]})
    assert len(caught.value.failures) == len(held) == 2 and not any(big() is not None for big in held)


def test_an_interrupt_keeps_what_is_stored_and_cancels_what_waits(tmp_path):
    def interrupted(x):
        if x == 2:
            raise KeyboardInterrupt
        return {"y": x}

    with pytest.raises(KeyboardInterrupt):
        sweep(interrupted, {"x": range(5)}, store=tmp_path, version="1")
    assert len(list(tmp_path.iterdir())) == 2

    class Held(Executor):
        def __init__(self):
            self.futures = []

        def submit(self, call):
            self.futures.append(Future())
            if len(self.futures) == 5:
                self.futures[1].set_exception(KeyboardInterrupt())
            return self.futures[-1]

    held = Held()
    with pytest.raises(KeyboardInterrupt):
        sweep(pair, {"x": range(5)}, executor=held)
    assert [future.cancelled() for future in held.futures] == [True, False, True, True, True]


# ---- workers and drivers that die

@pytest.mark.parametrize("own", [False, True], ids=["instance", "factory"])
def test_kill_9_of_a_worker_costs_its_own_task_only(tmp_path, own):
    grid = {"x": [0, 1, 2, 3, 4, 6, 7, 8, 9], "folder": [str(tmp_path)]}
    pools = []

    def make():
        pools.append(processes())
        return pools[-1]

    with pytest.raises(SweepError, match="1 of 9 tasks failed") as caught:
        sweep(tasks.kills, grid, executor=make if own else processes(), store=tmp_path / "store", version="1")
    (configuration, error), = caught.value.failures
    assert configuration["x"] == 3 and "died again when it ran alone" in str(error)
    assert isinstance(error.__cause__, BrokenProcessPool)
    assert list(caught.value.frame.square) == [x * x for x in grid["x"] if x != 3]
    counts = {x: tasks.calls(tmp_path).count(x) for x in grid["x"]}
    assert counts[3] == 2 and max(counts.values()) == 2 and sum(counts.values()) <= 9 + 3, "three were in flight"
    assert len(pools) <= 3 * own, "one, one after the crash, and one after the suspect's second"
    (tmp_path / "cured").touch()
    (tmp_path / "log").unlink()
    assert len(sweep(tasks.kills, grid, store=tmp_path / "store", version="1")) == 9 and tasks.calls(tmp_path) == [3]


def test_a_worker_killed_from_outside_costs_nothing(tmp_path):
    grid = {"x": [4, 5, 6, 7], "folder": [str(tmp_path)]}
    with processes() as pool:
        frame = sweep(tasks.kills, grid, executor=pool, store=tmp_path / "store", version="1")
    assert list(frame.square) == [16, 25, 36, 49]
    counts = [tasks.calls(tmp_path).count(x) for x in grid["x"]]
    assert counts[1] == 2 and max(counts) == 2 and len(list((tmp_path / "store").iterdir())) == 4


def test_one_crash_makes_one_new_pool():
    made = []

    class Fragile(Executor):
        _max_workers = 2

        def __init__(self):
            made.append(self)
            self.futures = []

        def submit(self, call, *args):
            self.futures.append(Future())
            if self is not made[0]:
                self.futures[-1].set_result(call(*args))
            elif len(self.futures) == 3:
                for future in self.futures:
                    future.set_exception(BrokenProcessPool("gone"))
            return self.futures[-1]

    assert list(sweep(pair, {"x": range(9)}, executor=Fragile)["sum"]) == list(range(9)) and len(made) == 2


def test_an_exception_that_cannot_travel_costs_its_own_task_only():
    with processes() as pool, pytest.raises(SweepError, match="1 of 3 tasks failed") as caught:
        sweep(tasks.awkward, {"x": range(3)}, executor=pool)
        assert pool.submit(int).result() == 0
    assert caught.value.failures[0][0] == {"x": 1} and list(caught.value.frame.x) == [0, 2]


WAYS = ["awkward", "full", "key", "file", "unicode", "exit", "pool", "unpicklable", "unreadable", "group", "result",
        "lambda"]


@pytest.mark.parametrize("executor", [None, threads, processes, forks], ids=["serial", "threads", "spawn", "fork"])
def test_the_real_exception_comes_back_from_everywhere(monkeypatch, executor):
    made = []
    for kind in [kind for kind in copyreg.dispatch_table if issubclass(kind, BaseException)]:
        monkeypatch.delitem(copyreg.dispatch_table, kind)          # Dask's way of pickling, once it is imported

    def make():
        made.append(executor())
        return made[-1]

    with pytest.raises(SweepError) as caught:
        sweep(tasks.ends, {"how": WAYS}, executor=executor and make)
    assert len(made) <= 1, "no pool breaks"
    found = {configuration["how"]: error for configuration, error in caught.value.failures}
    assert list(found) == WAYS
    for how, kind, text in [("key", KeyError, "'key'"), ("file", FileNotFoundError, "No such file"),
                            ("unicode", UnicodeDecodeError, "can't decode byte 0xff"), ("exit", SystemExit, "3"),
                            ("pool", BrokenExecutor, "its own")]:
        assert type(found[how]) is kind and text in str(found[how])
    assert found["file"].filename == "/no/such/file" and found["exit"].code == 3
    for how, kind, text in [("awkward", tasks.Awkward, "awkward"), ("full", tasks.Full, "held 1"),
                            ("unpicklable", tasks.Full, "held <function"), ("unreadable", tasks.Full, "held <tests."),
                            ("group", ExceptionGroup, r"two (2 sub-exceptions)")]:
        assert text in str(found[how])                             # and, where it cannot travel, its class by name
        assert type(found[how]) is kind or f"{kind.__name__}: " in str(found[how])
    if made and isinstance(made[0], ProcessPoolExecutor):
        for how in WAYS:
            note, = found[how].__notes__
            assert note.startswith("In its worker:\n") and "_errand" not in note
            assert (", in ends\n" in note) == (how not in ("result", "lambda")), "the lines of the task"
        assert isinstance(found["result"], ValueError) and "invalid literal" in str(found["result"])
        assert re.search("pickle|local object", str(found["lambda"]))     # in the words of each Python


@given(st.sampled_from([ValueError, KeyError, OSError, StopIteration, SystemExit, KeyboardInterrupt]),
       st.lists(st.none() | st.integers() | st.text() | st.binary()))
def test_exceptions_come_back_as_they_were(kind, arguments):
    def call():
        error = kind(*arguments)
        error.more = arguments
        raise error

    result, error = pickle.loads(pickle.dumps(_Errand()))(call)
    twin = kind(*arguments)                                        # one of OSError's own, for some
    assert result is None and type(error) is type(twin) and error.args == twin.args and error.more == arguments


def test_a_worker_that_cannot_be_terminated_is_not_waited_for(tmp_path):
    grid = [{"x": x, "folder": [str(tmp_path)]} for x in range(3)]
    assert list(sweep(tasks.deaf, grid, executor=processes).square) == [0, 1, 4] and (tmp_path / "died").exists()


def test_kill_9_of_the_driver_costs_what_was_running_only(tmp_path):
    script = f"""if True:
        import functools, multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        from hierlib.lab.sweeping.sweep import sweep
        from tests.lab.sweeping import sweep_tasks as tasks
        pool = functools.partial(ProcessPoolExecutor, 2, multiprocessing.get_context("spawn"))
        sweep(tasks.waits, {{"x": range(8), "folder": [{str(tmp_path)!r}]}}, store={str(tmp_path / "store")!r},
              executor=pool, version="1")
    """
    driver = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    stored = tmp_path / "store"
    while not (set(tasks.calls(tmp_path)) >= {4, 5} and len(list(stored.glob("*.json"))) == 4):
        assert driver.poll() is None
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    (tmp_path / "go").touch()
    frame = sweep(tasks.waits, {"x": range(8), "folder": [str(tmp_path)]}, store=stored, version="1")
    assert list(frame.square) == [x * x for x in range(8)]
    counts = [tasks.calls(tmp_path).count(x) for x in range(8)]
    assert counts == [1, 1, 1, 1, 2, 2, 1, 1]
    assert all(json.loads(path.read_text())["task"] == f"{tasks.__name__}.waits" for path in stored.iterdir())


def test_a_pool_that_never_works_is_told_from_a_task_that_kills():
    broken = functools.partial(processes, initializer=tasks.dies)
    with pytest.raises(RuntimeError, match="workers die before they run a task") as caught:
        sweep(pair, {"x": range(3)}, executor=broken)
    assert not isinstance(caught.value, SweepError)

    class Broken(Executor):
        def submit(self, *_):
            raise BrokenProcessPool("gone")

    with pytest.raises(RuntimeError, match="is broken; give a function that makes one"):
        sweep(pair, {"x": range(3)}, executor=Broken())


def test_a_task_that_cannot_travel_is_told_at_once(monkeypatch):
    with processes() as pool, pytest.raises(ValueError, match=r"cannot be pickled.*define it with `def` at the top"):
        sweep(lambda x: {}, {"x": [1]}, executor=pool)
    monkeypatch.setattr(tasks, "made_in_a_notebook", pair, raising=False)
    monkeypatch.setattr(pair, "__module__", tasks.__name__)
    monkeypatch.setattr(pair, "__qualname__", "made_in_a_notebook")
    with pytest.raises(ValueError, match=r"cannot be loaded in a worker.*made_in_a_notebook"):
        sweep(pair, {"x": range(3)}, executor=processes)


# ---- input

@pytest.mark.untyped
@pytest.mark.parametrize(("arguments", "message"), [
    ({"task": 3}, "task = 3: must be callable"),
    ({"grid": {}}, "grid = {}: must be"), ({"grid": []}, "grid"), ({"grid": "ab"}, "grid = 'ab'"),
    ({"grid": {"x": []}}, r"grid\['x'\] = \[\]: must be a list with at least one"),
    ({"grid": {"x": 3}}, r"grid\['x'\] = 3"), ({"grid": {"x": "abc"}}, r"grid\['x'\] = 'abc'"),
    ({"grid": {"x": {1, 2}}}, r"grid\['x'\]"), ({"grid": {"x": torch.tensor(1)}}, r"grid\['x'\]"),
    ({"grid": {"x": [object()]}}, "must be made of numbers"), ({"grid": {"x": [torch.zeros(2)]}}, "made of numbers"),
    ({"grid": {"x": [1, 2, 1]}}, "grid = {'x': 1}: must be without repeated"),
    ({"grid": [{"x": (1, 2)}, {"x": [1, 2]}]}, "without repeated"),
    ({"grid": [{"x": 1}, {"y": 1}]}, "with the keys of its first"), ({"grid": [3]}, "grid = 3: must be made of dicts"),
    ({"grid": [{1: 2}]}, "string keys"), ({"grid": {"seed": [1]}, "seed": 0}, "without 'seed'"),
    ({"seed": -1}, "seed = -1"),
    ({"executor": 3}, "executor = 3: must be None, a concurrent"), ({"executor": dict}, "executor = .*not a dict"),
    ({"store": __file__, "version": "1"}, "store = .*must be a folder"),
    ({"task": lambda x: {"x": 1}}, "'x'.*must be of columns that are not named like"),
])
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        sweep(**{"task": pair, "grid": {"x": [1]}} | arguments)


def test_progress_counts_all_tasks(tmp_path, capsys):
    sweep(pair, {"x": [0]}, store=tmp_path, version="1")
    assert capsys.readouterr().err == ""
    sweep(pair, {"x": [0, 1]}, store=tmp_path, version="1", progress=True)
    assert "2/2" in capsys.readouterr().err
