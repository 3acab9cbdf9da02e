"""The rendered book for all of its readers: citations that can be told apart, phones, paper, assistive tools, search.

The rules of axe-core are checked where its script is: `npm install --no-save axe-core@4.14.1`. A page is opened once in
each theme, and all of its tests, which come one after the other, read what was seen then.
"""

import contextlib
import functools
import importlib
import json
import re
import threading
import unicodedata
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.book.conftest import HTML, ROOT
from tests.book.test_pages import chapter_pages, pages, soup

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
COLOURS = ["color-contrast", "link-in-text-block"]          # the rules of these levels that the theme can change
CHAPTER_BYTES, INDEX_BYTES = 3_000_000, 1_200_000
WIDE, WINDOW, PHONE, PAPER = ({"width": w, "height": h} for w, h in ((1280, 900), (1200, 900), (390, 844), (700, 900)))
CHAPTERS = [path.relative_to(HTML).as_posix() for path in chapter_pages(HTML)]
FIRST = [*CHAPTERS, "book/index.html"]                      # at equal places in each list: pytest keeps them together
PAGES = FIRST + [name for path in pages(HTML) if (name := path.relative_to(HTML).as_posix()) not in FIRST]


def each(names: list[str]):
    """Run a test for each of these pages."""
    ids = [name.removeprefix("book/").removesuffix(".html") for name in names]
    return pytest.mark.parametrize("page", names, ids=ids, scope="module")


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
def test_search_finds_chapters_before_the_library(address, browser, query):
    tab = Reader(browser, address, "light", WIDE).open(f"search.html?q={query}")          # pages would mark its words
    tab.wait_for_function("document.querySelector('#search-results p')?.textContent.includes('found')")
    found = tab.evaluate("[...document.querySelectorAll('#search-results ul.search > li > a')].map(a => a.href)")
    tab.close()
    library = ["/book/api/" in url for url in found]
    assert found and not library[0] and library == sorted(library)
    if query.startswith("memor"):
        assert any("/book/hierarchical-clustering" in url for url in found)


# -- in a browser ----------------------------------------------------------------------------------------------


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Say nothing."""

    def end_headers(self):
        """Let nothing be kept: every page fetches all of its files."""
        self.send_header("Cache-Control", "no-store")
        super().end_headers()


@contextlib.contextmanager
def served(folder: Path):
    """Serve a folder on this machine; yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class Reader:
    """A tab in one theme; of the page it shows, the faults (requests elsewhere, failed ones, script errors) and bytes.

    One tab for all pages: a new one would compile the scripts anew.
    """

    def __init__(self, browser, address: str, scheme: str, size: dict):
        self.address, self.size, self.faults, self.bytes = address, size, [], {}
        self.tab = tab = browser.new_page(viewport=size, color_scheme=scheme)
        tab.on("request", self.requested)
        tab.on("requestfailed", lambda r: self.faults.append(f"failed {r.url}"))
        tab.on("response", self.answered)
        tab.on("console", lambda m: self.faults.append(f"console: {m.text}") if m.type == "error" else None)
        tab.on("pageerror", lambda e: self.faults.append(f"script error: {e}"))

    def requested(self, request):
        if not request.url.startswith(("data:", "blob:", self.address)):
            self.faults.append(f"fetches {request.url}")

    def answered(self, response):
        self.bytes[response.url] = int(response.headers.get("content-length", 0))
        if response.status >= 400:
            self.faults.append(f"{response.status} {response.url}")

    def open(self, page: str):
        """Open a page, wait until its formulas are set and no colour changes any more; return the tab."""
        self.tab.emulate_media(media="screen")
        self.tab.set_viewport_size(self.size)
        self.faults, self.bytes = [], {}
        self.tab.goto(self.address + page, wait_until="load")
        self.tab.evaluate(SET)
        return self.tab

    def settled(self) -> dict:
        """Return what has come, once nothing more is fetched."""
        self.tab.wait_for_load_state("networkidle")
        return {"faults": self.faults, "bytes": self.bytes}

    def violations(self, rules: list[str]) -> list[str] | None:
        """Return the faults that axe-core finds by the rules, or rules of these levels."""
        if not AXE.exists():
            return None
        self.tab.evaluate(AXE.read_text(encoding="utf-8"))
        return self.tab.evaluate("""async (rules) => {
            const { violations } = await axe.run(document, { runOnly: rules, resultTypes: ["violations"] });
            return violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(" ")}`)); }""", rules)


