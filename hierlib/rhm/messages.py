"""Messages of the sum-product algorithm on the tree of a grammar: their layout, one sweep up, one down.

    up    λ_l(a) ∝ Σ_{rules r of a} Π_j λ_{l−1, j}(r_j)
    down  π_{l−1, i}(b) ∝ Σ_a π_l(a) Σ_{rules r of a, r_i = b} Π_{j≠i} λ_{l−1, j}(r_j)

Source: Sclocchi, Favero, Wyart 2024. Probabilities are scaled, not logarithms (half the
time, the same digits).

Layout: a message of one level is a matrix (symbol, column), a column being a node of a row of the batch. Nodes
are ordered with their position below the parent as the slowest index, so the j-th children of all nodes stand
together: row a·s + j of the same memory, seen as (v·s, columns / s), holds symbol a of the j-th children. Rules
gather whole rows, and their sum over synonyms needs no scatter.
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import torch

from hierlib.lab.types import Float, Int, Tensor
from hierlib.rhm.grammar import Grammar

__all__ = ["Block", "combine", "gathered_rows", "to_columns", "to_rows"]


def gathered_rows(rules: Int[Tensor, "*levels v m s"]) -> Int[Tensor, "*levels s vm"]:
    """Return the row a·s + j of the children's messages that each rule gathers for its j-th symbol a."""
    s = rules.shape[-1]
    return rules.flatten(-3, -2).transpose(-1, -2) * s + torch.arange(s, device=rules.device).view(-1, 1)


@lru_cache(maxsize=8)
def _tables(g: Grammar, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rows to gather for the j-th children ``(L, s, v·m)``, and one-hot scatter matrices ``(L, s, v, v·m)``."""
    rows = gathered_rows(g.rules.to(device))
    scatter = torch.nn.functional.one_hot(rows // g.s, g.v).transpose(-1, -2).to(dtype).contiguous()
    return rows.contiguous(), scatter


def to_columns(rows: Tensor, s: int) -> Tensor:
    """``(b, nodes, …)`` in natural order -> ``(…, nodes · b)`` in the order of the messages."""
    b, nodes, *rest = rows.shape
    split = rows.reshape(b, *[s] * round(math.log(nodes, s)), *rest)
    return split.permute(*range(split.ndim - 1, -1, -1)).reshape(*reversed(rest), nodes * b)


def to_rows(columns: Tensor, s: int, b: int) -> Tensor:
    """Inverse of :func:`to_columns`."""
    *rest, nodes, b = columns.unflatten(-1, (-1, b)).shape
    split = columns.reshape(*rest, *[s] * round(math.log(nodes, s)), b)
    return split.permute(*range(split.ndim - 1, -1, -1)).reshape(b, nodes, *reversed(rest))


def combine(children: Float[Tensor, "vs columns"], rows: Int[Tensor, "s vm"], v: int) -> Float[Tensor, "v columns"]:
    """Return Σ_{rules r of a} Π_j λ_j(r_j) for every symbol a and column: one upward step, not normalised.

    Parameters
    ----------
    children
        Messages of the children, symbol a of the j-th child in row a·s + j.
    rows
        Which rows each rule gathers, from :func:`gathered_rows`.
    v
        Number of symbols.
    """
    weight = children.index_select(0, rows[0])
    for j in range(1, len(rows)):
        weight *= children.index_select(0, rows[j])
    return weight.view(v, -1, weight.shape[1]).sum(1)


class Block:
    """Some rows of the batch after the upward sweep: messages per level, log evidence, and what follows from them."""

    def __init__(self, g: Grammar, likelihood: Float[Tensor, "b d v"]) -> None:
        self.g, self.b, self.log_z = g, len(likelihood), 0.0
        self.lost: list[Tensor] = []                         # which columns underflowed, one level after the other
        self.rows, self.scatter = _tables(g, likelihood.device, likelihood.dtype)
        top = likelihood.amax(-1, keepdim=True)              # any scale: no sum may over- or underflow
        self.up = [self._normalise(to_columns(likelihood / top, g.s).contiguous(), keep_log=True)]
        self.log_z += top.double().log().sum((1, 2))
        for rows in self.rows:
            self.up.append(self._normalise(combine(self.up[-1].view(g.v * g.s, -1), rows, g.v), keep_log=True))
        self.log_z = self.log_z - g.n_rules * math.log(g.m) - math.log(g.v)

    def _normalise(self, message: Tensor, *, keep_log: bool = False) -> Tensor:
        total = message.sum(0)
        self._look(total, total.dtype)
        if keep_log:
            self.log_z = self.log_z + total.double().log().view(-1, self.b).sum(0)
        return message.div_(total)

    def _look(self, total: Float[Tensor, " columns"], dtype: torch.dtype) -> None:
        kind = torch.finfo(dtype)                            # below tiny/eps a sum of subnormals has lost its digits
        self.lost.append(~((total > kind.tiny / kind.eps) & (total < torch.inf)))

    def lost_rows(self) -> Int[Tensor, " lost"]:
        """Return the rows whose messages vanish or are no numbers: at the end only, as each look makes a GPU wait."""
        bad = torch.cat([bad.view(-1, self.b) for bad in self.lost]).any(0)
        return bad.nonzero().flatten() if bool(bad.any()) else bad.new_empty(0, dtype=torch.int64)

    def descend(self, *, leave_out: bool) -> Iterator[tuple[int, Tensor]]:
        """Yield (level, posterior) from the root down; with `leave_out`, the message from above alone."""
        g = self.g
        down = torch.full_like(self.up[-1], 1.0 / g.v)
        for level in range(g.L, -1, -1):
            yield level, down if leave_out else self._normalise(down * self.up[level])
            if level == 0:
                return
            rows, scatter = self.rows[level - 1], self.scatter[level - 1]
            children = self.up[level - 1].view(g.v * g.s, -1)
            below = children.new_empty(g.v, g.s, children.shape[1])
            for j in range(g.s):
                first, *others = (i for i in range(g.s) if i != j)
                weight = children.index_select(0, rows[first])
                weight.view(g.v, g.m, -1).mul_(down.unsqueeze(1))
                for i in others:
                    weight *= children.index_select(0, rows[i])
                torch.mm(scatter[j], weight, out=below[:, j])
            down = self._normalise(below.view(g.v, -1))

    def draw(self, uniforms: Float[Tensor, "b draws"]) -> Iterator[tuple[int, Tensor]]:
        """Yield (level, symbols in column order) of one posterior sample per row, from the root down."""
        g = self.g
        symbols, used = self._pick(self.up[-1], uniforms[:, 0]), 1
        yield g.L, symbols
        for level in range(g.L - 1, -1, -1):
            children = self.up[level].view(g.v * g.s, -1)
            nodes = children.shape[1] // self.b
            rows = self.rows[level].view(g.s, g.v, g.m)[:, symbols].mT                 # (s, m, columns)
            weight = children.gather(0, rows[0])
            for j in range(1, g.s):
                weight *= children.gather(0, rows[j])
            choice = self._pick(weight, uniforms[:, used:used + nodes].T.reshape(-1))
            used += nodes
            symbols = rows.gather(1, choice.expand(g.s, 1, -1)).reshape(-1) // g.s
            yield level, symbols

    def _pick(self, weight: Float[Tensor, "k columns"], u: Float[Tensor, " columns"]) -> Int[Tensor, " columns"]:
        """Draw an index below k with probability ∝ `weight` in each column, from uniform numbers `u`."""
        heap = weight.double().cumsum(0)
        self._look(heap[-1], weight.dtype)
        return (heap[:-1] <= u * heap[-1]).sum(0)
