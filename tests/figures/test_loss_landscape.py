"""The interactive loss landscape: its script against hierlib, scipy and samples, the figure in a browser."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from scipy.special import erfcx, ndtr
from scipy.stats import norm

from hierlib.cumulants import theory
from hierlib.cumulants.model import LATENTS, MixedCumulantModel
from hierlib.cumulants.neuron import TiedNeuron, cosine, relu, sine, tanh
from hierlib.cumulants.simulate import scaled_sde
from hierlib.figures import loss_landscape
from hierlib.figures.loss_landscape import ACTIVATIONS
from tests.browser import (
    assert_fits_a_phone,
    assert_follows_the_switch,
    assert_whole,
    bare,
    opened,
    run_calls,
)
from tests.cumulants.common import loss_expansion

OWN = """
  loss: (p, points) => { const L = it.landscape(p); return points.map(([u, v]) => L(u, v)); },
  density: (p, u, v, s) => s.map(it.law(p, u, v)),
  each: (name, x) => x.map((y) => it[name](y)),
  level: (f, t) => it.region(Float64Array.from(f), t),
  paths: (p, starts) => { const { f, scale } = it.look(p); return starts.map((start) => it.flow(f, start, scale)); },
  slopes: (p, points) => { const f = it.grid(p); return points.map((point) => it.descent(f, point)); },
  facts: (p) => it.facts(p, it.look(p)),
  constant: (name) => it[name],
"""
PHI = {"sine": sine, "tanh": tanh, "relu": lambda _: relu(), "biased-relu": lambda c: relu(-c),
       "sine-cosine": lambda c: sine(c) + 0.5 * cosine(c)}
USUAL = {"sine": 1.5, "tanh": 2.0, "relu": 0.0, "biased-relu": 0.5, "sine-cosine": 1.5}
POINTS = [(0.3, 0.2), (-0.6, 0.7), (0.0, 1.0), (0.99, -0.1), (0.05, -0.05), (1.0, 0.0), (-0.2, -0.8)]


def script(*calls):
    """Run calls of the script's functions, one result each."""
    return run_calls(OWN, loss_landscape().source, calls)


def parameters(activation="sine", parameter=None, *, latents="independent", alpha_bar=0.7, beta_u=1.0, beta_v=10.0,
               kappa=0.5):
    parameter = USUAL[activation] if parameter is None else parameter
    return {"activation": activation, "parameter": parameter, "latents": latents, "alpha_bar": alpha_bar,
            "beta_u": beta_u, "beta_v": beta_v, "kappa": kappa}


def library(p):
    """Return the library's model and neuron of the script's parameters."""
    return (MixedCumulantModel(8, p["beta_u"], p["beta_v"], p["latents"]),
            TiedNeuron(PHI[p["activation"]](p["parameter"]), p["kappa"], p["alpha_bar"]))


CASES = [parameters(activation, latents=latents) for activation, latents in itertools.product(ACTIVATIONS, LATENTS)] + [
    parameters("sine", 3.0, latents=latents, alpha_bar=0.95, beta_u=4.0, beta_v=30.0, kappa=-1.0) for latents in LATENTS
] + [
    parameters("tanh", 3.0, latents="abs", alpha_bar=0.9, beta_v=3.0, kappa=-0.3),
    parameters("biased-relu", -0.8, latents="laplace", alpha_bar=0.4, beta_u=0.0, beta_v=25.0),
    parameters("biased-relu", 1.2, latents="sign", alpha_bar=0.1, beta_u=2.5, beta_v=0.7),
    parameters("sine-cosine", 0.8, latents="sign", beta_u=0.3, beta_v=0.0),
]


def test_special_functions():
    x = np.concatenate([np.linspace(0, 8, 200), np.geomspace(8, 1e8, 50)])
    y = np.linspace(-12, 12, 301)
    scaled, normal, mirrored = script(("each", "erfcx", x.tolist()), ("each", "normal", y.tolist()),
                                      ("each", "normal", (-y).tolist()))
    np.testing.assert_allclose(scaled, erfcx(x), rtol=1e-13)
    np.testing.assert_allclose(normal, ndtr(y), rtol=1e-13, atol=1e-40)
    np.testing.assert_allclose(np.add(normal, mirrored), 1, rtol=1e-14)


