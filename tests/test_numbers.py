"""A number from outside is made plain where it is checked, and the plain one is used: numpy's overflow silently."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import hierlib
from hierlib import bumps, cumulants, diffusion, nets, rhm
from hierlib.bumps import labels
from hierlib.lab import checks
from hierlib.rhm import contexts
from hierlib.sim.deep import initial

FILES = sorted(path for root in hierlib.__path__ for path in Path(root).rglob("*.py"))
ROOMS = [path for path in FILES if "lab" not in path.parts]
CHECKS = "integer", "integers", "one_of", "positive", "positive_array", "real", "reals"
NUMBERS = ("int", "float", "int | None", "float | None")


def is_check(node: ast.AST) -> bool:
    return (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHECKS
            and ast.unparse(node.func.value) == "checks")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_checked_value_is_thrown_away(path):
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.Expr) and is_check(node.value)), f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "checks.require":
            assert not any(map(is_check, ast.walk(node))), f"line {node.lineno}: {ast.unparse(node)}"


def operands(node: ast.AST) -> list[ast.expr]:
    return [node.left, node.right] if isinstance(node, ast.BinOp) else [getattr(node, "operand", None)]


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: path.stem)
def test_public_functions_reckon_with_plain_numbers_only(path):
    tree = ast.parse(path.read_text())
    offered = {name for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
               for name in ast.literal_eval(node.value)}
    tops = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in offered]
    methods = [f for node in tops for f in getattr(node, "body", ()) if isinstance(node, ast.ClassDef)]
    for f in (*tops, *methods):
        if not isinstance(f, ast.FunctionDef) or (f.name.startswith("_") and f.name != "__init__"):
            continue
        numbers = {a.arg for a in (*f.args.args, *f.args.kwonlyargs)
                   if a.annotation and ast.unparse(a.annotation) in NUMBERS}
        plain = {}                                          # the line from which a name holds what a check returned
        for node in ast.walk(f):
            for name in (n for target in getattr(node, "targets", ()) for n in ast.walk(target)):
                if isinstance(name, ast.Name) and name.id in numbers:
                    plain[name.id] = min(node.lineno, plain.get(name.id, node.lineno))
        for node in ast.walk(f):
            for x in operands(node) if isinstance(node, ast.BinOp | ast.UnaryOp) else ():
                if isinstance(x, ast.Name) and x.id in numbers:
                    assert x.lineno >= plain.get(x.id, np.inf), f"line {node.lineno}: {ast.unparse(node)}"


def test_checks_return_plain_values():
    for found in (checks.integer("k", np.uint8(3), 0), checks.one_of("k", np.uint8(3), (1, 3))):
        assert type(found) is int and found == 3
    for found in (checks.real("x", np.float16(0.5)), checks.positive("x", torch.tensor(0.5)), checks.real("x", 1)):
        assert type(found) is float
    assert type(checks.one_of("s", np.str_("u"), ("u", "v"))) is str


def small(value):
    """The same number in the smallest type of numpy that holds it exactly; what is no number as it is."""
    if not isinstance(value, int | float):
        return value
    kinds = (np.uint8, np.int16, np.int32) if isinstance(value, int) else (np.float16, np.float32, np.float64)
    return next(x for x in (np.array(value).astype(kind)[()] for kind in kinds) if x == value)


G = rhm.Grammar.random(5, 3, 2, 3, seed=0)
X = G.sample(64, seed=0)[0]
MODEL, NEURON = cumulants.MixedCumulantModel(8), cumulants.TiedNeuron()
AT = torch.tensor([[3.0, 5.0], [150.0, 20.5]])
A = torch.tensor([0.5, 1.0], dtype=torch.float64)

CALLS = {
    "Grammar.random": (lambda **k: rhm.Grammar.random(**k).rules, {"v": 32, "m": 200, "s": 3, "L": 2, "seed": 7}),
    "Grammar.sample": (lambda **k: G.sample(**k)[0], {"n": 200}),
    "upward_map": (rhm.theory.upward_map, {"p": 0.5, "v": 32, "m": 8, "s": 7}),
    "upward_slope": (rhm.theory.upward_slope, {"p": 0.5, "v": 32, "m": 8, "s": 7}),
    "downward_map": (rhm.theory.downward_map, {"q": 0.5, "p": 0.25, "v": 32, "m": 8, "s": 7}),
    "beliefs": (rhm.theory.beliefs, {"epsilon": 0.5, "v": 32, "m": 8, "s": 7, "L": 2}),
    "window": (rhm.theory.window, {"v": 32, "s": 7}),
    "transition": (rhm.theory.transition, {"v": 32, "m": 1000, "s": 7}),
    "exponent": (rhm.theory.exponent, {"v": 32, "m": 8, "s": 2}),
    "survival": (rhm.theory.survival, {"epsilon": 0.5, "v": 32, "m": 8, "s": 3, "L": 7}),
    "correlations": (rhm.theory.correlations, {"epsilon": 0.5, "v": 32, "m": 8, "s": 3, "L": 7}),
    "susceptibility": (rhm.theory.susceptibility, {"epsilon": 0.5, "v": 32, "m": 8, "s": 3, "L": 7}),
    "sample_complexity": (rhm.theory.sample_complexity, {"level": 7, "v": 32, "m": 16, "s": 2}),
    "sample_complexity, 1": (rhm.theory.sample_complexity, {"level": 1, "v": 32, "m": 16, "s": 2}),
    "latent_sample_complexity": (rhm.theory.latent_sample_complexity, {"v": 32, "m": 16, "s": 2}),
    "covariance_variance": (rhm.theory.covariance_variance, {"k": 9, "v": 32, "m": 16, "s": 2, "below": 3}),
    "sampling_variance": (rhm.theory.sampling_variance, {"P": 200, "v": 32, "m": 16, "s": 2}),
    "joint": (lambda **k: contexts.joint(G, contexts.Pair(**k)), {"k": 1, "node": 1, "child": 1, "sibling": 0}),
    "threshold": (lambda **k: contexts.threshold(G, contexts.Pair(k["k"]), at=k["at"]), {"k": 1, "at": 0.5}),
    "dynamics": (rhm.dynamics.correlations, {"same": torch.rand(3, 9, 243) < 0.5, "s": 3}),
    "clustering": (lambda **k: rhm.clustering.fit(X, **k).codes, {"v": 5, "s": 2}),
    "channel": (lambda **k: rhm.channels.masking(X, **k), {"epsilon": 0.5, "v": 5}),
    "linear_alpha_bar": (diffusion.discrete.linear_alpha_bar, {"T": 200}),
    "any_order": (lambda v: diffusion.discrete.any_order(lambda q: q, torch.full((3, 4), 200), v, seed=0), {"v": 200}),
    "TokenMLP": (lambda **k: nets.TokenMLP(**k)(torch.ones(1, 20, 20)), {"v": 20, "d": 20, "width": 5, "depth": 2}),
    "TreeUNet": (lambda **k: nets.TreeUNet(**k)(torch.ones(1, 4, 3)), {"v": 3, "s": 2, "L": 2, "width": 150}),
    "model": (lambda d, n: cumulants.MixedCumulantModel(d).with_surrogate(n), {"d": 3, "n": 200}),
    "psgd": (lambda **k: cumulants.psgd(MODEL, NEURON, cumulants.Plan(step=0.5, replicas=2, **k)).n,
             {"batch": 100, "samples": 1000}),
    "deep": (lambda **k: initial("positive", **k), {"depth": 3, "d": 3, "width": 200, "omega": 0.5}),
    "bump": (lambda **k: bumps.bump(AT, **k), {"size": 200, "sigma": 2.0}),
    "uniform": (lambda n, **k: labels.uniform(n, bumps.Domain(**k)), {"n": 100, "size": 200, "margin": 100}),
    "fourier": (lambda **k: labels.fourier(AT, **k), {"size": 200, "K": 200}),
    "lattice": (labels.lattice, {"domain": 100, "spacing": 0.5}),
    "stripes": (lambda **k: labels.stripes(bumps.Domain(**k)), {"size": 200, "margin": 100}),
    "islands": (lambda **k: labels.islands(AT, **k), {"domain": 200, "k": 4, "side": 50.0}),
    "threshold of discs": (lambda **k: bumps.percolation.threshold(**k).times, {"L": 20.0, "n": 2}),
}


@pytest.mark.parametrize(("call", "numbers"), CALLS.values(), ids=CALLS)
def test_small_types_give_what_plain_numbers_give(call, numbers):
    plain, found = call(**numbers), call(**{name: small(value) for name, value in numbers.items()})
    for a, b in zip(*(x if isinstance(x, tuple | list) else (x,) for x in (plain, found)), strict=True):
        a, b = torch.as_tensor(a), torch.as_tensor(b)
        assert torch.equal(a, b) and a.dtype == b.dtype and not a.isnan().any()
