"""The exact denoiser of a hierarchical image."""

from hierlib.figures.core import InteractiveFigure, of_grammar
from hierlib.lab import checks
from hierlib.rhm.pictures import Pictures

__all__ = ["hierarchical_image"]

# more tiles cannot be told apart; numbers in the rules, and as many in the tiles, are written into the page
_MOST = {"leaves": 64, "numbers": 50_000}


def hierarchical_image(
    pictures: Pictures, *, alpha_bar: float = 0.2, seed: int = 0, name: str = "hierarchical-image"
) -> InteractiveFigure:
    """Show one image of a grammar with noise, what its exact denoiser makes of it, and what a U-turn changes.

    The reader moves the signal ᾱ under noise that stays the same, asks for another image, and goes forward and back:
    one exact posterior sample, with the tiles it changed. Beside the image, the noisy one and E[x0 | y] stand the
    levels of the tree as maps of the belief in the true symbols. All is computed in the browser, by the recursion of
    :func:`hierlib.rhm.marginals` from the likelihood of :meth:`hierlib.rhm.pictures.Pictures.likelihood`.

    Source: this book, after Sclocchi, Favero, Wyart 2024.

    Parameters
    ----------
    pictures
        Images of a grammar with s = 4, at most 64 leaves and 50000 numbers in its rules; tiles of at most 8 × 8
        pixels in 1 or 3 channels (grey, or red, green, blue), 50000 numbers in all.
    alpha_bar
        Signal ᾱ at the start, in [0, 1).
    seed
        Seed of the first image and of its noise, 0 … 2^31 − 1.
    name
        Of the :class:`hierlib.figures.InteractiveFigure` that is returned.

    Raises
    ------
    ValueError
        For pictures that are too large or of another kind, or a signal, seed or name that is not allowed.

    Examples
    --------
    >>> from hierlib.rhm import Grammar
    >>> from hierlib.rhm.pictures import Pictures, gabor
    >>> hierarchical_image(Pictures(Grammar.random(v=8, m=3, s=4, L=2), gabor(8, pixels=4)))
    InteractiveFigure('hierarchical-image', v=8, m=3, s=4, L=2, alpha_bar=0.2, seed=0, channels=1, pixels=4)
    """
    signal = checks.real("alpha_bar", alpha_bar, 0.0, 1.0)
    checks.require(signal < 1, "alpha_bar", alpha_bar, "in [0, 1): without noise there is nothing to infer")
    fits = isinstance(pictures, Pictures) and pictures.g.s == 4 and pictures.tiles.numel() <= _MOST["numbers"]
    checks.require(fits and len(pictures.tiles[0]) in (1, 3) and pictures.tiles.shape[3] <= 8, "pictures", pictures,
                   "hierlib.rhm.pictures.Pictures of a grammar with s = 4, and of tiles with 1 or 3 channels, at most "
                   f"8 × 8 pixels and {_MOST['numbers']} numbers in all")
    config = of_grammar(pictures.g, _MOST, what="pictures", alpha_bar=signal, seed=seed)
    config |= dict(zip(("channels", "pixels"), pictures.tiles.shape[1:]))
    config["tiles"] = [[round(x, 6) for x in tile] for tile in pictures.tiles.flatten(1).tolist()]
    return InteractiveFigure(name, config, "hierarchical_image", "hierarchical-image", "Denoising a hierarchical image",
                             "image", ("inference",))
