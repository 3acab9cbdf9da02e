"""Square patches of images, the blocks they come from, and their standardisation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["Standardise", "patches"]

_BLOCK = 64                  # pixels; the side of a block that is left out together in a block jackknife

Images = Mapping[str, Float[Tensor, "channels _ _"]]


def check(images: Images) -> None:
    checks.require(isinstance(images, Mapping) and len(images) > 0 and all(
        isinstance(x, Tensor) and x.ndim == 3 and x.is_floating_point() for x in images.values()),
        "images", type(images).__name__, "a non-empty dict of float tensors (channels, height, width)")
    checks.require(len({len(x) for x in images.values()}) == 1, "images", [len(x) for x in images.values()],
                   "of the same number of channels")


def cut(
    stacks: Sequence[Tensor], size: int, n: int | None, stride: int | None, seed: Seed
) -> tuple[Float[Tensor, "n channels size size"], Int[Tensor, " n"]]:
    """Return patches of stacks ``(N, channels, height, width)``, each of images of one size, and their blocks.

    What :func:`patches` does, for the chapter *Simplicity bias*; source: this book.
    """
    size = checks.integer("size", size, low=1)
    smallest = min(min(x.shape[-2:]) for x in stacks)
    checks.require(size <= smallest, "size", size, f"at most the smallest side of an image, {smallest} pixels")
    stride = checks.integer("stride", (size if n is None else 1) if stride is None else stride, low=1)
    grids = [(len(x), (x.shape[2] - size) // stride + 1, (x.shape[3] - size) // stride + 1) for x in stacks]
    counts = [math.prod(grid) for grid in grids]
    if n is None:
        index = torch.arange(sum(counts))
    else:
        gen, n = generator(seed, "images.patches"), checks.integer("n", n, low=1)
        index = (torch.rand(n, generator=gen, dtype=torch.float64) * sum(counts)).long()
    out = stacks[0].new_empty(len(index), stacks[0].shape[1], size, size)
    block, place, blocks = torch.empty_like(index), 0, 0
    for x, (_, rows, columns), count in zip(stacks, grids, counts):
        mine = ((index >= place) & (index < place + count)).nonzero()[:, 0]
        here = index[mine] - place
        k, row, column = here // (rows * columns), here // columns % rows * stride, here % columns * stride
        views = x.unfold(2, size, 1).unfold(3, size, 1)
        out[mine.to(x.device)] = views[k.to(x.device), :, row.to(x.device), column.to(x.device)]
        high, wide = (max(1, round(side / _BLOCK)) for side in x.shape[-2:])
        down, across = (row + size // 2) * high // x.shape[2], (column + size // 2) * wide // x.shape[3]
        block[mine] = blocks + (k * high + down) * wide + across
        place, blocks = place + count, blocks + len(x) * high * wide
    return out, block


def patches(
    images: Images, size: int, *, n: int | None = None, stride: int | None = None, seed: Seed = 0,
    groups: bool = False,
) -> Float[Tensor, "n channels size size"] | tuple[Float[Tensor, "n channels size size"], Int[Tensor, " n"]]:
    """Cut square patches out of images.

    With one integer seed a smaller n gives the first patches of a larger one. Used in the chapter *Simplicity bias*;
    source: this book.

    Parameters
    ----------
    images
        Name to ``(channels, height, width)``, as from :func:`photographs` or :func:`split`.
    size
        Side of the patches in pixels.
    n
        How many, drawn with replacement, uniformly among all places of all images; by default every place once.
    stride
        Pixels between places: by default 1 where n is given, otherwise `size`, which tiles without overlap.
    seed
        Integer or CPU ``torch.Generator``.
    groups
        Whether to return the blocks too: patches overlap, and so are far from independent. Each image is divided
        into blocks of about 64 × 64 pixels, and a patch belongs to the block of its centre; a block jackknife over
        them gives honest standard errors.

    Returns
    -------
    Tensor, or (Tensor, int64 tensor)
        Patches ``(n, channels, size, size)``, and with `groups` the number of each one's block, ``(n,)``.

    Raises
    ------
    ValueError
        For a size larger than an image, n, stride or size that are not positive integers, or bad images.
    """
    check(images)
    out, block = cut([x[None] for x in images.values()], size, n, stride, seed)
    return (out, block) if groups else out


@dataclass(frozen=True)
class Standardise:
    """Shift and scale by two numbers from the training set, (x − mean)/std. Used in the chapter *Simplicity bias*.

    Parameters
    ----------
    mean, std
        Of all pixels and channels together, so that the ratios between them stay as they are.

    Raises
    ------
    ValueError
        When mean or std is not finite, or std is not positive.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", checks.real("mean", self.mean))
        object.__setattr__(self, "std", checks.real("std", self.std))
        checks.require(self.std > 0, "std", self.std, "positive (are all pixels equal?)")

    @classmethod
    def fit(cls, x: Float[Tensor, "..."] | Images) -> "Standardise":
        """Return the one that gives `x`, a tensor or a dict of images, mean 0 and standard deviation 1."""
        pixels = torch.cat([part.flatten() for part in (x.values() if isinstance(x, Mapping) else [x])])
        pixels = pixels.double()
        return cls(float(pixels.mean()), float(pixels.std(correction=0)))

    def apply(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return (x − mean)/std."""
        return (x - self.mean) / self.std

    def invert(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return std x + mean, for showing results as pictures."""
        return self.std * x + self.mean
