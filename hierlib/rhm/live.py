"""What the interactive figures of grammars share."""

from typing import Any

from hierlib.lab import checks
from hierlib.lab.live import checked
from hierlib.rhm.grammar import Grammar

__all__ = ["described"]


def described(g: Grammar, name: str, **numbers: Any) -> dict[str, Any]:
    """Return the configuration of a figure of grammar `g`: its sizes, `numbers` in their order, its rules.

    The name and the number `seed`, which all figures have, are checked here. Used by the figures of the chapters
    *Phase transition* and *Hierarchical clustering*; source: this book.

    Raises
    ------
    ValueError
        For a seed outside 0 … 2^31 − 1, or a name that is no letter followed by letters, digits, ``-`` or ``_``.
    """
    seed = checks.integer("seed", numbers["seed"], low=0, high=2**31 - 1)
    checked(name)
    return {"v": g.v, "m": g.m, "s": g.s, "L": g.L, **(numbers | {"seed": seed}), "rules": g.rules.tolist()}
