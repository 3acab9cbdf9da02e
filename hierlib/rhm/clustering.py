"""Hierarchical clustering: the synonyms of a grammar found from strings alone, level by level, without training.

Tuples of s symbols that stand in the same contexts are taken for synonyms: clusters of tuples are the symbols of
the next level, and so on up to the top. The clusters with their counts are a grammar from which to generate.
Contexts are tokens, as a diffusion model has them (Favero, Sclocchi, Cagnetta, Frossard, Wyart 2025), or the
symbols found so far (Korchinski, Favero, Wyart 2026, *Iterative Latent Clustering*). The clustering of this module,
with Ward's linkage, is this book's.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.hierarchy import linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Int, Tensor
from hierlib.rhm.contexts import contingency, tuple_codes
from hierlib.rhm.grammar import Grammar

__all__ = ["Clustering", "adjusted_rand", "fit"]

_MAX_CODE = 2**62             # tuples are coded as 64-bit integers
_MAX_TUPLES = 2**14           # Ward's linkage keeps all distances: 1 GiB


def adjusted_rand(a: Int[Tensor, " n"], b: Int[Tensor, " n"]) -> float:
    """Return the adjusted Rand index of two partitions of the same n things: 1 if equal, 0 on average by chance.

    Explained in the chapter *Hierarchical clustering*; source: Hubert, Arabie 1985. Labels are any integers.

    Raises
    ------
    ValueError
        For labels of different lengths.
    """
    checks.require(a.shape == b.shape, "b", tuple(b.shape), f"of the shape of a, {tuple(a.shape)}")
    (first, a), (second, b) = (labels.unique(return_inverse=True) for labels in (a, b))
    table = contingency(a, b, len(first), len(second)).double()
    together, in_a, in_b, pairs = (
        float((sizes * (sizes - 1) / 2).sum()) for sizes in (table, table.sum(1), table.sum(0), table.sum())
    )
    highest = (in_a + in_b) / 2
    if together == highest:                       # equal partitions, and the only way to 0/0
        return 1.0
    expected = in_a * in_b / pairs
    return (together - expected) / (highest - expected)


def _depth(d: int, s: int) -> int:
    depth = round(math.log(d, s)) if d > 0 else 0
    checks.require(depth >= 1 and s**depth == d, "x", f"strings of {d} tokens",
                   f"strings of s^L tokens, s = {s}, L ≥ 1")
    return depth


def _strings(x: Tensor, v: int) -> Tensor:
    checks.require(isinstance(x, Tensor) and x.ndim == 2 and x.dtype == torch.int64, "x",
                   (tuple(x.shape), x.dtype) if isinstance(x, Tensor) else type(x).__name__,
                   "an int64 tensor of shape (n, d)")
    checks.require(not x.numel() or (int(x.min()) >= 0 and int(x.max()) < v), "x", "a symbol out of range",
                   f"symbols in 0 … {v - 1}")
    return x


@dataclass(frozen=True, eq=False)
class Clustering:
    """A grammar found in strings by :func:`fit`: the observed tuples of each level, in clusters.

    Explained in the chapter *Hierarchical clustering*; source: this book.

    Parameters
    ----------
    x
        The strings it was found in, int64 ``(n, d)``.
    v, s
        Number of symbols per level and branching.
    context
        ``"latent"`` or ``"token"``.
    codes
        Per level 1 … L the observed tuples as increasing numbers (:func:`hierlib.rhm.contexts.tuple_codes`),
        int64 ``(T,)``.
    counts
        Per level how often each was observed.
    labels
        Per level the symbol that each belongs to. At the top level no context is left: all have the symbol 0.
    """

    x: Int[Tensor, "n d"]
    v: int
    s: int
    context: str
    codes: tuple[Int[Tensor, " _"], ...]
    counts: tuple[Int[Tensor, " _"], ...]
    labels: tuple[Int[Tensor, " _"], ...]

    @property
    def L(self) -> int:
        """Depth, the number of levels of tuples (chapter *Hierarchical clustering*)."""
        return len(self.codes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of different tuples observed at the levels 1 … L (chapter *Hierarchical clustering*)."""
        return tuple(len(codes) for codes in self.codes)

    def __repr__(self) -> str:
        return f"Clustering(v={self.v}, s={self.s}, context={self.context!r}, sizes={self.sizes})"

    def tuples(self, level: int) -> Int[Tensor, "T s"]:
        """Return the observed tuples of `level` 1 … L, in symbols of the level below.

        Raises
        ------
        ValueError
            For another level.
        """
        level = checks.integer("level", level, low=1, high=self.L)
        return self._decode(self.codes[level - 1])

    def _decode(self, codes: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch s"]:
        return codes.unsqueeze(-1) // self.v ** torch.arange(self.s - 1, -1, -1, device=codes.device) % self.v

    def parse(self, x: Int[Tensor, "n d"]) -> list[Int[Tensor, "n _"]]:
        """Return the derivations of strings in the grammar that was found.

        Returns
        -------
        list of L + 1 int64 tensors
            ``(n, s**(L-l))`` for l = 0 … L: the symbols of level l, −1 where a tuple at or below the node was not
            observed. At the top 0 says that all were.

        Raises
        ------
        ValueError
            For strings of another length, or symbols outside 0 … v−1.
        """
        checks.require(_strings(x, self.v).shape[1] == self.s**self.L, "x", tuple(x.shape),
                       f"of shape (n, {self.s**self.L})")
        trees = [x]
        for codes, labels in zip(self.codes, self.labels):
            codes, labels = codes.to(x.device), labels.to(x.device)
            parts = trees[-1].unflatten(1, (-1, self.s))
            found = tuple_codes(parts.clamp(min=0), self.v)
            place = torch.searchsorted(codes, found).clamp(max=len(codes) - 1)
            seen = (codes[place] == found) & (parts >= 0).all(-1)
            trees.append(torch.where(seen, labels[place], -1))
        return trees

    def generate(self, n: int, *, seed: Seed = 0) -> Int[Tensor, "n d"]:
        """Draw strings: a top tuple, and for every symbol one of its tuples, each in proportion to its count.

        Rows are drawn one after the other, so that two calls with one generator give what one call gives.

        Raises
        ------
        ValueError
            For negative `n`, or a bad seed.
        """
        n = checks.integer("n", n, low=0)
        nodes = (self.s**self.L - 1) // (self.s - 1)
        gen = generator(seed, "Clustering.generate")
        uniforms = torch.rand(n, nodes, generator=gen, dtype=torch.float64).to(self.x.device)
        symbols, used = torch.zeros(n, 1, dtype=torch.int64, device=self.x.device), 0
        for codes, counts, labels in zip(self.codes[::-1], self.counts[::-1], self.labels[::-1]):
            u = uniforms[:, used:used + symbols.shape[1]]
            used += symbols.shape[1]
            order = labels.sort(stable=True).indices
            heap = counts[order].cumsum(0)                                   # clusters one after the other
            total = torch.zeros(self.v, dtype=torch.int64, device=heap.device).index_add_(0, labels, counts)
            start = total.cumsum(0) - total
            target = start[symbols] + (u * total[symbols]).long()
            symbols = self._decode(codes[order][torch.searchsorted(heap, target, right=True)]).flatten(1)
        return symbols

    def score(self, g: Grammar) -> Float[Tensor, " _"]:
        """Return for the levels 1 … L − 1 the adjusted Rand index of clusters and true synonyms.

        Every observed tuple counts once; its true symbol is the one that most of its occurrences in `x` come from
        (one and the same, where the levels below are right).

        Raises
        ------
        ValueError
            For strings `x` that are not in the grammar `g`.
        """
        truth, found = g.parse(self.x), self.parse(self.x)
        out = []
        for level in range(1, self.L):
            parts = tuple_codes(found[level - 1].unflatten(1, (-1, self.s)), self.v)
            place = torch.searchsorted(self.codes[level - 1], parts)
            table = contingency(place.flatten(), truth[level].flatten(), len(self.codes[level - 1]), g.v)
            out.append(adjusted_rand(self.labels[level - 1], table.argmax(1)))
        return torch.tensor(out, dtype=torch.float64)


def _features(
    index: Int[Tensor, "n nodes"], context: Int[Tensor, "n nodes slots"], size: int, v: int, s: int
) -> Float[Tensor, "size _"]:
    """Return P(context | tuple) − P(context) for each child, sibling and slot, side by side; 0 where never seen."""
    slots = context.shape[-1]
    index, context = index.unflatten(1, (-1, s)), context.unflatten(1, (-1, s))
    out = []
    for child in range(s):
        mu = index[:, :, child].flatten().expand(slots, -1)
        for sibling in (j for j in range(s) if j != child):
            nu = context[:, :, sibling].flatten(0, 1).T
            n = contingency(mu, nu, size, v).double()                        # (slots, tuples, v)
            seen = n.sum(-1, keepdim=True)
            mean = n.sum(1, keepdim=True) / seen.sum(1, keepdim=True)
            out.append(torch.where(seen > 0, n / seen.clamp(min=1) - mean, 0.0).transpose(0, 1).flatten(1))
    return torch.cat(out, 1)


def _ward(features: Float[Tensor, "size _"], clusters: int) -> Int[Tensor, " size"]:
    """Return the labels of `clusters` groups of rows: Ward's tree without its last merges."""
    size = len(features)
    merged = linkage(features.cpu().numpy(), "ward")[:size - clusters, :2].astype("int64")
    both = merged.T.ravel()
    new = np.tile(np.arange(size, size + len(merged)), 2)
    nodes = size + len(merged)
    graph = coo_array(([1] * len(both), (both, new)), shape=(nodes, nodes))
    return torch.from_numpy(connected_components(graph, directed=False)[1][:size]).long().to(features.device)


def fit(x: Int[Tensor, "n d"], v: int, s: int, *, context: str = "latent", L: int | None = None) -> Clustering:
    """Find synonyms in strings, level by level.

    At each level 1 … L − 1 the observed tuples of s neighbouring symbols are described by what stands beside them:
    for every place of the tuple below its parent, every sibling and every symbol of the context, the empirical
    P(context | tuple) − P(context), pooled over all nodes of the level. Ward's linkage of these vectors, cut at v
    clusters, gives the symbols of the level (v tuples or fewer: one each). The same strings give the same clusters.

    Explained in the chapter *Hierarchical clustering*; source: this book, after Favero et al. 2025 (token contexts)
    and Korchinski, Favero, Wyart 2026 (latent contexts).

    Parameters
    ----------
    x
        Strings, int64 ``(n, d)`` with d = s^L and symbols 0 … v − 1.
    v
        Number of symbols of every level.
    s
        Branching.
    context
        ``"latent"``: the s symbols, found before, that write the sibling; ``"token"``: all tokens below it. At
        level 1 the two are the same.
    L
        Depth, for a check; None: log_s d.

    Raises
    ------
    ValueError
        For no strings, d that is no power of s (or not s^L), symbols outside 0 … v−1, another `context`, or more
        than 16384 different tuples at a level.
    """
    v, s = checks.integer("v", v, low=2), checks.integer("s", s, low=2)
    checks.require(v**s <= _MAX_CODE, "v**s", v**s, f"at most 2**62 = {_MAX_CODE}")
    context = checks.one_of("context", context, ("latent", "token"))
    checks.require(len(_strings(x, v)) > 0, "x", tuple(x.shape), "at least one string")
    depth = _depth(x.shape[1], s)
    checks.require(L is None or depth == L, "L", L, f"{depth}, for strings of {x.shape[1]} tokens and s = {s}")
    symbols, codes, counts, labels = x, [], [], []
    for level in range(1, depth + 1):
        parts = symbols.unflatten(1, (-1, s))
        known, index, count = tuple_codes(parts, v).unique(return_inverse=True, return_counts=True)
        if level == depth:
            label = torch.zeros_like(known)
        elif len(known) <= v:
            label = torch.arange(len(known), device=x.device)
        else:
            checks.require(len(known) <= _MAX_TUPLES, "x", f"{len(known)} different tuples", "strings with at most "
                           f"{_MAX_TUPLES} different tuples per level, to be clustered by all their distances")
            beside = parts if context == "latent" else x.unflatten(1, (parts.shape[1], -1))
            label = _ward(_features(index, beside, len(known), v, s), v)
        codes.append(known)
        counts.append(count)
        labels.append(label)
        symbols = label[index]
    return Clustering(x.clone(), v, s, context, tuple(codes), tuple(counts), tuple(labels))
