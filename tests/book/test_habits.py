"""The habits of the house: what is published, and what runs before a commit."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from tests.book.conftest import ROOT


def test_only_what_the_tests_passed_is_published():
    pages = yaml.safe_load((ROOT / ".github/workflows/pages.yml").read_text(encoding="utf-8"))
    trigger, job = pages[True], pages["jobs"]["publish"]              # YAML 1.1 reads the key `on` as true
    assert set(trigger) == {"workflow_run"}
    assert trigger["workflow_run"] == {"workflows": ["test"], "types": ["completed"], "branches": ["main"]}
    of = "github.event.workflow_run"
    assert f"{of}.conclusion == 'success'" in job["if"] and f"{of}.event == 'push'" in job["if"]
    checkout = next(step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@"))
    assert checkout["with"]["ref"] == f"${{{{ {of}.head_sha }}}}", "the very commit that was tested"
    test = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    assert test["name"] == "test" and "push" in test[True]


def test_hooks_are_programs_of_the_environment_and_cover_what_make_lint_runs():
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    hooks = [hook for repo in repos for hook in repo["hooks"]]
    assert [repo["repo"] for repo in repos] == ["local"] and {hook["language"] for hook in hooks} == {"system"}
    for hook in hooks:
        program, *arguments = hook["entry"].split()
        assert program.startswith(".venv/bin/") and (Path(sys.prefix) / "bin" / Path(program).name).exists(), program
        assert all((ROOT / a).exists() for a in arguments if a.startswith("tests/"))
    lint = re.search(r"^lint:.*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]
    programs = re.findall(r"\$\(BIN\)/(\S+)", lint)
    assert programs == ["ruff", "lint-imports", "mypy"]
    assert set(programs) <= {Path(hook["entry"].split()[0]).name for hook in hooks}


def test_the_type_checker_finds_a_wrong_call(tmp_path):
    (tmp_path / "wrong.py").write_text("from hierlib.rhm import Grammar\n\nGrammar.random(v=8, n=2, s=2, L=1)\n")
    done = subprocess.run([sys.executable, "-m", "mypy", str(tmp_path / "wrong.py")], cwd=ROOT, capture_output=True,
                          text=True, check=False)      # with the cache of `make lint`
    assert 'Unexpected keyword argument "n" for "random" of "Grammar"' in done.stdout, done.stdout + done.stderr
