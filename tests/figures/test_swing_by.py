"""The interactive swing-by: its script against scipy and the closed formulas, the figure in a browser."""

import itertools
import math
import re

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from hierlib.figures import swing_by
from hierlib.sim import boundary
from tests.browser import (
    assert_fits_a_phone,
    assert_follows_the_switch,
    assert_whole,
    bare,
    opened,
    run_calls,
)

OWN = """
  closed: (p, times) => times.map((t) => it.closed(p, t)),
  look: (p) => { const now = it.look(p); return { ...now, says: it.says(p, now, it.critical(p.r, p.omega)) }; },
  ratios: () => it.RATIOS,
"""
CASES = [{"r": r, "rho": rho, "omega": omega} for r, rho, omega in [
    (0.4, 0.9, 0.01), (0.05, 0.99, 1e-4), (0.25, 0.95, 0.1), (0.95, 0.3, 0.1), (0.6, 0.0, 1e-3), (0.2, 0.5, 0.02)]]


def script(*calls):
    """Run calls of the script's functions, one result each."""
    return run_calls(OWN, swing_by().source, calls)


def full(W):
    """Return [w₁₁, w₁₂, w₂₂] as a 2 × 2 matrix."""
    w1, m, w2 = np.moveaxis(np.asarray(W), -1, 0)
    return np.moveaxis(np.array([[w1, m], [m, w2]]), (0, 1), (-2, -1))


def field(W, r):
    """V(W) = WA + AW − ½ (AW² + W²A + 2 WAW)."""
    A = np.diag([r, 1.0])
    return W @ A + A @ W - (A @ W @ W + W @ W @ A + 2 * W @ A @ W) / 2


def integrate(p, times):
    """Return W at the times, by scipy on the matrix equation; in between its long steps it is off by up to 2e-6."""
    start = p["omega"] * np.array([1, p["rho"], p["rho"], 1])
    done = solve_ivp(lambda _, w: field(w.reshape(2, 2), p["r"]).ravel(), (0, times[-1]), start, "DOP853", times,
                     rtol=1e-10, atol=1e-12, max_step=1)
    return done.y.T.reshape(-1, 2, 2)


def squared(W, r):
    """½ |W x̂ − x̂|² at x̂ = (√r, 1)."""
    probe = np.array([math.sqrt(r), 1])
    return (((W - np.eye(2)) @ probe) ** 2).sum(-1) / 2


@pytest.fixture(scope="module")
def looks():
    return script(*(("look", p) for p in CASES))


def test_flow_equals_scipys(looks):
    for p, now in zip(CASES, looks):
        W = integrate(p, np.array(now["t"]))
        np.testing.assert_allclose(full(now["W"]), W, atol=1e-6)    # step 0.05, order 4: 6e-8 measured
        start = squared(p["omega"] * np.array([[1, p["rho"]], [p["rho"], 1]]), p["r"])
        np.testing.assert_allclose(now["L"], squared(W, p["r"]) / start, atol=4e-6)
        np.testing.assert_allclose(now["LC"], squared(full(now["C"]), p["r"]) / start, atol=1e-12)
        assert W[-1] == pytest.approx(np.eye(2), abs=0.03)           # both concepts are learnt in the end
        for k, t in zip((0, 1), now["half"]):
            assert np.interp(t, now["t"], W[:, k, k]) == pytest.approx(0.5, abs=1e-5)


def test_output_is_the_matrix_times_the_probe():
    W, r = [0.3, -0.2, 0.8], 0.49
    (out, loss) = script(("output", r, W), ("loss", r, W))
    assert out == pytest.approx(full(W) @ [0.7, 1])
    assert loss == pytest.approx(squared(full(W), r))


def test_closed_form():
    for p in CASES:
        r, rho, omega = p.values()
        t = np.linspace(0, 30, 61)
        (ours,) = script(("closed", p, t.tolist()))
        grown = 1 + omega * np.expm1(2 * t)
        w2 = omega * np.exp(2 * t) / grown
        q = (1 - rho**2) * omega * np.exp(2 * r * t)
        m = rho * omega * np.exp((1 + r) * t) * grown ** (-(3 + r) / 4)
        expected = np.stack([(q + m**2 / w2) / (1 + q), m / np.sqrt(1 + q), w2], -1)
        np.testing.assert_allclose(ours, expected, rtol=1e-9)


