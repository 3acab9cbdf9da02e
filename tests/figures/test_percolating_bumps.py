"""The interactive bumps: their script against scipy and closed formulas, the figure in a browser."""

import math
import re

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from hierlib.figures import percolating_bumps
from tests.browser import (
    assert_fits_a_phone,
    assert_follows_the_switch,
    assert_whole,
    bare,
    opened,
    run_calls,
)

OWN = """
  scatter: (p, n, seed, k) => it.scatter(p, n, it.stream(seed, k)),
  look: (p, points) => {
    const now = it.look(p, points);
    return { ...now, says: it.says(p, now), facts: it.facts(p, now) };
  },
  average: (p, seed, n) => {
    const of = it.average(p, seed);
    while (of.draws < n) of.more();
    return [of.mean(), of.spread()];
  },
  constants: () => ({ etas: it.ETAS, draws: it.DRAWS }),
"""
ETA_C = 1.12808737
DRAWS = 48


def script(*calls):
    """Run calls of the script's functions, one result each."""
    return run_calls(OWN, percolating_bumps().source, calls)


def canvas(size, sigma, theta, torus):
    return {"size": size, "sigma": sigma, "theta": theta, "torus": torus}


def uniform(seed, k, n):
    """Return n numbers of stream k: mulberry32, in 32-bit arithmetic."""
    low, out = 2**32 - 1, []
    a = (seed * 0x9E3779B1 + k * 0x85EBCA6B) & low
    for _ in range(n):
        a = (a + 0x6D2B79F5) & low
        t = (a ^ a >> 15) * (a | 1) & low
        t ^= (t + ((t ^ t >> 7) * (t | 61) & low)) & low
        out.append((t ^ t >> 14) / 2**32)
    return np.array(out)


def places(p, seed, k, n):
    return uniform(seed, k, 2 * n).reshape(n, 2) * p["size"]


def reach(p):
    return 2 * p["sigma"] * math.sqrt(math.log(1 / p["theta"]))


def linked(p, points):
    """Return the linked pairs, their displacements, and scipy's cluster labels."""
    N = p["size"]
    pairs = cKDTree(points, boxsize=N if p["torus"] else None).query_pairs(reach(p), output_type="ndarray")
    step = points[pairs[:, 1]] - points[pairs[:, 0]]
    if p["torus"]:
        step -= N * np.round(step / N)
    edges = coo_array((np.ones(len(pairs)), pairs.T), shape=2 * (len(points),))
    return pairs, step, connected_components(edges, directed=False)[1]


def crossing(p, points):
    """Whether a cluster leads across, along x and along y.

    On the torus: whether the displacements along the links are no differences of places in the plane.
    """
    pairs, step, labels = linked(p, points)
    if p["torus"]:
        incidence = np.zeros((len(pairs), len(points)))
        for row, (i, j) in enumerate(pairs):
            incidence[row, i], incidence[row, j] = -1, 1
        place = np.linalg.lstsq(incidence, step, rcond=None)[0]
        return (np.abs(incidence @ place - step).max(0, initial=0) > 1e-6).tolist()
    ends, r, N = [points[labels == k] for k in set(labels)], reach(p), p["size"]
    return [any(x[:, k].min() < r / 2 and x[:, k].max() > N - r / 2 for x in ends) for k in (0, 1)]


CASES = [(canvas(*rest), n) for *rest, n in [
    (32, 1.0, 0.05, True, 100), (32, 1.0, 0.05, False, 160), (32, 2.6, 0.005, True, 9), (16, 0.6, 0.3, True, 150),
    (16, 0.5, 0.5, False, 700), (64, 2.0, 0.1, True, 170), (12, 1.0, 0.01, False, 12), (32, 0.7, 0.37, True, 420),
    (32, 1.0, 0.2, True, 190), (16, 1.3, 0.02, True, 2)]]


@pytest.fixture(scope="module")
def looks():
    clouds = script(*(("scatter", p, n, 7, k) for k, (p, n) in enumerate(CASES)))
    return clouds, script(*(("look", p, points) for (p, _), points in zip(CASES, clouds)))