@pytest.mark.parametrize("latents", LATENTS)
def test_density_is_the_mixture(latents):
    p = parameters(latents=latents, alpha_bar=0.8, beta_u=1.7, beta_v=6.0)
    model, neuron = library(p)
    lam, nu, weight = (x.numpy() for x in model.latent_quadrature(96))
    s = np.linspace(-7, 7, 57)
    for (u, v), density in zip(POINTS, script(*(("density", p, u, v, s.tolist()) for u, v in POINTS))):
        mean = neuron.a * (u * math.sqrt(1.7) * lam + v * math.sqrt(model.r2) * nu)
        scale = math.sqrt(1 - p["alpha_bar"] * v**2 * model.r2)
        np.testing.assert_allclose(density, norm.pdf(s[:, None], mean, scale) @ weight, atol=1e-9)


def test_loss_equals_the_librarys():
    u, v = np.array(POINTS).T
    for p, losses in zip(CASES, script(*(("loss", p, POINTS) for p in CASES))):
        far = p["latents"] == "laplace" and p["parameter"] == 3     # there the library's quadrature is off, see below
        np.testing.assert_allclose(losses, theory.population_loss(*library(p), u, v), atol=2e-6 if far else 1e-9,
                                   err_msg=str(p))


@pytest.mark.parametrize("latents", ["independent", "laplace"])
@pytest.mark.parametrize("size", [(1.5, 0.7, 1.0, 10.0, 0.5), (3.0, 0.95, 4.0, 30.0, -1.0)], ids=str)
def test_loss_of_a_sine_is_its_closed_form(latents, size):
    omega, alpha_bar, beta_u, beta_v, kappa = size

    def waves(u, v, w):
        """Return E cos ws and E s sin ws, from the characteristic function of s and its derivative."""
        c2, c = alpha_bar * v * v * beta_v / (1 + beta_v), math.sqrt(alpha_bar * beta_v / (1 + beta_v)) * v
        V = 1 - c2 + alpha_bar * beta_u * u * u
        bell = math.exp(-w * w * V / 2)
        if latents == "independent":                                # E cos(w c ν) = cos wc
            return bell * math.cos(w * c), bell * (w * V * math.cos(w * c) + c * math.sin(w * c))
        mix = 1 / (1 + w * w * c2 / 2)                              # of a Laplace variable of unit variance
        return bell * mix, bell * mix * (w * V + w * c2 * mix)

    def loss(u, v):
        (cos, s_sin), (twice, _) = waves(u, v, omega), waves(u, v, 2 * omega)
        return kappa**2 / 4 * (1 - twice) - kappa * (1 - alpha_bar) / math.sqrt(alpha_bar) * (s_sin - omega * cos)

    p = parameters("sine", omega, latents=latents, alpha_bar=alpha_bar, beta_u=beta_u, beta_v=beta_v, kappa=kappa)
    expected = [loss(u, v) - loss(0, 0) for u, v in POINTS]
    np.testing.assert_allclose(script(("loss", p, POINTS))[0], expected, atol=1e-12)


@pytest.mark.parametrize("latents", LATENTS)
def test_loss_is_that_of_samples(latents):
    p = parameters("sine-cosine", latents=latents, beta_u=2.0)
    (_, neuron), n = library(p), 400_000
    model = MixedCumulantModel(3, 2.0, 10.0, latents)
    x0 = model.sample(n, seed=1, dtype=torch.float64)
    x_t = neuron.a * x0 + neuron.b * torch.randn(x0.shape, generator=torch.Generator().manual_seed(2), dtype=x0.dtype)
    points, clear = [(0.4, -0.8), (0.6, 0.75)], []

    def losses(w):
        """Return the loss of each sample: ½‖x₀ − D(x_t)‖²."""
        return (x0 - neuron(w, x_t)).square().sum(1) / 2

    base = losses(torch.tensor([0.0, 0.0, 1.0], dtype=x0.dtype))
    (found,) = script(("loss", p, points))
    for (u, v), expected in zip(points, found):
        w = torch.tensor([u, v, math.sqrt(1 - u * u - v * v)], dtype=x0.dtype)
        difference = losses(w) - base
        error = float(difference.std()) / math.sqrt(n)
        assert abs(float(difference.mean()) - expected) < 5 * error
        clear.append(abs(expected) / error)
    assert max(clear) > 20                                          # far from the loss at the origin


