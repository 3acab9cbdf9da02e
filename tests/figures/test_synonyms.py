"""The interactive clustering: its script against scipy, brute force and hierlib, the figure in a browser."""

import itertools
import re

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import linkage
from scipy.optimize import linear_sum_assignment

from hierlib import rhm
from hierlib.figures import synonyms
from hierlib.rhm import clustering
from tests.browser import GROUNDS, assert_fits_a_phone, assert_legible, assert_whole, opened, run_calls
from tests.figures.test_belief_tree import assert_frequencies, plain

# generate n strings from what was found in x; the figure's numbers alone
OWN = """
  write: (g, x, latent, n, rng) => it.generate(g, it.study(g, x, latent), n, rng),
  numbers: (...args) => {
    const { levels, accuracy } = it.look(...args);
    return { ari: levels.slice(1).map((l) => l.ari), ratio: levels.slice(1).map((l) => l.ratio), accuracy };
  },
"""
SIZES = [(6, 3, 2, 3), (4, 2, 3, 2), (5, 2, 2, 4), (3, 2, 3, 3)]   # v, m, s, L


def script(*calls):
    """Run calls of the script's functions, one result each."""
    return run_calls(OWN, synonyms(grammar((4, 2, 2, 2))).source, calls)


def grammar(size, seed=0):
    return rhm.Grammar.random(**dict(zip("vmsL", size)), seed=seed)


def same(a, b):
    """Whether two labellings are one partition."""
    return len(set(zip(a, b))) == len(set(a)) == len(set(b))


def cut(points, k):
    """Return the labels of Ward's k clusters, by scipy: its tree without the last k − 1 merges."""
    n = len(points)
    label = np.arange(n)
    if n > k:
        for step, (a, b) in enumerate(linkage(points, "ward")[: n - k, :2]):
            label[np.isin(label, (a, b))] = n + step
    return label.tolist()


def slow_features(g, current, tokens, k, latent):
    """Return the observed tuples of level k and their features, occurrence by occurrence."""
    tuples = current.reshape(len(current), -1, g.s)
    slots = g.s if latent else g.s**k
    context = (current if latent else tokens).reshape(len(current), -1, slots)
    seen = sorted({tuple(t) for t in tuples.reshape(-1, g.s).tolist()})
    columns = []
    for i, j in itertools.permutations(range(g.s), 2):
        here, there = tuples[:, i::g.s].reshape(-1, g.s), context[:, j::g.s].reshape(-1, slots)
        for q, a in itertools.product(range(slots), range(g.v)):
            hit = there[:, q] == a
            rows = [(here == t).all(1) for t in seen]
            columns.append([hit[r].mean() - hit.mean() if r.any() else 0.0 for r in rows])
    return seen, np.array(columns).T


def slow_adjusted_rand(a, b):
    """Return the adjusted Rand index by looking at every pair."""
    pairs = list(itertools.combinations(range(len(a)), 2))
    in_a, in_b = (np.array([x[i] == x[j] for i, j in pairs]) for x in (a, b))
    chance, most = in_a.sum() * in_b.sum() / len(pairs), (in_a.sum() + in_b.sum()) / 2
    return ((in_a & in_b).sum() - chance) / (most - chance)


def slow_ratio(points, parents):
    """Return R by looking at every pair."""
    square = {True: [], False: []}
    for i, j in itertools.combinations(range(len(points)), 2):
        square[parents[i] == parents[j]].append(((points[i] - points[j]) ** 2).sum())
    return np.mean(square[True]) / np.mean(square[False])


@pytest.mark.parametrize("size", [(3, 2, 2, 2), (2, 2, 3, 1), (4, 1, 2, 2), (2, 2, 2, 2)], ids=str)
def test_samples_are_the_grammars(size):
    g = grammar(size, seed=3)
    n = 20000
    many, few = script(("sample", plain(g), n, ["rng", 5]), ("sample", plain(g), 50, ["rng", 5]))
    assert many[: 50 * g.d] == few                                  # a larger sample holds the smaller one
    x = np.array(many).reshape(n, g.d)
    codes = g.v ** np.arange(g.d)
    strings = g.enumerate().numpy() @ codes
    counts = dict.fromkeys(strings, 0) | dict(zip(*np.unique(x @ codes, return_counts=True)))
    assert len(counts) == g.n_strings
    assert_frequencies([counts[code] for code in strings], np.full(g.n_strings, 1 / g.n_strings))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_climbing_equals_hierlib(size):
    g = grammar(size)
    right = g.sample(200, seed=1)[0]
    broken = torch.where(torch.rand(200, g.d, generator=torch.Generator().manual_seed(2)) < 0.1,
                         (right + 1) % g.v, right)
    results = script(*(("climb", plain(g), x.flatten().tolist()) for x in (right, broken)))
    for x, result in zip((right, broken), results):
        for symbols, ok, (truth, valid) in zip(result["symbols"], result["ok"], g.climb(x)):
            assert ok == valid.flatten().int().tolist()
            assert np.array(symbols)[valid.flatten().numpy()].tolist() == truth[valid].tolist()


