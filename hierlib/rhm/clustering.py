"""Hierarchical clustering: the synonyms of a grammar found from strings alone, level by level, without training.

Tuples of s symbols that stand in the same contexts are taken for synonyms: clusters of tuples are the symbols of
the next level, and so on up to the top. The clusters with their counts are a grammar from which to generate.
Contexts are tokens, as a diffusion model has them (Favero, Sclocchi, Cagnetta, Frossard, Wyart 2025), or the
symbols found so far (Korchinski, Favero, Wyart 2026, *Iterative Latent Clustering*). The clustering of this module,
with Ward's linkage, is this book's.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.hierarchy import linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Int, Tensor
from hierlib.rhm.contexts import contingency
from hierlib.rhm.grammar import Grammar, check_alphabet, check_depth, check_strings, decode, encode, find

__all__ = ["Clustering", "fit"]

_MAX_TUPLES = 2**14           # Ward's linkage keeps all distances: 1 GiB


def _adjusted_rand(a: Int[Tensor, " n"], b: Int[Tensor, " n"]) -> float:
    """Return the adjusted Rand index of two partitions of the same n things: 1 if equal, 0 on average by chance.

    Labels are any integers. Source: Hubert, Arabie 1985.
    """
    (first, a), (second, b) = (labels.unique(return_inverse=True) for labels in (a, b))
    table = contingency(a, b, len(first), len(second)).double()
    together, in_a, in_b, pairs = (
        float((sizes * (sizes - 1) / 2).sum()) for sizes in (table, table.sum(1), table.sum(0), table.sum()))
    highest = (in_a + in_b) / 2
    if together == highest:                       # equal partitions, and the only way to 0/0
        return 1.0
    expected = in_a * in_b / pairs
    return (together - expected) / (highest - expected)


@dataclass(frozen=True, eq=False)
class Clustering:
    """A grammar found in strings by :func:`fit`: the observed tuples of each level, in clusters.

    Parameters
    ----------
    x
        The strings it was found in, int64 ``(n, d)``.
    v, s
        Number of symbols per level and branching.
    context
        ``"latent"`` or ``"token"``.
    codes
        Per level 1 … L the observed tuples as increasing numbers, Σ_j t_j v^(s−1−j), int64 ``(T,)``.
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

    L = property(lambda self: len(self.codes), doc="Depth, the number of levels of tuples.")
    sizes = property(lambda self: tuple(map(len, self.codes)), doc="Number of tuples observed at the levels 1 … L.")

    def __repr__(self) -> str:
        return f"Clustering(v={self.v}, s={self.s}, context={self.context!r}, sizes={self.sizes})"

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
        check_strings("x", x, d=self.s**self.L, v=self.v)
        trees = [x]
        for codes, labels in zip(self.codes, self.labels):
            parts = trees[-1].unflatten(1, (-1, self.s))
            place, known = find(codes.to(x.device), parts.clamp(min=0), self.v)
            trees.append(torch.where(known & (parts >= 0).all(-1), labels.to(x.device)[place], -1))
        return trees

    def generate(self, n: int, *, seed: Seed = 0) -> Int[Tensor, "n d"]:
        """Draw strings: a top tuple, and for every symbol one of its tuples, each in proportion to its count.

        Rows are drawn one after the other, so that two calls with one generator give what one call gives.

        Raises
        ------
        ValueError
            For negative `n`, or a bad seed.
        """
        n, widths = checks.integer("n", n, low=0), [self.s**level for level in range(self.L)]
        gen = generator(seed, "Clustering.generate")
        uniforms = torch.rand(n, sum(widths), generator=gen, dtype=torch.float64).to(self.x.device)
        symbols = torch.zeros(n, 1, dtype=torch.int64, device=self.x.device)
        for level, u in zip(reversed(range(self.L)), uniforms.split(widths, 1)):
            codes, counts, labels = self.codes[level], self.counts[level], self.labels[level]
            order = labels.sort(stable=True).indices
            heap = counts[order].cumsum(0)                                   # clusters one after the other
            total = torch.zeros(self.v, dtype=torch.int64, device=heap.device).index_add_(0, labels, counts)
            target = (total.cumsum(0) - total)[symbols] + (u * total[symbols]).long()
            drawn = codes[order][torch.searchsorted(heap, target, right=True)]
            symbols = decode(drawn, self.v, self.s).flatten(1)
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
        truth, found, out = g.parse(self.x), self.parse(self.x), []
        for codes, labels, below, true in zip(self.codes[:-1], self.labels, found, truth[1:]):
            place, _ = find(codes, below.unflatten(1, (-1, self.s)), self.v)
            out.append(_adjusted_rand(labels, contingency(place.flatten(), true.flatten(), len(codes), g.v).argmax(1)))
        return torch.tensor(out, dtype=torch.float64)


