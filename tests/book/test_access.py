"""The rendered book for all of its readers: citations that can be told apart, phones, paper, assistive tools, search.

The rules of axe-core are checked where its script is: `npm install --no-save axe-core@4.14.1`.
"""

import importlib
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from tests.book.conftest import ROOT
from tests.book.test_pages import chapter_pages, pages, served, soup

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
CHAPTER_BYTES, INDEX_BYTES = 3_000_000, 1_000_000


def settled(tab, address: str) -> None:
    """Open a page and wait until its formulas are set."""
    tab.goto(address, wait_until="load")
    tab.evaluate("window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => 0) : 0")


# -- citations -------------------------------------------------------------------------------------------------


def labels(html: Path) -> list[str]:
    page = soup(html / "book" / "bibliography.html")
    return [tag.get_text().strip(" []") for tag in page.select("div.citation > .label")]


def test_labels_are_unique_and_sorted_by_author(html):
    found = labels(html)
    assert len(found) > 30 and [k for k, n in Counter(found).items() if n > 1] == []
    bare = [unicodedata.normalize("NFKD", k).encode("ascii", "ignore").decode().lower() for k in found]
    keys = [tuple(k.rsplit(", ", 1)) for k in bare]
    assert keys == sorted(keys)
    letters = {}
    for text in found:
        if match := re.fullmatch(r"(.*\d{4})([a-z])", text):
            letters.setdefault(match[1], []).append(match[2])
    assert letters and all("".join(each) == "abcdef"[:len(each)] and len(each) > 1 for each in letters.values())


def test_citations_in_the_text_say_what_the_bibliography_says(html):
    entries = {tag["id"]: tag.select_one(".label").get_text() for tag
               in soup(html / "book" / "bibliography.html").select("div.citation[id]")}
    for path in chapter_pages(html):
        links = soup(path).find_all("a", href=re.compile(r"bibliography\.html#"))
        assert links
        for link in links:
            year = re.search(r"(\d{4}[a-z]?)$", link.get_text())[1]
            assert entries[link["href"].partition("#")[2]].endswith(f", {year}]"), link


# -- what is corrected in the written pages --------------------------------------------------------------------


def test_corrections_of_a_page():
    access = importlib.import_module("access")
    page = '<table class="ledger ledger-claims"><thead><tr><th>A</th><th><p>B &amp; c</p></th></tr></thead>' \
           "<tr><td>1</td><td>2</td></tr></table><th></th><th class=\"head\"><p></p></th>"
    better = access.improved(page)
    assert '<td data-label="A">1</td><td data-label="B &amp; c">2</td>' in better
    assert better.endswith('<td></td><td class="head"></td>') and access.improved(better) == better
    page = '<img src="x.svg"><figure><img alt="a" src="a.svg"><figcaption>1.2 ± 0.3, to enlarge</figcaption></figure>'
    better = '<img src="x.svg"><figure><a class="enlarge" href="a.svg" title="enlarge"><img alt="a" src="a.svg"></a>' \
             "<figcaption>1.2\u00a0±\u00a00.3, to enlarge</figcaption></figure>"
    assert access.improved(page) == better == access.improved(better)