@pytest.mark.parametrize(("omega", "gap"), [(0.02, 0.034), (0.001, 0.006)])
def test_closed_form_follows_the_flow(omega, gap):
    cases = [{"r": r, "rho": rho, "omega": omega} for r, rho in itertools.product([0.2, 0.446], [0.2, 0.5, 0.9])]
    looks = script(*(("look", p) for p in cases))
    guesses = script(*(("ascents", now["LC"], 1e-3) for now in looks))
    for now, guess in zip(looks, guesses):
        assert np.abs(np.array(now["L"]) - now["LC"]).max() <= gap
        assert len(guess) == len(now["rises"])
    (similar,) = script(("look", {"r": 0.9, "rho": 0.9, "omega": omega}))
    assert np.abs(np.array(similar["L"]) - similar["LC"]).max() > 2 * gap   # it is not for concepts of one strength


def test_terms_are_those_of_the_matrix_equation():
    rng = np.random.default_rng(0)
    for r in (0.1, 0.4, 0.9):
        w = rng.normal(size=3)
        (rows,) = script(("terms", r, w.tolist()))
        a, W = [r, 1.0], full(w)
        V = field(W, r)
        for (i, j), (growth, suppression, noise) in zip([(0, 0), (0, 1), (1, 1)], rows):
            assert growth == pytest.approx(W[i, j] * (a[i] + a[j]))
            both = W[i, i] * (3 * a[i] + a[j]) + (i != j) * W[j, j] * (3 * a[j] + a[i])
            assert suppression == pytest.approx(W[i, j] * both / 2)
            others = [k for k in (0, 1) if k not in (i, j)]
            assert noise == pytest.approx(sum(W[k, i] * W[k, j] * (a[i] + a[j] + 2 * a[k]) / 2 for k in others))
            assert growth - suppression - noise == pytest.approx(V[i, j], abs=1e-12)


def most_ascents(L, least):
    """Return the largest k with places i₁ < j₁ < i₂ < … of rises and falls by more than `least` in turn."""
    up, down = [0] * len(L), [0] * len(L)                            # rises so far, ending high or low at a place
    for j in range(len(L)):
        for i in range(j):
            if L[j] - L[i] > least:
                up[j] = max(up[j], down[i] + 1)
            if L[i] - L[j] > least and up[i]:
                down[j] = max(down[j], up[i])
    return max(up)


def test_ascents():
    walks = np.random.default_rng(1).normal(size=(20, 60)).cumsum(1)
    calls = [("ascents", walk.tolist(), 2.0) for walk in walks]
    counts = [most_ascents(walk, 2.0) for walk in walks]
    assert max(counts) >= 4
    assert [len(found) for found in script(*calls)] == counts
    hand = script(("ascents", [3, 2, 1, 1.5, 2, 1, 0], 0.5), ("ascents", [3, 2, 1, 1.4, 1, 0], 0.5),
                  ("ascents", [1, 0, 2, 3], 0.5), ("ascents", [0, 1, 0.2, 2, 0, 1, 0], 0.9))
    assert hand == [[[2, 4]], [], [[1, 3]], [[0, 3], [4, 5]]]


def test_learning_times_follow_the_schur_complement():
    cases = [{"r": r, "rho": rho, "omega": 1e-3} for r, rho in itertools.product([0.1, 0.3, 0.5], [0.0, 0.5, 0.9])]
    results = script(*(("look", p) for p in cases), *(("learning", p) for p in cases))
    for p, now, law in zip(cases, results[:9], results[9:]):
        schur = np.linalg.det(np.array([[1, p["rho"]], [p["rho"], 1]])) * p["omega"]
        expected = [math.log(1 / S - 1) / (2 * a) for S, a in ((schur, p["r"]), (p["omega"], 1))]
        assert law == pytest.approx(expected)
        assert now["half"] == pytest.approx(law, rel=0.01)           # at most 0.6 % measured


