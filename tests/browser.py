"""What the tests of the interactive figures share: a browser, node, and what every figure has to satisfy."""

import functools
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from tools import dist

GROUNDS = {"light": ("#ffffff", "#222222"), "dark": ("#121212", "#ced6dd")}        # of a page, and its text
UNWANTED = r"https?:|\bsrc=|\bhref=|@import|fetch\(|XMLHttpRequest|import\(|Math\.random|<!--"


FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run", "--disable-quic"]


class Patient:
    """A Chromium that waits for a page as long as it takes: a busy machine is not an error."""

    def __init__(self, chromium):
        self.chromium = chromium

    def new_context(self, **options):
        context = self.chromium.new_context(**options)
        context.set_default_timeout(0)
        return context

    def new_page(self, **options):
        return self.new_context(**options).new_page()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    found = dist.chromium()
    if found is None:
        pytest.skip("no chromium on the PATH")
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=found, args=FLAGS, timeout=0)
        yield Patient(chromium)
        chromium.close()


def node_path() -> str:
    """Return the path of node: the one on the PATH, or the one inside the playwright package."""
    if found := shutil.which("node"):
        return found
    driver = pytest.importorskip("playwright._impl._driver", reason="no node on the PATH, no playwright")
    return driver.compute_driver_executable()[0]


@functools.cache
def node_with(own, source):
    """Start a process of node that has run a script and answers each line of calls with a line of results."""
    runner = f"""
const it = module.exports, own = {{{own}}};
const value = (x) => (Array.isArray(x) && x[0] === "rng" ? it.mulberry32(x[1]) : x);
const plain = (key, x) => (ArrayBuffer.isView(x) ? Array.from(x) : x);
const run = ([name, ...rest]) => {{
  try {{ return (own[name] || it[name])(...rest.map(value)); }}
  catch (error) {{ return {{ error: `${{error.name}}: ${{error.message}}` }}; }}
}};
require("readline").createInterface({{ input: process.stdin }}).on("line", (calls) =>
  console.log(JSON.stringify(JSON.parse(calls).map(run), plain)));
"""
    return subprocess.Popen([node_path(), "-e", source + runner], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True, encoding="utf-8")


def run_calls(own, source, calls):
    """Run calls [name, argument, …] of functions of a figure's script, `it`, or of `own`, the inside of an object.

    All run in one process of node. An argument ["rng", seed] becomes a random generator of the script; typed arrays
    come back as lists, an error as {"error": "name: message"}.
    """
    node = node_with(own, source)
    print(json.dumps(calls), file=node.stdin, flush=True)
    return json.loads(node.stdout.readline())


def bare(markup):
    """Return the text of markup, or of a number, with plain spaces."""
    return re.sub("<.*?>", "", str(markup)).replace("\u00a0", " ")


def assert_whole(figure, twin, kind, config, urls=r"|url\("):
    """The HTML holds one script and the configuration, fetches nothing, and is the same for the same arguments."""
    page = figure._repr_html_()
    assert page == twin._repr_html_()
    assert page.startswith(f'<div class="{kind}" id="{figure.name}"') and page.count("</script>") == 1
    assert not re.search(UNWANTED + urls, page)
    assert json.loads(html.unescape(re.search('data-config="([^"]*)"', page)[1])) == config


def opened(browser, figures, late, height=700, **options):
    """Return a page with figures, and `late` put in as a notebook front end does, and the list of its troubles."""
    page = browser.new_page(viewport={"width": 760, "height": height}, **options)
    trouble = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda message: trouble.append(message.text))
    page.on("request", lambda request: trouble.append(request.url))
    body = "".join(figure._repr_html_() for figure in figures)
    page.set_content(f"<!doctype html><body>{body}<div id='cell'></div></body>")
    page.evaluate(  # markup first, then a fresh script element
        """(text) => { const cell = document.getElementById("cell"); cell.innerHTML = text;
        const old = cell.querySelector("script"), fresh = document.createElement("script");
        fresh.textContent = old.textContent; old.replaceWith(fresh); }""", late._repr_html_())
    return page, trouble


def assert_fits_a_phone(page, drawing):
    """The figure `one` redraws for a narrow page, which does not scroll sideways."""
    page.set_viewport_size({"width": 360, "height": page.viewport_size["height"]})
    page.wait_for_function(f"document.querySelector('#one {drawing}').viewBox.baseVal.width < 360")
    page.wait_for_function("document.documentElement.scrollWidth <= 360")      # the page's other figures follow


def assert_legible(colours, ground):
    """Labels in these CSS colours stand out from the ground, by WCAG AA."""
    def luminance(rgb):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    back = luminance([int(ground[i:i + 2], 16) / 255 for i in (1, 3, 5)])
    for colour in colours:
        front = luminance([int(c) / 255 for c in re.findall(r"\d+", colour)[:3]])
        low, high = sorted((back, front))
        assert (high + 0.05) / (low + 0.05) >= 4.5, colour


def assert_follows_the_switch(browser, figure, looks):
    """Six colours, (selector, property), are legible on a light and a dark page, and other ones on each."""
    page = browser.new_page(viewport={"width": 760, "height": 900})
    style = "".join(f"html[data-theme={theme}] {{ --pst-color-background: {ground}; --pst-color-text-base: {ink} }}"
                    for theme, (ground, ink) in GROUNDS.items())
    page.set_content(f"<!doctype html><html><head><style>{style}</style></head><body>{figure._repr_html_()}</body>")
    seen = []
    for theme, (ground, _) in GROUNDS.items():
        colours = page.evaluate(
            """([theme, looks]) => { document.documentElement.dataset.theme = theme;
            return looks.map(([q, what]) => getComputedStyle(document.querySelector(q))[what]); }""", [theme, looks])
        assert_legible(colours, ground)
        seen.append(set(colours))
    page.close()
    assert len(seen[0]) == len(seen[1]) == len(looks) and not seen[0] & seen[1]
