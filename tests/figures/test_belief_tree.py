"""The interactive tree: its script against hierlib and against plain enumeration, the figure in a browser."""

import itertools
import re
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from hierlib import rhm
from hierlib.figures import belief_tree
from hierlib.rhm import theory
from tests.browser import assert_fits_a_phone, assert_whole, opened, run_calls

GRAMMARS = [  # v, m, s, L
    (3, 2, 2, 3), (4, 3, 2, 2), (3, 2, 3, 2), (4, 1, 2, 3), (3, 1, 3, 2), (5, 2, 2, 2), (2, 2, 2, 2),
    (6, 4, 2, 1),
]
OWN = """
  stream: (n, seed) => Array.from({ length: n }, it.mulberry32(seed)),
  many: (n, name, ...given) => Array.from({ length: n }, () => it[name](...given)),
"""
SOURCE = belief_tree(rhm.Grammar.random(v=2, m=1, s=2, L=1)).source


def script(*calls):
    """Run calls of the script's functions, one result each."""
    return run_calls(OWN, SOURCE, calls)


def plain(g):
    return {"v": g.v, "m": g.m, "s": g.s, "L": g.L, "rules": g.rules.tolist()}


def derivations(g):
    """All derivations of a tiny grammar, each a list of levels 0 … L, without hierlib's parser."""
    rules = g.rules.tolist()
    trees = [[[root]] for root in range(g.v)]                       # from the root down
    for level in reversed(range(g.L)):
        trees = [
            [*tree, [b for rule in chosen for b in rule]]
            for tree in trees
            for chosen in itertools.product(*(rules[level][a] for a in tree[-1]))
        ]
    return [tree[::-1] for tree in trees]


def posterior(g, likelihood):
    """Every derivation of the grammar and its probability given the noisy leaves."""
    trees = derivations(g)
    weight = np.array([np.prod([row[a] for row, a in zip(likelihood, tree[0])]) for tree in trees])
    return trees, weight / weight.sum()


def brute_marginals(g, likelihood):
    post = [np.zeros((g.s ** (g.L - level), g.v)) for level in range(g.L + 1)]
    for tree, p in zip(*posterior(g, likelihood)):
        for level, symbols in enumerate(tree):
            post[level][np.arange(len(symbols)), symbols] += p
    return post


def assert_frequencies(counts, p, alpha=1e-6):
    """Chi-square test of observed counts against probabilities; cells of small expectation are pooled."""
    counts, p = np.asarray(counts, float), np.asarray(p, float)
    assert not counts[p == 0].any()
    expected = p * counts.sum()
    rare = expected < 8
    observed, expected = (np.append(x[~rare], x[rare].sum()) for x in (counts, expected))
    observed, expected = observed[expected > 0], expected[expected > 0]
    assert chi2.sf(((observed - expected) ** 2 / expected).sum(), len(expected) - 1) > alpha


@pytest.mark.parametrize("size", GRAMMARS, ids=str)
def test_marginals_equal_hierlib_and_enumeration(size):
    v, m, s, L = size
    gen = np.random.default_rng(size)
    grammars = [rhm.Grammar.random(v=v, m=m, s=s, L=L, seed=seed) for seed in range(3)]
    likelihoods = [gen.gamma(0.3, size=(s**L, v)) * 10.0 ** gen.integers(-8, 8, (s**L, 1)) for _ in grammars]
    for likelihood, g in zip(likelihoods, grammars):                 # some leaves seen exactly
        seen = gen.random(g.d) < 0.25
        likelihood[seen] = np.eye(v)[g.sample(1, seed=5)[0][0].numpy()][seen]
    results = script(*(("marginals", plain(g), x.tolist()) for g, x in zip(grammars, likelihoods)))
    for g, likelihood, result in zip(grammars, likelihoods, results):
        library = rhm.marginals(g, torch.from_numpy(likelihood)[None])
        brute = brute_marginals(g, likelihood)
        for level in range(L + 1):
            np.testing.assert_allclose(result[level], library[level][0].numpy(), rtol=0, atol=1e-12)
            np.testing.assert_allclose(result[level], brute[level], rtol=0, atol=1e-12)


