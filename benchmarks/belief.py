"""Exact inference and sampling on the Random Hierarchy Model; times are per sequence.

marginals, those of every node; compiled, with that option; compilation, the CPU time of the first call with it, all
sequences included:

- naive: batch-first messages, gather and ``scatter_add``; what one writes first (below).
- eager: hierlib without compilation.
- pgmpy: junction tree of one sequence, built, calibrated and queried. hierlib has one sequence only, too.
- pgmax: flooding for 2L + 2 rounds, exact on a tree; jit and vmap over the batch, compilation not counted.
- traffic: a bound for code that writes every intermediate to memory. The v·m rule weights of an inner node are
  written or read 12 times (up: 2 gathers written, the product 3, the sum 1; down, for each of two children: the
  product 2, the sum 1), at the bandwidth of a triad ``a = b + c/2`` measured in the same turns. Blocks that stay
  in cache can beat it.
- fused: the same for code whose sums stay in registers. Of v numbers each, the likelihoods of the d leaves are read,
  the messages up of all N nodes written once and read once, on the way down, and the N marginals written:
  (d + 3 N) v in all. Messages down are not counted, as a child's follows from its marginal.

sample:

- loop: plain Python, node after node.
- randint: a bound, ``torch.randint`` drawing the numbers that are needed (one per inner node and one for the class)
  and nothing else.

pictures, the exact denoiser of images in pixel space:

- Empirical: the posterior mean over a finite set, which are all images of the grammar, 4096.

The size is v, m, s, L.
"""

import os
import random
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from unittest import mock

import torch

from benchmarks.common import check, fastest, row
from hierlib import rhm
from hierlib.diffusion import ideal
from hierlib.lab.types import Float, Tensor
from hierlib.rhm import Grammar
from hierlib.rhm.pictures import Pictures, gabor

PASSES = 12          # over the v·m rule weights of a node, by unfused code (s = 2)


def size(g: Grammar) -> str:
    """Return the name of a size."""
    return f"{g.v},{g.m},{g.s},{g.L}"


def likelihoods(g: Grammar, n: int, dtype: torch.dtype) -> Float[Tensor, "n d v"]:
    """Return random soft evidence on every leaf."""
    return torch.rand(n, g.d, g.v, dtype=dtype, generator=torch.Generator().manual_seed(0))


def check_levels(found: list[Tensor], expected: list[Tensor], who: str) -> None:
    """Stop when two lists of marginals, level by level, differ."""
    for a, b in zip(found, expected, strict=True):
        check(a, b, who, 1e-12 if expected[0].dtype == torch.float64 else 1e-5)


def naive_marginals(g: Grammar, likelihood: Float[Tensor, "n d v"]) -> list[Float[Tensor, "n _ v"]]:
    """Return what :func:`hierlib.rhm.marginals` does, by messages (sequence, node, symbol) of the whole batch."""
    def normalise(message: Tensor) -> Tensor:
        return message / message.sum(-1, keepdim=True)

    def pick(message: Tensor, index: Tensor) -> Tensor:        # gather: 1.6 times faster than index_select
        return message.gather(-1, index.expand(*message.shape[:-1], -1))

    n, parent = len(likelihood), torch.arange(g.v).repeat_interleave(g.m)
    symbols = g.rules.flatten(1, 2).transpose(1, 2)            # (L, s, v·m)
    up = [normalise(likelihood)]
    for level in range(g.L):
        children = up[-1].view(n, -1, g.s, g.v)
        weight = pick(children[:, :, 0], symbols[level, 0])
        for j in range(1, g.s):
            weight = weight * pick(children[:, :, j], symbols[level, j])
        message = weight.new_zeros(*weight.shape[:2], g.v)
        up.append(normalise(message.scatter_add_(-1, parent.expand_as(weight), weight)))
    down = torch.full_like(up[-1], 1 / g.v)
    beliefs = [up[-1]]
    for level in range(g.L - 1, -1, -1):
        children = up[level].view(n, -1, g.s, g.v)
        below = torch.zeros_like(children)
        for j in range(g.s):
            weight = pick(down, parent)
            for i in range(g.s):
                if i != j:
                    weight = weight * pick(children[:, :, i], symbols[level, i])
            below[:, :, j].scatter_add_(-1, symbols[level, j].expand_as(weight), weight)
        down = normalise(below.view(n, -1, g.v))
        beliefs.append(normalise(down * up[level]))
    return beliefs[::-1]


