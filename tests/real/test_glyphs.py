import pytest
import torch

from hierlib import lab
from hierlib.real import glyphs

STILL = {"shift": 0.0, "turn": 0.0, "zoom": 0.0}


def test_shapes_labels_and_seeds():
    images, letters, fonts = glyphs.draw(500, 16, seed=3)
    assert images.shape == (500, 1, 16, 16) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    assert letters.unique().tolist() == list(range(12)) and fonts.unique().tolist() == list(range(20))
    assert all(map(torch.equal, glyphs.draw(500, 16, seed=3), (images, letters, fonts)))
    assert not torch.equal(glyphs.draw(500, 16, seed=lab.generator(4))[1], letters)


def test_every_letter_of_every_font_is_there_and_no_two_are_alike():
    images, letters, fonts = glyphs.draw(4000, 32, seed=0, **STILL)
    pairs = letters * len(glyphs.FONTS) + fonts
    assert len(pairs.unique()) == 240
    first = torch.stack([images[pairs == k][0] for k in range(240)]).flatten(1)
    assert (first.sum(1) > 32).all() and (first.amax(1) > 0.9).all(), "no empty glyph"
    assert torch.cdist(first, first).fill_diagonal_(9).min() > 0.5
    edge = images[..., [0, -1], :].amax() + images[..., [0, -1]].amax()
    assert edge == 0, "no letter is cut"


def test_labels_say_what_is_drawn():
    images, letters, fonts = glyphs.draw(300, 16, letters="IO", fonts=["DejaVuSans", "DejaVuSans-Bold"], seed=1)
    middle = images[:, 0, 7:9, 7:9].mean((1, 2))           # an O is empty in its middle, an I is not
    assert middle[letters == 0].min() > middle[letters == 1].max()
    ink = images.sum((1, 2, 3))
    for k in range(2):
        mine = letters == k
        assert ink[mine & (fonts == 1)].mean() > 1.2 * ink[mine & (fonts == 0)].mean()


def centre(images):
    place = torch.arange(images.shape[-1]) + 0.5 - images.shape[-1] / 2
    ink = images.sum((1, 2, 3))
    return torch.stack([(images.sum((1, 2)) * place).sum(1), (images.sum((1, 3)) * place).sum(1)]) / ink


def test_shift_turn_and_zoom_are_what_they_say():
    one = {"letters": "I", "fonts": ["DejaVuSans"]}
    still = glyphs.draw(1, 32, **one, **STILL)[0]
    shifted = centre(glyphs.draw(400, 32, **one, **STILL | {"shift": 3.0})[0]) - centre(still)
    for axis in shifted:                                                            # uniform in ± 3
        assert 2.9 < axis.max() < 3.05 and -3.05 < axis.min() < -2.9
        assert axis.std() == pytest.approx(3 / 3**0.5, rel=0.1)
    grown = glyphs.draw(400, 32, **one, **STILL | {"zoom": 0.2})[0].sum((1, 2, 3)) / still.sum()
    assert 0.6 < grown.min() < 0.7 and 1.37 < grown.max() < 1.48                    # the area: .8², 1.2²
    turned = glyphs.draw(400, 32, **one, **STILL | {"turn": 30.0})[0][:, 0]
    place = torch.arange(32) - 15.5
    mixed = torch.einsum("nij,i,j->n", turned, place, place)
    spread = torch.einsum("nij,i->n", turned, place**2) - torch.einsum("nij,j->n", turned, place**2)
    angle = torch.rad2deg(torch.atan2(2 * mixed, spread) / 2)                       # of the long axis
    assert angle.abs().max() == pytest.approx(30, abs=1.5) and abs(angle.mean()) < 3
    torch.testing.assert_close(turned.sum((1, 2)).mean(), still.sum(), rtol=0.02, atol=0)


@pytest.mark.untyped
@pytest.mark.parametrize(("call", "message"), [
    (lambda: glyphs.draw(0), "n = 0"),
    (lambda: glyphs.draw(3, 4), "size = 4"),
    (lambda: glyphs.draw(3, shift=-1.0), "shift = -1.0"),
    (lambda: glyphs.draw(3, zoom=1.0), "zoom = 1.0"),
    (lambda: glyphs.draw(3, letters=""), "letters = ''"),
    (lambda: glyphs.draw(3, fonts=["Arial"]), "fonts = .*Arial.*DejaVuSans"),
    (lambda: glyphs.draw(3, fonts=[]), "fonts"),
])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
