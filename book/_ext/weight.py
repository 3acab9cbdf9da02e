"""Pages that load in half the bytes and look the same.

MathJax
    does not come to pages without formulas.
Icons
    are drawn by FontAwesome's style sheet; its script (1.5 MB), and the icons that no page shows, are dropped.
Code
    has no marks around names, punctuation and spaces, which have the colour of the text.
Drawings
    have coordinates to a hundredth of a point, a style once for a series of markers, no comments, and images of at
    most 256 colours stored as such.
"""

from __future__ import annotations

import base64
import io
import logging
import re
from pathlib import Path

import offline
from fontTools import subset
from PIL import Image
from sphinx.application import Sphinx

MATHJAX_SCRIPT = re.compile(rf"<script [^>]*{offline.MATHJAX}/startup\.js[^>]*></script>")
ICON_SCRIPT = re.compile(r"<script [^>]*fontawesome\.js[^>]*></script>")
ICON_RULE = re.compile(r'(?:\.fa-[\w-]+:before,?)+\{content:"[^"]*"\}')
ICON_NAME = re.compile(r"\bfa-[\w-]+")
ICON_SIGN = re.compile(r"\\([ef][0-9a-f]{3})\b|([\ue000-\uf8ff])")
WOFF = re.compile(r'url\([^)]*fontawesome[^)]*\.woff2\) format\("woff2"\),')
CODE = re.compile(r'<div class="highlight"><pre>.*?</pre>', re.DOTALL)
UNMARKED = re.compile(r'<span class="(?:n|p|w)">([^<]*)</span>')
COORDINATES = re.compile(r'(?<=\s)(?:d|x|y|points)="[^"]*"|translate\([^)]*\)')
DECIMALS = re.compile(r"(\.\d\d)\d+")
ZEROS = re.compile(r"\.0+(?!\d)")
UNSEEN = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
ID, REFERENCE = re.compile(r' id="([^"]*)"'), re.compile(r'(?:(?<=url\(#)|(?<=href="#))([^")]+)')
PATH = re.compile(r'(?<=\sd=")[^"]*')
COMMAND = re.compile(r"\s*([A-Za-z])\s*")
MARKERS = re.compile(r'<g((?:(?! style=)[^>])*)>(\s*<use\b[^>]*?)( style="[^"]*")/>((?:\s*<use\b[^>]*\3/>)*\s*</g>)')
# lines of one look that follow each other, as error bars do: one path draws them all
ALIKE = re.compile(r'<path d="([^"]*)"((?![^>]*opacity)[^>]*style="fill:none;[^"]*"/>)((?:<path d="[^"]*"\2)+)')
D = re.compile(r'd="([^"]*)"')
STYLE = re.compile(r'style="[^"]*"')
PIXELS = re.compile(r"(?<=data:image/png;base64,)[^\"]+")


def lighter_page(page: str) -> str:
    """Return a page without the icons' script, and without MathJax where it has no formula."""
    page = CODE.sub(lambda match: UNMARKED.sub(r"\1", match[0]), ICON_SCRIPT.sub("", page))
    formulas = re.search(r'class="[^"]*\b(?:math|cell_output)\b', page)
    return page if formulas else MATHJAX_SCRIPT.sub("", page)


def fewer_bits(data: str) -> str:
    """Return a PNG image, in base64, with a palette if its colours fit into one; the same pixels."""
    image = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")
    colours = image.getcolors(256)
    if colours is None or any(colour[3] < 255 for _, colour in colours):
        return data
    number = {colour: i for i, (_, colour) in enumerate(colours)}
    parts = iter(image.tobytes())
    small = Image.frombytes("P", image.size, bytes(number[pixel] for pixel in zip(parts, parts, parts, parts)))
    small.putpalette([part for colour in number for part in colour[:3]])
    small.save(out := io.BytesIO(), "PNG", optimize=True)
    new = base64.b64encode(out.getvalue()).decode()
    return min(data, new, key=len)


def short_names(drawing: str) -> str:
    """Return an SVG drawing whose parts have short names, and none where nothing refers to them."""
    number = {name: f"i{k:x}" for k, name in enumerate(dict.fromkeys(REFERENCE.findall(drawing)))}
    drawing = REFERENCE.sub(lambda match: number[match[1]], drawing)
    return ID.sub(lambda match: f' id="{number[match[1]]}"' if match[1] in number else "", drawing)


def lighter_drawing(drawing: str) -> str:
    """Return an SVG drawing in fewer bytes."""
    drawing = short_names(UNSEEN.sub("", drawing))
    drawing = COORDINATES.sub(lambda match: ZEROS.sub("", DECIMALS.sub(r"\1", match[0])), drawing)
    drawing = PATH.sub(lambda match: COMMAND.sub(r"\1", match[0]).strip(), drawing)
    if "<text" not in drawing:
        drawing = re.sub(r">\s+<", "><", drawing)
    drawing = MARKERS.sub(lambda m: f"<g{m[1]}{m[3]}>{m[2]}/>{m[4].replace(m[3], '')}", drawing)
    drawing = STYLE.sub(lambda match: match[0].replace(": ", ":").replace("; ", ";"), drawing)
    drawing = ALIKE.sub(lambda m: f'<path d="{m[1]}{"".join(D.findall(m[3]))}"{m[2]}', drawing)
    return PIXELS.sub(lambda match: fewer_bits(match[0]), drawing)


def keep_icons(static: Path, used: set[str]) -> None:
    """Reduce FontAwesome's style sheet and fonts to the icons that are used, by name or by a style sheet."""
    (sheet,) = static.glob("styles/pydata-sphinx-theme.css")
    css = sheet.read_text(encoding="utf-8")
    css = ICON_RULE.sub(lambda match: match[0] if used & set(ICON_NAME.findall(match[0])) else "", css)
    sheet.write_text(WOFF.sub("", css), encoding="utf-8")
    text = "".join(path.read_text(encoding="utf-8") for path in static.rglob("*.css"))
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    signs = [int(code, 16) if code else ord(sign) for code, sign in ICON_SIGN.findall(text)]
    for path in static.glob("vendor/fontawesome/webfonts/*.ttf"):
        options = subset.Options()
        font = subset.load_font(path, options)
        tool = subset.Subsetter(options)
        tool.populate(unicodes=signs)
        tool.subset(font)
        subset.save_font(font, path, options)


def _lighten(app: Sphinx, exception) -> None:
    if exception is not None or app.builder.format != "html":
        return
    out, used = Path(app.outdir), set()
    for path in (out / "_static").rglob("fontawesome.js*"):
        path.unlink()
    for pattern, better in (("*.html", lighter_page), ("*.svg", lighter_drawing), ("*.js", str)):
        for path in out.rglob(pattern):
            old = path.read_text(encoding="utf-8")
            if (new := better(old)) != old:
                path.write_text(new, encoding="utf-8")
            used.update(ICON_NAME.findall(new))
    keep_icons(out / "_static", used)


def setup(app: Sphinx) -> dict:
    """Connect to the end of the build."""
    app.connect("build-finished", _lighten, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