@pytest.mark.parametrize("shape", [(12, 3, 4), (40, 5, 6), (7, 2, 7), (5, 2, 9), (30, 24, 1)], ids=str)
def test_ward_equals_scipy(shape):
    n, dimension, k = shape
    points = np.random.default_rng(shape).normal(size=(n, dimension))
    (squared,) = script(("distances", points.flatten().tolist(), n))
    np.testing.assert_allclose(np.reshape(squared, (n, n)), ((points[:, None] - points) ** 2).sum(-1), atol=1e-12)
    (label,) = script(("ward", squared, n, k))
    assert same(label, cut(points, k)) and sorted(set(label)) == list(range(min(n, k)))


@pytest.mark.parametrize("n", [1, 2, 6, 12])
def test_assignment_is_the_best(n):
    tables = np.random.default_rng(n).integers(9, size=(20, n, n))
    for table, found in zip(tables, script(*(("assign", table.tolist()) for table in tables))):
        assert sorted(found) == list(range(n))
        assert table[np.arange(n), found].sum() == table[linear_sum_assignment(table, maximize=True)].sum()


def test_adjusted_rand_index():
    gen = np.random.default_rng(0)
    labels = [(gen.integers(4, size=30), gen.integers(3, size=30)) for _ in range(10)]
    tables = [[[int(((a == i) & (b == j)).sum()) for j in range(3)] for i in range(4)] for a, b in labels]
    results = script(*(("adjustedRand", table) for table in tables))
    np.testing.assert_allclose(results, [slow_adjusted_rand(a, b) for a, b in labels], atol=1e-12)
    ends = script(*(("adjustedRand", t) for t in ([[0, 3], [2, 0]], [[1, 1], [1, 1]], [[1, 0], [0, 1]], [[1]])))
    np.testing.assert_allclose(ends, [1, -0.5, 1, 1], atol=1e-15)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("latent", [False, True], ids=["tokens", "latent"])
def test_levels_equal_brute_force(size, latent):
    g = grammar(size, seed=1)
    for n in (25, 400):
        trees = g.sample(n, seed=2)
        (study,) = script(("study", plain(g), trees[0].flatten().tolist(), latent))
        tokens = current = trees[0].numpy()
        for k in range(1, g.L):
            level, seen, points = study["levels"][k], *slow_features(g, current, tokens, k, latent)
            assert [tuple(row["tuple"]) for row in level["rows"]] == seen
            np.testing.assert_allclose(np.reshape(level["features"], points.shape), points, atol=1e-12)
            nodes = [tuple(t) for t in current.reshape(-1, g.s).tolist()]
            above = trees[k].flatten().tolist()
            parents = [np.bincount([a for a, t in zip(above, nodes) if t == row], minlength=g.v) for row in seen]
            assert [row["parents"] for row in level["rows"]] == [p.tolist() for p in parents]
            truth, found = ([row[name] for row in level["rows"]] for name in ("truth", "found"))
            assert truth == [int(p.argmax()) for p in parents]
            height = linkage(points, "ward")[:, 2]                  # a tie may be broken either way
            if len(seen) > g.v and height[len(seen) - g.v] - height[len(seen) - g.v - 1] > 1e-9:
                assert same(found, cut(points, g.v))
            table = np.zeros((g.v, g.v), int)
            np.add.at(table, (found, truth), 1)
            assert np.trace(table) == table[linear_sum_assignment(table, maximize=True)].sum()
            assert level["ari"] == pytest.approx(slow_adjusted_rand(found, truth), abs=1e-12)
            assert level["ratio"] == pytest.approx(slow_ratio(points, truth), rel=1e-10)
            name = dict(zip(seen, found))
            current = np.array([name[t] for t in nodes]).reshape(n, -1)
        assert study["top"] == current.flatten().tolist()


