import contextlib
import json
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook, new_output
from scipy import stats

from hierlib import lab
from hierlib.lab import checks, figure
from hierlib.lab.claims import Claim, parse, rounded
from tools import execute


@pytest.mark.parametrize(("text", "bounds"), [
    ("0.62 ± 0.01", (0.61, 0.63)), ("−3 ± 10%", (-3.3, -2.7)), ("[0.7, 0.9]", (0.7, 0.9)), ("> 0.9", (0.9, np.inf)),
    ("≤ 1e-9", (-np.inf, 1e-9)), ("< .05", (-np.inf, 0.05)), ("≥ -2", (-2.0, np.inf)), ("1.5e2 ± 1", (149.0, 151.0)),
])
def test_intervals_are_read_as_written(text, bounds):
    assert parse(text) == pytest.approx(bounds)


@pytest.mark.parametrize("interval", ["", "about 3", "3", "[2, 1]", "1 ± 0", "1 ± -1", "3 ± 1 or so", "= 3"])
def test_intervals_that_claim_nothing_are_refused(interval):
    with pytest.raises(ValueError, match="interval"):
        parse(interval)


def claim(measured, interval, **more):
    """Return the claim "x.y" that a chapter makes."""
    claims = lab.Claims("x", source="this book")
    make = claims.finding if "verdict" in more else claims.check
    make("y", measured, interval, "a < b", **more)
    return claims["y"]


def test_check_is_text_test_and_display():
    made = claim(torch.tensor(0.615), "0.62 ± 0.01")
    assert made.holds and repr(made) == "[check x.y] 0.62 ± 0.01: holds"
    data, metadata = made._repr_mimebundle_()
    assert "a &lt; b" in data["text/html"] and '<b class="measured">0.615</b>' in data["text/html"]
    assert "0.615" not in data["text/plain"]
    assert metadata["claim"] == {"name": "x.y", "interval": "0.62 ± 0.01", "measured": 0.615, "about": "a < b",
                                 "paper": "", "source": "this book", "error": None, "verdict": "", "holds": True}


@pytest.mark.parametrize(("value", "error", "text"), [
    (0.73119, None, "0.7312"), (-2, None, "\u22122"), (3.2e-12, None, "3.2·10⁻¹²"), (1.5e9, None, "1.5·10⁹"),
    (0.0, None, "0"), (float("inf"), None, "inf"), (43184.2, None, "43184"), (-0.61543, 0.0123, "\u22120.615 ± 0.012"),
    (1, float("nan"), "1"),
    (0.004, 0.03, "0.00 ± 0.03"), (128.4, 31.0, "128 ± 31"), (2.5e-7, 1e-8, "(2.50 ± 0.10)·10⁻⁷"),
    (3e-6, 2e-2, "0.000 ± 0.020"), (4.2e7, 3e6, "(4.2 ± 0.3)·10⁷"), (9.996, 0.0299, "10.00 ± 0.03"),
    (1.4, 3e-16, "1.4"),
])
def test_numbers_are_rounded_by_their_error(value, error, text):
    assert rounded(value, error) == text


def test_a_check_may_have_an_error_too():
    assert claim(0.61543, "> 0.5", error=0.0123).said == "0.615 ± 0.012"
    with pytest.raises(ValueError, match="error = -1"):
        claim(0.6, "> 0.5", error=-1)


def test_tables_are_rounded_captioned_and_without_nan():
    frame = pd.DataFrame({"x": [1.23456, np.nan], "y": [(1.2, 0.01), (np.nan, np.nan)], "z": ["a < b", 7],
                          "big": [43184.198, np.float32(0.1)]}, index=pd.Index([3, 40], name="n"))
    page, text = lab.table(frame, "A <table>")._repr_html_(), repr(lab.table(frame, "A <table>", digits=2))
    assert "<caption>A &lt;table&gt;</caption>" in page and "a &lt; b" in page and "NaN" not in page
    cells = re.findall(r"<t[dh]>(.*?)</t[dh]>", page)
    assert cells == ["n", "x", "y", "z", "big", "3", "1.23", "1.200 ± 0.010", "a &lt; b", "43184",
                     "40", "–", "–", "7", "0.1"]
    assert text.startswith("A <table>") and "1.2 " in text and "nan" not in text.lower()


def test_panels_are_lettered():
    fig, axes = plt.subplots(1, 2)
    axes[0].set_title("first", loc="left")
    figure.letters(axes)
    assert [ax.get_title(loc="left") for ax in axes] == [r"$\bf{a}$  first", r"$\bf{b}$"]
    plt.close(fig)


