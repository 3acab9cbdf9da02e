"""Messages of the sum-product algorithm on the tree of a grammar: one sweep up, one down, samples on the way.

    up    λ_l(a) ∝ Σ_{rules r of a} Π_j λ_{l−1, j}(r_j)
    down  π_{l−1, i}(b) ∝ Σ_a π_l(a) Σ_{rules r of a, r_i = b} Π_{j≠i} λ_{l−1, j}(r_j)

Source: Sclocchi, Favero, Wyart 2024. Probabilities are scaled, not logarithms (half the
time, the same digits).

Layout: the messages of one level are ``(nodes, v, b)``, the rows of the batch as the fastest index: what one node
reads and writes stays in cache, and the children of all nodes are a view ``(nodes, s, v, b)``. Each step exists
twice: in few calls of torch (:func:`combine`, :func:`spread`), and written out for ``torch.compile``, which makes
one loop of it without intermediates (:func:`combine_unrolled`, :func:`spread_unrolled`).
"""

import inspect
import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch

from hierlib.lab.types import Float, Int, Tensor
from hierlib.rhm.grammar import Grammar

__all__ = ["Block", "combine", "combine_unrolled", "spread", "spread_unrolled"]

Children = Float[Tensor, "nodes s v b"]
Message = Float[Tensor, "nodes v b"]


