"""The Random Hierarchy Model: a random context-free grammar whose derivations are s-ary trees of depth L.

Levels count from the leaves: level 0 holds the d = s^L tokens of a string, level L the class. At each level
every one of v symbols has m production rules ("synonyms"), each of which writes s symbols of the level below.
Source: Cagnetta, Petrini, Tomasini, Favero, Wyart, *Phys. Rev. X* 14, 031001 (2024).
"""

from dataclasses import dataclass
from functools import cached_property

import torch

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Bool, Int, Tensor

__all__ = ["Grammar"]

_MAX_STRINGS = 2**20          # what `enumerate` will write out
_MAX_CODE = 2**62             # tuples are coded as 64-bit integers
_SMALL = 2**22                # up to here all tuples are shuffled, beyond they are drawn one by one


def _distinct_codes(n: int, n_codes: int, gen: torch.Generator) -> Int[Tensor, " n"]:
    """Draw `n` distinct integers below `n_codes`, in random order, each ordered choice equally likely."""
    if n_codes <= _SMALL or 2 * n > n_codes:
        return torch.randperm(n_codes, generator=gen)[:n]
    codes = torch.empty(0, dtype=torch.int64)
    while len(codes) < n:
        codes = torch.cat([codes, torch.randint(n_codes, (2 * n,), generator=gen)])
        _, group = torch.unique(codes, return_inverse=True)
        first = torch.full((len(codes),), len(codes)).scatter_reduce(
            0, group, torch.arange(len(codes)), "amin")             # where each value stands first
        codes = codes[first[first < len(codes)].sort().values]
    return codes[:n]