def _features(
    index: Int[Tensor, "n nodes"], context: Int[Tensor, "n nodes slots"], size: int, v: int, s: int
) -> Float[Tensor, "size _"]:
    """Return P(context | tuple) − P(context) for each child, sibling and slot, side by side; 0 where never seen."""
    slots = context.shape[-1]
    index, context = index.unflatten(1, (-1, s)), context.unflatten(1, (-1, s))
    out = []
    for child, sibling in itertools.permutations(range(s), 2):
        mu = index[:, :, child].flatten().expand(slots, -1)
        nu = context[:, :, sibling].flatten(0, 1).T
        n = contingency(mu, nu, size, v).double()                            # (slots, tuples, v)
        seen = n.sum(-1, keepdim=True)
        mean = n.sum(1, keepdim=True) / seen.sum(1, keepdim=True)
        out.append(torch.where(seen > 0, n / seen.clamp(min=1) - mean, 0.0).transpose(0, 1).flatten(1))
    return torch.cat(out, 1)


def _ward(features: Float[Tensor, "size _"], clusters: int) -> Int[Tensor, " size"]:
    """Return the labels of `clusters` groups of rows: Ward's tree without its last merges."""
    size = len(features)
    merged = linkage(features.cpu().numpy(), "ward")[:size - clusters, :2].astype("int64")
    new, nodes = np.tile(np.arange(size, size + len(merged)), 2), size + len(merged)
    graph = coo_array((np.ones(len(new)), (merged.T.ravel(), new)), shape=(nodes, nodes))
    return torch.from_numpy(connected_components(graph, directed=False)[1][:size]).long().to(features.device)


def fit(x: Int[Tensor, "n d"], v: int, s: int, *, context: str = "latent", L: int | None = None) -> Clustering:
    """Find synonyms in strings, level by level.

    At each level 1 … L − 1 the observed tuples of s neighbouring symbols are described by what stands beside them:
    for every place of the tuple below its parent, every sibling and every symbol of the context, the empirical
    P(context | tuple) − P(context), pooled over all nodes of the level. Ward's linkage of these vectors, cut at v
    clusters, gives the symbols of the level (v tuples or fewer: one each). The same strings give the same clusters.

    Source: after Favero et al. 2025 (token contexts) and Korchinski, Favero, Wyart 2026 (latent contexts).

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
    v, s = check_alphabet(v, s)
    context = checks.one_of("context", context, ("latent", "token"))
    check_strings("x", x, v=v, some=True)
    s, depth = check_depth("x", x.shape[1], s)
    checks.require(L in (None, depth), "L", L, f"{depth}, for strings of {x.shape[1]} tokens and s = {s}")
    symbols, found = x, []
    for level in range(1, depth + 1):
        parts = symbols.unflatten(1, (-1, s))
        codes, index, counts = encode(parts, v).unique(return_inverse=True, return_counts=True)
        if level == depth:
            labels = torch.zeros_like(codes)
        elif len(codes) <= v:
            labels = torch.arange(len(codes), device=x.device)
        else:
            checks.require(len(codes) <= _MAX_TUPLES, "x", f"{len(codes)} different tuples", "strings with at most "
                           f"{_MAX_TUPLES} different tuples per level, to be clustered by all their distances")
            beside = parts if context == "latent" else x.unflatten(1, (parts.shape[1], -1))
            labels = _ward(_features(index, beside, len(codes), v, s), v)
        found.append((codes, counts, labels))
        symbols = labels[index]
    return Clustering(x.clone(), v, s, context, *zip(*found))