def test_marginals_equal_hierlib_on_the_books_grammar():
    g = rhm.Grammar.random(v=32, m=8, s=2, L=6, seed=0)
    x = g.sample(1, seed=1)[0]
    likelihoods = [rhm.channels.uniform(x, 0.2, 32, seed=2, dtype=torch.float64),
                   rhm.channels.masking(x, 0.3, 32, seed=3, dtype=torch.float64),
                   rhm.channels.epsilon_process(x, 0.73, 32, dtype=torch.float64)]
    results = script(*(("marginals", plain(g), y[0].tolist()) for y in likelihoods))
    for y, result in zip(likelihoods, results):
        for mine, library in zip(result, rhm.marginals(g, y)):
            np.testing.assert_allclose(mine, library[0].numpy(), rtol=0, atol=1e-12)


def test_impossible_leaves_are_refused():
    g = rhm.Grammar.random(v=4, m=1, s=2, L=1, seed=0)
    written = g.rules[0, :, 0].tolist()
    bad = next([a, b] for a in range(4) for b in range(4) if [a, b] not in written)
    likelihood = np.eye(4)[bad].tolist()
    for result in script(("marginals", plain(g), likelihood),
                         ("samplePosterior", plain(g), likelihood, ["rng", 0]),
                         ("marginals", plain(g), [[0, 0, 0, 0], [1, 1, 1, 1]])):
        assert "RangeError: likelihood" in result["error"]


@pytest.mark.parametrize("size", [(3, 2, 2, 2), (3, 2, 3, 1), (4, 1, 2, 2), (2, 2, 2, 2)], ids=str)
def test_posterior_samples_follow_the_exact_posterior(size):
    v, m, s, L = size
    g = rhm.Grammar.random(v=v, m=m, s=s, L=L, seed=3)
    likelihood = np.random.default_rng(7).gamma(0.7, size=(g.d, v))
    trees, p = posterior(g, likelihood)
    n = 20000
    draws, prior = script(("many", n, "samplePosterior", plain(g), likelihood.tolist(), ["rng", 11]),
                          ("many", n, "sampleTree", plain(g), ["rng", 12]))
    for sample, probability in ((draws, p), (prior, np.full(len(trees), 1 / len(trees)))):
        seen = Counter(map(str, sample))                            # whole derivations: all joint statistics
        assert set(seen) <= set(map(str, trees))
        assert_frequencies([seen[str(tree)] for tree in trees], probability)
    exact = rhm.marginals(g, torch.from_numpy(likelihood)[None])
    for level in range(L + 1):
        kept = np.array([tree[level] for tree in draws])
        for node in range(kept.shape[1]):
            assert_frequencies(np.bincount(kept[:, node], minlength=v), exact[level][0, node].numpy())


def test_random_numbers_are_mulberry32():
    def reference(seed, n):
        out, a, word = [], seed, 2**32
        for _ in range(n):
            a = (a + 0x6D2B79F5) % word
            t = (a ^ a >> 15) * (a | 1) % word
            t ^= (t + (t ^ t >> 7) * (t | 61)) % word
            out.append((t ^ t >> 14) / word)
        return out

    for seed, result in zip((0, 1, 2**31), script(*(("stream", 50, seed) for seed in (0, 1, 2**31)))):
        assert result == reference(seed, 50)
    draws = np.array(script(("stream", 40000, 5))[0])
    assert_frequencies(np.bincount((draws * 20).astype(int), minlength=20), np.full(20, 1 / 20))


