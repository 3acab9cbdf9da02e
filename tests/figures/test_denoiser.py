"""The interactive figure of the Primer: its denoiser and sampler against the library's, the figure in a browser."""

import re

import torch

from hierlib.diffusion import gaussian, ideal, schedule
from hierlib.figures import InteractiveFigure
from tests.browser import assert_fits_a_phone, assert_follows_the_switch, assert_whole, bare, opened, run_calls

POINTS = [[-0.9, 0.4], [-1.2, -0.3], [-0.5, 0.0], [1.2, 0.1], [1.0, -0.4]]
CONFIG = {"sets": [["five points", POINTS], ["one point", [[0.5, 0.5]]]], "seed": 0}


def figure(name="denoising"):
    return InteractiveFigure(name, CONFIG, "denoiser", "denoiser", "Noise and denoising of points in the plane")


def script(*calls):
    """Run calls of the script's functions, one result each."""
    return run_calls("signals: () => it.SIGNALS,", figure().source, calls)


def test_the_denoiser_is_the_librarys():
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = ideal.Empirical(torch.tensor(POINTS, dtype=torch.float64))
    for s in (0.0, 0.2, 0.7, 0.99):
        ours = torch.tensor(script(*(("denoise", POINTS, y, s) for y in x.tolist())), dtype=torch.float64)
        assert torch.allclose(ours, exact(x, s), atol=1e-9)


def test_the_sampler_is_the_librarys():
    (signals,) = script(("signals",))
    assert torch.allclose(torch.tensor(signals, dtype=torch.float64), schedule.grid(len(signals) - 1), atol=1e-12)
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = ideal.Empirical(torch.tensor(POINTS, dtype=torch.float64))
    ways = torch.tensor(script(*(("way", POINTS, y) for y in x.tolist())), dtype=torch.float64)
    for k, (_, now, _) in enumerate(gaussian.trajectory(exact, x, schedule.grid(len(signals) - 1)), 1):
        assert torch.allclose(ways[:, k], now, atol=1e-7)
    (there,) = script(("settled", POINTS, ways[:, -1].tolist(), 1.0))
    assert there == 6


def test_noise_is_gaussian():
    (drawn,) = script(("noise", 4000, ["rng", 7]))
    x = torch.tensor(drawn, dtype=torch.float64)
    assert x.mean(0).abs().max() < 0.07 and (x.T.cov() - torch.eye(2)).abs().max() < 0.1


def test_html_is_whole_stable_and_fetches_nothing():
    assert repr(figure()) == "InteractiveFigure('denoising', seed=0)"
    assert_whole(figure(), figure(), "denoiser", CONFIG)


def test_figure_in_a_browser(browser):
    page, trouble = opened(browser, (figure("one"),), figure("one-more"))
    one = page.locator("#one")
    says, slider = one.locator(".dn-says"), one.get_by_role("slider", name="share of signal")

    def state():
        """Return (ᾱ, number of points, samples that have settled) as the sentence says them."""
        pattern = r"At ᾱ = ([\d.]+) .* come from (?:about )?(one|[\d.]+) of the (\d) .* (\d+) of 80"
        found = re.search(pattern, bare(says.inner_html()))
        return float(found[1]), 1.0 if found[2] == "one" else float(found[2]), int(found[4])

    slider.focus()
    page.keyboard.press("Home")
    assert state()[:2] == (0.0, 5.0)
    page.keyboard.press("End")
    assert state() == (1.0, 1.0, 80)
    one.get_by_role("button", name="other noise").click()
    assert state()[2] == 80
    for _ in range(20):
        slider.focus()
        page.keyboard.press("ArrowLeft")
    before = one.locator(".dn-one").get_attribute("aria-label")
    one.locator(".dn-one").focus()
    page.keyboard.press("ArrowRight")
    assert one.locator(".dn-one").get_attribute("aria-label") != before
    box = one.locator(".dn-one").bounding_box()
    one.locator(".dn-one").click(position={"x": box["width"] * 0.3, "y": box["height"] * 0.5})
    said = one.locator(".dn-one").get_attribute("aria-label")
    x, y = map(float, re.search(r"point at (-?[\d.]+), (-?[\d.]+);", said).groups())
    assert -1.5 < x < -0.5 and abs(y) < 0.5
    one.get_by_role("combobox").select_option(label="one point")
    assert " one of the 1 " in bare(says.inner_html())
    one.get_by_role("button", name="denoise").click()
    page.wait_for_function("Number(document.querySelector('#one [data-key=step]').value) === 100")
    assert state()[0] == 1.0
    assert_fits_a_phone(page, ".dn-one")
    assert trouble == []
    page.close()


def test_figure_follows_the_switch_and_words_stand_out(browser):
    assert_follows_the_switch(browser, figure(), [
        (".denoiser", "color"), ("circle.dn-data", "fill"), (".dn-you", "fill"), ("path.dn-mean", "fill"),
        ("circle.dn-many", "fill"),
    ])
