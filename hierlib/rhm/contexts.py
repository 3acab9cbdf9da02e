"""Context statistics of tuples: the signal by which synonyms are found, and what sampling makes of it.

A rule of a level-k symbol writes a tuple μ. Its context is a symbol ν below a sibling of that symbol: a token, or a
latent symbol. Synonyms have one and the same P(ν | μ). Everything is for one pair of positions of the tree,
:class:`Pair`; μ = a·m + r is the r-th rule of symbol a.
Sources: Favero, Sclocchi, Cagnetta, Frossard, Wyart 2025; Cagnetta, Wyart 2024.
"""

from dataclasses import dataclass

import numpy as np
import torch

from hierlib.lab import checks, generator
from hierlib.lab.curves import crossing
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Int, Tensor
from hierlib.rhm.grammar import Grammar, check_symbols, check_trees, encode, find
from hierlib.rhm.theory import sample_complexity

__all__ = [
    "Pair", "counts", "covariance", "distance_ratio", "draws", "joint", "population_covariance", "ratios", "threshold",
]


@dataclass(frozen=True)
class Pair:
    """Where a tuple and its context stand in the tree. Source: Favero et al. 2025.

    Parameters
    ----------
    k
        Level of the symbol that writes the tuple, 1 … L − 1.
    node
        Which level-(k+1) node of the string is the common ancestor, 0 … s^(L−k−1) − 1; None: all of them, pooled.
    child, sibling
        Which of its children writes the tuple, and below which of them the context is; not the same.
    level
        Level of the context, 0 (tokens) … k.
    slot
        Which of the s^(k−level) symbols of that level below the sibling it is.
    """

    k: int
    node: int | None = 0
    child: int = 0
    sibling: int = 1
    level: int = 0
    slot: int = 0

    def check(self, g: Grammar) -> "Pair":
        """Return the pair, of plain integers, if the trees of `g` have it, else raise ``ValueError``."""
        k = checks.integer("k", self.k, low=1, high=g.L - 1)
        level = checks.integer("level", self.level, low=0, high=k)
        ends = {"child": g.s, "sibling": g.s, "slot": g.s ** (k - level)}
        ends |= {} if self.node is None else {"node": g.s ** (g.L - k - 1)}
        at = {name: checks.integer(name, getattr(self, name), 0, end - 1) for name, end in ends.items()}
        checks.require(at["child"] != at["sibling"], "sibling", at["sibling"], "another child than the tuple's")
        return Pair(k, level=level, **{"node": None} | at)

    def nodes(self, g: Grammar) -> range:
        """Return the nodes that are common ancestors in a string of `g`: one, or all of the level."""
        return range(g.s ** (g.L - self.k - 1)) if self.node is None else range(self.node, self.node + 1)


def contingency(
    mu: Int[Tensor, "*batch n"], nu: Int[Tensor, "*batch n"], rows: int, columns: int
) -> Int[Tensor, "*batch rows columns"]:
    """Return how often labels mu < rows and nu < columns meet, for each of a batch of lists."""
    batch = mu.shape[:-1]
    offset = rows * columns * torch.arange(batch.numel(), device=mu.device).view(*batch, 1)
    code = offset + mu * columns + nu
    return torch.bincount(code.flatten(), minlength=batch.numel() * rows * columns).view(*batch, rows, columns)