def test_coefficients_and_expansion_equal_the_librarys():
    u, v = np.array(POINTS).T
    numbers = script(*(("rates", p) for p in CASES))
    terms = script(*(("expansion", p, r["ell"], *point) for p, r in zip(CASES, numbers) for point in POINTS))
    for p, rates, term in zip(CASES, numbers, np.reshape(terms, (len(CASES), len(POINTS), 3))):
        model, neuron = library(p)
        theirs = theory.rates(model, neuron)
        np.testing.assert_allclose(rates["ell"], theory.loss_coefficients(neuron, 6), atol=1e-9)
        assert rates["sigma2"] == pytest.approx(theirs.sigma2, rel=1e-8)
        assert rates["C4"] == pytest.approx(theirs.C4, abs=1e-9)
        if rates["ell"][2] < 0:                                     # else the other eigenvector is the best direction
            assert rates["C2"] == pytest.approx(theirs.C2, abs=1e-9)
        np.testing.assert_allclose(term.sum(1), loss_expansion(model, neuron, u, v, order=4), atol=1e-9)
        assert rates["exponents"] == {way: theory.information_exponent(model, neuron, way, order=4) for way in "uv"}


def test_reference_constants():
    rates, numbers = script(("rates", parameters()), ("look", parameters()))
    assert [rates["C2"], rates["C4"], rates["sigma2"]] == pytest.approx([0.05893, 0.02462, 0.13997], abs=5e-6)
    assert [rates["ell"][2], rates["ell"][4]] == pytest.approx([-0.08418, 0.03040], abs=5e-6)
    assert rates["exponents"] == {"u": 2, "v": 4}
    assert numbers["u"]["slope"] == pytest.approx(2, abs=0.02) and numbers["v"]["slope"] == pytest.approx(4, abs=0.02)
    blind, sees = script(("look", parameters("relu")), ("look", parameters("biased-relu")))
    assert blind["v"]["slope"] is None and np.abs(blind["v"]["loss"]).max() < 1e-12
    assert blind["exponents"] == {"u": 2, "v": None} and sees["exponents"]["v"] == 4


def test_best_direction_where_the_covariance_repels():
    p = parameters(latents="sign", kappa=-0.5)                      # ℓ₂ > 0: the eigenvector of less variance is sought
    angle = np.linspace(0, math.pi, 721)
    ring = 1e-2 * np.stack([np.cos(angle), np.sin(angle)], 1)
    rates, losses = script(("rates", p), ("loss", p, ring.tolist()))
    assert rates["ell"][2] > 0 and rates["C2"] == pytest.approx(-min(losses) / 1e-4, rel=1e-3)


def test_samples_along_v_follow_the_stochastic_equation():
    rates, constant = script(("rates", parameters()), ("constant", "SAMPLES_V"))
    C4, sigma2 = rates["C4"], rates["sigma2"]
    times = scaled_sde(C4, sigma2, 9.1 * C4 / sigma2, replicas=10_000, seed=3)
    scaled = (times * C4**2 / sigma2).quantile(torch.tensor([0.475, 0.525], dtype=times.dtype))
    assert scaled[0] < constant < scaled[1]                         # ranks within 5 standard errors of the median


@pytest.mark.parametrize("latents", LATENTS)
def test_map_equals_the_librarys(latents):
    p = parameters("sine-cosine", latents=latents)
    (f,) = script(("grid", p))
    n = math.isqrt(len(f))
    axis = np.linspace(-1, 1, n)
    v, u = np.meshgrid(axis, axis, indexing="ij")
    inside = (u**2 + v**2 <= 1) & ((np.arange(n * n).reshape(n, n) % 41) == 0)
    truth = theory.population_loss(*library(p), u[inside], v[inside])
    np.testing.assert_allclose(np.reshape(f, (n, n))[inside], truth, atol=1e-3 * np.abs(truth).max())


def area(loops):
    """Return the area inside closed loops; holes count negative."""
    total = 0.0
    for loop in loops:
        x, y = np.transpose(loop)
        total += float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    return abs(total)


def test_level_sets():
    (f,) = script(("grid", parameters()))
    axis = np.linspace(-1, 1, math.isqrt(len(f)))
    v, u = np.meshgrid(axis, axis, indexing="ij")
    discs = script(("level", (-(u**2 + v**2)).ravel().tolist(), -0.64), ("level", (u**2 + v**2).ravel().tolist(), 0.64),
                   ("level", (u + 0.3 * v).ravel().tolist(), 0.2), ("level", (u * v).ravel().tolist(), 0.1))
    disc = math.pi * 0.64
    saddle = 2 * (0.9 - 0.1 * math.log(10))                         # two corners cut off by uv = 0.1
    expected = [disc, 4 - disc, 2 - 2 * 0.2, saddle]
    assert [area(loops) for loops in discs] == pytest.approx(expected, rel=2e-3)
    assert [len(loops) for loops in discs] == [1, 2, 1, 2]