def test_finding_has_an_error_a_paper_and_a_verdict():
    made = claim(0.615, "> 0.5", paper="0.7", error=np.float32(0.0041), verdict="not reproduced", source="A 2024")
    assert repr(made) == "[finding x.y] not reproduced; > 0.5: holds"
    data, metadata = made._repr_mimebundle_()
    assert all(text in data["text/html"] for text in ("0.615 ± 0.004", "the paper: 0.7", "not reproduced", "A 2024"))
    assert metadata["claim"]["error"] == pytest.approx(0.0041) and type(metadata["claim"]["error"]) is float
    with pytest.raises(ValueError, match=r"verdict = 'true': must be one of 'reproduced', "):
        claim(0.6, "> 0.5", verdict="true")
    assert claim(0.6, "> 0.5", verdict="new here", error=float("nan")).error is None
    with pytest.raises(ValueError, match="error = -1"):
        claim(0.6, "> 0.5", verdict="reproduced", error=-1)


@pytest.fixture(params=["strict", "exploring"])
def strict(request, monkeypatch):
    """Whether claims raise: in CI; an explorer sets nothing."""
    if request.param == "strict":
        monkeypatch.setenv("HIERLIB_STRICT", "1")
    else:
        monkeypatch.delenv("HIERLIB_STRICT", raising=False)
    return request.param == "strict"


@pytest.mark.parametrize("measured", [0.64, float("nan"), float("inf"), float("-inf")])
def test_a_wrong_claim_raises_in_ci_and_warns_an_explorer(measured, strict):
    with pytest.raises(lab.ClaimError) if strict else pytest.warns(lab.ClaimWarning) as told:
        claim(measured, "0.62 ± 0.01")
    assert re.search(r"x\.y.*FAILS", str(told.value if strict else told[0].message))