def _descend(law: Float[Tensor, "*any v"], rules: Int[Tensor, "levels v m s"], node: int) -> Float[Tensor, "*any v"]:
    """Return the law of descendant `node` of a symbol, all `rules` further down, from that of the symbol."""
    levels, v, m, s = rules.shape
    for below, of_level in zip(range(levels - 1, -1, -1), rules.flip(0)):
        children = of_level[..., node // s**below % s]                             # (v, m)
        law = law @ law.new_zeros(v, v).scatter_add_(1, children, law.new_full((v, m), 1 / m))
    return law


def joint(g: Grammar, pair: Pair) -> Float[Tensor, "vm v"]:
    """Return P(μ, ν), exactly: laws of the rules multiplied along the path from the root to tuple and context.

    Returns
    -------
    float64 ``(v·m, v)``
        Row a·m + r is the r-th rule of symbol a; it sums to P(a)/m.

    Raises
    ------
    ValueError
        For a pair that the trees of `g` do not have.
    """
    pair = pair.check(g)
    root, rules = torch.full((g.v,), 1 / g.v, dtype=torch.float64, device=g.rules.device), g.rules[pair.k]
    ancestor = torch.stack([_descend(root, g.rules[pair.k + 1:], node) for node in pair.nodes(g)]).mean(0)
    place = rules[..., pair.child] * g.v + rules[..., pair.sibling]                # of every rule: (a, b)
    law = ancestor.new_zeros(g.v * g.v).index_add_(0, place.flatten(), (ancestor / g.m).repeat_interleave(g.m))
    law = _descend(law.view(g.v, g.v), g.rules[pair.level:pair.k], pair.slot)      # from P(a, b) to P(a, ν)
    return (law / g.m).repeat_interleave(g.m, 0)


def counts(g: Grammar, trees: list[Int[Tensor, "n _"]], pair: Pair) -> Int[Tensor, "vm v"]:
    """Return how often tuple and context meet in derivations, from :meth:`Grammar.sample` or :meth:`Grammar.parse`.

    Errors as :func:`joint`; also for trees of another grammar. Source: Favero et al. 2025.
    """
    pair = pair.check(g)
    check_trees(g, trees, len(trees[0]) if trees else 0)
    codes, order = encode(g.rules[pair.k - 1], g.v).flatten().to(trees[0].device).sort()
    below, nodes = g.s ** (pair.k - pair.level), torch.tensor(pair.nodes(g), device=trees[0].device)
    tuples = trees[pair.k - 1].unflatten(1, (-1, g.s))[:, nodes * g.s + pair.child]
    context = trees[pair.level][:, (nodes * g.s + pair.sibling) * below + pair.slot]
    check_symbols("trees", torch.cat([tuples, context[..., None]], -1).flatten(1), g.v)
    place, known = find(codes, tuples, g.v)
    checks.require(bool(known.all()), "trees", "a tuple that is no rule", f"derivations of {g}")
    return contingency(order[place].flatten(), context.flatten(), g.v * g.m, g.v)


def draws(law: Float[Tensor, "rows columns"], sizes: list[int], *, seed: Seed = 0) -> Int[Tensor, "sizes rows columns"]:
    """Return the counts in a growing data set, drawn from a joint law: as :func:`counts` of so many strings.

    For one pair of positions the counts of P independent strings are multinomial, so no strings are needed and P
    may be anything.

    Parameters
    ----------
    law
        P(μ, ν), as from :func:`joint`.
    sizes
        Numbers of strings P, increasing: each data set holds the one before.
    seed
        Integer or CPU ``torch.Generator``.

    Raises
    ------
    ValueError
        For sizes that do not increase or are negative, or a law that is not positive.
    """
    sizes = [checks.integer("sizes", P, low=0) for P in sizes]
    steps = np.diff(sizes, prepend=0)
    checks.require(len(sizes) > 0 and bool((steps[1:] > 0).all()), "sizes", sizes, "at least one, and increasing")
    _total("law", law)
    start = torch.randint(2**63 - 1, (), generator=generator(seed, "contexts.draws"))
    weights = law.flatten().double().cpu().numpy()
    new = np.random.default_rng(int(start)).multinomial(steps, weights / weights.sum())
    return torch.from_numpy(new.cumsum(0)).to(law.device).view(-1, *law.shape)


def _total(name: str, weights: Tensor) -> Tensor:
    total = weights.double().sum((-2, -1), keepdim=True)
    checks.require(bool(((weights >= 0).all() & (total > 0) & (total < np.inf)).all()), name,
                   "negative, infinite or no weights", "of at least one string, or positive")
    return total


def _law(counts: Tensor) -> Tensor:
    return counts / _total("counts", counts)


def covariance(counts: Tensor) -> Float[Tensor, "*batch rows columns"]:
    """Return C(μ, ν) = P̂(μ, ν) − P̂(μ) P̂(ν) of counts, or of any positive weights such as a joint law.

    ``ValueError`` where nothing was counted. Source: Favero et al. 2025.
    """
    law = _law(counts)
    return law - law.sum(-1, keepdim=True) * law.sum(-2, keepdim=True)


def population_covariance(g: Grammar, pair: Pair) -> Float[Tensor, "vm v"]:
    """Return C(μ, ν) of infinitely many strings, in closed form from the rules; errors as :func:`joint`."""
    return covariance(joint(g, pair))


def distance_ratio(C: Float[Tensor, "*batch rows columns"], parents: Int[Tensor, " rows"]) -> Float[Tensor, "*batch"]:
    """Return R = mean ‖C_μ − C_μ'‖² over pairs of synonyms, divided by the mean over all other pairs.

    1 where contexts tell nothing, 0 where synonyms have the same; 1/2 where noise and signal have one variance.
    Source: Favero et al. 2025.

    Parameters
    ----------
    C
        Rows of statistics, one per tuple.
    parents
        Symbol that each tuple belongs to.

    Raises
    ------
    ValueError
        Where there are no two tuples of one symbol, or not two symbols.
    """
    _, group, sizes = parents.unique(return_inverse=True, return_counts=True)
    n, synonyms = len(parents), int((sizes * (sizes - 1)).sum())
    checks.require(0 < synonyms < n * (n - 1), "parents", tuple(sizes.tolist()), "of two symbols or more, one of "
                   "them with two tuples or more")
    # Σ_{μ,μ'} ‖C_μ − C_μ'‖² of a group of n = 2 n Σ ‖C_μ‖² − 2 ‖Σ C_μ‖², about any origin
    C = C - C.mean(-2, keepdim=True)
    square = C.square().sum(-1)
    sums = C.new_zeros(*C.shape[:-2], len(sizes), C.shape[-1]).index_add_(-2, group, C)
    inside = 2 * (square * sizes[group]).sum(-1) - 2 * sums.square().sum((-2, -1))
    between = 2 * n * square.sum(-1) - inside
    return inside / synonyms / (between / (n * (n - 1) - synonyms))


def ratios(g: Grammar, pair: Pair, sizes: list[int], *, seed: Seed = 0) -> Float[Tensor, " sizes"]:
    """Return R of one growing data set at each number of strings P; about 1/(1 + P/P*).

    A pooled pair is counted at all of its nodes, as if they were independent. Errors as :func:`joint`, :func:`draws`
    and :func:`distance_ratio`. Source: Favero et al. 2025.
    """
    parents = torch.arange(g.v, device=g.rules.device).repeat_interleave(g.m)
    sizes = [checks.integer("sizes", P, low=0) * len(pair.check(g).nodes(g)) for P in sizes]
    return distance_ratio(covariance(draws(joint(g, pair), sizes, seed=seed)), parents)


def threshold(g: Grammar, pair: Pair, *, at: float = 0.5, seed: Seed = 0) -> float:
    """Return the number of strings P at which R of a growing data set falls to `at`.

    R is measured in steps of √2 from 1/64 to 64 times v m^(k+2−level)/(1 − f), or what theory has for a pooled pair in
    its place, and interpolated in ln P. NaN where it does not cross `at` there. Source: Favero et al. 2025 (criterion).

    Raises
    ------
    ValueError
        For `at` outside (0, 1), m = 1 (no synonyms), f = 1 (no correlations), or as :func:`joint`.
    """
    at, pair = checks.real("at", at, 1e-9, 1 - 1e-9), pair.check(g)
    below = g.L - pair.k - 1 if pair.node is None else 0
    expected = sample_complexity(max(pair.k - pair.level, 1) + 1, v=g.v, m=g.m, s=g.s, below=below)
    expected /= g.m if pair.level == pair.k else 1
    sizes = sorted({max(round(expected * 2 ** (i / 2)), 1) for i in range(-12, 13)})
    return float(crossing(sizes, 1 - ratios(g, pair, sizes, seed=seed).cpu(), 1 - at, log=True))