def test_drawings_keep_their_pixels_and_shapes():
    import base64
    import io

    from PIL import Image

    weight = importlib.import_module("weight")
    image = Image.new("RGBA", (40, 30), (10, 20, 30, 255))
    image.putpixel((3, 4), (200, 100, 0, 255))
    image.save(out := io.BytesIO(), "PNG")
    data = base64.b64encode(out.getvalue()).decode()
    small = weight.fewer_bits(data)
    assert Image.open(io.BytesIO(base64.b64decode(small))).convert("RGBA").tobytes() == image.tobytes()
    drawing = '<path d="M 1.234567 20.000000 L 100 -0.5" style="fill: none; stroke: red" transform="scale(0.015625)"/>'
    better = '<path d="M1.23 20L100 -0.5" style="fill:none;stroke:red" transform="scale(0.015625)"/>'
    assert weight.lighter_drawing(drawing) == better == weight.lighter_drawing(better)
    named = '<g id="axes_1"><path id="m11ae" d="M1 2"/><use xlink:href="#m11ae" clip-path="url(#p7)"/><g id="p7"/></g>'
    better = '<g><path id="i0" d="M1 2"/><use xlink:href="#i0" clip-path="url(#i1)"/><g id="i1"/></g>'
    assert weight.lighter_drawing(named) == better == weight.lighter_drawing(better)
    look = 'clip-path="url(#p)" style="fill: none; stroke: red"'
    bars = "\n".join(f'<path d="M {x} 1 L {x} 2.5 " {look}/>' for x in (1, 2, 3))
    better = '<path d="M1 1L1 2.5M2 1L2 2.5M3 1L3 2.5" clip-path="url(#i0)" style="fill:none;stroke:red"/>'
    assert weight.lighter_drawing(bars) == better == weight.lighter_drawing(better)
    faint = bars.replace("none;", "none; opacity: 0.5;")
    assert weight.lighter_drawing(faint).count("<path") == 3


# -- search ----------------------------------------------------------------------------------------------------


def test_both_spellings_are_one():
    one_spelling = importlib.import_module("finding").one_spelling
    pairs = "memorization memorisation, color colour, behavior behaviour, neighboring neighbouring, analyze analyse, "
    pairs += "center centre, labeled labelled, optimizer optimiser, normalized normalised"
    for pair in pairs.split(", "):
        american, british = map(one_spelling, pair.split())
        assert american == british, pair


@pytest.mark.parametrize("query", ["memorization", "memorisation", "marginals", "color"])
def test_search_finds_chapters_before_the_library(html, browser, query):
    with served(html) as address:
        tab = browser.new_page()
        tab.goto(f"{address}search.html?q={query}")
        tab.wait_for_function("document.querySelector('#search-results p')?.textContent.includes('found')")
        found = tab.evaluate("[...document.querySelectorAll('#search-results ul.search > li > a')].map(a => a.href)")
    library = ["/book/api/" in url for url in found]
    assert found and not library[0] and library == sorted(library)
    if query.startswith("memor"):
        assert any("/book/hierarchical-clustering" in url for url in found)


# -- in a browser ----------------------------------------------------------------------------------------------


def test_no_page_scrolls_sideways_on_a_phone(html, browser):
    with served(html) as address:
        tab = browser.new_page(viewport={"width": 390, "height": 844})
        for path in pages(html):
            settled(tab, address + path.relative_to(html).as_posix())
            assert tab.evaluate("document.documentElement.scrollWidth") <= 390, path.name
            cut = "[...document.querySelectorAll('mjx-container[display=true]')].map(e => e.getBoundingClientRect())"
            assert tab.evaluate(cut + ".filter(r => r.left < 0 || r.right > 391).length") == 0, path.name


def test_verdicts_are_on_the_screen_of_a_phone(html, browser):
    with served(html) as address:
        tab = browser.new_page(viewport={"width": 390, "height": 844})
        tab.goto(address + "book/claims.html")
        right = tab.evaluate("[...document.querySelectorAll('a.verdict')].map(a => a.getBoundingClientRect().right)")
    assert right and max(right) <= 390


def test_proofs_and_solutions_are_open_and_code_wraps_on_paper(html, browser):
    with served(html) as address:
        tab = browser.new_page(viewport={"width": 700, "height": 900})
        for path in chapter_pages(html):
            settled(tab, address + path.relative_to(html).as_posix())
            tab.emulate_media(media="print")
            tab.evaluate("dispatchEvent(new Event('beforeprint'))")
            closed = tab.locator("details.sd-dropdown:not([open]), .admonition.toggle-hidden").count()
            wide = tab.evaluate("[...document.querySelectorAll('.bd-article pre')].filter("
                                "e => e.clientWidth && e.scrollWidth > e.clientWidth + 1).length")
            tab.evaluate("dispatchEvent(new Event('afterprint'))")
            assert (closed, wide) == (0, 0), path.name
            assert tab.locator("details.sd-dropdown[open]").count() == 0, path.name