def families(g: Grammar) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield, for every inner node, the level of its rules and itself with its children as (level, position)."""
    for level in range(g.L):
        for i in range(g.s ** (g.L - level - 1)):
            yield level, [(level + 1, i), *((level, g.s * i + j) for j in range(g.s))]


def pgmpy_marginals(g: Grammar, likelihood: Float[Tensor, "1 d v"]) -> list[Float[Tensor, "1 _ v"]]:
    """Return the marginals of one sequence by pgmpy's junction tree, from an empty model to the last query."""
    from pgmpy.factors.discrete import DiscreteFactor
    from pgmpy.inference import BeliefPropagation
    from pgmpy.models import DiscreteMarkovNetwork

    net = DiscreteMarkovNetwork()
    for level, nodes in families(g):
        table = torch.zeros([g.v] * (g.s + 1), dtype=torch.float64)
        table[torch.arange(g.v).repeat_interleave(g.m), *g.rules[level].flatten(0, 1).T] = 1
        net.add_edges_from([(a, b) for k, a in enumerate(nodes) for b in nodes[k + 1:]])
        net.add_factors(DiscreteFactor(nodes, table.shape, table.numpy()))
    net.add_factors(*(DiscreteFactor([(0, i)], [g.v], leaf.numpy()) for i, leaf in enumerate(likelihood[0])))
    tree = BeliefPropagation(net)
    tree.calibrate()
    return [torch.stack([torch.as_tensor(tree.query([(level, i)], show_progress=False).values)
                         for i in range(g.s ** (g.L - level))])[None] for level in range(g.L + 1)]


def pgmax_marginals(g: Grammar) -> Callable[[Tensor], list[Tensor]]:
    """Return a function of the likelihoods, by PGMax's belief propagation over the rules as allowed configurations."""
    import jax
    import numpy as np
    from pgmax import fgraph, fgroup, infer, vgroup

    levels = [vgroup.NDVarArray(num_states=g.v, shape=(g.s ** (g.L - level),)) for level in range(g.L + 1)]
    graph = fgraph.FactorGraph(variable_groups=levels)
    parent = torch.arange(g.v).repeat_interleave(g.m)[:, None]
    configurations = [torch.cat([parent, rules.flatten(0, 1)], 1).numpy() for rules in g.rules]
    for level in range(g.L):
        graph.add_factors(fgroup.EnumFactorGroup(
            variables_for_factors=[[levels[k][i] for k, i in nodes] for l, nodes in families(g) if l == level],
            factor_configs=configurations[level]))
    solver = infer.build_inferer(graph.bp_state, backend="bp")

    @jax.jit
    @jax.vmap
    def solve(evidence: jax.Array) -> dict:
        arrays = solver.init(evidence_updates={levels[0]: evidence})
        arrays = solver.run(arrays, num_iters=2 * g.L + 2, damping=0.0, temperature=1.0)
        return infer.get_marginals(solver.get_beliefs(arrays))

    def run(likelihood: Tensor) -> list[Tensor]:
        found = jax.block_until_ready(solve(likelihood.log().numpy()))
        return [torch.from_numpy(np.array(found[level])) for level in levels]

    return run


def loop_sample(g: Grammar, rules: list, n: int, rng: random.Random) -> list[list[int]]:
    """Return `n` strings; `rules` is ``g.rules.tolist()``."""
    strings = []
    for _ in range(n):
        symbols = [rng.randrange(g.v)]
        for level in range(g.L - 1, -1, -1):
            symbols = [b for a in symbols for b in rng.choice(rules[level][a])]
        strings.append(symbols)
    return strings


def triad(length: int, dtype: torch.dtype) -> Callable[[], Tensor]:
    """Return a function that reads two vectors and writes a third."""
    a, b, c = torch.zeros(3, length, dtype=dtype)
    return lambda: torch.add(b, c, alpha=0.5, out=a)


def marginals_row(g: Grammar, dtype: torch.dtype, quick: bool) -> dict:
    """Return the row of exact inference against the naive version and the memory traffic."""
    n, repeats, length = (16, 2, 2**20) if quick else (128, 20, 2**24)
    likelihood = likelihoods(g, n, dtype)
    check_levels(naive_marginals(g, likelihood), rhm.marginals(g, likelihood), "naive")
    ours, naive, copy = fastest(repeats, lambda: rhm.marginals(g, likelihood), lambda: naive_marginals(g, likelihood),
                                triad(length, dtype))
    traffic = PASSES * g.v * g.m * g.n_rules / (3 * length) * copy      # the size of an element cancels
    what = f"marginals, {str(dtype).removeprefix('torch.')}"
    return row(what, size(g), "µs/string", ours / n, "naive", naive / n, "traffic", traffic)


