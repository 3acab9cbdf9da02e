"""The interactive image: its script against hierlib and against all images of a small grammar, and in a browser."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from hierlib import diffusion, rhm
from hierlib.figures import hierarchical_image
from hierlib.rhm.pictures import Pictures, gabor
from tests.browser import assert_fits_a_phone, assert_follows_the_switch, assert_whole, opened, run_calls
from tests.figures.test_belief_tree import assert_frequencies

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
OWN = """
  many: (n, name, ...given) => Array.from({ length: n }, () => it[name](...given)),
"""


def drawn(L=2, v=4, m=3, s=4, pixels=4, channels=1, **options):
    """Return a figure, its configuration, and its pictures in double precision with the tiles as the page has them."""
    g = rhm.Grammar.random(v=v, m=m, s=s, L=L, seed=1)
    figure = hierarchical_image(Pictures(g, gabor(v, pixels, channels)), **options)
    tiles = torch.tensor(figure.config["tiles"], dtype=torch.float64).view(v, channels, pixels, pixels)
    return figure, figure.config, Pictures(g, tiles)


def script(*calls):
    """Run calls of the script's functions, one result each."""
    return run_calls(OWN, drawn()[0].source, calls)


def noised(pictures, alpha_bar, n=1, seed=3):
    """Return strings, and their images with noise."""
    x = pictures.g.sample(n, seed=seed)[0]
    noise = torch.randn((n, *pictures.shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, diffusion.gaussian.noised(pictures.draw(x), alpha_bar, noise)


@pytest.mark.parametrize("size", [
    {"L": 3, "v": 8, "m": 24}, {"L": 2, "channels": 3}, {"L": 1, "v": 3, "m": 2, "pixels": 8},
    {"L": 2, "v": 5, "m": 1, "pixels": 3, "channels": 3},
], ids=str)
def test_inference_from_noisy_pixels_equals_hierlib(size):
    _, config, pictures = drawn(**size)
    for signal in (0.0, 0.01, 0.1, 0.5, 0.99):                       # at the last one some tokens are ruled out
        _, y = noised(pictures, signal)
        likelihood = pictures.likelihood(y, signal)
        mine, = script(("likelihood", config, pictures.cut(y)[0].tolist(), signal))
        np.testing.assert_allclose(mine, likelihood[0], rtol=1e-9, atol=0)
        marginals, = script(("marginals", config, mine))
        for level, exact in zip(marginals, rhm.marginals(pictures.g, likelihood)):
            np.testing.assert_allclose(level, exact[0], rtol=0, atol=1e-11)
        mean, = script(("posteriorMean", config, marginals[0]))
        np.testing.assert_allclose(mean, pictures.cut(pictures(y, signal))[0], rtol=0, atol=1e-10)
    assert likelihood.min() == 1e-30


def test_posterior_samples_follow_the_weights_of_all_images():
    _, config, pictures = drawn(L=1, v=3, m=3, pixels=3)
    signal, n, everything = 0.1, 20000, pictures.g.enumerate()
    _, y = noised(pictures, signal)
    distance = (y - signal**0.5 * pictures.draw(everything)).square().sum((1, 2, 3))
    p = torch.softmax(-distance / (2 * (1 - signal)), 0)             # all strings have the same probability before
    assert 0.05 < p.max() < 0.9
    likelihood, = script(("likelihood", config, pictures.cut(y)[0].tolist(), signal))
    draws, = script(("many", n, "samplePosterior", config, likelihood, ["rng", 5]))
    seen = Counter(tuple(tree[0]) for tree in draws)
    assert_frequencies([seen[tuple(x)] for x in everything.tolist()], p)
    assert sum(seen.values()) == sum(seen[tuple(x)] for x in everything.tolist())


def test_noise_is_normal_and_the_same_for_every_signal():
    noise, again, other = script(*(("normal", 40000, ["rng", seed]) for seed in (1, 1, 2)))
    assert noise == again != other
    assert kstest(noise, "norm").pvalue > 1e-6
    pairs = np.reshape(noise, (-1, 2))                               # both of one angle
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 5 / len(pairs) ** 0.5
    assert abs(np.corrcoef(np.square(pairs).T)[0, 1]) < 5 / len(pairs) ** 0.5

    pictures = drawn()[2]
    x0 = pictures.cut(pictures.draw(pictures.g.sample(1, seed=0)[0]))[0]
    eps = torch.tensor(noise[:x0.numel()], dtype=torch.float64).view_as(x0)
    for signal in (0.0, 0.3, 0.99):
        y, = script(("noisy", x0.tolist(), signal, noise))
        np.testing.assert_allclose(y, diffusion.gaussian.noised(x0, signal, eps), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [{"L": 3}, {"L": 2, "pixels": 5, "channels": 3}], ids=str)
def test_pixels_stand_where_hierlib_draws_them(size):
    _, config, pictures = drawn(**size)
    _, y = noised(pictures, 0.2)
    rgba, = script(("bitmap", config, pictures.cut(y)[0].tolist()))
    side = pictures.shape[1]
    rgba = np.reshape(rgba, (side, side, 4))
    grey = (127.5 * (1 + y[0] / pictures.tiles.abs().max())).clamp(0, 255).expand(3, side, side)
    np.testing.assert_allclose(rgba[..., :3], grey.permute(1, 2, 0), rtol=0, atol=0.5 + 1e-9)
    assert (rgba[..., 3] == 255).all()


def test_html_is_whole_stable_and_fetches_nothing():
    def figure():
        return drawn(L=1, v=4, m=2, channels=3, alpha_bar=0.05, seed=4, name="an-image")

    one, config, pictures = figure()
    assert repr(one) == ("InteractiveFigure('an-image', v=4, m=2, s=4, L=1, alpha_bar=0.05, seed=4, channels=3, "
                         "pixels=4)")
    sizes = {"v": 4, "m": 2, "s": 4, "L": 1, "alpha_bar": 0.05, "seed": 4, "channels": 3, "pixels": 4}
    assert config == sizes | {"rules": pictures.g.rules.tolist(), "tiles": config["tiles"]}
    np.testing.assert_allclose(pictures.tiles, gabor(4, 4, 3), rtol=0, atol=1e-6)
    assert_whole(one, figure()[0], "hierarchical-image", config)
    assert "An interactive image stands here" in one._repr_html_()


def pictures_of(v=4, m=2, s=4, L=2, pixels=4, channels=1):
    return Pictures(rhm.Grammar.random(v=v, m=m, s=s, L=L), gabor(v, pixels, channels))


@pytest.mark.parametrize(("argument", "value"), [
    ("seed", -1), ("seed", 2**31), ("alpha_bar", 1.0), ("alpha_bar", -0.1), ("alpha_bar", float("nan")),
    ("alpha_bar", "0.5"), ("name", "a b"), ("name", 'x"><script>'), ("pictures", pictures_of(s=9, L=1)),
    ("pictures", pictures_of(L=4)), ("pictures", pictures_of(pixels=9)),
    ("pictures", pictures_of(channels=2)), ("pictures", pictures_of(v=80, m=90, L=2)),
    ("pictures", pictures_of(v=300, m=1, L=1, pixels=8, channels=3)),
], ids=str)
def test_bad_input_is_named(argument, value):
    with pytest.raises(ValueError, match=f"^{argument} = .*: must be "):
        hierarchical_image(**{"pictures": pictures_of(), argument: value})


def shown(figure):
    """Read the tooltips: (true symbol, belief, drawn symbol), map by map from the class to the tiles."""
    maps = []
    for i in range(figure.locator(".hi-map").count()):
        maps.append([])
        for text in figure.locator(".hi-map").nth(i).locator("g > title").all_text_contents():
            a, belief = re.match(r"(?:class|level \d+|tile): true symbol (\d+), belief in it ([\d.]+)", text).groups()
            became = re.search(r"became (\d+)", text)
            maps[-1].append((int(a), float(belief), int(became[1]) if became else int(a)))
    return maps


def pixels_of(figure, view):
    """Return the pixels (side, side, 4) of one of the figure's images."""
    flat = figure.locator(f"[data-view={view}]").evaluate(
        """(c) => { const copy = new OffscreenCanvas(c.width, c.height).getContext("2d", { willReadFrequently: true });
        copy.drawImage(c, 0, 0);
        return Array.from(copy.getImageData(0, 0, c.width, c.height).data); }""")
    return np.reshape(flat, (round((len(flat) / 4) ** 0.5), -1, 4))


def test_figure_in_a_browser(browser):
    first, config, pictures = drawn(L=3, v=6, m=10, pixels=4, alpha_bar=0.04, name="one")
    second, third = drawn(L=1, channels=3, name="two")[0], drawn(L=3, v=6, m=10, alpha_bar=0.04, name="three")[0]
    page, trouble = opened(browser, (first, second), third)
    one = page.locator("#one")
    assert [len(level) for level in shown(one)] == [1, 4, 16, 64]
    assert [len(level) for level in shown(page.locator("#two"))] == [1, 4]
    assert shown(page.locator("#three")) == shown(one)
    state = {"seed": 0, "signal": 0.04, "turn": False, "draw": 0}

    def agrees():
        """Compare what stands there with hierlib, given the noisy pixels."""
        now, = script(("look", config, state))
        y = pictures._join(torch.tensor(now["views"]["noisy"], dtype=torch.float64)[None])
        leaves = torch.tensor([[a for a, _, _ in shown(one)[-1]]])
        truth, post = pictures.g.parse(leaves), rhm.marginals(pictures.g, pictures.likelihood(y, state["signal"]))
        for level, symbols, exact in zip(shown(one), truth[::-1], post[::-1]):
            assert [a for a, _, _ in level] == symbols[0].tolist()
            belief = exact[0].gather(1, symbols.T)[:, 0].tolist()
            assert [b for _, b, _ in level] == pytest.approx(belief, abs=5.1e-4)
        sample = torch.tensor([[c for _, _, c in shown(one)[-1]]])
        images = {"clean": pictures.draw(leaves), "noisy": y, "mean": pictures(y, state["signal"])}
        for view, image in (images | ({"sample": pictures.draw(sample)} if state["turn"] else {})).items():
            grey = (127.5 * (1 + image[0, 0] / pictures.tiles.abs().max())).clamp(0, 255)
            np.testing.assert_allclose(pixels_of(one, view)[..., 0], grey, rtol=0, atol=0.51)
        return sample

    agrees()
    before = pixels_of(one, "mean")
    one.get_by_role("slider").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    state["signal"] = 0.22**2
    assert one.locator("output").inner_text() == "0.048"
    assert one.get_by_role("slider").get_attribute("aria-valuetext") == "signal 0.048"
    agrees()
    assert (pixels_of(one, "mean") != before).any()
    assert "U-turn" in one.locator("[data-box=sample]").inner_text()
    page.keyboard.press("Home")
    assert one.locator("output").inner_text() == "0.000"
    one.get_by_role("slider").fill("0.2")
    state["signal"] = 0.2**2

    one.get_by_role("button", name="U-turn").press("Enter")
    state["turn"] = True
    sample = agrees()
    assert pictures.g.is_valid(sample).all()                         # the way back ends in the grammar
    changed = sum(a != c for a, _, c in shown(one)[-1])
    assert one.locator(".hi-frames .hi-ring").count() == changed > 0
    assert f"{changed} of 64 tiles changed" in one.locator(".hi-images").inner_text()
    assert one.locator(".hi-map .hi-changed").count() == sum(a != c for level in shown(one) for a, _, c in level)
    one.get_by_role("button", name="draw again").click()
    state["draw"] = 1
    assert not torch.equal(agrees(), sample)
    one.get_by_role("button", name="another image").click()
    state |= {"seed": 1, "draw": 0}
    agrees()
    one.get_by_role("slider").press("End")
    assert one.locator(".hi-says").inner_text() == "Nothing changed: the way back returned the same data."
    assert_fits_a_phone(page, ".hi-map")
    assert trouble == []
    page.close()


def test_figure_follows_the_switch_and_words_stand_out(browser):
    assert_follows_the_switch(browser, drawn()[0], [(".hierarchical-image", "color"), (".hi-rim", "fill")])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_violation_of_axe_levels_a_and_aa(browser, theme):
    if not AXE.exists():
        pytest.skip("no axe-core: npm install --no-save axe-core@4.14.1")
    page = browser.new_page(viewport={"width": 760, "height": 900})
    ground, ink = {"light": ("#ffffff", "#222222"), "dark": ("#121212", "#ced6dd")}[theme]
    style = f"--pst-color-background:{ground};--pst-color-text-base:{ink};background:{ground}"
    page.set_content(f"<!doctype html><html lang='en' data-theme='{theme}'><head><title>An image</title></head>"
                     f"<body style='{style}'><main>{drawn()[0]._repr_html_()}</main></body></html>")
    page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    for _ in range(2):
        found = page.evaluate(
            """async () => (await axe.run(".hierarchical-image", { runOnly: ["wcag2a", "wcag2aa", "wcag21aa"] }))
            .violations.map((v) => [v.id, v.nodes.map((n) => n.html)])""")
        assert found == []
        page.get_by_role("button", name="U-turn").click()
    page.close()
