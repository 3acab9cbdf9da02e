"""What the interactive figures share: one script each, no global name, all of them on one page, alone and twice."""

import pytest

from hierlib import rhm
from hierlib.figures import (
    InteractiveFigure,
    belief_tree,
    hierarchical_image,
    loss_landscape,
    percolating_bumps,
    swing_by,
    synonyms,
)

GRAMMAR = rhm.Grammar.random(v=4, m=2, s=2, L=3)
PICTURES = rhm.pictures.Pictures(rhm.Grammar.random(v=4, m=2, s=4, L=2), rhm.pictures.gabor(4, pixels=4))
TWO = {"sets": [["two points", [[1, 0], [-1, 0]]]], "seed": 0}
DENOISER = InteractiveFigure("denoising", TWO, "denoiser", "denoiser", "two points")
FIGURES = [belief_tree(GRAMMAR), hierarchical_image(PICTURES), synonyms(GRAMMAR), loss_landscape(), swing_by(),
           percolating_bumps(), DENOISER]
GLOBALS = "() => Object.getOwnPropertyNames(window)"


def test_a_script_is_one_function():
    for figure in FIGURES:
        assert figure.source.startswith("(function () {\n\"use strict\";\n") and figure.source.endswith("})();\n")
        assert figure.source.count("const core = ") == 1
        assert figure.source.count("const inference = ") == figure.source.count("} = inference;") <= 1


def test_print_leaves_out_what_is_long():
    figure = InteractiveFigure("a", {"n": 3, "rules": [1, 2]}, "swing_by", "swing-by", "two concepts")
    assert repr(figure) == "InteractiveFigure('a', n=3)"


@pytest.mark.parametrize("name", ["", "a b", "1a", 'x"><script>', "ä"])
def test_a_name_is_an_id(name):
    with pytest.raises(ValueError, match=r"^name = .*: must be a letter, then letters, digits, '-' or '_'$"):
        InteractiveFigure(name, {}, "swing_by", "swing-by", "two concepts")


def test_a_page_holds_all_figures_and_every_one_twice(browser):
    page = browser.new_page(viewport={"width": 760, "height": 900}, reduced_motion="reduce")
    trouble = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda message: trouble.append(message.text))
    page.on("request", lambda request: trouble.append(request.url))
    page.set_content("<!doctype html><body></body>")
    before = set(page.evaluate(GLOBALS))
    page.set_content(f"<!doctype html><body>{''.join(2 * [figure._repr_html_() for figure in FIGURES])}</body>")
    for figure in FIGURES:
        both = page.locator(f".{figure.kind}")
        assert both.count() == 2
        texts = [both.nth(k).locator("[role=status]").inner_text() for k in (0, 1)]
        assert texts[0] == texts[1] != ""
        assert both.nth(1).locator("svg").count() > 1
    assert set(page.evaluate(GLOBALS)) - before <= {figure.name for figure in FIGURES}      # ids are names, too
    assert trouble == []
    page.close()
