"""The scripts, the workflows and the files that must agree with each other."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tests.book.conftest import ROOT
from tests.simgpu.warm import python
from tools import address, execute, lock, portable

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


# -- one address -----------------------------------------------------------------------------------------------


def test_the_address_is_the_same_everywhere():
    assert address.problems() == []


def test_the_readme_leads_to_the_repository():
    assert address.repository() in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def elsewhere(tmp_path):
    """Copy the files that hold the address, with a notebook that links to Colab."""
    (tmp_path / "book").mkdir()
    for name in ("pyproject.toml", *address.PLACES):
        shutil.copy(ROOT / name, tmp_path / name)
    owner, name = address.slug(address.repository()).split("/")
    link = f"https://colab.research.google.com/github/{owner}/{name}/blob/main/book/x.ipynb"
    pages = f"https://{owner}.github.io/{name}/ and https://github.com/{owner}/{name}-data and {owner}/{name}.py"
    (tmp_path / "book" / "x.md").write_text(f"[Colab]({link}), {pages}\n")
    text = (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
    moved = text.replace(address.repository(), "https://github.com/some-lab/trees")
    (tmp_path / "pyproject.toml").write_text(moved, encoding="utf-8")
    return tmp_path


def test_a_moved_repository_is_found_and_rewritten(elsewhere):
    owner, name = address.slug(address.repository()).split("/")
    assert len(address.problems(elsewhere)) == len(address.PLACES) + 1  # and the link to Colab
    address.rewrite(elsewhere)
    assert address.problems(elsewhere) == []
    page = (elsewhere / "book" / "x.md").read_text()
    assert "colab.research.google.com/github/some-lab/trees/blob" in page and "some-lab.github.io/trees/" in page
    assert f"github.com/{owner}/{name}-data" in page and f"{owner}/{name}.py" in page  # others stay
    assert address.rewrite(elsewhere) == []


def test_a_wrong_colab_link_is_found(elsewhere):
    address.rewrite(elsewhere)
    (elsewhere / "book" / "y.md").write_text("https://colab.research.google.com/github/other/repo/blob/main/y.ipynb")
    assert address.problems(elsewhere) == ["book/y.md: Colab link to other/repo, not some-lab/trees"]


# -- the environment -------------------------------------------------------------------------------------------


def test_the_lock_pins_all_that_is_wanted():
    lines = [line for line in lock.LOCK.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.!]+", line) for line in lines), "exact pins, no addresses, no build tags"
    pins = dict(line.split("==") for line in lines)
    for requirement in lock.wanted():
        name = lock.canonicalize_name(requirement.name)
        assert name in pins and requirement.specifier.contains(pins[name]), requirement


def test_the_lock_leaves_strays_out():
    pins = lock.closure([lock.Requirement("pytest>=8")])
    assert "pluggy" in pins and "sphinx" not in pins


def test_a_wanted_version_that_is_not_installed_is_an_error():
    with pytest.raises(SystemExit, match="needed but"):
        lock.closure([lock.Requirement("pytest>=999")])


# -- running chapters ------------------------------------------------------------------------------------------

SOURCE = """\
---
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
---

# T

```{code-cell}
:tags: [hide-input]

x = 1
print("a")
```

```{code-cell}
x
```