@dataclass(frozen=True, eq=False)
class Grammar:
    """A Random Hierarchy Model: the rules of all levels.

    Explained in the chapter *Phase transition*; source: Cagnetta et al. 2024.

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
        checks.require(isinstance(rules, Tensor), "rules", type(rules).__name__, "a torch tensor")
        checks.require(rules.ndim == 4 and rules.dtype == torch.int64 and rules.numel() > 0, "rules",
                       (tuple(rules.shape), rules.dtype), "a non-empty int64 tensor of shape (L, v, m, s)")
        self._check_size(self.v, self.m, self.s, self.L)
        low, high = int(rules.min()), int(rules.max())
        checks.require(low >= 0 and high < self.v, "rules", (low, high), f"symbols in 0 … {self.v - 1}")
        for level, codes in enumerate(self._codes(rules).flatten(1)):
            checks.require(codes.unique().numel() == codes.numel(), f"rules[{level}]", "a repeated tuple",
                           "v·m distinct tuples: with a tuple written twice the grammar is ambiguous")

    @staticmethod
    def _check_size(v: int, m: int, s: int, L: int) -> tuple[int, int, int, int]:
        v, s = checks.integer("v", v, low=2), checks.integer("s", s, low=2)
        checks.require(v**s <= _MAX_CODE, "v**s", v**s, f"at most 2**62 = {_MAX_CODE}: tuples are coded as "
                       "64-bit integers")
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
        powers = v ** torch.arange(s - 1, -1, -1)
        codes = [_distinct_codes(v * m, v**s, generator(seed, "Grammar.random", level)) for level in range(L)]
        return cls((torch.stack(codes)[..., None] // powers % v).view(L, v, m, s))

    @property
    def L(self) -> int:
        """Depth, the number of levels of rules."""
        return self.rules.shape[0]

    @property
    def v(self) -> int:
        """Symbols per level."""
        return self.rules.shape[1]

    @property
    def m(self) -> int:
        """Rules (synonyms) per symbol."""
        return self.rules.shape[2]

    @property
    def s(self) -> int:
        """Branching, the number of symbols that a rule writes."""
        return self.rules.shape[3]

    @property
    def d(self) -> int:
        """Length of a string, s^L."""
        return self.s**self.L

    @property
    def f(self) -> float:
        """Fraction m/v^(s−1) of the v^s tuples that are grammatical."""
        return self.m / self.v ** (self.s - 1)

    @property
    def n_rules(self) -> int:
        """Rules applied in one derivation, (s^L − 1)/(s − 1), the number of inner nodes of the tree."""
        return (self.d - 1) // (self.s - 1)

    @property
    def n_strings(self) -> int:
        """Number of grammatical strings, v m^((s^L − 1)/(s − 1)); all are equally likely."""
        return self.v * self.m**self.n_rules

    def __repr__(self) -> str:
        return f"Grammar(v={self.v}, m={self.m}, s={self.s}, L={self.L})"

    def to(self, device: torch.device | str) -> "Grammar":
        """Return the same grammar with its rules on `device`."""
        rules = self.rules.to(device)             # themselves where they are there: "cuda" is cuda:0, too
        return self if rules is self.rules else Grammar(rules)

    def _codes(self, tuples: Int[Tensor, "*batch s"]) -> Int[Tensor, "*batch"]:
        powers = self.v ** torch.arange(self.s - 1, -1, -1, device=tuples.device)
        return (tuples * powers).sum(-1)

    @cached_property
    def _inverse(self) -> tuple[Int[Tensor, "L vm"], Int[Tensor, "L vm"]]:
        """Sorted codes of the tuples of each level, and the parents they belong to."""
        codes, order = self._codes(self.rules).flatten(1).sort(-1)
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
            False: `n` different strings, every choice of them equally likely, as a training set without
            repetition (chapter *Hierarchical clustering*).

        Returns
        -------
        list of L + 1 int64 tensors
            ``trees[l]``: ``(n, s**(L-l))``; ``trees[0]`` is the data, ``trees[L][:, 0]`` the class.

        Raises
        ------
        ValueError
            For a negative or fractional `n`, one above the number of strings without replacement, or a bad seed.
        """
        n = checks.integer("n", n, low=0)
        gen = generator(seed, "Grammar.sample")
        if replace:
            return self._derive(self._draw(n, gen))
        checks.require(n <= self.n_strings, "n", n, f"at most {self.n_strings}, the number of strings of {self}, "
                       "without replacement")
        if self.n_strings > _MAX_CODE:
            return self._derive(self._draw_distinct(n, gen))
        codes = _distinct_codes(n, self.n_strings, gen)
        rules = codes[:, None] // self.m ** torch.arange(self.n_rules) % self.m
        return self._derive(torch.cat([codes[:, None] // self.m**self.n_rules * self.m, rules], 1))

    def _draw(self, n: int, gen: torch.Generator) -> Int[Tensor, "n choices"]:
        # one draw below v·m serves as the root (// m) or as a rule (% m): exactly uniform, and row by row
        return torch.randint(self.v * self.m, (n, 1 + self.n_rules), generator=gen)

    def _draw_distinct(self, n: int, gen: torch.Generator) -> Int[Tensor, "n choices"]:
        """Draw until `n` derivations differ, of so many that repetitions are rare."""
        draws = self._draw(n, gen)
        while True:
            same = draws % self.m
            same[:, 0] = draws[:, 0] // self.m
            _, group = same.unique(dim=0, return_inverse=True)
            first = torch.full((len(draws),), len(draws)).scatter_reduce(0, group, torch.arange(len(draws)), "amin")
            draws = draws[first[first < len(draws)].sort().values]
            if len(draws) >= n:
                return draws[:n]
            draws = torch.cat([draws, self._draw(n, gen)])

    def _derive(self, draws: Int[Tensor, "n choices"]) -> list[Int[Tensor, "n _"]]:
        """Write the trees whose root is ``draws[:, 0] // m`` and whose rules are the others modulo m."""
        n = len(draws)
        draws = draws.to(self.rules.device)
        trees, used = [draws[:, :1] // self.m], 1
        choices = draws % self.m
        for level in range(self.L - 1, -1, -1):
            parents = trees[-1]
            index = torch.add(choices[:, used:used + parents.shape[1]], parents, alpha=self.m)
            used += parents.shape[1]
            table = self.rules[level].view(-1, self.s)
            trees.append(table.index_select(0, index.flatten()).view(n, self.s * parents.shape[1]))
        return trees[::-1]

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
        checks.require(isinstance(x, Tensor), "x", type(x).__name__, "a torch tensor")
        checks.require(x.ndim == 2 and x.shape[1] == self.d and x.dtype == torch.int64, "x",
                       (tuple(x.shape), x.dtype), f"an int64 tensor of shape (n, {self.d})")
        levels = [(x, (x >= 0) & (x < self.v))]
        codes, parents = (table.to(x.device) for table in self._inverse)
        for level in range(self.L):
            symbols, ok = levels[-1]
            found = self._codes(symbols.clamp(0, self.v - 1).unflatten(1, (-1, self.s)))
            place = torch.searchsorted(codes[level], found).clamp(max=codes.shape[1] - 1)
            right = (codes[level][place] == found) & ok.unflatten(1, (-1, self.s)).all(-1)
            levels.append((parents[level][place], right))
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
        """Return which rows are strings of the grammar.

        Raises
        ------
        ValueError
            When `x` is not an int64 tensor of shape (n, d).
        """
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
        device = self.rules.device
        below = torch.arange(self.v, device=device).view(self.v, 1, 1)     # (symbol, string, token)
        for rules in self.rules:
            each = torch.arange(below.shape[1], device=device)
            pick = torch.cartesian_prod(*[each] * self.s)                  # (string, s)
            parts = [below[rules[..., j]][:, :, pick[:, j]] for j in range(self.s)]
            below = torch.cat(parts, -1).flatten(1, 2)
        return below.flatten(0, 1)
