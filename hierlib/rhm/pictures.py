"""Images of the Random Hierarchy Model, whose exact denoiser in pixel space is known.

Every symbol is written as a b × b block of symbols, s = b², so that a string is a square of tokens; each token is drawn
as a tile of pixels. Gaussian noise on the pixels is then a channel like any other, as the pixels of a tile depend on
its token alone: the likelihood of token c is ∝ exp(−|y − √ᾱ T_c|²/2(1−ᾱ)), for its noisy pixels y and the tile T_c.
"""

import math
from collections.abc import Callable

import torch
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from hierlib.diffusion.gaussian import Level, amplitudes, noised
from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Int, Tensor
from hierlib.rhm import belief
from hierlib.rhm.grammar import Grammar, check_strings, kind

__all__ = ["Pictures", "gabor", "places"]

FLOOR = 1e-30               # a likelihood below it, beside the largest of the token's, counts as this one


def gabor(v: int, pixels: int, channels: int = 1) -> Float[Tensor, "v channels _ _"]:
    """Return `v` Gabor patches: waves of ⌈v/2⌉ directions and two phases; in several channels, of v colours, too.

    Each has mean 0 and variance 1 over its pixels and channels, and no two are equal. Source: after Gabor 1946.

    Raises
    ------
    ValueError
        For v < 2, fewer than 3 pixels, or no channel.
    """
    v, pixels = checks.integer("v", v, low=2), checks.integer("pixels", pixels, low=3)
    channels, x = checks.integer("channels", channels, low=1), torch.arange(pixels, dtype=torch.float64)
    x = x - (pixels - 1) / 2
    angle = math.pi * torch.arange(v).div(2, rounding_mode="floor").double() / math.ceil(v / 2)
    along = angle.cos()[:, None, None] * x + angle.sin()[:, None, None] * x[:, None]
    wave = torch.cos(2 * math.pi * along / pixels - math.pi / 2 * (torch.arange(v) % 2)[:, None, None])
    tile = wave * torch.exp(-(x**2 + x[:, None] ** 2) / (2 * (pixels / 2) ** 2))
    hue = 2 * math.pi * (torch.arange(v)[:, None] / v + torch.arange(channels) / channels)
    tile = tile[:, None] * (1 + (channels > 1) * hue.cos())[:, :, None, None]
    tile = tile - tile.mean((1, 2, 3), keepdim=True)
    return (tile / tile.square().mean((1, 2, 3), keepdim=True).sqrt()).float()


