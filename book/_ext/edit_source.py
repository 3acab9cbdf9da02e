"""The edit button of a chapter leads to its source in ``book/src``, not to the notebook made from it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx


def source_of(docname: str, root: Path) -> str | None:
    """Return the source path of a chapter's page (``book/x`` -> ``book/src/x.md``), None for other pages."""
    page = PurePosixPath(docname)
    source = page.parent / "src" / f"{page.name}.md"
    return str(source) if (root / source).exists() else None


def _retarget(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    source = source_of(pagename, Path(app.srcdir))
    if source is None:
        return
    todo = list(context.get("header_buttons", []))
    for button in todo:
        todo.extend(button.get("buttons", []))
        if button.get("label") == "source-edit-button":
            button["url"] = button["url"].replace(f"{pagename}.ipynb", source)


def setup(app: Sphinx) -> dict:
    """Connect after the theme has made its buttons."""
    app.connect("html-page-context", _retarget, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