def test_random_places_are_those_of_the_stream(looks):
    for k, ((p, n), points) in enumerate(zip(CASES, looks[0])):
        np.testing.assert_array_equal(points, places(p, 7, k, n))
    (first,) = script(("scatter", CASES[0][0], 4000, 0, 3))
    x = np.ravel(first) / 32
    mean, (counts, _) = x.mean(), np.histogram(x, 20, (0, 1))
    assert abs(mean - 0.5) < 5 / math.sqrt(12 * 8000)
    assert ((counts - 400) ** 2 / 400).sum() < 19 + 5 * math.sqrt(38)


def test_clusters_equal_scipys(looks):
    for (p, n), points, now in zip(CASES, *looks):
        pairs, step, labels = linked(p, np.array(points))
        sizes = np.bincount(labels)
        assert (now["M"], now["clusters"], now["largest"]) == (n, len(sizes), sizes.max())
        assert now["share"] == pytest.approx(sizes.max() / n)
        assert now["degree"] == pytest.approx(2 * len(pairs) / n)
        same = np.array(now["cluster"])
        assert ((same[:, None] == same) == (labels[:, None] == labels)).all()
        assert (same == now["biggest"]).sum() == sizes.max()
        assert now["alone"] == (sizes[labels] == 1).tolist()
        ours = {(min(i, j), max(i, j)): np.array(d) * (1 if i < j else -1) for i, j, *d in now["links"]}
        assert ours.keys() == set(map(tuple, pairs.tolist())) and len(ours) == len(now["links"])
        for pair, d in zip(pairs.tolist(), step):
            assert ours[tuple(pair)] == pytest.approx(d)


def test_links_are_counted_even_where_they_are_too_many_to_draw():
    p = canvas(32, 2.0, 0.05, True)
    points = places(p, 1, 0, 400)
    (now,) = script(("look", p, points.tolist()))
    pairs, _, _ = linked(p, points)
    assert len(pairs) > 9000 and now["links"] == [] and now["degree"] == pytest.approx(len(pairs) / 200)


def test_crossing_clusters(looks):
    found = [now["wound"] for now in looks[1]]
    assert found == [crossing(p, np.array(points)) for (p, _), points in zip(CASES, looks[0])]
    assert {tuple(x) for x in found} >= {(True, True), (False, False)}
    near = [(canvas(16, 1.0, 0.1, torus), n) for torus in (True, False) for n in (26, 30, 34, 38, 42)]
    clouds = [places(p, 3, k, n) for k, (p, n) in enumerate(near)]
    ours = [now["wound"] for now in script(*(("look", p, x.tolist()) for (p, _), x in zip(near, clouds)))]
    assert ours == [crossing(p, x) for (p, _), x in zip(near, clouds)]
    assert 0.2 < np.mean(ours) < 0.8                                 # both answers, in the middle of the transition
    row = [[4.0 * i + 2, 8.0] for i in range(4)]                     # a row that is closed only on the torus
    p = canvas(16, 1.0, math.exp(-4.41), True)                       # r = 4.2
    open_row = {**p, "torus": False}
    ring, bar, gap, short = script(("look", p, row), ("look", open_row, row), ("look", p, row[:3]),
                                   ("look", open_row, row[:3]))
    assert [now["wound"] for now in (ring, bar, gap, short)] == [
        [True, False], [True, False], [False, False], [False, False]]
    assert len(ring["links"]) == 4 and len(bar["links"]) == 3


def test_lengths_and_thresholds(looks):
    for (p, n), now in zip(CASES, looks[1]):
        r, N = reach(p), p["size"]
        assert now["r"] == pytest.approx(r)
        assert math.exp(-now["r"] ** 2 / (4 * p["sigma"] ** 2)) == pytest.approx(p["theta"])
        assert now["eta"] == pytest.approx(n * math.pi * (r / 2) ** 2 / N**2)
        assert now["critical"] == pytest.approx(4 * ETA_C / math.pi * N**2 / r**2)
        m = brentq(lambda m: 1 - math.exp(-m) * (1 + m) - 0.5, 0, 9)
        assert now["half"] == pytest.approx(m * N**2 / (math.pi * (1.4 * p["sigma"]) ** 2), rel=1e-5)
    halves = script(*(("law", p, now["half"]) for (p, _), now in zip(CASES, looks[1])))
    assert halves == pytest.approx([0.5] * len(CASES), abs=1e-6)
    units = script(*(("critical", canvas(32, 1.0, theta, True)) for theta in (0.005, 0.05, math.exp(-1))))
    assert np.array(units) / 32**2 == pytest.approx([0.0678, 0.1199, 0.3591], abs=5e-5)


