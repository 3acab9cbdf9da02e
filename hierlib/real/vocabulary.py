"""Symbols of a text: its characters, in lower case."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch

from hierlib.lab import checks
from hierlib.lab.types import Int, Tensor

__all__ = ["Vocabulary"]

_REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class Vocabulary:
    """The v symbols a text is written in; symbol k is the character ``symbols[k]``. Made by :meth:`characters`.

    The mask of masked diffusion is not a symbol of it.

    Parameters
    ----------
    symbols
        The characters, in order of their code points.
    rare
        Characters that were too rare for a symbol of their own; all are written as the replacement character
        ``�``.

    Examples
    --------
    >>> vocabulary = Vocabulary.characters("To be, or not to be")
    >>> vocabulary.v, vocabulary.decode(vocabulary.encode("Note on robe"))
    (8, 'note on robe')
    """

    symbols: tuple[str, ...]
    rare: str = ""

    def __post_init__(self) -> None:
        checks.require(len(self.symbols) >= 2, "text", self.symbols, "of at least two different symbols; lower "
                       "min_count if there are more")

    @classmethod
    def characters(cls, text: str | Iterable[str], min_count: int = 1) -> "Vocabulary":
        """Take every character that occurs at least `min_count` times in the text, or texts, as a symbol.

        The rarer ones share one more symbol, ``�``; a character that does not occur in `text` at all has none, so
        give all text that is to be encoded.

        Raises
        ------
        ValueError
            For text with fewer than two symbols, or unless min_count is a positive integer.
        """
        min_count, count = checks.integer("min_count", min_count, low=1), Counter[str]()
        for document in [text] if isinstance(text, str) else text:
            count.update(document.lower())
        rare = {c for c, k in count.items() if k < min_count and c != _REPLACEMENT}
        kept = (count.keys() - rare) | ({_REPLACEMENT} if rare else set())
        return cls(tuple(sorted(kept)), "".join(sorted(rare)))

    @property
    def v(self) -> int:
        """Number of symbols."""
        return len(self.symbols)

    @cached_property
    def _code(self) -> dict[str, int]:
        code = {symbol: k for k, symbol in enumerate(self.symbols)}
        return code | dict.fromkeys(self.rare, code.get(_REPLACEMENT, -1))

    def encode(self, text: str) -> Int[Tensor, " d"]:
        """Return the text as symbols, int64 ``(d,)``, on the CPU; ``decode(encode(text))`` gives it back.

        (In lower case, and with the rare characters replaced.)

        Raises
        ------
        ValueError
            Naming the character and its place, when one has no symbol: text and vocabulary do not match.
        """
        text = text.lower()
        if unknown := set(text) - self._code.keys():
            where = min(map(text.index, unknown))
            raise ValueError(f"text holds {text[where]!r} (U+{ord(text[where]):04X}) at character {where}: must be "
                             f"written in the symbols of this vocabulary, which has no such one (its v is {self.v})")
        return torch.tensor([self._code[c] for c in text], dtype=torch.int64, device="cpu")

    def decode(self, tokens: Int[Tensor, " d"]) -> str:
        """Return the text that the symbols, int64 ``(d,)``, spell.

        Raises
        ------
        ValueError
            For tokens outside 0 … v−1.
        """
        good = isinstance(tokens, Tensor) and tokens.ndim == 1 and tokens.dtype == torch.int64
        span = (int(tokens.min()), int(tokens.max())) if good and len(tokens) else (0, 0)
        checks.require(good and span[0] >= 0 and span[1] < self.v, "tokens", span if good else tokens,
                       f"an int64 tensor of one axis, of symbols in 0 … {self.v - 1}")
        return "".join(self.symbols[k] for k in tokens.tolist())
