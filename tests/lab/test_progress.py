import threading
import types

import nbformat
import pytest
from tqdm import tqdm

from hierlib.lab.progress import bar
from tests.simgpu.warm import kernels
from tools import execute

CELL = """
from hierlib import lab
from hierlib.lab.progress import bar
shown = bar(3, what="counting <things>")
for _ in range(3):
    shown.update()
shown.close()
print(lab.sweep(lambda x: {"y": x + 1}, {"x": [1, 2]}, progress="adding").y.sum())
"""


def test_outside_of_a_notebook_it_is_tqdms_own(capsys):
    with bar(2, what="words", initial=1) as shown:
        assert type(shown) is tqdm and shown.n == 1
        shown.update()
    assert "words" in capsys.readouterr().err
    before = threading.active_count()
    with bar(2, what=False) as shown:
        shown.update()
        assert not isinstance(shown, tqdm)
    shown.close()
    assert capsys.readouterr().err == "" and threading.active_count() == before


def test_in_a_notebook_it_is_rewritten_in_place_and_empty_at_the_end(monkeypatch, capsys):
    made, updates = [], []

    class Handle:
        def display(self, data, raw, metadata):
            made.append((data, metadata))

        def update(self, data, raw, metadata):
            updates.append((data, metadata))

    monkeypatch.setattr(pytest.importorskip("IPython"), "get_ipython", lambda: types.SimpleNamespace(kernel=True))
    monkeypatch.setattr("IPython.display.DisplayHandle", Handle)
    with bar(2, what="a < b") as shown:
        shown.mininterval = 0
        shown.update()
        shown.update()
    assert len(made) == 1 and "a &lt; b" in made[0][0]["text/html"] and "a < b" in made[0][0]["text/plain"]
    assert updates[-1][0] == {"text/plain": ""} and "2/2" in updates[-2][0]["text/plain"]
    assert all(metadata == {"hierlib": "progress"} for _, metadata in made + updates)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("stored", [True, False])
def test_a_stored_notebook_holds_none_and_nothing_on_stderr(tmp_path, stored, monkeypatch):
    pytest.importorskip("ipykernel")
    for name, value in kernels().items():
        monkeypatch.setenv(name, value)
    if not stored:
        monkeypatch.setattr(execute, "is_progress", lambda output: False)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    execute.run(nb, tmp_path)
    outputs = nb.cells[0].outputs
    assert [o.text for o in outputs if o.output_type == "stream"] == ["5\n"]
    assert len(outputs) == (1 if stored else 3), "two bars, and what was printed"
