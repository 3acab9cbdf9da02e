"""Letters in many fonts: images of two factors, a coarse one (which letter) and a finer one (in which font).

Drawn from the fonts that matplotlib ships, so that nothing has to be fetched or installed.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["FONTS", "LETTERS", "draw"]

LETTERS = "ABCEGHKMRSTX"
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique", "DejaVuSansMono", "cmr10", "cmb10",
    "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "cmmi10",
    "DejaVuSerif-BoldItalic", "STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "STIXGeneralBolIta", "cmss10",
    "cmtt10",
)


def _letter(letter: str, font: str, side: int) -> Float[Tensor, "side side"]:
    """Return one letter, its box in the middle, ink from 0 to 1."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont  # comes with matplotlib

    file = Path(matplotlib.get_data_path()) / "fonts/ttf" / f"{font}.ttf"
    face, paper = ImageFont.truetype(str(file), round(0.72 * side)), Image.new("L", (side, side))
    left, top, right, bottom = face.getbbox(letter)
    place = ((side - left - right) / 2, (side - top - bottom) / 2)
    ImageDraw.Draw(paper).text(place, letter, fill=255, font=face)
    return torch.frombuffer(bytearray(paper.tobytes()), dtype=torch.uint8).view(side, side) / 255


def draw(
    n: int, size: int = 16, *, letters: Sequence[str] = LETTERS, fonts: Sequence[str] = FONTS, shift: float = 1.0,
    turn: float = 10.0, zoom: float = 0.1, seed: Seed = 0,
) -> tuple[Float[Tensor, "n 1 size size"], Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Draw `n` letters at random, each in a random font, at a random place, angle and size.

    Parameters
    ----------
    n, size
        Number of images, and pixels of their side, at least 8.
    letters, fonts
        Among which it is drawn: characters, and names of files that matplotlib ships (``FONTS``: 20 of them).
    shift, turn, zoom
        Largest shift in pixels, in both directions; largest turn in degrees; largest relative change of size, below 1:
        each uniform in ±.
    seed
        Integer or CPU ``torch.Generator``.

    Returns
    -------
    images, letters, fonts
        float32 ``(n, 1, size, size)``, 0 is paper and 1 is ink; int64 ``(n,)``, which of the letters; of the fonts.

    Raises
    ------
    ValueError
        For numbers out of range, no letters, or no or unknown fonts.
    """
    n, size = checks.integer("n", n, low=1), checks.integer("size", size, low=8)
    shift, turn, zoom = checks.reals(0.0, shift=shift, turn=turn, zoom=zoom)
    checks.require(zoom < 1, "zoom", zoom, "below 1")
    checks.require(len(letters) > 0, "letters", letters, "one or more")
    checks.require(len(fonts) > 0 and set(fonts) <= set(FONTS), "fonts", fonts, f"one or more of {', '.join(FONTS)}")
    every = torch.stack([_letter(letter, font, 2 * size) for letter in letters for font in fonts])
    gen = generator(seed, "glyphs.draw")
    which = torch.randint(len(every), (n,), generator=gen)
    x, y, angle, grow = 2 * torch.rand(4, n, generator=gen) - 1
    angle, grow = torch.deg2rad(turn * angle), 1 / (1 + zoom * grow)
    cos, sin = grow * angle.cos(), grow * angle.sin()
    theta = torch.stack([cos, -sin, 2 * shift / size * x, sin, cos, 2 * shift / size * y], 1).view(n, 2, 3)
    grid = affine_grid(theta, [n, 1, 2 * size, 2 * size], align_corners=False)
    images = avg_pool2d(grid_sample(every[which, None], grid, align_corners=False), 2)
    return images, which // len(fonts), which % len(fonts)