def compiled_rows(g: Grammar, few: int) -> list[dict]:
    """Return the rows of compilation and of compiled inference; without it `few` of the sequences are done."""
    n, length = 2240, 2**24
    likelihood = likelihoods(g, n, torch.float32)
    with tempfile.TemporaryDirectory() as empty, mock.patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=empty):
        start = sum(os.times()[:4])                                    # with that of the C++ compiler
        found = rhm.marginals(g, likelihood, compiled=True)
        compilation = sum(os.times()[:4]) - start
    check_levels(found, rhm.marginals(g, likelihood), "compiled")
    ours, eager, naive, copy = fastest(
        5, lambda: rhm.marginals(g, likelihood, compiled=True), lambda: rhm.marginals(g, likelihood[:few]),
        lambda: naive_marginals(g, likelihood[:128]), triad(length, torch.float32))
    fused = (g.d + 3 * sum(g.widths)) * g.v / (3 * length) * copy
    return [row("compilation", size(g), "s", compilation),
            row("marginals, compiled", size(g), "µs/string", ours / n, "eager", eager / few, "fused", fused),
            row("marginals, compiled", size(g), "µs/string", ours / n, "naive", naive / 128)]


def library_rows(name: str, g: Grammar, quick: bool) -> list[dict]:
    """Return the row of exact inference against a library, or none and say that it is missing."""
    n, dtype = (1, torch.float64) if name == "pgmpy" else (32, torch.float32)
    likelihood = likelihoods(g, n, dtype)
    try:
        peer = pgmax_marginals(g) if name == "pgmax" else partial(pgmpy_marginals, g)
        found = peer(likelihood)
    except (ImportError, AttributeError) as error:      # AttributeError: PGMax 0.6.1 on a JAX too new for it
        print(f"# {name} skipped: {error}", file=sys.stderr)
        return []
    check_levels(found, rhm.marginals(g, likelihood), name)
    ours, other = fastest(2 if quick else 5, lambda: rhm.marginals(g, likelihood), lambda: peer(likelihood))
    what = f"marginals, {str(dtype).removeprefix('torch.')}"
    return [row(what, size(g), "µs/string", ours / n, name, other / n)]


def sample_row(g: Grammar, quick: bool) -> dict:
    """Return the row of sampling against a Python loop and the random number generator."""
    repeats, n, few = (2, 2**14 // g.d, 2**12 // g.d) if quick else (20, 2**20 // g.d, 2**14 // g.d)
    gen, rng, rules = torch.Generator().manual_seed(0), random.Random(0), g.rules.tolist()
    g.parse(torch.tensor(loop_sample(g, rules, 4, rng)))            # raises unless the strings are valid
    ours, loop, draws = fastest(
        repeats,
        lambda: g.sample(n, seed=gen),
        lambda: loop_sample(g, rules, few, rng),
        lambda: torch.randint(g.v * g.m, (n, 1 + g.n_rules), generator=gen),
    )
    return row("sample", size(g), "µs/string", ours / n, "loop", loop / few, "randint", draws / n)


def pictures_row(quick: bool) -> dict:
    """Return the row of the exact denoiser of pictures against the posterior mean over all images of the grammar."""
    pictures = Pictures(Grammar.random(4, 4, 4, 1 if quick else 2), gabor(4, 4))
    everything = pictures.draw(pictures.g.enumerate())
    y = torch.randn(512, *pictures.shape, generator=torch.Generator().manual_seed(0))
    empirical = ideal.Empirical(everything)
    check(pictures(y, 0.1), empirical(y, 0.1), "Empirical", 1e-3)
    ours, theirs = fastest(2 if quick else 20, lambda: pictures(y, 0.1), lambda: empirical(y, 0.1))
    return row("pictures", size(pictures.g), "µs/image", ours / len(y), "Empirical", theirs / len(y))


def rows(quick: bool) -> list[dict]:
    """Return all rows; a quick run compiles nothing."""
    warnings.simplefilter("ignore")      # the other libraries' own
    found = [marginals_row(Grammar.random(32, 8, 2, L), dtype, quick)
             for L in (5, 6, 7) for dtype in (torch.float32, torch.float64)]
    for L, few in () if quick else ((5, 2240), (7, 512)):
        found += compiled_rows(Grammar.random(32, 8, 2, L), few)
    for name, case in (("pgmpy", (32, 8, 2, 3)), ("pgmax", (32, 8, 2, 5))):
        found += library_rows(name, Grammar.random(*((3, 2, 2, 2) if quick else case)), quick)
    for case in ((8, 4, 2, 3), (16, 4, 2, 4), (32, 8, 2, 7), (32, 8, 2, 10)):
        found.append(sample_row(Grammar.random(*case), quick))
    return [*found, pictures_row(quick)]