def test_detour_vanishes_as_a_power_of_the_start():
    omegas = [1e-3, 1e-4]
    for r in (0.2, 0.4):
        tops = [max(np.array(now["W"])[:, 1]) for now in script(*(("look", {"r": r, "rho": 0.5, "omega": x})
                                                                   for x in omegas))]
        assert math.log10(tops[0] / tops[1]) == pytest.approx((1 - r) / 2, abs=0.02)


def test_rate_is_the_derivative_of_the_loss():
    rng = np.random.default_rng(3)
    for r in (0.1, 0.6):
        w, probe = rng.normal(size=3), np.array([math.sqrt(r), 1])
        (rate,) = script(("rate", r, w.tolist()))
        assert rate == pytest.approx((full(w) @ probe - probe) @ field(full(w), r) @ probe)


def test_boundary():
    ratios, omegas = zip(*itertools.product((0.05, 0.1, 0.2, 0.3, 0.4, 0.6), (0.1, 0.01, 1e-4)))
    ours = script(*(("critical", *pair) for pair in zip(ratios, omegas)))
    assert ours == pytest.approx(boundary(ratios, omegas).tolist(), abs=0.0025)    # the library's, which interpolates
    curve, ratios, single, beyond = script(("boundary", 0.001), ("ratios",), ("critical", 0.35, 0.001),
                                           ("critical", 0.95, 0.001))
    assert curve[ratios.index(pytest.approx(0.35))] == single and beyond is None and curve[-1] is None
    assert (np.diff([x for x in curve if x]) > 0).all()
    for r, omega in ((0.08, 0.001), (0.4, 0.01), (0.62, 0.1)):       # scipy's own loss curve on both sides
        (rho,) = script(("critical", r, omega))
        for side in (-1, 1):
            p = {"r": r, "rho": rho + 0.006 * side, "omega": omega}
            t = np.linspace(0, 8 / r, 3001)
            L = squared(integrate(p, t), r)
            rise = (L - np.minimum.accumulate(L)).max() / L[0]
            assert (rise > 2e-6) == (side > 0)
            assert script(("swings", p)) == [side > 0]


def test_what_the_figure_says(looks):
    assert [len(now["rises"]) for now in looks] == [1, 1, 1, 0, 0, 1]
    for p, now in zip(CASES, looks):
        for low, high in now["rises"]:
            assert now["L"][low] == min(now["L"][:high]) and now["L"][high] == max(now["L"][low:])
            x = [W[0] * math.sqrt(p["r"]) + W[1] for W in now["W"]]
            assert x[high] < x[low]                                  # the output goes back along the weak concept
    first, fourth, fifth = (bare(looks[i]["says"]) for i in (0, 3, 4))
    assert first == ("Swing-by: between a₂t = 3.40 and 4.80 the output turns back to cluster 2, and the loss rises "
                     "from 15.7 % of its start by 1.4 %. Concept 2 is half learnt at 2.34, concept 1 at 7.75 "
                     "(from the Schur complement: 7.83).")
    assert fourth.startswith("The loss falls throughout.") and fourth.endswith("It ascends from some ρ above 0.99 on.")
    (rho,) = script(("critical", CASES[4]["r"], CASES[4]["omega"]))
    assert fifth.startswith("The loss falls throughout.") and fifth.endswith(f"It ascends from ρ ≈ {rho:.2f} on.")


def test_html_is_whole_stable_and_fetches_nothing():
    figure = swing_by(r=0.25, rho=0.5, name="some-swing")
    assert repr(figure) == "InteractiveFigure('some-swing', r=0.25, rho=0.5, omega=0.01)"
    twin = swing_by(r=0.25, rho=0.5, name="some-swing")
    assert_whole(figure, twin, "swing-by", {"r": 0.25, "rho": 0.5, "omega": 0.01})


@pytest.mark.parametrize(("argument", "value"), [
    ("r", 0.04), ("r", 1.0), ("r", math.nan), ("rho", -0.1), ("rho", 1.0), ("rho", "0.5"), ("omega", 0.0),
    ("omega", 0.11), ("omega", True), ("name", "a b"), ("name", ""), ("name", 'x"><script>'),
])
def test_bad_input_is_named(argument, value):
    with pytest.raises(ValueError, match=f"^{argument} = .*: must be "):
        swing_by(**{argument: value})