def test_cosine_of_the_pixels_is_the_overlap():
    for sigma, theta in ((1.0, 0.05), (2.0, 0.3), (0.8, 0.005), (0.5, 0.5)):
        p = canvas(32, sigma, theta, True)
        i, j = np.mgrid[:32, :32]
        a, b = (np.exp(-((j - 15.5 - s * reach(p) / 2) ** 2 + (i - 15.5) ** 2) / (2 * sigma**2)) for s in (-1, 1))
        exact = (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())
        (ours,) = script(("cosine", p, reach(p)))
        assert ours == pytest.approx(exact)
        if sigma >= 1:
            assert ours == pytest.approx(theta, rel=1e-3)            # pixels resolve the bump
    assert abs(ours - 0.5) > 0.1                                     # at σ = ½ they do not


def test_coverage_counts_labels_near_two_bumps(looks):
    for (p, _), points, now in zip(CASES, *looks):
        labels = (np.stack(np.mgrid[:64, :64], -1).reshape(-1, 2) + 0.5) * p["size"] / 64
        tree = cKDTree(points, boxsize=p["size"] if p["torus"] else None)
        near = tree.query_ball_point(labels, 1.4 * p["sigma"], return_length=True)
        assert now["coverage"] == pytest.approx((near >= 2).mean(), abs=1e-9)
    p = canvas(32, 1.0, 0.05, True)
    for n in (120, 300):
        clouds = [places(p, 11, k, n).tolist() for k in range(24)]
        seen = np.array([now["coverage"] for now in script(*(("look", p, x) for x in clouds))])
        (law,) = script(("law", p, n))
        assert abs(seen.mean() - law) < 5 * seen.std(ddof=1) / math.sqrt(24)


def test_growth_over_random_draws():
    (constants,) = script(("constants",))
    etas = np.array(constants["etas"])
    assert constants["draws"] == DRAWS and etas[[0, -1]].tolist() == [0, 2.5]
    for p in (canvas(32, 1.0, 0.05, True), canvas(32, 1.5, 0.3, False)):
        (mean, spread), = script(("average", p, 5, 3))
        for i in (0, 20, 45, 70, 100):
            n = max(1, round(etas[i] * 4 * 32**2 / (math.pi * reach(p) ** 2)))
            shares = [np.bincount(linked(p, places(p, 5, k, n))[2]).max() / n for k in range(3)]
            assert mean[i] == pytest.approx(np.mean(shares)) and spread[i] == pytest.approx(np.std(shares), abs=1e-7)


def test_transition_sharpens_about_the_threshold():
    """Largest share on a torus of side L = 8 r and 16 r: independent measurements, and L^(−5/48) at the threshold."""
    results = script(*(("average", canvas(32, sigma, math.exp(-1), True), 0, DRAWS) for sigma in (2.0, 1.0)))
    etas = np.array(script(("constants",))[0]["etas"])
    known = {0.9: (0.652, 0.420), 1.125: (0.9047, 0.8216), 1.3: (0.966, 0.959)}
    for eta, shares in known.items():
        i = int(np.abs(etas - eta).argmin())
        for (mean, spread), share in zip(results, shares):
            assert abs(mean[i] - share) < 0.02 + 5 * spread[i] / math.sqrt(DRAWS)
    below = int(np.abs(etas - 0.9).argmin())
    assert results[0][0][below] - results[1][0][below] > 0.1         # sharper on the larger torus


