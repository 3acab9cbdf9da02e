"""Exact inference and sampling on the Random Hierarchy Model: speed against peers and bounds.

    python benchmarks/belief.py            about half a minute
    python benchmarks/belief.py --quick    a few seconds; shows that everything runs, its figures mean little

A row compares hierlib with one other way of getting the same result. Both run in turns, several times, on one
torch thread, and the smallest CPU time of each counts. `ratio` is the speed of hierlib over that of the other:
above 1 hierlib is faster; for a bound it is the fraction reached. Peers are checked to agree before they are timed.

Inference, posterior marginals of every node, µs per sequence:

- naive: batch-first messages, gather and ``scatter_add``; what one writes first (below).
- traffic: a bound for code that writes every intermediate to memory. The v·m rule weights of an inner node are
  written or read 12 times (up: 2 gathers written, the product 3, the sum 1; down, for each of two children: the
  product 2, the sum 1), at the bandwidth of a triad ``a = b + c/2`` measured in the same turns. Blocks that stay
  in cache can beat it.
- pgmpy: junction tree of one sequence, built, calibrated and queried. hierlib has one sequence only, too.
- pgmax: flooding for 2L + 2 rounds, exact on a tree; jit and vmap over the batch, compilation not counted.

Sampling, sequences per second:

- loop: plain Python, node after node.
- randint: a bound, ``torch.randint`` drawing the numbers that are needed (one per inner node and one for the class)
  and nothing else.
"""

import random
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import pandas as pd
import torch
from common import check, fastest, started

from hierlib import rhm
from hierlib.lab.types import Float, Tensor
from hierlib.rhm import Grammar

AIM = 400e-6         # seconds per sequence, marginals at (v, m, s, L) = (32, 8, 2, 7) in float32 on one core
PASSES = 12          # over the v·m rule weights of a node, by unfused code (s = 2)


def row(task: str, g: Grammar, dtype: torch.dtype, against: str, ours: float, other: float, aim: str = "-") -> dict:
    """Return a row of the table from the seconds per sequence of hierlib and of the other."""
    def show(seconds: float) -> str:
        return f"{1e6 * seconds:.1f}" if task == "marginals" else f"{1 / seconds:.0f}"

    return {
        "task": task, "v,m,s,L": f"{g.v},{g.m},{g.s},{g.L}", "dtype": str(dtype).removeprefix("torch."),
        "unit": "µs/seq" if task == "marginals" else "seq/s", "hierlib": show(ours), "against": against,
        "other": show(other), "ratio": f"{other / ours:.3g}", "aim": aim,
    }


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


def marginals_rows(g: Grammar, dtype: torch.dtype, quick: bool) -> list[dict]:
    """Return the rows of exact inference against the naive version and the memory traffic."""
    n, repeats, size = (16, 2, 2**20) if quick else (128, 20, 2**24)
    likelihood = likelihoods(g, n, dtype)
    check_levels(naive_marginals(g, likelihood), rhm.marginals(g, likelihood), "naive")
    a, b, c = torch.zeros(3, size, dtype=dtype)
    ours, naive, triad = fastest(
        repeats,
        lambda: rhm.marginals(g, likelihood),
        lambda: naive_marginals(g, likelihood),
        lambda: torch.add(b, c, alpha=0.5, out=a),
    )
    traffic = PASSES * g.v * g.m * g.n_rules / (3 * size) * triad      # the size of an element cancels
    aim = "-" if (g.L, dtype) != (7, torch.float32) else "met" if ours / n <= AIM else "missed"
    return [row("marginals", g, dtype, "naive", ours / n, naive / n, aim),
            row("marginals", g, dtype, "traffic", ours / n, traffic, aim)]


def library_rows(name: str, g: Grammar, quick: bool) -> list[dict]:
    """Return the row of exact inference against a library, or none and say that it is missing."""
    n, dtype = (1, torch.float64) if name == "pgmpy" else (32, torch.float32)
    likelihood = likelihoods(g, n, dtype)
    try:
        peer = pgmax_marginals(g) if name == "pgmax" else partial(pgmpy_marginals, g)
        found = peer(likelihood)
    except (ImportError, AttributeError) as error:      # AttributeError: PGMax 0.6.1 on a JAX too new for it
        print(f"# {name} skipped: {error}")
        return []
    check_levels(found, rhm.marginals(g, likelihood), name)
    ours, other = fastest(2 if quick else 5, lambda: rhm.marginals(g, likelihood), lambda: peer(likelihood))
    return [row("marginals", g, dtype, name, ours / n, other / n)]


def sample_rows(g: Grammar, quick: bool) -> list[dict]:
    """Return the rows of sampling against a Python loop and the random number generator."""
    repeats, n, few = (2, 2**14 // g.d, 2**12 // g.d) if quick else (20, 2**20 // g.d, 2**14 // g.d)
    gen, rng, rules = torch.Generator().manual_seed(0), random.Random(0), g.rules.tolist()
    g.parse(torch.tensor(loop_sample(g, rules, 4, rng)))            # raises unless the strings are valid
    ours, loop, draws = fastest(
        repeats,
        lambda: g.sample(n, seed=gen),
        lambda: loop_sample(g, rules, few, rng),
        lambda: torch.randint(g.v * g.m, (n, 1 + g.n_rules), generator=gen),
    )
    return [row("sample", g, torch.int64, "loop", ours / n, loop / few),
            row("sample", g, torch.int64, "randint", ours / n, draws / n)]


def main() -> None:
    """Print the table."""
    quick = started(__doc__, aim=f"; aim: at most {1e6 * AIM:.0f} µs per sequence")
    warnings.simplefilter("ignore")      # the other libraries' own
    rows = []
    for L in (5, 6, 7):
        for dtype in (torch.float32, torch.float64):
            rows += marginals_rows(Grammar.random(32, 8, 2, L), dtype, quick)
    for name, case in (("pgmpy", (32, 8, 2, 3)), ("pgmax", (32, 8, 2, 5))):
        rows += library_rows(name, Grammar.random(*((3, 2, 2, 2) if quick else case)), quick)
    for case in ((8, 4, 2, 3), (16, 4, 2, 4), (32, 8, 2, 7), (32, 8, 2, 10)):
        rows += sample_rows(Grammar.random(*case), quick)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
