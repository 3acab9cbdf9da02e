"""Pack what a release holds beside wheel and source: ``python -m tools.dist FOLDER``, after ``make book``.

``hierlib-book.tar.gz``
    The rendered pages, to be opened from a disk.
``hierlib-pdf.tar.gz``
    Each page that people read, printed by Chromium, numbered in the order of the table of contents.
``hierlib-notebooks.tar.gz``
    The executed chapters and what they draw their text from.
``hierlib-results.tar.gz``
    All findings and checks as one table, the runs behind them, and the results at paper scale.
``SHA256SUMS``
    Of all files of the folder: ``sha256sum --check SHA256SUMS``.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import shutil
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
COLUMNS = ("name", "verdict", "measured", "error", "interval", "holds", "paper", "about", "source")
BROWSERS = "chromium", "chromium-browser", "google-chrome", "chrome"
READY = "async () => { await window.MathJax?.startup?.promise; await document.fonts.ready; }"
FOOT = ('<div style="width: 100%; font-size: 8px; text-align: center; color: #666"><span class="title"></span> · '
        '<span class="pageNumber"></span></div>')
PAPER = {"width": 688, "height": 1000}        # pixels between the margins of A4
MARGIN = {"top": "15mm", "bottom": "17mm", "left": "14mm", "right": "14mm"}
SIDES = ".bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, .prev-next-footer, .bd-footer"


def pages(root: Path = ROOT) -> list[str]:
    """Return the names of the pages that people read, in the order of the table of contents; not the library's."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    files = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    return [Path(name).name for name in files if Path(name).parent == Path("book")]


def stored(root: Path = ROOT) -> list[str]:
    """Return the names of the stored notebooks, in the order of the table of contents."""
    return [name for name in pages(root) if (root / "book" / f"{name}.ipynb").exists()]


def results(root: Path = ROOT) -> tuple[str, str]:
    """Return the claims of the stored notebooks as a table (CSV), and the runs that made them (JSON)."""
    table, runs = io.StringIO(), {}
    write = csv.DictWriter(table, COLUMNS, extrasaction="ignore", lineterminator="\n")
    write.writeheader()
    for name in stored(root):
        nb = json.loads((root / "book" / f"{name}.ipynb").read_text(encoding="utf-8"))
        runs[name] = nb["metadata"].get("hierlib", {})
        found = (output.get("metadata", {}).get("claim") for cell in nb["cells"] for output in cell.get("outputs", []))
        write.writerows(filter(None, found))
    return table.getvalue(), json.dumps(runs, indent=1)


def pack(path: Path, files: Iterable[tuple[str, Path | str]]) -> None:
    """Write an archive of (name in it, file or folder or text); the same content gives the same bytes."""
    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
        return info

    with gzip.GzipFile(path, "wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, what in files:
            if isinstance(what, Path):
                archive.add(what, name, filter=plain)                 # a folder's files come sorted
            else:
                info = tarfile.TarInfo(name)
                info.size = len(what.encode())
                archive.addfile(plain(info), io.BytesIO(what.encode()))


def chromium() -> str | None:
    """Return the path of the Chromium that prints pages and opens them in tests, or None where there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def printed(html: Path, names: list[str], folder: Path) -> list[Path]:
    """Print pages as they look on paper (proofs open, in the light theme) and return their files."""
    from playwright.sync_api import sync_playwright

    if not (found := chromium()):
        sys.exit("make dist prints the pages with Chromium, and none is on the PATH")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with sync_playwright() as p:
        flags = ["--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
        browser = p.chromium.launch(executable_path=found, args=flags, timeout=0)
        page = browser.new_page(color_scheme="light", viewport=PAPER)
        page.set_default_timeout(0)
        page.emulate_media(media="print")                 # figures are drawn for the width that they are printed in
        for k, name in enumerate(names):
            page.goto((html / "book" / f"{name}.html").as_uri(), wait_until="load")
            page.evaluate(READY)
            page.add_style_tag(content=f"@media print {{ {SIDES} {{ display: none }} }}")
            files.append(folder / f"{k:02d}-{name}.pdf")
            page.pdf(path=files[-1], format="A4", margin=MARGIN, print_background=True, display_header_footer=True,
                     header_template="<i></i>", footer_template=FOOT)
        browser.close()
    return files


def checksums(folder: Path) -> str:
    """Return the SHA-256 of a folder's files, as ``sha256sum`` prints them."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def main(folder: Path, root: Path = ROOT) -> None:
    """Write the archives and the checksums into the folder."""
    html = root / "_build" / "html"
    pack(folder / "hierlib-book.tar.gz", [("html", html)])
    notebooks = [(f"notebooks/{name}.ipynb", root / "book" / f"{name}.ipynb") for name in stored(root)]
    pack(folder / "hierlib-notebooks.tar.gz", notebooks)
    table, runs = results(root)
    made = [("results/claims.csv", table), ("results/runs.json", runs)]
    pack(folder / "hierlib-results.tar.gz", [*made, ("results/stored", root / "book" / "results")])
    paper = folder / "pdf"
    pack(folder / "hierlib-pdf.tar.gz", [(f"pdf/{file.name}", file) for file in printed(html, pages(root), paper)])
    shutil.rmtree(paper)
    text = checksums(folder)
    (folder / "SHA256SUMS").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