@pytest.mark.parametrize("context", ["token", "latent"])
def test_levels_equal_the_librarys(context):
    g = grammar((8, 3, 2, 4))
    for n in (300, 1500):
        x = g.sample(n, seed=0)[0]
        library = clustering.fit(x, g.v, g.s, context=context)
        (study,) = script(("study", plain(g), x.flatten().tolist(), context == "latent"))
        levels = study["levels"][1:]
        assert [level["ari"] for level in levels] == pytest.approx(library.score(g).tolist(), abs=1e-12)
        assert [len(level["rows"]) for level in levels] == list(library.sizes[:-1])
        assert same(study["top"], library.parse(x)[g.L - 1].flatten().tolist())


def test_thresholds_equal_the_formulas():
    sizes = [(12, 3, 2, 3), (6, 3, 2, 4), (5, 7, 3, 2)]
    arguments = [dict(zip("vmsL", size)) for size in sizes]
    for (v, m, s, L), token, latent in zip(sizes, script(*(("thresholds", a, False) for a in arguments)),
                                           script(*(("thresholds", a, True) for a in arguments))):
        f = m / v ** (s - 1)
        np.testing.assert_allclose(token, [v * m ** (level + 1) / (1 - f) for level in range(2, L + 1)], rtol=1e-14)
        np.testing.assert_allclose(latent, np.full(L - 1, v * m**3 / (1 - f)), rtol=1e-14)
    full = {"v": 4, "m": 4, "s": 2, "L": 3}
    assert script(("thresholds", arguments[0], False), ("thresholds", full, False)) == [[432, 1296], [None, None]]


@pytest.mark.parametrize("size", [(4, 2, 2, 2), (6, 2, 2, 2)], ids=str)
def test_all_strings_give_the_grammar_back(size):
    g = grammar(size, seed=1)
    strings, n = g.enumerate(), 20000
    found, written = script(("study", plain(g), strings.flatten().tolist(), False),
                            ("write", plain(g), strings.flatten().tolist(), False, n, ["rng", 1]))
    assert [level["ari"] for level in found["levels"][1:]] == [1] * (g.L - 1)
    for level, rules in zip(found["levels"][1:], g.rules.tolist()):
        rows = {(row["found"], *row["tuple"]) for row in level["rows"]}
        assert rows == {(a, *rule) for a in range(g.v) for rule in rules[a]}
    codes = g.v ** np.arange(g.d)
    drawn = dict(zip(*np.unique(np.reshape(written[0], (n, g.d)) @ codes, return_counts=True)))
    counts = [drawn.pop(code, 0) for code in strings.numpy() @ codes]
    assert not drawn
    assert_frequencies(counts, np.full(g.n_strings, 1 / g.n_strings))


def test_written_strings_follow_what_was_found():
    g, n = grammar((4, 2, 2, 3), seed=2), 20000
    x = g.sample(20, seed=3)[0].flatten().tolist()
    found, written = script(("study", plain(g), x, True), ("write", plain(g), x, True, n, ["rng", 4]))
    tops, seen = (np.reshape(y, (-1, g.s)) @ [1, g.v] for y in (written[-1], found["top"]))
    assert_frequencies(np.bincount(tops, minlength=g.v**2), np.bincount(seen, minlength=g.v**2) / len(seen))
    tested = 0
    for k in range(1, g.L):
        parents, children = np.array(written[k]), np.reshape(written[k - 1], (-1, g.s)) @ [1, g.v]
        for a in range(g.v):
            share = np.zeros(g.v**g.s)
            for row in found["levels"][k]["rows"]:
                share[np.dot(row["tuple"], [1, g.v])] += row["count"] * (row["found"] == a)
            drawn = np.bincount(children[parents == a], minlength=len(share))
            assert not drawn[share == 0].any()
            if drawn.sum() and np.count_nonzero(share) > 1:
                assert_frequencies(drawn, share / share.sum())
                tested += 1
    assert tested >= 3


@pytest.mark.parametrize("size", [(6, 3, 2, 3), (4, 2, 2, 4), (4, 2, 3, 2)], ids=str)
def test_many_strings_give_everything(size):
    g = plain(grammar(size))
    states = [{"seed": seed, "P": 20000, "latent": latent} for latent in (False, True) for seed in (0, 7)]
    for now in script(*(("numbers", g, state) for state in states)):
        assert now["ari"] == [1] * (g["L"] - 1) and now["accuracy"] == [1] * (g["L"] + 1)
        assert max(now["ratio"]) < 0.1