def test_channels_obey_their_definitions():
    v, d, eps = 5, 20000, 0.3
    x = np.random.default_rng(0).integers(v, size=d)
    settings = [("epsilon", eps), ("mask", eps), ("mask", 0.6), ("uniform", eps), ("uniform", 0.1)]
    epsilon, mask, more, uniform, less = script(
        *(("channel", kind, x.tolist(), level, v, ["rng", 1]) for kind, level in settings))
    library = rhm.channels.epsilon_process(torch.from_numpy(x)[None], eps, v, dtype=torch.float64)[0]
    np.testing.assert_allclose(epsilon, library, rtol=0, atol=1e-15)
    np.testing.assert_allclose(np.array(epsilon)[np.arange(d), x], 1 - eps + eps / v, rtol=0, atol=1e-15)

    hidden = (np.array(mask) == 1 / v).all(1)
    np.testing.assert_array_equal(np.array(mask)[~hidden], np.eye(v)[x[~hidden]])
    assert_frequencies([hidden.sum(), (~hidden).sum()], [eps, 1 - eps])
    assert (hidden <= (np.array(more) == 1 / v).all(1)).all()       # more noise hides more of the same leaves

    y = np.argmax(uniform, 1)
    np.testing.assert_allclose(uniform, (1 - eps) * np.eye(v)[y] + eps / v, rtol=0, atol=1e-15)
    shift = np.bincount((y - x) % v, minlength=v)
    assert_frequencies(shift, [1 - eps + eps / v] + [eps / v] * (v - 1))
    early = np.argmax(less, 1)
    assert ((early == x) | (early == y)).all()                      # a leaf keeps its luck as the noise moves


@pytest.mark.parametrize("kind", ["epsilon", "mask", "uniform"])
def test_channels_at_the_ends(kind):
    clean, lost, unknown = script(*(("channel", *args, 3, ["rng", 2]) for args in
                                    ((kind, [0, 1, 2, 1], 0), (kind, [0, 1, 2, 1], 1), ("gauss", [0], 0.5))))
    np.testing.assert_array_equal(clean, np.eye(3)[[0, 1, 2, 1]])
    np.testing.assert_allclose(lost, np.full((4, 3), 1 / 3), rtol=0, atol=1e-15)
    assert "gauss" in unknown["error"] and "allowed" in unknown["error"]


@pytest.mark.parametrize("size", [(32, 8, 2, 7), (24, 5, 3, 3), (12, 1, 2, 4), (6, 6, 2, 5)], ids=str)
def test_mean_field_equals_theory(size):
    v, m, s, L = size
    noise = np.linspace(0, 1, 11)
    library = theory.beliefs(noise, v=v, m=m, s=s, L=L)._asdict()
    results = script(*(("meanField", {"v": v, "m": m, "s": s, "L": L}, eps) for eps in noise))
    for name, levels in library.items():
        np.testing.assert_allclose([r[name] for r in results], levels.T, rtol=0, atol=1e-12)


def test_mean_field_reproduces_tabulated_values():
    table = {  # (32, 8, 2, 7): leaves to class
        0.5: [0.980, 0.989, 0.994, 0.996, 0.996, 0.995, 0.991, 0.983],
        0.7: [0.871, 0.879, 0.884, 0.883, 0.870, 0.840, 0.779, 0.664],
        0.8: [0.442, 0.357, 0.267, 0.181, 0.112, 0.066, 0.044, 0.034],
    }
    size = {"v": 32, "m": 8, "s": 2, "L": 7}
    for levels, result in zip(table.values(), script(*(("meanField", size, eps) for eps in table))):
        np.testing.assert_allclose(result["marginal"], levels, rtol=0, atol=6e-4)


def test_transition_equals_theory_and_the_closed_form():
    sizes = [(32, 8, 2), (16, 4, 2), (8, 3, 2), (32, 16, 2), (32, 20, 2), (32, 1, 2), (24, 90, 3), (24, 5, 3),
             (24, 2, 3)]
    results = script(*(("transition", dict(zip("vms", size))) for size in sizes))
    for (v, m, s), result in zip(sizes, results):
        library = theory.transition(v=v, m=m, s=s)
        assert (result is None) == (library is None)
        if result is None:
            continue
        np.testing.assert_allclose([result["p"], result["eps"]], library, rtol=0, atol=1e-12)
        if s == 2:
            p = (m - 1) / (v - m)
            np.testing.assert_allclose([result["p"], result["eps"]], [p, (1 - p) * v / (v - 1)], atol=1e-12)
    assert [result is None for result in results] == [False] * 4 + [True, True, False, False, True]


