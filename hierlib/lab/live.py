"""What the interactive figures share: HTML that holds script and data, for the page, JupyterLab and Colab alike."""

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hierlib.lab import checks

__all__ = ["LiveFigure", "checked"]


@dataclass(frozen=True)
class LiveFigure:
    """A figure that is computed in the browser by a script of its own; its HTML fetches nothing.

    Base of the interactive figures of all chapters.

    Parameters
    ----------
    name
        HTML id.
    config
        What the script is given, as JSON.
    """

    name: str
    config: dict[str, Any]

    script: ClassVar[Path]                # its file; the figure's element has the class `kind`
    kind: ClassVar[str]
    label: ClassVar[str]                  # for screen readers
    thing: ClassVar[str]                  # what stands there, for readers without scripts
    hidden: ClassVar[tuple[str, ...]] = ()                        # long entries of `config` that print leaves out

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={value}" for key, value in self.config.items() if key not in self.hidden)
        return f"{type(self).__name__}({self.name!r}, {shown})"

    def _repr_html_(self) -> str:
        config = html.escape(json.dumps(self.config, separators=(",", ":")))
        return (
            f'<div class="{self.kind}" id="{self.name}" role="group" aria-label="{self.label}"'
            f' data-config="{config}">An interactive {self.thing} stands here where scripts may run '
            f'(in Jupyter: trust the notebook).</div>\n<script>\n{self.script.read_text("utf-8")}</script>'
        )


def checked(name: str) -> str:
    """Return `name` where it can be an HTML id. Used by the interactive figures of all chapters.

    Raises
    ------
    ValueError
        For a name that is no letter followed by letters, digits, ``-`` or ``_``.
    """
    proper = isinstance(name, str) and re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", name) is not None
    checks.require(proper, "name", name, "a letter, then letters, digits, '-' or '_'")
    return name
