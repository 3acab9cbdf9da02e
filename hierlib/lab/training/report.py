"""What a training run shows at its evaluation steps, and which steps those are."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from hierlib.lab import checks
from hierlib.lab.plain import scalar

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Report", "log_steps", "warmup_decay"]

_OWN = ("step", "member", "loss", "held_out")


def log_steps(steps: int, per_octave: int = 1) -> list[int]:
    """Return log-spaced evaluation steps 1, 2, 4, … and `steps`.

    Parameters
    ----------
    steps
        The last one, at least 1.
    per_octave
        How many per factor of two; those that round to one integer are given once.

    Raises
    ------
    ValueError
        When either is not an integer of at least 1.

    Examples
    --------
    >>> log_steps(10)
    [1, 2, 4, 8, 10]
    """
    steps, per_octave = checks.integer("steps", steps, low=1), checks.integer("per_octave", per_octave, low=1)
    grid = (round(2 ** (k / per_octave)) for k in range(per_octave * steps.bit_length()))
    return sorted({step for step in grid if step < steps} | {steps})


def warmup_decay(steps: int, warmup: int = 30, decay: float = 0.4) -> Callable[[int], float]:
    """Return the factor of the learning rate by step: linear warm-up, constant, linear decay to zero.

    The update that follows step t has the factor min(1, (t + 1)/warmup, (steps − t)/(decay · steps)): the first one
    is 1/warmup, and zero would be reached at t = `steps`, just after the last.

    Parameters
    ----------
    steps
        Number of updates.
    warmup
        Updates until the full rate; 0 for none.
    decay
        Fraction of the run that the decay takes, in [0, 1]; 0 for none.

    Raises
    ------
    ValueError
        When one of them is outside its range.
    """
    steps, warmup = checks.integer("steps", steps, low=1), checks.integer("warmup", warmup, low=0)
    up, down = max(warmup, 1), max(checks.real("decay", decay, 0.0, 1.0) * steps, 1.0)
    return lambda step: min(1.0, (step + 1) / up, (steps - step) / down)


def logged(name: str, value: Any) -> Any:
    """Return numbers, strings, booleans, None, and arrays, tensors or lists of them as plain Python."""
    if isinstance(value, Tensor | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [logged(name, item) for item in value]
    try:
        return scalar(value)
    except TypeError as error:
        raise ValueError(f"{name} = {value!r}: must be a number, string, boolean or None, or a tensor, array or list "
                         f"of them ({error})") from None


@dataclass
class Report:
    """One evaluation of a training run, yielded by :func:`hierlib.lab.train`; the body of your loop is its turn.

    Values of an ensemble of E members are float64 tensors ``(E,)`` on
    the CPU, those of a single network are numbers.
    """

    step: int
    """Updates made so far."""
    loss: float | Tensor | None
    """Mean training loss since the report before; None at step 0."""
    held_out: float | Tensor | None
    """Held-out loss of `model`; None where none is asked for."""
    best_held_out: float | Tensor | None
    """Lowest held-out loss so far, per member."""
    best_step: int | Tensor | None
    """The step where that was, per member (int64)."""
    model: nn.Module
    """The averaged network, in eval mode and without gradients. It lives on: copy it to keep it as it is now."""
    best: nn.Module | None
    """The network with each member's weights of its `best_step`; None without held-out loss. It lives on, too."""
    last: bool
    """Whether the run is over after this one, all steps made or stopped early."""
    seconds: float
    """Time of training and evaluation so far, over all resumed parts, without the reports' turns."""
    history: list[dict[str, Any]] = field(repr=False)
    """Rows of step, loss, held_out (where there is one) and what was logged, plain Python values; it grows on."""
    open: bool = field(default=True, repr=False)
    """Whether it is still this report's turn."""

    def log(self, **values: Any) -> None:
        """Add values to this report's row of `history`, which the checkpoint holds.

        Numbers, strings, booleans and None, and tensors, arrays or lists of them, which become lists.

        Raises
        ------
        ValueError
            For anything else, and for the names of the row's own columns.
        RuntimeError
            After the report's turn, when the checkpoint has been written.
        """
        if not self.open:
            raise RuntimeError(f"the report of step {self.step} is over: log within its turn of the loop")
        for name in values:
            checks.require(name not in _OWN, "log", name, "another name: " + ", ".join(_OWN) + " are the row's own")
        self.history[-1].update({name: logged(name, value) for name, value in values.items()})

    def frame(self) -> "pd.DataFrame":
        """Return the history as a tidy table: a row per report, or per report and ``member`` for an ensemble.

        Of an ensemble of E, what was logged as a list of E is spread over the members, and all else is repeated.
        """
        import pandas as pd

        lists = (row.get(key) for row in self.history for key in ("loss", "held_out"))
        members = next((len(value) for value in lists if isinstance(value, list)), 0)

        def entry(value: Any, i: int) -> Any:
            return value[i] if isinstance(value, list) and len(value) == members else value

        return pd.DataFrame([
            {"step": row["step"], "member": i} | {k: entry(v, i) for k, v in row.items() if k != "step"}
            for row in self.history for i in range(members)
        ] if members else self.history)
