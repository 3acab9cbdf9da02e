"""What the generated tables read out of stored results, on a small made book."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from hierlib.lab.claims import Claim
from tests.book.conftest import ROOT

TOC = """\
format: jb-book
root: book/index
parts:
  - caption: Phenomena
    chapters:
      - file: book/two
      - file: book/one
        sections:
          - file: book/three
  - caption: Reference
    chapters:
      - file: book/claims
"""
RUN = {"scale": "quick", "device": "CPU (made up)", "threads": 2, "seconds": 185.2, "cpu_seconds": 200.0}
VERSIONS = {"python": "3.11.7", "torch": "2.13.0"}


def claim(name, measured, holds=True, verdict="", error=None):
    record = {"name": name, "interval": "0.5 ± 0.1", "measured": measured, "holds": holds}
    record |= {"verdict": verdict, "error": error}
    record |= {"about": "Threshold ε* of *all* things", "source": "Some 2024, eq. 7", "paper": "≈ 0.52"}
    data, _ = Claim(*(record[k] for k in ("name", "interval", "measured", "about", "source")))._repr_mimebundle_()
    return new_output("display_data", data, metadata={"claim": record})


@pytest.fixture
def book(tmp_path) -> Path:
    """Make a book of two stored chapters (one also at paper scale), a third that is only a source."""
    (tmp_path / "book" / "src").mkdir(parents=True)
    (tmp_path / "book" / "results" / "paper").mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text(TOC)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("one", "two", "three"):
        (tmp_path / "book" / "src" / f"{name}.md").write_text("# x\n")
    for name, outputs in {
        "one": [claim("one.c", 1.893, verdict="reproduced", error=0.012),
                claim("one.a", 0.51, verdict="not reproduced"), claim("one.b", 3e-5, False)], "two": []}.items():
        cells = [new_markdown_cell(f"# Chapter {name}\n\ntext"), new_code_cell("1", outputs=outputs)]
        nb = new_notebook(cells=cells, metadata={"hierlib": RUN | {"versions": VERSIONS}})
        nbformat.write(nb, tmp_path / "book" / f"{name}.ipynb")
    paper = {"device": "Tesla T4", "commit": "0123456789abcdef-dirty", "seconds": 61, "date": "2026-01-02"}
    result = {"chapter": "one", "provenance": paper, "claims": [{"name": "one.a", "measured": 0.505}]}
    (tmp_path / "book" / "results" / "paper" / "one.json").write_text(json.dumps(result))
    return tmp_path


def test_chapters_follow_the_table_of_contents(stored, book):
    assert stored.names(book) == ["two", "one", "three"]


def test_load_reads_claims_run_and_paper_scale(stored, book):
    one = stored.load(book, "one")
    assert one.title == "Chapter one" and len(one.claims) == 3 and one.holding == 2
    assert one.run["versions"] == VERSIONS and one.paper_run["device"] == "Tesla T4"
    assert one.paper_claims["one.a"]["measured"] == 0.505


def test_load_without_files_is_empty(stored, book):
    three = stored.load(book, "three")
    assert (three.title, three.claims, three.run, three.paper_run) == ("Three", [], {}, {})


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.26, "4.3 s"), (42, "42 s"), (185.2, "3 min 5 s"), (3720, "1 h 02 min")]
)
def test_duration(stored, seconds, text):
    assert stored.duration(seconds) == text


def test_colab_address(stored, book):
    repository = stored.repository(book)
    assert stored.colab(book, "one").endswith("/blob/main/book/one.ipynb")
    assert repository.removeprefix("https://github.com/") in stored.colab(book, "one")


CONF = """\
extensions = ["myst_parser", "ledger"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["book", "_build"]
html_theme = "basic"
"""
PAGES = {
    "index": "# Index\n\n```{toctree}\nall\none\nthree\nfound\nverdicts\nruns\ncards\n```\n",
    "all": "# Claims\n\n```{claims-table}\n```\n",
    "one": "# Claims\n\n```{claims-table} one\n```\n",
    "three": "# Claims\n\n```{claims-table} three\n```\n",
    "verdicts": "# Verdicts\n\n```{verdicts}\n```\n",
    "runs": "# Runs\n\n```{reproducibility-table}\n```\n",
    "found": "# Found\n\n```{findings} one\n```\n\n## Where\n\ntext\n\n### It was *made*\n\n"
             "```{raw} html\n<div class=\"claim claim-holds\" id=\"claim-one.c\"></div>\n```\n",
    "cards": "# Cards\n\n```{chapter-facts} one\n```\n\n```{chapter-facts} three\n```\n",
}


def build(book: Path) -> dict[str, BeautifulSoup]:
    """Build the made book, warnings being errors, in a process of its own; return its pages."""
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(book), str(book / "_build")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "book" / "_ext")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    texts = {name: (book / "_build" / f"{name}.html").read_text(encoding="utf-8") for name in PAGES}
    return {name: BeautifulSoup(text, "html.parser") for name, text in texts.items()}


def rows(table) -> list[list[str]]:
    return [[c.get_text(" ", strip=True) for c in r.find_all("td")] for r in table.find("tbody").find_all("tr")]


def test_generated_pages(book):
    (book / "conf.py").write_text(CONF)
    for name, text in PAGES.items():
        (book / f"{name}.md").write_text(text)
    pages = build(book)

    # all claims: what did not reproduce, then a section for each chapter, in the order of the table of contents
    page = pages["all"]
    assert ("2 findings in 2 chapters (1 reproduced, 1 not reproduced) and 1 checks; 1 outside their intervals."
            in page.get_text())
    assert [h.get_text().rstrip("¶") for h in page.find_all("h2")] == [
        "What did not reproduce", "Chapter two", "Chapter one"]
    missing, found, checked = map(rows, page.find_all("table"))
    about, source = "Threshold ε* of *all* things", "Some 2024, eq. 7"
    assert missing == [["≈ 0.52", f"{about}: 0.51 at paper scale 0.505", "not reproduced", source]]
    here = f"{about}: 1.893 ± 0.012 not measured at paper scale"
    assert found == [*missing, ["≈ 0.52", here, "reproduced", source]]
    assert checked == [[f"{about} {source}", "0.5 ± 0.1", "3·10⁻⁵ not measured at paper scale", "✗ fails"]]

    # the checks of one chapter, folded, and of one that is not run yet
    (fold,) = pages["one"].find_all("details", class_="checks")
    assert fold.find("summary").get_text() == "1 checks, 1 outside their intervals"
    assert rows(fold.find("table")) == checked
    assert pages["one"].find_all("table") == fold.find_all("table")
    assert "No check is stored yet." in pages["three"].get_text()

    # the findings of a chapter: what did not reproduce first, each with the section that made it
    assert rows(pages["found"].find("table")) == [[*missing[0][:3], "–"], [*found[1][:3], "It was made"]]
    assert pages["found"].find("a", class_="where")["href"] == "#it-was-made"

    # verdicts counted
    assert rows(pages["verdicts"].find("table")) == [["Chapter two", *4 * "–"], ["Chapter one", "1", "–", "1", "–"]]

    # what each run used and cost
    runs, versions, paper = map(rows, pages["runs"].find_all("table"))
    assert runs[1] == ["Chapter one", "CPU (made up)", "2", "3 min 5 s", "3 min 20 s", "2 of 3"]
    assert versions[0] == ["Chapter two", "3.11.7", "2.13.0"]
    assert [row[:5] for row in paper] == [["Chapter one", "Tesla T4", "61 s", "0123456789 with changes", "2026-01-02"]]

    # the cards
    one, three = pages["cards"].find_all(class_="chapter-facts")
    assert " ".join(one.get_text(" ", strip=True).split()) == (
        "Runs in 3 min 5 s on 2 CPU threads States 2 findings, 1 checks; 1 outside their intervals "
        "Paper scale run on Tesla T4 in 61 s Open in Colab"
    )
    assert one.find("a")["href"].endswith("/book/one.ipynb")
    assert "Paper scale" not in three.get_text()

    # a result that changes, one that goes and one that comes are seen by the next build
    notebook = book / "book" / "one.ipynb"
    notebook.write_text(notebook.read_text(encoding="utf-8").replace("0.51", "0.57"), encoding="utf-8")
    (book / "book" / "results" / "paper" / "one.json").unlink()
    shutil.copy(book / "book" / "two.ipynb", book / "book" / "three.ipynb")
    pages = build(book)
    assert [row[1] for row in rows(pages["all"].find_all("table")[1])] == [f"{about}: 0.57", f"{about}: 1.893 ± 0.012"]
    assert len(pages["runs"].find_all("table")) == 2
    assert len(rows(pages["runs"].find_all("table")[0])) == 3