@pytest.mark.parametrize("latents", LATENTS)
def test_flow_is_the_projected_gradient(latents):
    p = parameters("sine-cosine", latents=latents, beta_u=2.0)
    model, neuron = library(p)
    points, h = [(0.31, 0.42), (-0.2, -0.63), (0.7, -0.3)], 1e-4
    (slopes,) = script(("slopes", p, points))
    for point, slope in zip(np.array(points), slopes):
        u, v = (point + h * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])).T
        loss = theory.population_loss(model, neuron, u, v)
        gradient = np.array([loss[0] - loss[1], loss[2] - loss[3]]) / (2 * h)
        expected = point * (point @ gradient) - gradient
        np.testing.assert_allclose(slope, expected, atol=0.02 * np.linalg.norm(expected))


@pytest.mark.parametrize(("case", "starts"), [
    (parameters(), [(0.1, 0.02), (-0.1, 0.09), (0.08, -0.4)]),      # the covariance wins
    (parameters(latents="sign"), [(0.1, 0.02), (-0.1, -0.09), (0.02, 0.1)]),
    (parameters("sine-cosine", latents="abs", beta_u=2.0), [(0.1, 0.02), (-0.1, 0.05)]),
], ids=["independent", "sign", "abs"])
def test_flow_goes_down_to_a_minimum(case, starts):
    model, neuron = library(case)
    angle = np.linspace(-math.pi, math.pi, 1000, endpoint=False)
    rim = theory.population_loss(model, neuron, np.cos(angle), np.sin(angle))
    lowest = angle[(rim < np.roll(rim, 1)) & (rim < np.roll(rim, -1))]
    (paths,) = script(("paths", case, starts))
    for start, path in zip(starts, paths):
        u, v = np.transpose(path)
        assert (u[0], v[0]) == start and np.hypot(u, v).max() <= 1 + 1e-12
        loss = theory.population_loss(model, neuron, u, v)
        assert np.diff(loss).max() < 1e-3 * np.ptp(loss)             # the last step may go past the minimum
        gap = np.abs(np.exp(1j * lowest) - (u[-1] + 1j * v[-1]))
        assert gap.min() < 0.03
    if case["latents"] == "independent":
        assert all(abs(path[-1][0]) > 0.999 for path in paths)


def test_what_the_cards_say():
    cases = [parameters(), parameters(latents="laplace"), parameters(latents="laplace", kappa=-0.5),
             parameters(latents="sign"), parameters("sine-cosine", latents="abs"), parameters("relu"),
             parameters(beta_u=0.0, beta_v=0.0)]
    cards = [[bare(" | ".join(card[way])) for way in "uv"] for card in script(*(("facts", p) for p in cases))]
    assert cards[0] == ["attracts the neuron | L − L(0) ≈ −0.059 αu² | n ≈ 10 d ln d (4600 at d = 100)",
                        "attracts the neuron | L − L(0) ≈ −0.025 αv⁴ | n ≈ 4.8 d³ (4.8·10⁶ at d = 100)"]
    assert cards[1][1] == "repels the neuron | L − L(0) ≈ 0.037 αv⁴ | not found from a random start"
    assert cards[2][0].startswith("repels") and cards[2][1].startswith("attracts")
    assert cards[3][1] == ("is learnt together with u | L − L(0) ≈ −0.059 αu² − 0.090 αuαv | "
                           "n ≈ 5.1 d ln d (2300 at d = 100)")
    assert cards[4][1].startswith("is pulled in by u | L holds 0.") and cards[4][1].endswith("n ∝ d once u is learnt")
    assert cards[5][1] == "is not seen | no term up to order 4 | " and cards[6] == [cards[5][1]] * 2


def test_html_is_whole_stable_and_fetches_nothing():
    figure = loss_landscape(activation="tanh", latents="abs", beta_v=3, name="some-landscape")
    assert repr(figure) == ("InteractiveFigure('some-landscape', activation=tanh, latents=abs, alpha_bar=0.7, "
                            "beta_u=1.0, beta_v=3.0, kappa=0.5)")
    twin = loss_landscape(activation="tanh", latents="abs", beta_v=3, name="some-landscape")
    config = {"activation": "tanh", "latents": "abs", "alpha_bar": 0.7, "beta_u": 1.0, "beta_v": 3.0, "kappa": 0.5}
    assert_whole(figure, twin, "loss-landscape", config, urls=r"|url\((?!#)")
    assert script(*(("usual", activation) for activation in ACTIVATIONS)) == [USUAL[a] for a in ACTIVATIONS]