def test_what_the_figure_says(looks):
    first, now = looks[1][0], CASES[0]
    assert bare(first["says"]).startswith("M = 100, fewer than Mc ≈ 123: the largest cluster holds ")
    assert bare(first["says"]).endswith(f"from M ≈ 279 on; here {100 * first['coverage']:.0f} % have.")
    facts = {bare(name): bare(value) for name, value in first["facts"]}
    assert facts["link distance r"] == "3.46 px" and facts["largest cluster"] == f"{first['largest']} of 100"
    assert facts["mean degree (4η)"] == f"{first['degree']:.2f} ({4 * first['eta']:.2f})"
    for (p, n), now in zip(CASES, looks[1]):
        says, ratio = bare(now["says"]), n / now["critical"]
        assert ("fewer than" in says, "more than" in says) == (ratio < 0.9, ratio > 1.1)
        assert ("none leads" in says) == (not any(now["wound"]))
        assert ("torus" in says, "box" in says) == (p["torus"], not p["torus"])
    (empty,) = script(("look", CASES[0][0], []))
    assert bare(empty["says"]).startswith("An empty canvas") and empty["share"] == empty["coverage"] == 0


def test_html_is_whole_stable_and_fetches_nothing():
    config = {"size": 16, "sigma": 0.8, "theta": 0.27, "count": 40, "seed": 3, "torus": False}
    figure, twin = (percolating_bumps(**config, name="some-drops") for _ in range(2))
    assert repr(figure) == ("InteractiveFigure('some-drops', size=16, sigma=0.8, theta=0.27, count=40, seed=3, "
                            "torus=False)")
    assert_whole(figure, twin, "bump-drops", config, urls=r"|url\((?!#)")


@pytest.mark.parametrize(("argument", "value"), [
    ("size", 11), ("size", 65), ("size", 32.0), ("sigma", 0.49), ("sigma", 0.0), ("sigma", 2.7), ("sigma", math.nan),
    ("sigma", "1"), ("theta", 0.0), ("theta", 0.004), ("theta", 0.51), ("theta", 1), ("count", -1), ("count", 3001),
    ("count", True), ("seed", -1), ("seed", 2**32), ("name", "a b"), ("name", 'x"><b>'),
])
def test_bad_input_is_named(argument, value):
    with pytest.raises(ValueError, match=f"^{argument} = .*: must be "):
        percolating_bumps(**{argument: value})


@pytest.mark.untyped
@pytest.mark.parametrize("torus", [1, None, "box"])
def test_torus_is_a_boolean(torus):
    with pytest.raises(ValueError, match=r"^torus = .*: must be True or False"):
        percolating_bumps(torus=torus)


def test_widest_bump_depends_on_the_size():
    assert percolating_bumps(size=64, sigma=5.0).config["sigma"] == 5.0
    with pytest.raises(ValueError, match=r"^sigma = 1\.1: must be a finite number in \[0\.5, 1\]"):
        percolating_bumps(size=12, sigma=1.1)


