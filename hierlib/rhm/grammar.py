"""The Random Hierarchy Model: a random context-free grammar whose derivations are s-ary trees of depth L.

Levels count from the leaves: level 0 holds the d = s^L tokens of a string, level L the class. At each level
every one of v symbols has m production rules ("synonyms"), each of which writes s symbols of the level below.
Source: Cagnetta, Petrini, Tomasini, Favero, Wyart, *Phys. Rev. X* 14, 031001 (2024).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Bool, Int, Tensor

__all__ = ["Grammar"]

_MAX_STRINGS = 2**20          # what `enumerate` will write out
_MAX_CODE = 2**62             # tuples are coded as 64-bit integers
_SMALL = 2**22                # up to here all tuples are shuffled, beyond they are drawn one by one

# What the modules of this room share: tuples as numbers, and checks of strings and trees.


def encode(tuples: Int[Tensor, "*batch s"], v: int) -> Int[Tensor, "*batch"]:
    """Return Σ_j t_j v^(s−1−j), a number for every tuple of s symbols below v."""
    return (tuples * int(v) ** torch.arange(tuples.shape[-1] - 1, -1, -1, device=tuples.device)).sum(-1)


def decode(codes: Int[Tensor, "*batch"], v: int, s: int) -> Int[Tensor, "*batch s"]:
    """Inverse of :func:`encode`."""
    return codes.unsqueeze(-1) // v ** torch.arange(s - 1, -1, -1, device=codes.device) % v


def find(
    codes: Int[Tensor, " T"], tuples: Int[Tensor, "*batch s"], v: int
) -> tuple[Int[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
    """Return the place of each tuple among increasing `codes`, and whether it is one of them (else any place)."""
    wanted = encode(tuples, v)
    place = torch.searchsorted(codes, wanted).clamp(max=len(codes) - 1)
    return place, codes[place] == wanted


def kind(x: Any) -> Any:
    """Return what a message says of an argument that should be a tensor: shape and dtype, or its type."""
    return (tuple(x.shape), x.dtype) if isinstance(x, Tensor) else type(x).__name__


def check_alphabet(v: int, s: int) -> tuple[int, int]:
    """Return v and s as plain integers, whose tuples can be coded."""
    v, s = checks.integers(2, v=v, s=s)
    checks.require(v**s <= _MAX_CODE, "v**s", v**s, f"at most 2**62 = {_MAX_CODE}: tuples are coded as "
                   "64-bit integers")
    return v, s


def check_symbols(name: str, x: Int[Tensor, "..."], v: int) -> None:
    """Refuse symbols outside 0 … v − 1."""
    low, high = map(int, x.aminmax()) if x.numel() else (0, 0)
    checks.require(low >= 0 and high < v, name, (low, high), f"symbols in 0 … {v - 1}")


def check_strings(name: str, x: Tensor, *, d: int | None = None, v: int | None = None, some: bool = False) -> None:
    """Refuse what is no int64 ``(n, d)``, with `some` no strings at all, given v symbols outside 0 … v − 1."""
    checks.require(isinstance(x, Tensor) and x.ndim == 2 and x.dtype == torch.int64 and d in (None, x.shape[1]), name,
                   kind(x), f"an int64 tensor of shape (n, {d or 'd'})")
    checks.require(len(x) > 0 or not some, name, tuple(x.shape), "at least one string")
    if v is not None:
        check_symbols(name, x, v)


def check_depth(name: str, d: int, s: int) -> tuple[int, int]:
    """Return s and L of strings of s^L tokens as plain integers."""
    s = checks.integer("s", s, low=2)
    L = round(math.log(d, s)) if d > 0 else 0
    checks.require(L >= 1 and s**L == d, name, f"strings of {d} tokens", "strings of s^L tokens, L ≥ 1: of a length "
                   f"that is a power of s = {s}")
    return s, L


def check_trees(g: "Grammar", trees: list[Int[Tensor, "n _"]], n: int) -> None:
    """Refuse what are no n derivations, by their shapes."""
    shapes, expected = [tuple(t.shape) for t in trees], [(n, width) for width in g.widths]
    checks.require(shapes == expected, "trees", shapes, f"derivations of {g}, {n} of them: {expected}")


def _distinct(n: int, draw: Callable[[], Tensor], key: Callable[[Tensor], Tensor] = lambda rows: rows) -> Tensor:
    """Draw until `n` rows differ in their `key`; return these, in the order in which they came first."""
    rows = draw()
    while True:
        _, group = key(rows).unique(dim=0, return_inverse=True)
        first = torch.full((len(rows),), len(rows)).scatter_reduce(0, group, torch.arange(len(rows)), "amin")
        rows = rows[first[first < len(rows)].sort().values]
        if len(rows) >= n:
            return rows[:n]
        rows = torch.cat([rows, draw()])


def _distinct_codes(n: int, n_codes: int, gen: torch.Generator) -> Int[Tensor, " n"]:
    """Draw `n` distinct integers below `n_codes`, in random order, each ordered choice equally likely."""
    if n_codes <= _SMALL or 2 * n > n_codes:
        return torch.randperm(n_codes, generator=gen)[:n]
    return _distinct(n, lambda: torch.randint(n_codes, (2 * n,), generator=gen))


@dataclass(frozen=True, eq=False)
class Grammar:
    """A Random Hierarchy Model: the rules of all levels. Source: Cagnetta et al. 2024.

    Parameters
    ----------
    rules
        int64 ``(L, v, m, s)``: ``rules[l, a, k]`` are the s symbols of level l that the k-th rule of the
        level-(l+1) symbol ``a`` writes. The v·m tuples of a level are distinct, so a tuple has one parent.

    Raises
    ------
    ValueError
        When the rules have another shape or type, hold symbols outside 0 … v−1, or are ambiguous.

    Examples
    --------
    >>> g = Grammar.random(v=32, m=8, s=2, L=7, seed=0)
    >>> [tuple(t.shape) for t in g.sample(3, seed=0)][:2]
    [(3, 128), (3, 64)]
    """

    rules: Int[Tensor, "L v m s"]

    def __post_init__(self) -> None:
        rules = self.rules
        checks.require(isinstance(rules, Tensor) and rules.ndim == 4 and rules.dtype == torch.int64
                       and rules.numel() > 0, "rules", kind(rules), "a non-empty int64 tensor of shape (L, v, m, s)")
        self._check_size(self.v, self.m, self.s, self.L)
        check_symbols("rules", rules, self.v)
        for level, codes in enumerate(encode(rules, self.v).flatten(1)):
            checks.require(codes.unique().numel() == codes.numel(), f"rules[{level}]", "a repeated tuple",
                           "v·m distinct tuples: with a tuple written twice the grammar is ambiguous")

    @staticmethod
    def _check_size(v: int, m: int, s: int, L: int) -> tuple[int, int, int, int]:
        v, s = check_alphabet(v, s)
        return v, checks.integer("m", m, low=1, high=v ** (s - 1)), s, checks.integer("L", L, low=1)

    @classmethod
    def random(cls, v: int, m: int, s: int, L: int, seed: int = 0) -> "Grammar":
        """Draw a grammar: per level, v·m distinct s-tuples out of v^s, split into v groups of m.

        The rules of level l depend on (`seed`, l) only, so a deeper grammar extends a shallower one.

        Parameters
        ----------
        v, m, s, L
            Symbols per level (≥ 2), rules per symbol (1 … v^(s−1)), branching (≥ 2), depth (≥ 1).
        seed
            Non-negative integer.

        Raises
        ------
        ValueError
            For parameters that are no integers, out of range, or whose v^s exceeds 2^62.
        """
        v, m, s, L = cls._check_size(v, m, s, L)
        codes = [_distinct_codes(v * m, v**s, generator(seed, "Grammar.random", level)) for level in range(L)]
        return cls(decode(torch.stack(codes), v, s).view(L, v, m, s))

    L = property(lambda self: self.rules.shape[0], doc="Depth, the number of levels of rules.")
    v = property(lambda self: self.rules.shape[1], doc="Symbols per level.")
    m = property(lambda self: self.rules.shape[2], doc="Rules (synonyms) per symbol.")
    s = property(lambda self: self.rules.shape[3], doc="Branching, the number of symbols that a rule writes.")
    d = property(lambda self: self.s**self.L, doc="Length of a string, s^L.")
    f = property(lambda self: self.m / self.v ** (self.s - 1), doc="Fraction m/v^(s−1) of tuples that are grammatical.")
    widths = property(lambda self: [self.s ** (self.L - l) for l in range(self.L + 1)], doc="Nodes per level, s^L … 1.")
    n_rules = property(lambda self: (self.d - 1) // (self.s - 1), doc="Inner nodes of a tree, (s^L − 1)/(s − 1).")
    n_strings = property(lambda self: self.v * self.m**self.n_rules, doc="Number of strings, all equally likely.")

    def __repr__(self) -> str:
        return f"Grammar(v={self.v}, m={self.m}, s={self.s}, L={self.L})"

    def to(self, device: torch.device | str) -> "Grammar":
        """Return the same grammar with its rules on `device`."""
        rules = self.rules.to(device)             # themselves where they are there: "cuda" is cuda:0, too
        return self if rules is self.rules else Grammar(rules)

    @cached_property
    def _inverse(self) -> tuple[Int[Tensor, "L vm"], Int[Tensor, "L vm"]]:
        """Sorted codes of the tuples of each level, and the parents they belong to."""
        codes, order = encode(self.rules, self.v).flatten(1).sort(-1)
        return codes, order // self.m

    def sample(self, n: int, seed: Seed = 0, *, replace: bool = True) -> list[Int[Tensor, "n _"]]:
        """Draw `n` derivations: uniform root, every rule with probability 1/m.

        Parameters
        ----------
        n
            Number of trees (≥ 0).
        seed
            Integer or CPU ``torch.Generator``. Rows are drawn one after the other, so two calls with one
            generator give what a single call on all rows gives (with replacement).
        replace
            False: `n` different strings, every choice of them equally likely, as a training set without repetition.

        Returns
        -------
        list of L + 1 int64 tensors
            ``trees[l]``: ``(n, s**(L-l))``; ``trees[0]`` is the data, ``trees[L][:, 0]`` the class.

        Raises
        ------
        ValueError
            For a negative or fractional `n`, one above the number of strings without replacement, or a bad seed.
        """
        n, gen = checks.integer("n", n, low=0), generator(seed, "Grammar.sample")
        if replace:
            return self._derive(self._draw(n, gen))
        checks.require(n <= self.n_strings, "n", n, f"at most {self.n_strings}, the number of strings of {self}, "
                       "without replacement")
        if self.n_strings > _MAX_CODE:            # so many that repetitions are rare
            return self._derive(_distinct(n, lambda: self._draw(n, gen), self._choices))
        codes = _distinct_codes(n, self.n_strings, gen)[:, None]
        rules = codes // self.m ** torch.arange(self.n_rules) % self.m
        return self._derive(torch.cat([codes // self.m**self.n_rules * self.m, rules], 1))

    def _draw(self, n: int, gen: torch.Generator) -> Int[Tensor, "n choices"]:
        # one draw below v·m serves as the root (// m) or as a rule (% m): exactly uniform, and row by row
        return torch.randint(self.v * self.m, (n, 1 + self.n_rules), generator=gen)

    def _choices(self, draws: Int[Tensor, "n choices"]) -> Int[Tensor, "n choices"]:
        return torch.cat([draws[:, :1] // self.m, draws[:, 1:] % self.m], 1)

    def _derive(self, draws: Int[Tensor, "n choices"]) -> list[Int[Tensor, "n _"]]:
        """Write the trees whose root is ``draws[:, 0] // m`` and whose rules are the others modulo m."""
        draws = draws.to(self.rules.device)
        trees, (_, *choices) = [draws[:, :1] // self.m], (draws % self.m).split([1, *self.widths[:0:-1]], 1)
        for rules, choice in zip(self.rules.flip(0), choices, strict=True):
            index = torch.add(choice, trees[-1], alpha=self.m)
            written = rules.view(-1, self.s).index_select(0, index.flatten())
            trees.append(written.view(len(draws), self.s * choice.shape[1]))
        return trees[::-1]

    def exchange(
        self, trees: list[Int[Tensor, "n _"]], level: int, *, node: int = 0, synonym: bool = True, seed: Seed = 0
    ) -> Int[Tensor, "n d"]:
        """Return the strings with one node written anew, by another rule of its symbol or by one of another symbol.

        The new rule is drawn from all m − 1 others of the symbol or, without `synonym`, from those of all other
        symbols; what is below it is drawn as in :meth:`sample`. The rest of the string is kept, so that a synonym
        leaves it in the grammar, and another symbol in general does not.

        Parameters
        ----------
        trees
            Derivations, as from :meth:`sample`.
        level, node
            Which node is written anew: its level, 1 … L, and its place there.
        synonym
            Whether by a rule of the same symbol.
        seed
            Integer or CPU ``torch.Generator``.

        Raises
        ------
        ValueError
            For trees of another grammar, a node that they do not have, m = 1 with `synonym`, or a bad seed.
        """
        level = checks.integer("level", level, low=1, high=self.L)
        node = checks.integer("node", node, 0, self.widths[level] - 1)
        checks.require(self.m > 1 or not synonym, "m", self.m, "at least 2, for a symbol to have synonyms")
        check_trees(self, trees, len(trees[0]) if trees else 0)
        (x, *_), gen, below = trees, generator(seed, "Grammar.exchange"), Grammar(self.rules[:level])
        draws, (symbol, rule) = below._draw(len(x), gen), torch.rand(2, len(x), generator=gen, dtype=torch.float64)
        own, children = trees[level][:, node], trees[level - 1][:, node * self.s:(node + 1) * self.s]
        used = (self.rules[level - 1].to(own.device)[own] == children[:, None]).all(-1).long().argmax(1).cpu()
        own = own.cpu()
        if synonym:                               # another rule: the one in use, and so many places further
            draws[:, 0], draws[:, 1] = own * self.m, (used + 1 + (rule * (self.m - 1)).long()) % self.m
        else:
            draws[:, 0] = (own + 1 + (symbol * (self.v - 1)).long()) % self.v * self.m
        start, new = node * self.s**level, below._derive(draws)[0].to(x.device)
        return torch.cat([x[:, :start], new, x[:, start + self.s**level:]], 1)

    def climb(self, x: Int[Tensor, "n d"]) -> list[tuple[Int[Tensor, "n _"], Bool[Tensor, "n _"]]]:
        """Parse any strings as far as they follow the rules.

        Returns
        -------
        list of L + 1 pairs
            Per level the symbols and whether each is meaningful: true where the node's whole subtree follows the
            rules (at level 0: where the token is a symbol at all). Symbols elsewhere are arbitrary.

        Raises
        ------
        ValueError
            When `x` is not an int64 tensor of shape (n, d).
        """
        check_strings("x", x, d=self.d)
        levels = [(x, (x >= 0) & (x < self.v))]
        for codes, parents in zip(*(table.to(x.device) for table in self._inverse)):
            symbols, ok = (t.unflatten(1, (-1, self.s)) for t in levels[-1])
            place, known = find(codes, symbols.clamp(0, self.v - 1), self.v)
            levels.append((parents[place], known & ok.all(-1)))
        return levels

    def parse(self, x: Int[Tensor, "n d"]) -> list[Int[Tensor, "n _"]]:
        """Return the derivations of strings: the same list as :meth:`sample`, from the data alone.

        Raises
        ------
        ValueError
            When `x` has another shape or type, or a row is not in the grammar (the row is named, with the
            level at which no rule fits).
        """
        levels = self.climb(x)
        failed = ~levels[-1][1][:, 0]
        if failed.any():
            row = int(failed.nonzero()[0])
            level = next(level for level, (_, ok) in enumerate(levels) if not ok[row].all())
            symbols = f"a symbol outside 0 … {self.v - 1}"
            why = f"no rule of level {level} writes one of its tuples" if level else symbols
            raise ValueError(f"x[{row}] is not in the grammar: {why}")
        return [symbols for symbols, _ in levels]

    def is_valid(self, x: Int[Tensor, "n d"]) -> Bool[Tensor, " n"]:
        """Return which rows are strings of the grammar; errors as :meth:`climb`."""
        return self.climb(x)[-1][1][:, 0]

    def enumerate(self) -> Int[Tensor, "n_strings d"]:
        """Return all strings of a tiny grammar, class by class.

        Raises
        ------
        ValueError
            When there are more than 2^20 of them.
        """
        checks.require(self.n_strings <= _MAX_STRINGS, "n_strings", self.n_strings,
                       f"at most {_MAX_STRINGS} to be enumerated")
        below = torch.arange(self.v, device=self.rules.device).view(self.v, 1, 1)      # (symbol, string, token)
        for rules in self.rules:
            each = torch.arange(below.shape[1], device=below.device)
            pick = torch.cartesian_prod(*[each] * self.s)                              # (string, s)
            parts = [below[rules[..., j]][:, :, pick[:, j]] for j in range(self.s)]
            below = torch.cat(parts, -1).flatten(1, 2)
        return below.flatten(0, 1)