@pytest.mark.parametrize("interval", ["< 1", "> 1", "1 ± 0.1"])
@pytest.mark.parametrize("measured", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_fails_every_claim_as_valid_json(interval, measured):
    made = Claim("x.y", interval, measured, "a", "b")
    data, metadata = made._repr_mimebundle_()
    assert not made.holds and metadata["claim"]["measured"] is None
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata
    assert "Not a finite number" in data["text/html"] and data["text/plain"].endswith("FAILS")
    cell = new_code_cell(outputs=[new_output("display_data", data, metadata=metadata)])
    assert execute.as_read(new_notebook(cells=[cell])).cells[0].outputs[0].metadata.claim.measured is None


def test_claim_in_a_kernel_displays_and_glues(monkeypatch, strict):
    IPython = pytest.importorskip("IPython")
    pytest.importorskip("IPython.display")
    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(IPython.display, "display", lambda *a, **k: shown.append((a, k)))
    with pytest.raises(lab.ClaimError) if strict else contextlib.nullcontext():
        claim(9.0, "< 1")                                   # shown even when it fails
    box = shown[0][0][0]
    assert repr(box) == "[check x.y] < 1: FAILS"
    page = box._repr_mimebundle_()[0]["text/html"]
    assert "claim-fails" in page and "border" in page and "interval that was checked for the stored sizes" in page
    assert shown[1][0][0] == {"application/papermill.record/text/plain": "9"}
    assert shown[1][1]["metadata"]["scrapbook"]["name"] == "x.y"


def test_strictness_is_0_or_1(monkeypatch):
    monkeypatch.setenv("HIERLIB_STRICT", "yes")
    with pytest.raises(ValueError, match="HIERLIB_STRICT = 'yes': must be one of '0', '1'"):
        claim(9.0, "< 1")


def test_scale_and_device(monkeypatch):
    monkeypatch.delenv("HIERLIB_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("HIERLIB_SCALE", raising=False)
    assert lab.device().type == "cpu" and lab.scale() == "quick" and lab.by_scale(quick=1, paper=2) == 1
    monkeypatch.setenv("HIERLIB_SCALE", "paper")
    assert lab.by_scale(quick=1, paper=2) == 2
    monkeypatch.setenv("HIERLIB_SCALE", "huge")
    with pytest.raises(ValueError, match="HIERLIB_SCALE = 'huge': must be one of 'quick', 'paper'"):
        lab.scale()
    for wrong in ("abacus", "cuda:0"):
        monkeypatch.setenv("HIERLIB_DEVICE", wrong)
        with pytest.raises(ValueError, match="HIERLIB_DEVICE"):
            lab.device()
    monkeypatch.delenv("HIERLIB_DEVICE")
    monkeypatch.delenv("HIERLIB_SCALE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert lab.device().type == "cuda" and lab.scale() == "quick", "paper is asked for by name, on a GPU too"


def test_streams_are_reproducible_and_independent():
    def draw(*a):
        return torch.rand(4000, generator=lab.generator(*a), dtype=torch.float64)

    before = torch.get_rng_state()
    assert torch.equal(draw(3, 1), draw(3, 1))
    streams = [draw(3), draw(3, 0), draw(3, 1), draw(4), draw(3, 0, 1), draw(3, "a"), draw(3, "b")]
    for i, a in enumerate(streams):
        assert stats.kstest(a.numpy(), "uniform").pvalue > 1e-3
        for b in streams[:i]:
            assert abs(np.corrcoef(a, b)[0, 1]) < 4 / 4000**0.5
    assert torch.equal(before, torch.get_rng_state()), "the global generator is left alone"
    assert len(set(lab.spawn(0, 100) + lab.spawn(0, 100, 1) + lab.spawn(1, 100))) == 300
    gen = torch.Generator()
    assert lab.generator(gen) is gen and lab.generator(gen, "a") is gen


@pytest.mark.parametrize(("call", "name"), [
    (lambda: lab.generator(-1), "seed = -1"), (lambda: lab.generator(1.5), "seed = 1.5"),
    (lambda: lab.generator(0, -2), "key = -2"), (lambda: checks.real("x", 10**400), "x = 1000"),
    (lambda: checks.real("x", "0.5"), "x = '0.5'"), (lambda: checks.real("x", True), "x = True"),
    (lambda: lab.spawn(0, -1), "n = -1"), (lambda: checks.integer("k", 7, 0, 3), r"k = 7: must be .* \[0, 3\]"),
    (lambda: checks.real("x", "a"), "x = 'a'"), (lambda: checks.real("x", 2, 0, 1), "x = 2"),
    (lambda: checks.positive("x", 0), "x = 0: must be positive"), (lambda: checks.positive("x", 3, 2), "x = 3"),
    (lambda: checks.positive("x", 0.0, 2), r"x = 0.0: must be in \(0, 2\]"),
    (lambda: checks.positive("x", float("nan")), "x = nan"), (lambda: checks.integers(1, v=3, m=0), "m = 0: must be"),
    (lambda: checks.reals(0, 1, a=0.5, b=2), r"b = 2: must be .* \[0, 1\]"),
    (lambda: checks.positive_array("b", [1, 0]), r"b = \[1, 0\]: must be positive"),
])
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


@pytest.mark.untyped
@pytest.mark.parametrize("value", [
    True, np.True_, torch.tensor(True), np.array(True), 1j, np.complex64(1), torch.tensor(1 + 0j), b"1", "1",
    np.str_("1"), None, [1], torch.ones(2), np.ones(2), float("nan"), np.float32("inf"),
])
def test_what_is_no_number_is_refused(value):
    for check in (lambda: checks.real("x", value), lambda: checks.integer("x", value, 0)):
        with pytest.raises(ValueError, match=r"x = .*must be"):
            check()


@given(st.sampled_from([int, np.int8, np.uint8, np.int16, np.uint64, torch.tensor, np.array, np.float32, float]),
       st.integers(0, 127))
def test_checked_numbers_are_pythons_own(kind, value):
    given = kind(value)
    assert checks.real("x", given) == value and type(checks.real("x", given)) is float
    if kind in (np.float32, float):
        with pytest.raises(ValueError, match="must be an integer"):
            checks.integer("x", given, 0)
    else:
        assert checks.integer("x", given, 0) == value and type(checks.integer("x", given, 0)) is int


def test_figures_follow_the_theme_and_are_deterministic():
    figure.use()

    def make():
        fig, ax = plt.subplots()
        ax.plot([0, 1], [0, 1], label="a")
        ax.legend()
        text = figure.svg(fig)
        plt.close(fig)
        return text

    text = make()
    assert text == make()
    assert figure.INK not in re.sub(r"var\(--ink,#\w+\)|<style>.*?</style>", "", text)
    assert "prefers-color-scheme:dark" in text and text.count("var(--ink") > 10 and "<dc:date>" not in text


def test_palette_is_legible_on_light_and_dark():
    def luminance(colour):
        rgb = np.array([int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for colour in (*figure.PALETTE, *figure.colours(8)):
        contrast = [(max(luminance(colour), luminance(page)) + 0.05) / (min(luminance(colour), luminance(page)) + 0.05)
                    for page in ("#ffffff", "#121212")]
        assert min(contrast) > 2.0, (colour, contrast)


def test_what_costs_seconds_to_import_is_imported_where_it_is_used():
    rooms = "bumps, cumulants, diffusion, figures, lab, nets, real, rhm, sim"
    code = f"import sys; from hierlib import {rooms}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"scipy.stats", "seaborn", "plotly", "dask", "skimage", "sklearn", "torch._inductor"} & {*loaded}