def test_figure_in_a_browser(browser):
    first = percolating_bumps(name="one")
    second = percolating_bumps(name="two", size=16, sigma=0.7, theta=0.27, count=0, torus=False)
    page, trouble = opened(browser, (first, second), first, height=1000)          # the same figure again
    one, two = page.locator(".bump-drops").first, page.locator("#two")
    assert page.locator("#cell .dr-says").text_content() == one.locator(".dr-says").text_content()
    assert two.locator(".dr-says").text_content().startswith("An empty canvas")
    assert two.locator(".dr-disc").count() == two.locator(".dr-legend .dr-disc").count()
    state = {"p": canvas(32, 1.0, 0.05, True), "points": places(canvas(32, 1, 1, True), 0, DRAWS, 100).tolist()}
    points, board = state["points"], one.locator(".dr-canvas")

    def circles():
        """Centres of the drawn bumps."""
        return board.evaluate("(svg) => [...svg.querySelectorAll('circle')].map((c) => "
                              "['cx', 'cy'].map((name) => Number(c.getAttribute(name))))")

    def agrees():
        """Compare the figure with what node computes."""
        p, now = state["p"], script(("look", state["p"], state["points"]))[0]
        assert bare(one.locator(".dr-says").text_content()) == bare(now["says"])
        shown = one.locator(".dr-facts div").all_text_contents()
        assert list(map(bare, shown)) == [bare(name) + bare(value) for name, value in now["facts"]]
        assert one.locator(".dr-disc.dr-biggest").count() == (now["M"] > 0) + 2   # with those of the legend
        bumps = circles()
        inside = [c for c in bumps if max(c) < p["size"] and min(c) >= 0]
        assert len(inside) == now["M"]
        np.testing.assert_allclose(inside or [[0, 0]], state["points"] or [[0, 0]], atol=0.0051)
        assert (len(bumps) > len(inside)) == (p["torus"] and now["M"] > 9)        # copies across the glued sides
        assert one.get_by_role("slider", name="number").input_value() == str(now["M"])
        return now

    agrees()
    page.wait_for_function("document.querySelector('#one .dr-curve').textContent.includes('mean of 48 draws')")
    (mean, _), = script(("average", state["p"], 0, DRAWS))
    curve = re.findall(r"[\d.]+ [\d.]+", one.locator(".dr-plot .dr-mean").get_attribute("d"))
    x, y = np.array([list(map(float, pair.split())) for pair in curve]).T
    height = (y.max() - y.min()) / (1 - min(mean))
    np.testing.assert_allclose((y.max() - y) / height + min(mean), mean, atol=1e-3)
    assert x[-1] == max(x) and len(x) == len(mean)

    def click(x, y):
        box = board.bounding_box()
        unit = box["width"] / state["p"]["size"]
        board.click(position={"x": x * unit, "y": box["height"] - box["width"] + y * unit})

    click(10.5, 20.25)                                               # x is the column, y the row
    assert circles()[-1] == pytest.approx([10.5, 20.25], abs=0.1)
    page.keyboard.press("Backspace")
    agrees()
    for key in ("ArrowLeft", "ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    assert one.locator(".dr-cross").count() == 1
    state["points"] = [*points, [15, 17]]
    agrees()
    one.get_by_role("slider", name="number").focus()
    assert one.locator(".dr-cross").count() == 0
    page.keyboard.press("ArrowLeft")
    state["points"] = points
    agrees()
    one.get_by_role("button", name="drop 10", exact=True).click()                 # what the slider hid comes first
    state["points"] = [*points, [15, 17], *places(state["p"], 0, DRAWS, 109)[100:].tolist()]
    agrees()
    one.get_by_role("button", name="new draw").click()
    state["points"] = places(state["p"], 0, DRAWS + 1, 110).tolist()
    agrees()
    ends = (("width", "sigma", 0.5, "Home"), ("threshold", "theta", 0.005, "Home"), ("width", "sigma", 2.66, "End"),
            ("threshold", "theta", 0.5, "End"))
    for name, key, value, end in ends:
        one.get_by_role("slider", name=name).focus()
        page.keyboard.press(end)
        state["p"] = {**state["p"], key: value}
        agrees()
    one.get_by_role("checkbox", name="torus").uncheck()
    state["p"] = {**state["p"], "torus": False}
    agrees()
    one.get_by_role("button", name="clear").click()
    state["points"] = []
    agrees()
    one.get_by_role("button", name="drop 100", exact=True).click()
    state["points"] = places(state["p"], 0, DRAWS + 2, 100).tolist()
    agrees()
    plot = one.locator(".dr-plot")
    box = plot.bounding_box()
    plot.click(position={"x": 30 + (box["width"] - 40) * 0.2, "y": 60})           # η = 0.5
    shown = int(one.get_by_role("slider", name="number").input_value())
    state["points"] = places(state["p"], 0, DRAWS + 2, shown).tolist()
    assert agrees()["eta"] == pytest.approx(0.5, abs=0.03)
    assert_fits_a_phone(page, ".dr-canvas")
    assert trouble == []
    page.close()


def test_figure_follows_the_switch_and_words_stand_out(browser):
    assert_follows_the_switch(browser, percolating_bumps(), [
        (".bump-drops", "color"), ("path.dr-mean", "stroke"), (".dr-you", "fill"), ("text.dr-edge", "fill"),
        (".dr-ring", "stroke"), (".dr-one", "fill"),
    ])
