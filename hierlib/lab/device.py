"""Where, how large and how strictly an experiment runs."""

import os
from typing import Any, TypeVar

import torch

from hierlib.lab import checks

__all__ = ["by_scale", "device", "ipython", "scale", "strict"]

T = TypeVar("T")


def device() -> torch.device:
    """Return the device of a chapter's experiments: the GPU where CUDA is present, else the CPU.

    The environment variable ``HIERLIB_DEVICE`` (say ``cpu`` or ``cuda:1``) overrides the choice.

    Raises
    ------
    ValueError
        When ``HIERLIB_DEVICE`` is not a device, or names a GPU and there is none.
    """
    wanted = os.environ.get("HIERLIB_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(f"HIERLIB_DEVICE = {wanted!r}: must be a torch device, such as 'cpu' or 'cuda:0'") from error
    checks.require(found.type != "cuda" or torch.cuda.is_available(), "HIERLIB_DEVICE", wanted,
                   "'cpu', as torch finds no CUDA device here")
    return found


def scale() -> str:
    """Return ``"quick"`` or ``"paper"``: the size of a chapter's experiments.

    The environment variable ``HIERLIB_SCALE`` decides; unset, it is ``"quick"``, on a GPU too.
    The code path and the claims are the same at both scales, only sizes, grids and seeds differ.

    Raises
    ------
    ValueError
        When ``HIERLIB_SCALE`` is neither.
    """
    return checks.one_of("HIERLIB_SCALE", os.environ.get("HIERLIB_SCALE") or "quick", ("quick", "paper"))


def by_scale(*, quick: T, paper: T) -> T:
    """Return the value that belongs to the present :func:`scale`; each chapter's second cell is made of it.

    Examples
    --------
    >>> n_trees = by_scale(quick=64, paper=4096)
    """
    return quick if scale() == "quick" else paper


def strict() -> bool:
    """Return whether a chapter stops at a claim that fails: the environment variable ``HIERLIB_STRICT``, 0 or 1.

    It is 1 in ``make``, nbval and CI. Unset it is 0: who changes a parameter sees a red box, and the chapter goes on.

    Raises
    ------
    ValueError
        When ``HIERLIB_STRICT`` is neither.
    """
    return checks.one_of("HIERLIB_STRICT", os.environ.get("HIERLIB_STRICT") or "0", ("0", "1")) == "1"


def ipython() -> Any:
    """Return the IPython shell that runs this chapter, or None; its ``kernel`` is there in a notebook only."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()