def test_html_is_whole_stable_and_fetches_nothing():
    g = rhm.Grammar.random(v=6, m=2, s=2, L=3, seed=0)
    figure = belief_tree(g, seed=4, epsilon=0.25, name="a-tree")
    assert repr(figure) == "InteractiveFigure('a-tree', v=6, m=2, s=2, L=3, seed=4, epsilon=0.25)"
    twin = belief_tree(g, seed=4, epsilon=0.25, name="a-tree")
    assert_whole(figure, twin, "belief-tree", {**plain(g), "seed": 4, "epsilon": 0.25})


@pytest.mark.parametrize(("argument", "value"), [
    ("seed", -1), ("seed", 2**31), ("epsilon", 1.5), ("epsilon", float("nan")), ("name", "a b"), ("name", ""),
    ("name", 'x"><script>'), ("g", (4, 2, 2, 8)), ("g", (64, 64, 2, 7)),
])
def test_bad_input_is_named(argument, value):
    arguments = {"g": rhm.Grammar.random(v=4, m=2, s=2, L=2), argument: value}
    if argument == "g":
        arguments["g"] = rhm.Grammar.random(**dict(zip("vmsL", value)))
    with pytest.raises(ValueError, match=f"^{argument} = .*: must be "):
        belief_tree(**arguments)


def shown(figure):
    """Read the tooltips: (true symbol, belief, drawn symbol), row by row from the class to the leaves."""
    rows = {}
    for text in figure.locator(".bt-fig > g > title").all_text_contents():
        said = re.match(r"(class|level \d+|leaf): true symbol (\d+), belief in it ([\d.]+)", text)
        row, a, belief = said.groups()
        became = re.search(r"became (\d+)", text)
        rows.setdefault(row, []).append((int(a), float(belief), int(became[1]) if became else int(a)))
    return list(rows.values())


def test_figure_in_a_browser(browser):
    g = rhm.Grammar.random(v=12, m=4, s=2, L=5, seed=0)
    ternary = rhm.Grammar.random(v=8, m=3, s=3, L=2, seed=0)
    first, second, third = (belief_tree(h, epsilon=0.7, name=name)
                            for h, name in ((g, "one"), (ternary, "two"), (g, "three")))
    page, trouble = opened(browser, (first, second), third)
    one = page.locator("#one")
    assert [len(row) for row in shown(one)] == [1, 2, 4, 8, 16, 32]
    assert [len(row) for row in shown(page.locator("#two"))] == [1, 3, 9]
    assert shown(page.locator("#three")) == shown(one)

    one.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    assert one.locator("output").inner_text() == "0.69"
    leaves = torch.tensor([[a for a, _, _ in shown(one)[-1]]])
    truth = g.parse(leaves)
    exact = rhm.marginals(g, rhm.channels.epsilon_process(leaves, 0.69, 12, dtype=torch.float64))
    for row, symbols, post in zip(shown(one), truth[::-1], exact[::-1]):
        assert [a for a, _, _ in row] == symbols[0].tolist()
        belief = post[0].gather(1, symbols.T)[:, 0].tolist()
        assert [b for _, b, _ in row] == pytest.approx(belief, abs=5.1e-4)

    one.get_by_role("button", name="U-turn").press("Enter")
    for row, symbols in zip(shown(one), g.parse(torch.tensor([[c for _, _, c in shown(one)[-1]]]))[::-1]):
        assert [c for _, _, c in row] == symbols[0].tolist()         # the way back ends in the grammar
    changed = sum(a != c for row in shown(one) for a, _, c in row)
    assert one.locator(".bt-fig path.bt-changed").count() == changed
    before = shown(one)
    one.get_by_role("button", name="draw again").click()
    assert shown(one) != before
    one.get_by_role("button", name="another tree").click()
    assert [a for a, _, _ in shown(one)[-1]] != leaves[0].tolist()
    for kind in ("mask", "uniform"):
        one.get_by_role("combobox").select_option(kind)
        assert one.locator(".bt-fig .bt-tick").count() == 0
    assert_fits_a_phone(page, ".bt-fig")
    assert trouble == []