def places(levels: int, b: int = 2) -> Int[Tensor, " nodes"]:
    """Return where each of the b^(2·levels) nodes of a level stands in its square, counted row by row.

    Nodes come block by block, as in :meth:`hierlib.rhm.Grammar.sample`: Morton order. ValueError for b < 2 or fewer
    levels than 0. Source: Morton 1966.
    """
    levels, b = checks.integer("levels", levels, low=0), checks.integer("b", b, low=2)
    digit = torch.arange(b ** (2 * levels))[:, None] // b ** (2 * torch.arange(levels - 1, -1, -1)) % b**2
    power = b ** torch.arange(levels - 1, -1, -1)
    return (digit // b * power).sum(1) * b**levels + (digit % b * power).sum(1)


class Pictures:
    """The images of a grammar: strings drawn as tiles, their exact denoiser, and the way back to strings.

    Called as ``pictures(y, alpha_bar)`` it is a denoiser, the exact E[x0 | y] of these images, for everything in
    :mod:`hierlib.diffusion.gaussian`. Source: this book, after Sclocchi, Favero, Wyart 2024.

    Parameters
    ----------
    g
        A grammar with s = b², whose symbols write b × b blocks, row by row.
    tiles
        float ``(v, channels, pixels, pixels)``: one tile for each symbol, no two alike.

    Attributes
    ----------
    shape
        (channels, side, side) of an image, side = b^L · pixels.

    Raises
    ------
    ValueError
        For an s that is no square, another number of tiles, tiles that are not square or not finite, or equal ones.

    Examples
    --------
    >>> pictures = Pictures(Grammar.random(v=8, m=3, s=4, L=2), gabor(8, pixels=4))
    >>> x = pictures.g.sample(5)[0]
    >>> images = pictures.draw(x)
    >>> images.shape, torch.equal(pictures.read(images), x)
    (torch.Size([5, 1, 16, 16]), True)
    """

    def __init__(self, g: Grammar, tiles: Float[Tensor, "v channels _ _"]) -> None:
        b = math.isqrt(g.s)
        checks.require(b * b == g.s, "g", g, "a grammar whose s is a square: 4, 9, …")
        fits = isinstance(tiles, Tensor) and tiles.is_floating_point() and tiles.ndim == 4 and len(tiles) == g.v
        checks.require(fits and tiles.shape[2] == tiles.shape[3] and tiles.numel() > 0, "tiles", kind(tiles),
                       f"a float tensor of shape ({g.v}, channels, pixels, pixels), one square tile for each symbol")
        checks.require(bool(tiles.isfinite().all()), "tiles", "a NaN or an infinity", "finite")
        checks.require(len(tiles.flatten(1).unique(dim=0)) == g.v, "tiles", "equal ones", "all different: a symbol "
                       "that looks like another one cannot be read")
        self.g, self.tiles = g, tiles
        self.side, self.place = b**g.L, places(g.L, b)
        self.shape = (tiles.shape[1], self.side * tiles.shape[2], self.side * tiles.shape[2])

    def __repr__(self) -> str:
        return f"Pictures({self.g}, {'×'.join(map(str, self.shape))})"

    def draw(self, x: Int[Tensor, "n d"]) -> Float[Tensor, "n channels _ _"]:
        """Return the images of strings. ValueError for other than strings of the grammar's length and symbols."""
        check_strings("x", x, d=self.g.d, v=self.g.v)
        return self._join(self.tiles.to(x.device)[x].flatten(2))

    def _join(self, parts: Float[Tensor, "n d pixels"]) -> Float[Tensor, "n channels _ _"]:
        """Return the images of these tiles, in the order of leaves."""
        square = torch.empty_like(parts.mT)
        square[..., self.place.to(parts.device)] = parts.mT
        return pixel_shuffle(square.unflatten(2, (self.side, self.side)), self.tiles.shape[2])

    def cut(self, images: Float[Tensor, "n channels _ _"]) -> Float[Tensor, "n d pixels"]:
        """Return the tiles of images, flattened, in the order of leaves. ValueError for images of another shape."""
        checks.require(images.ndim == 4 and tuple(images.shape[1:]) == self.shape, "images", tuple(images.shape),
                       f"of shape (n, {', '.join(map(str, self.shape))})")
        return pixel_unshuffle(images, self.tiles.shape[2]).flatten(2).mT[:, self.place.to(images.device)]

    def read(self, images: Float[Tensor, "n channels _ _"]) -> Int[Tensor, "n d"]:
        """Return the string of the nearest tiles, which need not be one of the grammar. Errors as :meth:`cut`."""
        one = images.new_ones(())
        return _scores(self.cut(images), self.tiles, one, one).argmax(-1)

    def likelihood(self, y: Float[Tensor, "n channels _ _"], alpha_bar: Level) -> Float[Tensor, "n d v"]:
        """Return the likelihood of every token given noisy images, for :mod:`hierlib.rhm.belief`.

        The largest of a token is 1, and none is below 1e-30, so that an image that no string of the grammar has, such
        as one that a network made, can be denoised as well. `alpha_bar` in [0, 1) is the signal that is left, a number
        or one per image. ValueError for ᾱ outside [0, 1], and as :meth:`cut`.
        """
        parts = self.cut(y)
        return _likelihood(_scores(parts, self.tiles, *amplitudes(alpha_bar, parts)))

    def __call__(
        self, y: Float[Tensor, "n channels _ _"], alpha_bar: Level, level: int | None = None
    ) -> Float[Tensor, "n channels _ _"]:
        """Return E[x0 | y]: tiles weighted with the exact posterior of their tokens.

        With a `level`, of inference that is cut off above it (:func:`hierlib.rhm.truncated`): the best that can be done
        with blocks of b^level × b^level tokens taken each on its own. Errors as :meth:`likelihood` and there.
        """
        nu = self.likelihood(y, alpha_bar)
        weights = belief.marginals(self.g, nu)[0] if level is None else belief.truncated(self.g, nu, level)
        return self._join(weights @ self.tiles.to(y).flatten(1))

    @property
    def channel(self) -> Callable[..., Float[Tensor, "n d v"]]:
        """The channel ``(x0, alpha_bar, v, seed=…)`` of :mod:`hierlib.rhm.channels` that this noise is.

        For strings of any length, such as those of :func:`hierlib.rhm.population.upward_pools`.
        """
        def tiles(x0: Int[Tensor, "n d"], alpha_bar: Level, v: int, *, seed: Seed = 0) -> Float[Tensor, "n d v"]:
            checks.require(v == self.g.v, "v", v, f"{self.g.v}, the number of tiles")
            check_strings("x0", x0, v=v)
            clean = self.tiles.to(x0.device)[x0].flatten(2)
            noise = torch.randn(clean.shape, generator=generator(seed, "tiles"), dtype=clean.dtype).to(clean.device)
            y = noised(clean, alpha_bar, noise)
            return _likelihood(_scores(y, self.tiles, *amplitudes(alpha_bar, y)))

        return tiles


def _scores(parts: Tensor, tiles: Tensor, a: Tensor, b: Tensor) -> Float[Tensor, "n d v"]:
    """Return the log-likelihood of every token, up to a constant, for pixels a T + b ε."""
    T = tiles.to(parts).flatten(1)
    return (a * (parts @ T.T) - a**2 / 2 * T.square().sum(1)) / (b**2).clamp(min=torch.finfo(parts.dtype).eps)


def _likelihood(scores: Tensor) -> Tensor:
    return (scores - scores.amax(-1, keepdim=True)).exp().clamp(min=FLOOR)