def test_what_is_shown_is_what_was_written():
    g, state = grammar((6, 3, 2, 3)), {"seed": 5, "P": 300, "latent": False}
    now, again, other = script(*(("look", plain(g), s) for s in (state, state, {**state, "seed": 6})))
    assert now == again != other
    x = torch.tensor(now["made"][0]).view(-1, g.d)
    assert len(x) == 500
    climbed = g.climb(x)
    assert now["accuracy"] == pytest.approx([float(ok.double().mean()) for _, ok in climbed], abs=1e-12)
    assert now["parsed"]["ok"][3] == climbed[3][1].flatten().int().tolist()
    (sample,) = script(("sample", plain(g), 300, ["rng", (5 * 0x9E3779B1 + 0x85EBCA6B) % 2**32]))
    known = set(map(tuple, np.reshape(sample, (300, g.d)).tolist()))
    valid = climbed[-1][1][:, 0].tolist()
    fresh = [ok and tuple(row) not in known for ok, row in zip(valid, x.tolist())]
    assert sum(fresh) < sum(valid)                                  # some are copies, and are told apart
    assert now["fresh"] == pytest.approx(sum(fresh) / 500, abs=1e-12)


def test_levels_come_one_after_the_other():
    g = plain(grammar((12, 3, 2, 3)))

    def mean(P, latent):
        """Return the adjusted Rand indices and the accuracies, levels 1 … L, mean of 8 samples."""
        looks = script(*(("numbers", g, {"seed": seed, "P": P, "latent": latent}) for seed in range(8)))
        return np.mean([now["ari"] for now in looks], 0), np.mean([now["accuracy"][1:] for now in looks], 0)

    for latent in (False, True):                                    # far below P*_2 = 432: tokens go together, no more
        ari, accuracy = mean(40, latent)
        assert accuracy[0] == 1 and ari.max() < 0.3 and accuracy[2] < 0.2
    (first, second), accuracy = mean(600, False)                    # between P*_2 and P*_3 = 1296
    assert first > 0.8 and second < 0.6 and accuracy[1] > 0.85 > 0.75 > accuracy[2]
    latent, accurate = mean(600, True)
    assert latent[0] == first and latent[1] > second + 0.15 and accurate[2] > accuracy[2] + 0.1


def test_html_is_whole_stable_and_fetches_nothing():
    g = grammar((6, 2, 2, 3))
    figure = synonyms(g, samples=500, seed=4, name="some-synonyms")
    assert repr(figure) == "InteractiveFigure('some-synonyms', v=6, m=2, s=2, L=3, samples=500, seed=4)"
    twin = synonyms(g, samples=500, seed=4, name="some-synonyms")
    assert_whole(figure, twin, "synonyms", {**plain(g), "samples": 500, "seed": 4})


@pytest.mark.parametrize(("argument", "value"), [
    ("seed", -1), ("seed", 2**31), ("seed", 0.5), ("samples", 7), ("samples", 20001), ("samples", 99.5),
    ("samples", True), ("name", "a b"), ("name", ""), ("name", 'x"><script>'),
    ("g", (4, 2, 2, 1)), ("g", (13, 2, 2, 2)), ("g", (12, 5, 2, 2)), ("g", (2, 2, 2, 6)), ("g", (10, 2, 3, 3)),
])
def test_bad_input_is_named(argument, value):
    arguments = {"g": grammar((4, 2, 2, 2)), argument: value}
    if isinstance(value, tuple):
        arguments["g"] = grammar(value)
    with pytest.raises(ValueError, match=f"^{argument} = .*: must be "):
        synonyms(**arguments)


def shown(figure):
    """Read the tooltips of the maps, level by level: tuple, times seen, its true symbols, the one found for it."""
    levels = []
    for part in figure.locator(".sy-maps > svg").all():
        rows = [re.fullmatch(r"(.*): seen (\d+) times, true symbol (\S+?)(?:,? .*)?, found (.*)", text).groups()
                for text in part.locator("title").all_text_contents()]
        levels.append([(word, int(n), truth, found) for word, n, truth, found in rows])
    return levels