SET = """async () => {
    await window.MathJax?.startup?.promise;
    const passing = document.getAnimations().filter((a) => a.effect.getComputedTiming().endTime < Infinity);
    await Promise.allSettled(passing.map((a) => a.finished));
}"""
WHOLE = """() => ({
    theme: document.documentElement.dataset.theme,
    sources: document.querySelectorAll("div.math, span.math").length,
    formulas: document.querySelectorAll("mjx-container").length,
    broken: document.querySelectorAll("mjx-merror, [data-mjx-error]").length,
    schemes: [...document.querySelectorAll(".cell_output img[src$='.svg']")]
        .map((image) => getComputedStyle(image).colorScheme),
    wide: document.documentElement.scrollWidth > window.innerWidth + 2,
    shown: [...document.body.querySelectorAll("*")].filter(e => e.checkVisibility()).map(e => e.localName).join(" "),
})"""
SMALL = """() => ({
    width: document.documentElement.scrollWidth,
    cut: [...document.querySelectorAll("mjx-container[display=true]")].map(e => e.getBoundingClientRect())
        .filter(r => r.left < 0 || r.right > 391).length,
    verdicts: [...document.querySelectorAll("a.verdict")].map(a => a.getBoundingClientRect().right),
})"""
PRINTED = """() => {
    dispatchEvent(new Event("beforeprint"));
    const closed = document.querySelectorAll("details.sd-dropdown:not([open]), .admonition.toggle-hidden").length;
    const wide = [...document.querySelectorAll(".bd-article pre")]
        .filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1).length;
    dispatchEvent(new Event("afterprint"));
    return { closed, wide, open: document.querySelectorAll("details.sd-dropdown[open]").length };
}"""
TURNED = """() => {
    const figure = document.querySelector(".cell_output img[src$='.svg']"), root = document.documentElement;
    const before = getComputedStyle(figure).colorScheme;
    root.dataset.theme = "dark";
    return [before, getComputedStyle(figure).colorScheme];
}"""
ICONS = """[...document.querySelectorAll("i[class*='fa-'], i.fas, i.fab")]
    .filter(e => ["none", "normal"].includes(getComputedStyle(e, "::before").content)).map(e => e.className)"""
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



def seen_in_light(reader, page: str) -> dict:
    """Return what a page shows in a window, to axe-core, on paper, and what it fetches."""
    tab = reader.open(page)
    found = tab.evaluate(WHOLE) | {"empty icons": tab.evaluate(ICONS)}
    if page in CHAPTERS:
        found["proportions"] = tab.evaluate(PROPORTIONS)
    found |= {"violations": reader.violations(LEVELS)} | reader.settled()
    if page in CHAPTERS:
        found["turned"] = tab.evaluate(TURNED)
        tab.set_viewport_size(PAPER)
        tab.emulate_media(media="print")
        found["paper"] = tab.evaluate(PRINTED)
    return found


def seen_in_dark(reader, page: str, light: dict) -> dict:
    """Return what a page shows on a phone and then, widened to a window, to axe-core: what can differ from `light`."""
    tab = reader.open(page)
    found = {"phone": tab.evaluate(SMALL)}
    tab.set_viewport_size(WINDOW)
    found |= tab.evaluate(WHOLE)
    same = found["shown"] == light["shown"]
    return found | {"violations": reader.violations(COLOURS if same else LEVELS), "same": same} | reader.settled()


@pytest.fixture(scope="module")
def address(html):
    with served(html) as address:
        yield address


