"""What a release holds: its pages, its table of results, its archives and their checksums."""

import csv
import hashlib
import json
import tarfile

import pytest

from tests.book.conftest import ROOT
from tools import dist


def claim(name, **more):
    found = {"name": name, "interval": "< 1", "measured": 0.5, "about": "a", "source": "b", "holds": True}
    found |= {"error": None, "paper": "", "verdict": ""} | more
    return {"metadata": {"claim": found}}


@pytest.fixture
def small(tmp_path):
    """A book of one page and one chapter, rendered."""
    book, html = tmp_path / "book", tmp_path / "_build" / "html" / "book"
    (book / "results").mkdir(parents=True)
    html.mkdir(parents=True)
    toc = "root: book/index\nparts:\n  - chapters:\n    - file: book/x\n    - file: book/api/y\n"
    (tmp_path / "_toc.yml").write_text(toc)
    (book / "results" / "r.md").write_text("results")
    cells = [{"outputs": [claim("x.a", verdict="new here", error=0.1), {}]}, {}, {"outputs": [claim("x.b")]}]
    (book / "x.ipynb").write_text(json.dumps({"cells": cells, "metadata": {"hierlib": {"seconds": 3.0}}}))
    for name in ("index", "x"):
        (html / f"{name}.html").write_text(f"<title>{name}</title><p class='prev-next-footer'>next</p><p>{name}</p>")
    return tmp_path


def members(path):
    with tarfile.open(path) as archive:
        return archive.getnames()


def test_pages_are_those_that_people_read():
    names = dist.pages()
    assert names[:2] == ["index", "primer"] and {"claims", "notation", "bibliography"} <= set(names)
    assert set(dist.stored()) == {path.stem for path in (ROOT / "book" / "src").glob("*.md")}


def test_the_table_holds_every_claim_of_every_chapter(stored):
    rows = list(csv.DictReader(dist.results()[0].splitlines()))
    expected = [c["name"] for name in dist.stored() for c in stored.load(ROOT, name).claims]
    assert [row["name"] for row in rows] == expected and len(rows) > 200
    assert {row["verdict"] for row in rows if row["verdict"]} <= {
        "reproduced", "reproduced at small scale", "not reproduced", "new here"}
    assert set(json.loads(dist.results()[1])) == set(dist.stored())


def test_a_release_is_whole_and_its_checksums_are_right(small, monkeypatch, capsys):
    def printed(html, names, folder):
        folder.mkdir()
        files = [folder / f"{name}.pdf" for name in names]
        for file in files:
            file.write_bytes(b"%PDF")
        return files

    monkeypatch.setattr(dist, "printed", printed)
    out = small / "out"
    out.mkdir()
    (out / "a.whl").write_bytes(b"wheel")
    dist.main(out, small)
    assert {path.name for path in out.iterdir()} == {
        "a.whl", "hierlib-book.tar.gz", "hierlib-notebooks.tar.gz", "hierlib-pdf.tar.gz", "hierlib-results.tar.gz",
        "SHA256SUMS"}
    assert "html/book/x.html" in members(out / "hierlib-book.tar.gz")
    assert members(out / "hierlib-notebooks.tar.gz") == ["notebooks/x.ipynb"]
    assert members(out / "hierlib-pdf.tar.gz") == ["pdf/index.pdf", "pdf/x.pdf"]
    kept = members(out / "hierlib-results.tar.gz")
    assert {"results/claims.csv", "results/runs.json", "results/stored/r.md"} <= set(kept)
    sums = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
    assert sums == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in out.iterdir() if p.name != "SHA256SUMS"}
    before = (out / "SHA256SUMS").read_text()
    dist.main(out, small)                                   # the same content gives the same bytes
    assert (out / "SHA256SUMS").read_text() == before == capsys.readouterr().out[:len(before)]


def test_pages_are_printed(small):
    pytest.importorskip("playwright.sync_api")
    if not dist.chromium():
        pytest.skip("no chromium on the PATH")
    files = dist.printed(small / "_build" / "html", ["index", "x"], small / "pdf")
    assert [file.name for file in files] == ["00-index.pdf", "01-x.pdf"]
    assert all(file.read_bytes().startswith(b"%PDF") for file in files)