@lru_cache(maxsize=8)
def _tables(g: Grammar, device: torch.device, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Return for each level the j-th symbols of all rules ``(s, v·m)``, and as one-hot matrices ``(s, v, v·m)``."""
    symbols = g.rules.to(device).flatten(1, 2).mT.contiguous()
    one_hot = torch.nn.functional.one_hot(symbols, g.v).mT.to(dtype).contiguous()
    return list(zip(symbols, one_hot, strict=True))


def combine(children: Children, symbols: Int[Tensor, "s vm"]) -> Message:
    """Return Σ_{rules r of a} Π_j λ_j(r_j) for every symbol a: one upward step, not normalised.

    Parameters
    ----------
    children
        Messages of the s children of each node.
    symbols
        The j-th symbols of all rules, those of symbol 0 first.
    """
    weight = children[:, 0].index_select(1, symbols[0])
    for j in range(1, len(symbols)):
        weight *= children[:, j].index_select(1, symbols[j])
    return weight.unflatten(1, (children.shape[2], -1)).sum(2)


def spread(
    children: Children, above: Message, symbols: Int[Tensor, "s vm"], one_hot: Float[Tensor, "s v vm"]
) -> Children:
    """Return Σ_a π(a) Σ_{rules r of a, r_j = b} Π_{i≠j} λ_i(r_i) for every child j and symbol b: one downward step.

    `above` are the messages π that the nodes themselves got from above; the result is not normalised.
    """
    below = torch.empty_like(children)
    for j, scatter in enumerate(one_hot):
        first, *others = (i for i in range(len(symbols)) if i != j)
        weight = children[:, first].index_select(1, symbols[first])
        weight.unflatten(1, (children.shape[2], -1)).mul_(above.unsqueeze(2))
        for i in others:
            weight *= children[:, i].index_select(1, symbols[i])
        below[:, j] = scatter @ weight
    return below


@lru_cache(maxsize=8)
def _holders(g: Grammar, device: torch.device) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return for each level the rules ``(v, m, s)``, and who holds symbol b in place j: parents, other symbols.

    The latter are ``(s, v, K)`` and ``(s, v, K, s − 1)``, filled up with rules of a parent v. K is a multiple of 4, so
    that most grammars of one size share it.
    """
    symbols, order = g.rules.cpu().flatten(1, 2).mT.sort(dim=-1, stable=True)                      # (L, s, v·m)
    count = torch.nn.functional.one_hot(symbols, g.v).cumsum(-2).gather(-1, symbols[..., None])[..., 0]
    K, tables = -(-int(count.max()) // 4) * 4, []
    for rules, held, k, rule in zip(g.rules.cpu(), symbols, count - 1, order, strict=True):
        parents = torch.full((g.s, g.v, K), g.v)
        beside = torch.zeros(g.s, g.v, K, g.s - 1, dtype=torch.int64)
        for j in range(g.s):
            parents[j, held[j], k[j]] = rule[j] // g.m
            beside[j, held[j], k[j]] = rules.flatten(0, 1)[rule[j]][:, [i for i in range(g.s) if i != j]]
        tables.append(tuple(table.to(device, copy=True) for table in (rules, parents, beside)))
    return tables


def combine_unrolled(
    children: Float[Tensor, "nodes_s_v b"], rules: Int[Tensor, "v m s"]
) -> tuple[Message, Float[Tensor, "nodes b"]]:
    """Return what :func:`combine` does, normalised, and the sums that normalised it. Messages are flat: see there."""
    v, _, s = rules.shape
    children = children.view(-1, s, v, children.shape[-1])
    total = torch.zeros((), dtype=children.dtype, device=children.device)
    for rule in rules.unbind(1):
        weight = children[:, 0, rule[:, 0]]
        for j in range(1, s):
            weight = weight * children[:, j, rule[:, j]]
        total = total + weight
    norm = total.sum(1)
    return total / norm[:, None], norm


def spread_unrolled(
    children: Float[Tensor, "nodes_s_v b"], above: Float[Tensor, "nodes_v b"], parents: Int[Tensor, "s v K"],
    beside: Int[Tensor, "s v K others"],
) -> tuple[Children, Children, Float[Tensor, "nodes s b"], Float[Tensor, "nodes s b"]]:
    """Return what :func:`spread` does, normalised; the posteriors of the children; the sums that normalised both."""
    s, v, _ = parents.shape
    children, above = children.view(-1, s, v, children.shape[-1]), above.view(-1, v, above.shape[-1])
    above = torch.nn.functional.pad(above, (0, 0, 0, 1))                                # a parent v weighs nothing
    totals = []
    for j in range(s):
        others = [i for i in range(s) if i != j]
        total = torch.zeros((), dtype=above.dtype, device=above.device)
        for parent, symbols in zip(parents[j].unbind(-1), beside[j].unbind(-2), strict=True):
            weight = above[:, parent]
            for k, i in enumerate(others):
                weight = weight * children[:, i, symbols[:, k]]
            total = total + weight
        totals.append(total)
    below = torch.stack(totals, 1)
    norm = below.sum(2)
    below = below / norm.unsqueeze(2)
    belief = below * children
    norms = belief.sum(2)
    return below, belief / norms.unsqueeze(2), norm, norms


@lru_cache(maxsize=1)
def _compiled() -> tuple[Callable, Callable]:
    """Both steps, compiled for any number of nodes and rows; torch keeps a version for each device and (m, s, K)."""
    options = {"assert_indirect_indexing": False}              # the symbols are those of a grammar, checked there
    steps = map(inspect.unwrap, (combine_unrolled, spread_unrolled))        # tests wrap them in checks of shapes
    return tuple(torch.compile(step, dynamic=True, options=options) for step in steps)


class Block:
    """Some rows of the batch after the upward sweep: messages per level, log evidence, and what follows from them.

    The sweep ends at level `top`; where it is not L, :meth:`descend` alone can follow.

    Sums and products of positive numbers keep their digits, but what underflows is lost. `errors` bound how much of a
    message, summed over its symbols: a step adds less than `floor` to what its inputs lack, then all is divided by the
    norm, so that a loss grows from one unlikely message to the next.
    """

    def __init__(self, g: Grammar, likelihood: Float[Tensor, "b d v"], top: int, *, compiled: bool = False) -> None:
        self.g, self.b = g, len(likelihood)
        self.tables = _tables(g, likelihood.device, likelihood.dtype)
        self.holders = _holders(g, likelihood.device) if compiled and self.b > 1 else None
        self.floor = g.v * g.m * torch.finfo(likelihood.dtype).tiny
        self.lost: list[Tensor] = []                         # which rows lost digits, one level after the other
        self.scale = likelihood.amax(-1, keepdim=True)       # any scale: no sum may over- or underflow
        leaves = (likelihood / self.scale).flatten(1).T.contiguous().view(g.d, g.v, self.b)
        self.norms = [leaves.sum(1)]
        self.up, self.errors = [leaves.div_(self.norms[0][:, None])], [self._missing(0.0, self.norms[0])]
        for level in range(top):
            children, compiled = self._children(level)
            if compiled:
                message, norm = _compiled()[0](children.flatten(0, 2), self.holders[level][0])
            else:
                message = combine(children, self.tables[level][0])
                norm = message.sum(1)
                message.div_(norm[:, None])
            self.up.append(message)
            self.norms.append(norm)
            self.errors.append(self._missing(self.errors[level].view(-1, g.s, self.b).sum(1), norm))

    @property
    def log_z(self) -> Float[Tensor, " b"]:
        """Logarithm of the evidence, float64."""
        logs = torch.cat([self.scale[..., 0].T, *self.norms]).double().log().sum(0)
        return logs - self.g.n_rules * math.log(self.g.m) - math.log(self.g.v)

    def _missing(self, inputs: float | Tensor, norm: Float[Tensor, "*nodes b"]) -> Float[Tensor, "*nodes b"]:
        """Return the bound on what a message lacks, given that on what it is made of; note rows that lack digits."""
        error = (inputs + self.floor) / norm
        self.lost.append(~(error <= torch.finfo(norm.dtype).eps).flatten(0, -2))
        return error

    def lost_rows(self) -> Int[Tensor, " lost"]:
        """Return the rows whose messages vanish or are no numbers: at the end only, as each look makes a GPU wait."""
        bad = torch.cat(self.lost).any(0)
        return bad.nonzero().flatten() if bool(bad.any()) else bad.new_empty(0, dtype=torch.int64)

    def _children(self, level: int) -> tuple[Children, bool]:
        """Return the messages of `level`, and whether compiled code reads them: not of one node, of which torch makes
        another version."""
        children = self.up[level].view(-1, self.g.s, self.g.v, self.b)
        return children, self.holders is not None and len(children) > 1

    def descend(self, above: Message | None = None, *, leave_out: bool) -> Iterator[tuple[int, Message]]:
        """Yield (level, posterior) from the top down; with `leave_out`, the message from above alone.

        `above` is the message that the nodes of the top get, one for all rows (nodes, v, 1), by default 1/v.
        """
        g, belief, top = self.g, self.up[-1], len(self.up) - 1
        down = torch.full_like(belief, 1.0 / g.v) if above is None else above.to(belief).expand_as(belief)
        error = torch.zeros_like(self.errors[-1])
        if above is not None:
            belief = down * belief
            self._missing(self.errors[-1], norms := belief.sum(1))
            belief.div_(norms[:, None])
        yield top, down if leave_out else belief
        for level in range(top - 1, -1, -1):
            children, compiled = self._children(level)
            if compiled:
                flat = children.flatten(0, 2), down.flatten(0, 1)
                down, belief, norm, norms = _compiled()[1](*flat, *self.holders[level][1:])
            else:
                down = spread(children, down, *self.tables[level])
                norm = down.sum(2)
                down.div_(norm.unsqueeze(2))
                if not leave_out:
                    belief = down * children
                    norms = belief.sum(2)
                    belief.div_(norms.unsqueeze(2))
            down, mine = down.flatten(0, 1), self.errors[level].view(-1, g.s, self.b)
            error = self._missing(g.m * (error.unsqueeze(1) + mine.sum(1, keepdim=True) - mine), norm).flatten(0, 1)
            if not leave_out:
                self._missing(error + self.errors[level], norms.flatten(0, 1))
            yield level, down if leave_out else belief.flatten(0, 1)

    def draw(self, uniforms: Float[Tensor, "b draws"]) -> Iterator[tuple[int, Int[Tensor, "nodes b"]]]:
        """Yield (level, symbols) of one posterior sample per row, from the root down."""
        g, (first, *others) = self.g, uniforms.T.split([1, *self.g.widths[:0:-1]])
        symbols = self._pick(self.up[-1], self.errors[-1], first)
        yield g.L, symbols
        for level, u in zip(range(g.L - 1, -1, -1), others, strict=True):
            children, _ = self._children(level)
            rules = self.tables[level][0].view(g.s, g.v, g.m)[:, symbols].mT              # (s, nodes, m, b)
            weight = children[:, 0].gather(1, rules[0])
            for j in range(1, g.s):
                weight *= children[:, j].gather(1, rules[j])
            choice = self._pick(weight, self.errors[level].view(-1, g.s, self.b).sum(1), u)
            symbols = rules.gather(2, choice[:, None].expand(g.s, -1, 1, -1)).squeeze(2).transpose(0, 1).flatten(0, 1)
            yield level, symbols

    def _pick(
        self, weight: Float[Tensor, "nodes k b"], error: Float[Tensor, "nodes b"], u: Float[Tensor, "nodes b"]
    ) -> Int[Tensor, "nodes b"]:
        """Draw an index below k with probability ∝ `weight` for each node and row, from uniform numbers `u`."""
        heap = weight.double().cumsum(1)
        self._missing(error, heap[:, -1].to(weight.dtype))
        return (heap[:, :-1] <= (u * heap[:, -1])[:, None]).sum(1)