@pytest.fixture(scope="module")
def seen(address, browser):
    """Return a function of a page and a theme: what is seen there, opened once."""
    light, dark = (Reader(browser, address, *how) for how in (("light", WIDE), ("dark", PHONE)))

    @functools.cache
    def look(page, scheme):
        return seen_in_light(light, page) if scheme == "light" else seen_in_dark(dark, page, look(page, "light"))

    return look


@each(PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_in_a_browser(seen, page, scheme):
    found = seen(page, scheme)
    assert found["faults"] == []
    assert found["theme"] == scheme
    assert found["formulas"] >= min(found["sources"], 1) and found["broken"] == 0
    assert set(found["schemes"]) <= {scheme}
    assert not found["wide"], f"{page} is wider than the window"


def test_the_browser_test_sees_faults(tmp_path, browser):
    page = '<html><body><img src="gone.png"><script>undefined_name()</script></body></html>'
    (tmp_path / "bad.html").write_text(page)
    with served(tmp_path) as address:
        faults = seen_in_light(Reader(browser, address, "light", WIDE), "bad.html")["faults"]
    assert any("404" in f for f in faults) and any("undefined_name" in f for f in faults), json.dumps(faults)


@each(CHAPTERS)
def test_the_theme_switch_turns_figures(seen, page):
    assert seen(page, "light")["turned"] == ["light", "dark"]


@each(PAGES)
def test_no_page_scrolls_sideways_on_a_phone(seen, page):
    phone = seen(page, "dark")["phone"]
    assert phone["width"] <= 390 and phone["cut"] == 0


@each(PAGES)
def test_verdicts_are_on_the_screen_of_a_phone(seen, page):
    right = seen(page, "dark")["phone"]["verdicts"]
    assert (right or page != "book/claims.html") and max(right, default=0) <= 390


@each(CHAPTERS)
def test_proofs_and_solutions_are_open_and_code_wraps_on_paper(seen, page):
    assert seen(page, "light")["paper"] == {"closed": 0, "wide": 0, "open": 0}


@each(FIRST)
def test_weight_of_pages(seen, page):
    size = sum(seen(page, "light")["bytes"].values())
    assert size <= (CHAPTER_BYTES if page in CHAPTERS else INDEX_BYTES), f"{size / 1e6:.2f} MB"


@each(CHAPTERS)
def test_pages_are_prose_and_figures_more_than_code(seen, page):
    """The findings and a figure stand on the first two screens; no code scrolls sideways."""
    found = seen(page, "light")["proportions"]
    assert found["wide"] == []
    assert found["page"] <= 20_000 and found["code"] < 0.25 and found["prose"] > 0.30, found
    assert found["findings"] < found["figure"] <= 1800, found


def test_a_figure_is_enlarged_by_a_click(address, browser):
    tab = Reader(browser, address, "light", WIDE).open("book/phase-transition.html")
    small = tab.locator("figure a.enlarge img").first
    small.click()
    large = tab.locator("dialog.enlarged img")
    assert large.bounding_box()["width"] > 1.5 * small.bounding_box()["width"]
    large.click()
    assert tab.locator("dialog.enlarged").count() == 0 and tab.url.endswith("phase-transition.html")
    tab.close()


@each(CHAPTERS)
def test_every_icon_is_drawn(seen, page):
    """Each icon has a sign, in a font of the few signs that are used."""
    found = seen(page, "light")
    fonts = [url for url in found["bytes"] if "webfonts" in url]
    assert found["empty icons"] == []
    assert fonts and all(url.partition("?")[0].endswith(".ttf") for url in fonts)


@each(PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_violation_of_axe_levels_a_and_aa(seen, page, scheme):
    """What is shown in both themes is checked in the dark one by the rules on colours alone."""
    faults = seen(page, scheme)["violations"]
    if faults is None:
        pytest.skip("no axe-core: npm install --no-save axe-core@4.14.1")
    assert faults[:20] == []