def test_figure_in_a_browser(browser):
    g, ternary = grammar((6, 3, 2, 3)), grammar((4, 2, 3, 2))
    first, second, third = (synonyms(h, samples=200, name=name)
                            for h, name in ((g, "one"), (ternary, "two"), (g, "three")))
    page, trouble = opened(browser, (first, second), third, reduced_motion="reduce")
    one = page.locator("#one")
    state = {"seed": 0, "P": 200, "latent": False}
    assert len(shown(page.locator("#two"))) == 1 and shown(page.locator("#three")) == shown(one)

    def agrees():
        """Compare the figure with what node computes."""
        (now,) = script(("look", plain(g), state))
        names = ["abcdef", "ABCDEF", "αβγδεζ"]
        for k, (level, read) in enumerate(zip(now["levels"][1:], shown(one)), 1):
            rows = [(" ".join(names[k - 1][a] for a in row["tuple"]), row["count"], names[k][row["truth"]],
                     names[k][row["found"]]) for row in level["rows"]]
            assert read == sorted(rows, key=lambda row: row[2])     # by true symbol, then in order of the tuples
            part = one.locator(".sy-maps > svg").nth(k - 1)
            assert f"ARI {level['ari']:.2f}" in part.text_content()
            wrong = sum(row[2] != row[3] for row in rows)
            assert part.locator(".sy-cross").count() == wrong        # told by form, not by colour alone
        ok = [x for level in (3, 2, 1) for x in now["parsed"]["ok"][level][: 3 * 2 ** (3 - level)]]
        assert one.locator(".sy-trees circle.sy-right").count() == sum(ok)
        assert one.locator(".sy-trees circle.sy-ring").count() == len(ok) - sum(ok)
        rates = " ".join(one.locator(".sy-trees > text").all_text_contents())
        assert all(f"{a:.2f}" in rates for a in now["accuracy"][1:])

    agrees()
    assert one.locator(".sy-curves .sy-dash").count() == 4           # P*_2 and P*_3, on both plots
    slider = one.get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    assert one.locator("output").inner_text() == "8"
    for _ in range(4):                                               # steps too small for another P are no trap
        page.keyboard.press("ArrowRight")
    state["P"] = int(one.locator("output").inner_text())
    assert state["P"] > 8 and slider.get_attribute("aria-valuetext") == f"{state['P']} strings"
    agrees()
    page.keyboard.press("End")
    assert one.locator("output").inner_text() == "20\u202f000"
    assert one.locator(".sy-maps .sy-cross").count() == 0 and "100\u202f%" in one.locator(".sy-says").inner_text()

    one.get_by_role("button", name="clear dots").click()
    assert one.get_by_role("button", name="clear dots").count() == 0
    one.get_by_role("button", name="sweep").click()
    levels = one.locator(".sy-curves > svg").first.locator("[style*='fill-opacity']")
    assert levels.count() == 2 * 62                                  # 61 places from 8 to 20000 after the one left
    one.get_by_role("button", name="found symbols").press("Enter")
    state |= {"P": 20000, "latent": True}
    assert one.get_by_role("button", name="found symbols").get_attribute("aria-pressed") == "true"
    assert one.locator(".sy-curves .sy-dash").count() == 2           # one threshold for all levels
    agrees()
    one.get_by_role("button", name="new sample").click()
    state["seed"] = 1
    agrees()
    assert_fits_a_phone(page, ".sy-trees")
    assert trouble == []
    page.close()


def test_the_sweep_moves_and_stops(browser):
    page = browser.new_page(viewport={"width": 760, "height": 700})
    page.set_content(f"<!doctype html><body>{synonyms(grammar((6, 2, 2, 3)))._repr_html_()}</body>")
    page.get_by_role("button", name="sweep").click()
    page.wait_for_function("document.querySelector('.synonyms input').value > 20")
    page.get_by_role("button", name="stop").click()
    stopped = page.locator("output").inner_text()
    page.wait_for_timeout(150)
    assert page.locator("output").inner_text() == stopped
    assert page.get_by_role("button", name="sweep").count() == 1
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_the_ground(browser, theme):
    page = browser.new_page(viewport={"width": 760, "height": 900})
    ground, ink = GROUNDS[theme]
    style, figure = f"--pst-color-background:{ground};--pst-color-text-base:{ink}", synonyms(grammar((12, 3, 2, 3)))
    page.set_content(f"<!doctype html><html data-theme='{theme}'><body style='{style}'>{figure._repr_html_()}</body>")
    colours = page.evaluate(
        """() => { const e = document.querySelector(".synonyms"), s = getComputedStyle(e);
        const of = (name) => { e.style.outlineColor = `var(--sy-${name})`; return getComputedStyle(e).outlineColor; };
        const names = [...Array(12).keys(), "level-1", "level-2", "level-3", "level-4", "right"];
        return [s.color, ...names.map(of)]; }""")
    page.close()
    assert len(set(colours)) >= 16
    assert_legible(colours, ground)                                  # letters on chips, and labels