@pytest.mark.parametrize(("argument", "value"), [
    ("activation", "gelu"), ("activation", ""), ("latents", "cubic"), ("alpha_bar", 0.0), ("alpha_bar", 0.96),
    ("beta_u", -0.1), ("beta_u", 4.1), ("beta_v", 31), ("beta_v", math.nan), ("kappa", 1.01), ("kappa", "0.5"),
    ("kappa", True), ("name", "a b"), ("name", ""), ("name", 'x"><script>'),
])
def test_bad_input_is_named(argument, value):
    with pytest.raises(ValueError, match=f"^{argument} = .*: must be "):
        loss_landscape(**{argument: value})


def test_figure_in_a_browser(browser):
    first, second = loss_landscape(name="one"), loss_landscape(latents="sign", name="two")
    page, trouble = opened(browser, (first, second), first)          # the same figure again
    one, again = page.locator(".loss-landscape").first, page.locator("#cell .loss-landscape")
    assert again.locator("path.ls-band").count() == one.locator("path.ls-band").count() == 9
    assert page.evaluate("new Set([...document.querySelectorAll('clipPath')].map((c) => c.id)).size") == 3
    state = parameters()

    def agrees():
        """Compare the figure with what node computes."""
        now, facts = script(("look", state), ("facts", state))
        head = one.locator(".ls-log").text_content()
        cards = one.locator(".ls-card")
        for i, way in enumerate("uv"):
            slope, text = now[way]["slope"], cards.nth(i).text_content()
            words = "blind: the loss is constant" if slope is None else f"slope {slope:.2f}".replace("-", "−")
            assert f"along {way}: {words}" in head
            assert f"{bare(facts[way][0])}, information exponent {now['exponents'][way] or 'none'}" in text
            assert bare(facts[way][1]) in text
        bars = one.locator(".ls-bars .ls-minus, .ls-bars .ls-plus")
        widths = [float(bars.nth(i).get_attribute("width")) for i in range(5)]
        ell = np.abs(now["ell"][2:7])
        np.testing.assert_allclose(widths, ell / ell.max() * max(widths), atol=0.1)
        return now

    agrees()
    one.get_by_label("latents", exact=True).select_option("laplace")
    state["latents"] = "laplace"
    agrees()
    assert one.locator(".ls-log .ls-above").count() == 1 and one.locator("path.ls-band.ls-plus").count() > 0
    one.get_by_label("activation", exact=True).select_option("relu")
    state |= {"activation": "relu", "parameter": 0}
    assert one.get_by_label("parameter").count() == 1 and not one.get_by_label("parameter").is_visible()
    agrees()
    one.get_by_label("activation", exact=True).select_option("biased-relu")
    slider = one.get_by_role("slider", name="parameter θ of the activation")
    slider.focus()
    page.keyboard.press("ArrowRight")
    state |= {"activation": "biased-relu", "parameter": 0.55}
    assert slider.evaluate("(e) => e.nextElementSibling.textContent") == "0.55"
    agrees()
    ends = (("signal ᾱ", "alpha_bar", 0.95, "End"), ("strength β of v", "beta_v", 30, "End"),
            ("output strength κ", "kappa", -1, "Home"), ("strength β of u", "beta_u", 0, "Home"))
    for name, key, value, end in ends:
        one.get_by_role("slider", name=name).focus()
        page.keyboard.press(end)
        state[key] = value
        agrees()
    disc = one.locator(".ls-disc")

    def says():
        return one.locator(".ls-says").text_content()

    disc.focus()
    page.keyboard.press("ArrowUp")
    assert "(0.08, 0.42)" in says()
    box = disc.bounding_box()
    disc.click(position={"x": box["width"] * 0.7, "y": box["height"] * 0.3})
    u, v = map(float, re.search(r"\((0\.\d+), (0\.\d+)\), L", says()).groups())
    assert 0.4 < u < 0.5 and 0.3 < v < 0.6
    (loss,) = script(("loss", state, [[u, v]]))
    shown = re.search(r"L\(0\) = (−?[\d.]+)", says())[1].replace("−", "-")
    assert float(shown) == pytest.approx(loss[0], rel=0.05)         # the place is shown with two digits
    one.get_by_role("slider", name="output strength κ").fill("0")
    assert one.locator("path.ls-band").count() == 0 and "stands still" in says()
    assert_fits_a_phone(page, ".ls-disc")
    assert trouble == []
    page.close()


def test_figure_follows_the_switch_and_words_stand_out(browser):
    assert_follows_the_switch(browser, loss_landscape(), [
        (".loss-landscape", "color"), (".ls-band", "fill"), (".ls-you-dot", "fill"), (".ls-bars .ls-plus", "fill"),
        (".ls-log text[style*=ls-u]", "fill"), (".ls-log text[style*=ls-v]", "fill"),
    ])
