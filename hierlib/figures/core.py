"""What the interactive figures share: HTML that holds script and data, for the page, JupyterLab and Colab alike."""

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hierlib.lab import checks
from hierlib.rhm.grammar import Grammar

__all__ = ["InteractiveFigure"]


@dataclass(frozen=True, repr=False)
class InteractiveFigure:
    """A figure that is computed in the browser by a script of its own; its HTML fetches nothing.

    A notebook displays it when it is the last value of a cell.

    Parameters
    ----------
    name
        HTML id of the figure: a letter, then letters, digits, ``-`` or ``_``; another one for each figure.
    config
        What the script is given, as JSON.
    script
        Name of its file in this folder, without ``.js``.
    kind
        Class of the figure's element.
    label
        What it shows, for screen readers.
    thing
        What stands there, for readers without scripts.
    shared
        Names of the files in this folder, without ``.js``, that its script stands on beside ``core``.

    Raises
    ------
    ValueError
        For a name that cannot be an HTML id.
    """

    name: str
    config: dict[str, Any]
    script: str
    kind: str
    label: str
    thing: str = "figure"
    shared: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        proper = isinstance(self.name, str) and re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", self.name) is not None
        checks.require(proper, "name", self.name, "a letter, then letters, digits, '-' or '_'")

    @property
    def source(self) -> str:
        """The whole script: what all figures share, what some do, and its own, in one function."""
        names = ("core", *self.shared, self.script)
        parts = (Path(__file__).with_name(f"{name}.js").read_text("utf-8") for name in names)
        return f'(function () {{\n"use strict";\n{"".join(parts)}}})();\n'

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={value}" for key, value in self.config.items() if not isinstance(value, list))
        return f"{type(self).__name__}({self.name!r}, {shown})"

    def _repr_html_(self) -> str:
        config = html.escape(json.dumps(self.config, separators=(",", ":")))
        return (
            f'<div class="{self.kind}" id="{self.name}" role="group" aria-label="{self.label}"'
            f' data-config="{config}">An interactive {self.thing} stands here where scripts may run '
            f'(in Jupyter: trust the notebook).</div>\n<script>\n{self.source}</script>'
        )


def of_grammar(g: Grammar, most: dict[str, int], *, what: str = "g", **numbers: Any) -> dict[str, Any]:
    """Return the configuration of a figure of grammar `g`: its sizes, `numbers` with a seed, its rules.

    Errors name the parameter `what`.

    Raises
    ------
    ValueError
        For a size above the one that `most` allows, or a seed outside 0 … 2^31 − 1.
    """
    checks.require(isinstance(g, Grammar), what, g, "a hierlib.rhm.Grammar")
    sizes = {"symbols": g.v, "tuples a level": g.v * g.m, "leaves": g.d, "numbers": g.rules.numel(),
             "context features": (g.s - 1) * g.d * g.v}
    for size, high in most.items():
        checks.require(sizes[size] <= high, what, g, f"a grammar of at most {high} {size}, not {sizes[size]}")
    seed = checks.integer("seed", numbers["seed"], 0, 2**31 - 1)
    return {"v": g.v, "m": g.m, "s": g.s, "L": g.L, **(numbers | {"seed": seed}), "rules": g.rules.tolist()}
