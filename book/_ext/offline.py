"""The built book needs no network, and raises no script error.

MathJax
    The parts that are needed (0.9 MB with their fonts) out of the package sphinx-mathjax-offline are served with the
    pages.
thebe
    Its scripts and their settings are dropped from every page: they fetch from the network and fail without it.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

MATHJAX = "mathjax"
PARTS = ("startup.js", "core.js", "input/tex.js", "input/tex/extensions", "output/chtml.js", "output/chtml/fonts",
         "a11y/assistive-mml.js")
LOAD = [part.removesuffix(".js") for part in PARTS if part.endswith(".js") and part != "startup.js"]
THEBE_MARKS = ("sphinx-thebe", "THEBE_JS_URL", "thebe_selector")
THEBE_CONFIG = re.compile(
    r'<script type="text/x-thebe-config">.*?</script>\s*(?:<script>\s*kernelName[^<]*</script>)?', re.DOTALL
)


def mathjax() -> Path:
    """Return the folder of the installed MathJax."""
    try:
        files = importlib.metadata.files("sphinx-mathjax-offline") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "tex-svg.js":
            return Path(file.locate()).parent
    raise ExtensionError("sphinx-mathjax-offline with its tex-svg.js is needed to build the book")


def _use_local_mathjax(app: Sphinx, config) -> None:
    config.mathjax_path = f"{MATHJAX}/startup.js"
    config.mathjax3_config = {**(config.mathjax3_config or {}), "loader": {"load": LOAD}}


def _copy_mathjax(app: Sphinx) -> None:
    if app.builder.format != "html":
        return
    source, target = mathjax(), Path(app.outdir) / "_static" / MATHJAX
    for part in PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            shutil.copyfile(source / part, target / part)


def _is_thebe(file) -> bool:
    text = f"{file} {getattr(file, 'filename', '')} {getattr(file, 'attributes', {}).get('body', '')}"
    return any(mark in text for mark in THEBE_MARKS)


def _set_files(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    context["body"] = THEBE_CONFIG.sub("", context.get("body") or "")
    for kind in ("script_files", "css_files"):
        context[kind][:] = [file for file in context.get(kind, []) if not _is_thebe(file)]


def setup(app: Sphinx) -> dict:
    """Connect the steps above."""
    app.connect("config-inited", _use_local_mathjax, priority=900)
    app.connect("builder-inited", _copy_mathjax)
    app.connect("html-page-context", _set_files, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
