"""Symbols of a text: its characters, or a small byte-pair encoding built on them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

import numpy as np
import torch

from hierlib.lab import checks
from hierlib.lab.types import Int, Tensor

__all__ = ["Vocabulary"]

_REPLACEMENT = "\ufffd"
_WORD = re.compile(r" ?\w+| ?[^\w\s]+|\s")        # a word or a run of punctuation with the space before it
_Pair = tuple[int, int]


def _documents(text: str | Iterable[str], lower: bool) -> list[str]:
    return [t.lower() if lower else t for t in ([text] if isinstance(text, str) else text)]


def _merged(word: Sequence[int], pair: _Pair, new: int) -> list[int]:
    """Return the word with every occurrence of `pair`, from the left, written as the one symbol `new`."""
    out: list[int] = []
    k = 0
    while k < len(word):
        found = k + 1 < len(word) and (word[k], word[k + 1]) == pair
        out.append(new if found else word[k])
        k += 1 + found
    return out


def _learn(words: dict[tuple[int, ...], int], n_symbols: int, size: int) -> list[_Pair]:
    """Return merges until there are `size` symbols or no pair occurs twice; ties go to the smaller pair."""
    texts, counts = [list(word) for word in words], list(words.values())
    total: Counter[_Pair] = Counter()
    where: dict[_Pair, set[int]] = {}
    for k, word in enumerate(texts):
        for pair in pairwise(word):
            total[pair] += counts[k]
            where.setdefault(pair, set()).add(k)
    merges: list[_Pair] = []
    while n_symbols + len(merges) < size and total:
        best = max(total, key=lambda pair: (total[pair], -pair[0], -pair[1]))
        if total[best] < 2:
            break
        for k in where.pop(best):
            before, after = texts[k], _merged(texts[k], best, n_symbols + len(merges))
            for pair in pairwise(before):
                total[pair] -= counts[k]
            for pair in pairwise(after):
                total[pair] += counts[k]
                where.setdefault(pair, set()).add(k)
            texts[k] = after
        del total[best]
        merges.append(best)
    return merges


@dataclass(frozen=True)
class Vocabulary:
    """The v symbols a text is written in; symbol k is the string ``symbols[k]``.

    Made by :meth:`characters` or :meth:`bpe` and used in the chapter *Hierarchical clustering*; source: byte-pair
    encoding as in Sennrich, Haddow, Birch 2016, on characters. The mask of masked diffusion is not a symbol of it.

    Parameters
    ----------
    symbols
        The characters, in order of their code points, then what the merges make of them.
    merges
        Pairs of symbols; the k-th is written as the k-th symbol after the characters.
    lower
        Whether text is put into lower case first.
    rare
        Characters that were too rare for a symbol of their own; all are written as the replacement character
        ``�``.

    Examples
    --------
    >>> vocabulary = Vocabulary.characters("To be, or not to be")
    >>> vocabulary.v, vocabulary.decode(vocabulary.encode("note on robe"))
    (8, 'note on robe')
    """

    symbols: tuple[str, ...]
    merges: tuple[_Pair, ...] = ()
    lower: bool = True
    rare: str = ""

    def __post_init__(self) -> None:
        checks.require(len(self.symbols) >= 2, "text", self.symbols, "of at least two different symbols; lower "
                       "min_count if there are more")

    @classmethod
    def characters(cls, text: str | Iterable[str], lower: bool = True, min_count: int = 1) -> "Vocabulary":
        """Take every character that occurs at least `min_count` times as a symbol.

        The rarer ones share one more symbol, ``�``; a character that does not occur in `text` at all has none, so
        give all text that is to be encoded. Used in the chapter *Hierarchical clustering*; source: this book.

        Parameters
        ----------
        text
            A string or several.
        lower
            Put the text into lower case first.
        min_count
            Positive integer.

        Raises
        ------
        ValueError
            For text with fewer than two symbols.
        """
        min_count = checks.integer("min_count", min_count, low=1)
        count: Counter[str] = Counter()
        for document in _documents(text, lower):
            count.update(document)
        rare = sorted(c for c, k in count.items() if k < min_count and c != _REPLACEMENT)
        kept = (set(count) - set(rare)) | ({_REPLACEMENT} if rare else set())
        return cls(tuple(sorted(kept)), (), bool(lower), "".join(rare))

    @classmethod
    def bpe(
        cls, text: str | Iterable[str], size: int = 256, lower: bool = True, min_count: int = 1
    ) -> "Vocabulary":
        """Start from the characters and join the most frequent pair of neighbouring symbols, until there are `size`.

        Pairs are counted inside words; a word is a run of letters and digits, or of other signs, with the space
        before it. Of pairs that are equally frequent the one with the smaller numbers is taken, so the result
        depends on the text only. When no pair occurs twice there are fewer than `size` symbols. Parameters as in
        :meth:`characters`. Used in the chapter *Hierarchical clustering*; source: Sennrich, Haddow, Birch 2016.

        Raises
        ------
        ValueError
            As :meth:`characters`, or when `size` is smaller than the number of characters.
        """
        documents = _documents(text, lower)
        base = cls.characters(documents, lower, min_count)
        size = checks.integer("size", size, low=base.v)
        words: Counter[str] = Counter()
        for document in documents:
            words.update(_WORD.findall(document))
        coded: Counter[tuple[int, ...]] = Counter()
        for word, count in words.items():
            coded[tuple(base._codes(word).tolist())] += count
        merges = _learn(coded, base.v, size)
        symbols = list(base.symbols)
        for left, right in merges:
            symbols.append(symbols[left] + symbols[right])
        return cls(tuple(symbols), tuple(merges), base.lower, base.rare)

    @property
    def v(self) -> int:
        """Number of symbols."""
        return len(self.symbols)

    @cached_property
    def _table(self) -> np.ndarray:
        """Symbol of every code point up to the largest one in use, and −1, also at the end, where there is none."""
        table = np.full(max(map(ord, "".join(self.symbols) + self.rare)) + 2, -1, dtype=np.int64)
        for k, symbol in enumerate(self.symbols[:self.v - len(self.merges)]):
            table[ord(symbol)] = k
        for character in self.rare:
            table[ord(character)] = table[ord(_REPLACEMENT)]
        return table

    @cached_property
    def _rank(self) -> dict[_Pair, int]:
        first = self.v - len(self.merges)
        return {pair: first + k for k, pair in enumerate(self.merges)}

    @cached_property
    def _known(self) -> dict[str, list[int]]:
        return {}                                   # words met so far: most of a text are repetitions

    def _codes(self, text: str) -> np.ndarray:
        """Return the character symbols of `text`, int64."""
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        codes = self._table[np.minimum(points, len(self._table) - 1)]
        if (codes < 0).any():
            where = int((codes < 0).argmax())
            raise ValueError(f"text holds {text[where]!r} (U+{ord(text[where]):04X}) at character {where}: must be "
                             f"written in the symbols of this vocabulary, which has no such one (its v is {self.v})")
        return codes

    def _apply(self, word: list[int]) -> list[int]:
        """Return a word's symbols after all merges, the earliest learnt first."""
        while len(word) > 1:
            pair = min(pairwise(word), key=lambda pair: self._rank.get(pair, self.v))
            if pair not in self._rank:
                break
            word = _merged(word, pair, self._rank[pair])
        return word

    def encode(self, text: str) -> Int[Tensor, " d"]:
        """Return the text as symbols, int64 ``(d,)``, on the CPU; ``decode(encode(text))`` gives it back.

        (In lower case if the vocabulary is so, and with the rare characters replaced.) Used in the chapter
        *Hierarchical clustering*; source: this book.

        Raises
        ------
        ValueError
            Naming the character and its place, when one has no symbol: text and vocabulary do not match.
        """
        text = text.lower() if self.lower else text
        codes = self._codes(text)
        if not self.merges:
            return torch.from_numpy(codes)
        begin, out = 0, []
        for word in _WORD.findall(text):
            if word not in self._known:
                self._known[word] = self._apply(codes[begin:begin + len(word)].tolist())
            out.append(self._known[word])
            begin += len(word)
        return torch.tensor(list(chain.from_iterable(out)), dtype=torch.int64)

    def decode(self, tokens: Int[Tensor, " d"], mask: str | None = None) -> str:
        """Return the text that the symbols spell.

        Used in the chapter *Hierarchical clustering*; source: this book.

        Parameters
        ----------
        tokens
            int64 ``(d,)``.
        mask
            What to write for the token v, which stands for a masked one; None: it is not allowed.

        Raises
        ------
        ValueError
            For tokens outside 0 … v−1, or 0 … v where `mask` is given.
        """
        symbols = (*self.symbols, mask) if mask is not None else self.symbols
        checks.require(isinstance(tokens, Tensor) and tokens.ndim == 1 and tokens.dtype == torch.int64, "tokens",
                       (tuple(tokens.shape), tokens.dtype) if isinstance(tokens, Tensor) else type(tokens).__name__,
                       "an int64 tensor of one axis")
        checks.require(not len(tokens) or (int(tokens.min()) >= 0 and int(tokens.max()) < len(symbols)), "tokens",
                       (int(tokens.min()), int(tokens.max())) if len(tokens) else None,
                       f"symbols in 0 … {len(symbols) - 1}")
        return "".join(symbols[k] for k in tokens.tolist())