def test_weight_of_pages(html, browser):
    with served(html) as address:
        for path in [html / "book" / "index.html", *chapter_pages(html)]:
            size = {}
            tab = browser.new_page()
            tab.on("response", lambda r, size=size: size.update({r.url: len(r.body())}))
            settled(tab, address + path.relative_to(html).as_posix())
            tab.wait_for_load_state("networkidle")
            limit = INDEX_BYTES if path.stem == "index" else CHAPTER_BYTES
            assert sum(size.values()) <= limit, f"{path.name}: {sum(size.values()) / 1e6:.2f} MB"


PROPORTIONS = """() => {
    const article = document.querySelector(".bd-article"), page = document.documentElement.scrollHeight;
    const all = (found) => [...article.querySelectorAll(found)].filter(e => e.checkVisibility() && e.offsetHeight);
    const share = (elements) => elements.reduce((sum, e) => sum + e.getBoundingClientRect().height, 0) / page;
    const top = (e) => e.getBoundingClientRect().top + scrollY, code = all("div.cell_input");
    const prose = all("p, li").filter(e => !e.closest(".cell, figure, table, .chapter-facts") && !e.querySelector("p"));
    return { page, code: share(code), prose: share(prose), findings: top(all("table.ledger-findings")[0]),
             figure: top(all(".cell_output [role=group], figure")[0]),
             wide: all("div.cell_input pre").filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText) };
}"""


def test_pages_are_prose_and_figures_more_than_code(html, browser):
    """The findings and a figure stand on the first two screens; no code scrolls sideways."""
    with served(html) as address:
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        for path in chapter_pages(html):
            settled(tab, address + path.relative_to(html).as_posix())
            found = tab.evaluate(PROPORTIONS)
            assert found.pop("wide") == [], path.name
            assert found["page"] <= 20_000 and found["code"] < 0.25 and found["prose"] > 0.30, (path.name, found)
            assert found["findings"] < found["figure"] <= 1800, (path.name, found)


def test_a_figure_is_enlarged_by_a_click(html, browser):
    with served(html) as address:
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        settled(tab, address + "book/phase-transition.html")
        small = tab.locator("figure a.enlarge img").first
        small.click()
        large = tab.locator("dialog.enlarged img")
        assert large.bounding_box()["width"] > 1.5 * small.bounding_box()["width"]
        large.click()
        assert tab.locator("dialog.enlarged").count() == 0 and tab.url.endswith("phase-transition.html")


def test_every_icon_is_drawn(html, browser):
    """Each icon has a sign, in a font of the few signs that are used."""
    with served(html) as address:
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        fonts = []
        tab.on("response", lambda r: fonts.append(r.url) if "webfonts" in r.url else None)
        for path in chapter_pages(html):
            settled(tab, address + path.relative_to(html).as_posix())
            empty = tab.evaluate("""[...document.querySelectorAll("i[class*='fa-'], i.fas, i.fab")].filter(
                e => ["none", "normal"].includes(getComputedStyle(e, "::before").content)).map(e => e.className)""")
            assert empty == [], path.name
    assert fonts and not [u for u in fonts if not u.partition("?")[0].endswith(".ttf")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_violation_of_axe_levels_a_and_aa(html, browser, scheme):
    if not AXE.exists():
        pytest.skip("no axe-core: npm install --no-save axe-core@4.14.1")
    script = AXE.read_text(encoding="utf-8")
    found = Counter()
    with served(html) as address:
        tab = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme=scheme)
        for path in pages(html):
            settled(tab, address + path.relative_to(html).as_posix())
            tab.wait_for_timeout(200)
            tab.evaluate(script)
            faults = tab.evaluate("""async (levels) => {
                const { violations } = await axe.run(document, { runOnly: levels, resultTypes: ["violations"] });
                return violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(" ")}`)); }""", LEVELS)
            found.update(f"{path.stem}: {fault}" for fault in faults)
    assert list(found)[:20] == []
