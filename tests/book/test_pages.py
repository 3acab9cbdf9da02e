"""The rendered book: complete without a network, linked to the library."""

import re
from functools import cache
from pathlib import Path

from bs4 import BeautifulSoup

from tests.book.conftest import ROOT

# what a page fetches by itself when it is opened
FETCHED = (("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"))
FETCHED += (("object", "data"),)
PREPARED = "phase-transition", "hierarchical-clustering", "simplicity-bias", "sim-dynamics"     # by the Primer


def pages(html: Path) -> list[Path]:
    """Return the pages that people read: not the generated indices and listings of source code."""
    return [html / "search.html", *sorted((html / "book").rglob("*.html"))]


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def chapter_pages(html: Path) -> list[Path]:
    return [html / "book" / f"{p.stem}.html" for p in sorted((ROOT / "book" / "src").glob("*.md"))]


def external(page: BeautifulSoup) -> list[str]:
    """Return the addresses outside the book that a page fetches."""
    found = [tag.get(key) for name, key in FETCHED for tag in page.find_all(name)]
    styles = [tag.string or "" for tag in page.find_all("style")] + [t["style"] for t in page.find_all(style=True)]
    found += [u for s in styles for u in re.findall(r"url\(\s*[\"']?([^)\"']+)|@import\s+[\"']([^\"']+)", s) for u in u]
    return [u for u in found if u and re.match(r"(https?:)?//", u)]


def test_the_rule_sees_external_addresses():
    page = '<script src="https://x.org/a.js"></script><img src="//x.org/b.png"><style>@import "http://x.org/c"</style>'
    assert len(external(BeautifulSoup(page, "html.parser"))) == 3
    page = '<script src="a.js"></script><a href="https://x.org">x</a><img src="data:image/png;base64,AA">'
    assert external(BeautifulSoup(page, "html.parser")) == []


def test_no_page_fetches_from_elsewhere(html):
    found = {str(p.relative_to(html)): external(soup(p)) for p in sorted(html.rglob("*.html"))}
    assert {page: urls for page, urls in found.items() if urls} == {}


def test_style_sheets_fetch_nothing_from_elsewhere(html):
    pattern = re.compile(r"(?:url\(\s*[\"']?|@import\s+[\"'])(?:https?:)?//[^)\"']+")
    found = [pattern.findall(p.read_text(encoding="utf-8")) for p in html.rglob("*.css")]
    assert not any(found)


def test_what_pages_fetch_is_there(html):
    missing = set()
    for path in pages(html):
        page = soup(path)
        fetched = [tag.get(key) or "" for name, key in FETCHED for tag in page.find_all(name)]
        inside = {u.split("?")[0].split("#")[0] for u in fetched if not re.match(r"[a-z]+:|//", u)}
        missing |= {(path.name, u) for u in inside if not (path.parent / u).resolve().exists()}
    assert missing == set()


def test_mathjax_is_served_with_the_pages(html):
    for path in chapter_pages(html):
        (script,) = [s["src"] for s in soup(path).find_all("script", src=re.compile("tex-svg|mathjax", re.IGNORECASE))]
        assert (path.parent / script.split("?")[0]).resolve().is_file()


def test_nothing_of_thebe_is_left(html):
    assert not [p for p in pages(html) if re.search("sphinx-thebe|x-thebe|THEBE", p.read_text(encoding="utf-8"))]


def test_names_in_code_cells_link_to_the_library(html):
    for path in chapter_pages(html):
        links = [a["href"] for a in soup(path).select(".cell_input a.sphinx-codeautolink-a")]
        functions = {u for u in links if re.search(r"api/\w+\.html#hierlib\.\w+\.\w+\.\w+", u)}
        assert len(functions) >= 3, f"{path.name} links {sorted(functions)}"
        for link in set(links):
            target, _, anchor = link.partition("#")
            page = (path.parent / target).resolve()
            assert page.exists() and soup(page).find(id=anchor) is not None, link


def test_every_public_function_has_an_entry(html):
    import hierlib.diffusion
    import hierlib.lab
    import hierlib.rhm

    ids = {tag["id"] for p in (html / "book" / "api").glob("*.html") for tag in soup(p).select("dt[id]")}
    for room in (hierlib.rhm, hierlib.lab, hierlib.diffusion):
        for name in room.__all__:
            thing = getattr(room, name)
            if callable(thing):
                assert f"{thing.__module__}.{thing.__qualname__}" in ids


def test_entries_link_to_the_chapter_that_explains_them(html):
    page = soup(html / "book" / "api" / "rhm.html")
    for name in ("grammar.Grammar", "belief.marginals", "theory.transition", "population.upward_pools"):
        entry = page.find("dt", id=f"hierlib.rhm.{name}").find_next_sibling("dd")
        assert entry.find("a", href="../phase-transition.html"), name


def test_verdicts_lead_to_the_claims(html):
    page = html / "book" / "claims.html"
    links = [a["href"] for a in soup(page).select("a.verdict")]
    stored = [html.parent.parent / "book" / f"{p.stem}.ipynb" for p in chapter_pages(html)]
    number = sum(p.read_text(encoding="utf-8").count('"claim": {') for p in stored if p.exists())
    assert len(set(links)) == number > 0                 # what did not reproduce stands there twice
    targets = {link.partition("#")[0] for link in links}
    anchors = {target: {tag["id"] for tag in soup(page.parent / target).find_all(id=True)} for target in targets}
    for link in links:
        target, _, anchor = link.partition("#")
        assert anchor in anchors[target], f"no claim {anchor}"


def test_the_map_leads_to_every_chapter(html):
    links = [a["href"] for a in soup(html / "book" / "index.html").select("figure.map a")]
    assert sorted(links) == [path.name for path in chapter_pages(html)]


def test_chapters_lead_to_the_primer(html):
    for name in PREPARED:
        assert soup(html / "book" / f"{name}.html").select_one(".bd-article a[href^='primer.html']"), name


def test_edit_button_leads_to_the_source(html):
    for path in chapter_pages(html):
        links = [a["href"] for a in soup(path).select("a.btn-source-edit-button")]
        assert links and all(u.endswith(f"/edit/main/book/src/{path.stem}.md") for u in links)


def test_colab_buttons_open_the_notebook(html):
    for path in chapter_pages(html):
        links = [a["href"] for a in soup(path).find_all("a", href=re.compile("colab.research"))]
        assert len(links) >= 2 and all(u.endswith(f"/blob/main/book/{path.stem}.ipynb") for u in links)


def test_a_term_that_was_searched_for_is_marked_in_the_text_only(html, browser):
    page = browser.new_page()
    for term in ("function", "color"):
        page.goto(f"{(html / 'book' / 'phase-transition.html').as_uri()}?highlight={term}")
        page.wait_for_selector("span.highlighted", state="attached")
        assert page.locator("script .highlighted, style .highlighted").count() == 0
    page.close()