def test_figure_in_a_browser(browser):
    first, second = swing_by(name="one"), swing_by(rho=0.2, name="two")
    page, trouble = opened(browser, (first, second), first, height=900)           # the same figure again
    one, two = page.locator(".swing-by").first, page.locator("#two")
    assert page.locator("#cell .sw-says").text_content() == one.locator(".sw-says").text_content()
    state = {"r": 0.4, "rho": 0.9, "omega": 0.01}

    def agrees():
        """Compare the figure with what node computes."""
        (now,) = script(("look", state))
        assert bare(one.locator(".sw-says").text_content()) == bare(now["says"])
        assert f"{len(now['rises'])} ascent" in one.locator(".sw-loss").text_content()
        marks = [one.locator(q).count() for q in (".sw-loss .sw-shade", ".sw-plane .sw-rising")]
        assert marks == 2 * [len(now["rises"])]
        i = int(one.get_by_role("slider", name="time").input_value())
        cells = one.locator(".sw-matrix text").all_text_contents()[1:5]
        w1, m, w2 = now["W"][i]
        assert [float(x.replace("−", "-")) for x in cells] == pytest.approx([w1, m, m, w2], abs=0.0051)
        (rows,) = script(("terms", state["r"], now["W"][i]))
        says = one.locator(".sw-matrix").get_attribute("aria-label")
        numbers = [float(x.replace("−", "-")) for x in re.findall(r"(?:growth|suppression|noise) (−?[\d.]+)", says)]
        assert numbers == pytest.approx(np.ravel(rows).tolist(), abs=0.0051)
        return now, i

    now, i = agrees()
    assert i == now["rises"][0][1]                                   # opens at the top of the ascent
    assert two.locator(".sw-shade").count() == 1 and "falls throughout" in two.locator(".sw-says").text_content()
    ends = (("correlation ρ", "rho", 0, "Home"), ("ratio r", "r", 0.05, "Home"), ("correlation ρ", "rho", 0.99, "End"),
            ("scale ω", "omega", 1e-4, "Home"), ("ratio r", "r", 0.95, "End"), ("scale ω", "omega", 0.1, "End"))
    for name, key, value, end in ends:
        one.get_by_role("slider", name=name).focus()
        page.keyboard.press(end)
        state[key] = value
        agrees()
    clock = one.get_by_role("slider", name="time")
    clock.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    now, i = agrees()
    assert i == 1
    one.get_by_role("button").click()
    page.wait_for_function("Number(document.querySelector('#one [data-key=time]').value) > 20")
    one.get_by_role("button").click()
    assert "play" in one.get_by_role("button").text_content()
    phase = one.locator(".sw-phase")
    box = phase.bounding_box()
    phase.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.2})
    r, rho = map(float, re.search(r"At r ([\d.]+), ρ ([\d.]+)", phase.get_attribute("aria-label")).groups())
    assert 0.4 < r < 0.5 and 0.7 < rho < 0.95
    one.get_by_role("slider", name="ratio r").fill("0.3")
    one.get_by_role("slider", name="correlation ρ").fill("0.9")
    phase.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    state |= {"r": 0.29, "rho": 0.89}
    now, _ = agrees()
    assert len(now["rises"]) == 1
    plot = one.locator(".sw-loss")
    box = plot.bounding_box()
    plot.click(position={"x": box["width"] - 9, "y": 60})
    assert agrees()[1] >= len(now["t"]) - 3
    assert_fits_a_phone(page, ".sw-plane")
    assert trouble == []
    page.close()


def test_figure_follows_the_switch_and_words_stand_out(browser):
    assert_follows_the_switch(browser, swing_by(), [
        (".swing-by", "color"), ("path.sw-flow", "stroke"), (".sw-you", "fill"), ("text.sw-one", "fill"),
        ("text.sw-two", "fill"), ("text.sw-rise", "fill"),
    ])