```{code-cell}
x
```
"""


def test_cell_ids_do_not_change_and_are_unique():
    first, again = execute.from_source(SOURCE), execute.from_source(SOURCE)
    assert nbformat.writes(first) == nbformat.writes(again)
    assert len({c["id"] for c in first.cells}) == len(first.cells)
    edited = execute.from_source(SOURCE.replace("# T", "# T\n\nmore"))
    assert [c["id"] for c in edited.cells[1:]] == [c["id"] for c in first.cells[1:]]


@pytest.fixture
def small_book(tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "t.md").write_text(SOURCE)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    return tmp_path


def fake_run(monkeypatch, measured=0.5, seconds=1.0):
    """Let a run leave one claim behind instead of starting a kernel."""
    claim = {"name": "t.a", "interval": "0.5 ± 0.1", "measured": measured, "holds": True}

    def run(nb, folder):
        for i, cell in enumerate(c for c in nb.cells if c.cell_type == "code"):
            cell.execution_count = i + 1
        nb.cells[-1].outputs = [new_output("display_data", {"text/plain": "x"}, metadata={"claim": dict(claim)})]
        return {"seconds": seconds, "cpu_seconds": seconds}

    monkeypatch.setattr(execute, "run", run)


def test_a_run_without_change_leaves_the_file_alone(small_book, monkeypatch):
    fake_run(monkeypatch)
    assert "stored" in execute.execute_quick("t", small_book)
    before = (small_book / "t.ipynb").read_bytes()
    fake_run(monkeypatch, measured=0.5 + 1e-9, seconds=2.0)
    assert "unchanged" in execute.execute_quick("t", small_book)
    assert (small_book / "t.ipynb").read_bytes() == before


def test_a_run_that_had_the_machine_to_itself_leaves_its_time(small_book, monkeypatch):
    fake_run(monkeypatch, seconds=2.0)
    execute.execute_quick("t", small_book)
    before = execute.as_read(nbformat.read(small_book / "t.ipynb", as_version=4))
    fake_run(monkeypatch, measured=0.5 + 1e-9, seconds=1.0)
    assert "stored" in execute.execute_quick("t", small_book)
    nb = nbformat.read(small_book / "t.ipynb", as_version=4)
    assert execute.as_read(nb) == before and nb.metadata["hierlib"]["seconds"] == 1.0
    assert execute.claims(nb)[0]["measured"] == 0.5                # of the run whose outputs stand there


def test_a_run_with_a_change_is_stored(small_book, monkeypatch):
    fake_run(monkeypatch)
    execute.execute_quick("t", small_book)
    fake_run(monkeypatch, measured=0.51, seconds=2.0)
    assert "stored" in execute.execute_quick("t", small_book)
    nb = nbformat.read(small_book / "t.ipynb", as_version=4)
    assert execute.claims(nb)[0]["measured"] == 0.51 and nb.metadata["hierlib"]["seconds"] == 2.0


def test_paper_scale_writes_claims_with_provenance_and_no_notebook(small_book, monkeypatch):
    fake_run(monkeypatch)
    execute.execute_paper("t", small_book)
    result = json.loads((small_book / "results" / "paper" / "t.json").read_text())
    assert result["chapter"] == "t" and result["claims"][0]["name"] == "t.a"
    assert {"commit", "date", "device", "versions", "seconds"} <= set(result["provenance"])
    assert not (small_book / "t.ipynb").exists()


def test_check_compares_claims_and_writes_nothing(small_book, monkeypatch):
    fake_run(monkeypatch)
    execute.execute_quick("t", small_book)
    before = (small_book / "t.ipynb").read_bytes()
    assert "1 claims hold" in execute.check("t", small_book)
    monkeypatch.setattr(execute, "run", lambda nb, folder: {"seconds": 1.0, "cpu_seconds": 1.0})
    with pytest.raises(ValueError, match="claims differ"):
        execute.check("t", small_book)
    assert (small_book / "t.ipynb").read_bytes() == before


def test_new_prose_is_stored_beside_the_outputs_and_new_code_is_refused(small_book, monkeypatch):
    fake_run(monkeypatch)
    execute.execute_quick("t", small_book)
    before = nbformat.read(small_book / "t.ipynb", as_version=4)
    source = small_book / "src" / "t.md"
    source.write_text(SOURCE.replace("hide-input", "hide-cell") + "\nA last word.\n")
    execute.take_text("t", small_book)
    after = nbformat.read(small_book / "t.ipynb", as_version=4)
    assert any("A last word." in c.source for c in after.cells if c.cell_type == "markdown")
    assert after.cells[1].metadata == {"tags": ["hide-cell"]}
    assert execute.claims(after) == execute.claims(before) and after.metadata == before.metadata
    stored = (small_book / "t.ipynb").read_bytes()
    source.write_text(SOURCE.replace("x = 1", "x = 2"))
    with pytest.raises(ValueError, match="execute the chapter"):
        execute.take_text("t", small_book)
    assert (small_book / "t.ipynb").read_bytes() == stored


def test_the_cover_is_stored_beside_the_notebook(small_book):
    picture = new_output("display_data", {"image/svg+xml": ["<svg>", "</svg>"], "text/plain": "x"})
    cells = [new_code_cell("1", outputs=[picture]), new_code_cell("2", outputs=[picture], metadata={"tags": ["cover"]})]
    execute.store(new_notebook(cells=cells[:1]), "t", small_book)
    assert not (small_book / "_static").exists()
    cells[1].outputs[0].data["image/svg+xml"] = "<svg>2</svg>"
    (small_book / "_static").mkdir()
    execute.store(new_notebook(cells=cells), "t", small_book)
    assert (small_book / "_static" / "t.svg").read_text() == "<svg>2</svg>"


def test_a_real_kernel_runs_a_chapter(small_book):
    execute.execute_quick("t", small_book)
    nb = nbformat.read(small_book / "t.ipynb", as_version=4)
    assert [c.execution_count for c in nb.cells if c.cell_type == "code"] == [1, 2, 3]
    assert nb.cells[1].outputs[0].text == "a\n" and nb.cells[1].metadata == {"tags": ["hide-input"]}
    assert not list(small_book.glob(".*.new"))


def test_a_failing_chapter_is_not_stored(small_book, monkeypatch):
    (small_book / "src" / "t.md").write_text(SOURCE.replace("x = 1", "x = 1 / 0"))
    with pytest.raises(execute.CellExecutionError, match="ZeroDivisionError"):
        execute.execute_quick("t", small_book)
    assert not (small_book / "t.ipynb").exists()


# -- any processor, any load -----------------------------------------------------------------------------------


def test_every_setting_is_run_and_one_that_fails_is_told_at_the_end(tmp_path, monkeypatch, capsys):
    (tmp_path / "test_x.py").write_text("import os\n\n\ndef test_x():\n    assert 'MKL_CBWR' not in os.environ\n")
    settings = [("MKL_CBWR", "COMPATIBLE", ""), ("OMP_NUM_THREADS", "2", ""), ("OPENBLAS_CORETYPE", "None", "abacus")]
    monkeypatch.setattr(portable, "SETTINGS", settings)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert portable.main([str(tmp_path), "-p", "no:cacheprovider"]) == 1
    failed, passed, left_out = capsys.readouterr().out.splitlines()[-3:]
    assert re.fullmatch(r"FAILED  MKL_CBWR=COMPATIBLE: 1 failed in [\d.]+s.*", failed)
    assert re.fullmatch(r"ok      OMP_NUM_THREADS=2: 1 passed in [\d.]+s.*", passed)
    assert left_out == "ok      OPENBLAS_CORETYPE=None: needs abacus: not run"
    monkeypatch.setattr(portable, "SETTINGS", settings[1:])
    assert portable.main([str(tmp_path), "-p", "no:cacheprovider"]) == 0


def test_no_limit_of_time_is_below_that_of_ci():
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))["jobs"]["test"]
    files = [ROOT / "Makefile", ROOT / "pyproject.toml", *ROOT.glob("tools/*.py"), *ROOT.glob("tests/**/*.py")]
    text = {p.name: p.read_text(encoding="utf-8") for p in files}
    limits = {(name, int(n)) for name in text for n in re.findall(r"(?<!wait_for_)timeout[ =(]+(\d+)", text[name])}
    assert {name for name, _ in limits} >= {"Makefile", "pyproject.toml"}
    assert {limit for limit in limits if 0 < limit[1] < 60 * job["timeout-minutes"]} == set()


def nbval(path, *cells, seconds=5400) -> str:
    """Run the notebook of `cells` as ``make notebooks`` does; return pytest's last line."""
    nbformat.write(new_notebook(cells=cells, metadata=execute.NOTEBOOK_METADATA), path)
    command = [*python(), "-m", "pytest", "-q", "--nbval-lax", "--nbval-current-env", "-p", "tests.book.patience"]
    done = subprocess.run([*command, "--nbval-cell-timeout", str(seconds), str(path)], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[-1]


def test_what_follows_a_cell_that_timed_out_has_failed(tmp_path):
    cells = [new_code_cell(source, execution_count=k + 1) for k, source in enumerate(("while True: pass", "1"))]
    assert nbval(tmp_path / "x.ipynb", *cells, seconds=1).startswith("1 failed, 1 error in")


def test_a_bar_of_progress_is_not_compared(tmp_path):
    source = "from hierlib.lab.progress import bar\nwith bar(2) as shown:\n    shown.update(2)\n"
    checked = {"tags": ["nbval-check-output"]}
    stored = [new_code_cell(source + last, execution_count=1, outputs=[], metadata=checked) for last in ("", "shown.n")]
    assert nbval(tmp_path / "x.ipynb", *stored).startswith("1 failed, 1 passed in")  # the second's result is missing


# -- continuous integration ------------------------------------------------------------------------------------


def validate(schema: str, *paths: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_are_valid():
    assert {p.stem for p in WORKFLOWS} >= {"test", "pages", "weekly", "release"}
    validate("vendor.github-workflows", *WORKFLOWS)


def test_citation_is_valid():
    validate("vendor.citation-file-format", ROOT / "CITATION.cff")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_workflows_only_call_make(path):
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert runs
    for line in (line for run in runs for line in run.splitlines() if line.strip()):
        assert re.fullmatch(r"make [a-z]+( [A-Z]+=\S+)*", line), line
        assert line.split()[1] in targets(), line


def test_ci_runs_the_readme_command():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    lines = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert lines[0] == "set -euo pipefail" and lines[1].startswith("cd ") and lines[2:] == ["make test"]
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_names_the_targets():
    help_text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name for name in targets() if f"make {name} " in help_text} == targets()
