"""Natural images as patches for denoisers: photographs that ship inside installed packages, or CIFAR-10.

Nothing here reaches for the network unless ``download=True`` asks for it. Images are float32 in [0, 1] with axes
(channels, height, width).
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import avg_pool2d

from hierlib.lab import checks, generator
from hierlib.lab.types import Float, Int, Tensor
from hierlib.real.cifar import cifar10, image_tensor
from hierlib.real.crops import Images, Standardise, check, cut, patches

__all__ = ["NAMES", "Natural", "Standardise", "cifar10", "natural", "patches", "photographs", "split"]

_FILES = {
    "astronaut": ("skimage", "data/astronaut.png"), "camera": ("skimage", "data/camera.png"),
    "chelsea": ("skimage", "data/chelsea.png"), "coffee": ("skimage", "data/coffee.png"),
    "rocket": ("skimage", "data/rocket.jpg"), "motorcycle_left": ("skimage", "data/motorcycle_left.png"),
    "china": ("sklearn", "datasets/images/china.jpg"), "flower": ("sklearn", "datasets/images/flower.jpg"),
}
NAMES = tuple(_FILES)
_TEST = 0.25                 # share of a photograph, its right end, that `natural` tests on


def _read(name: str, gray: bool) -> Float[Tensor, "channels height width"]:
    """Return one photograph from the folder of its package, which is found but not imported."""
    from PIL import Image  # comes with matplotlib

    package, file = _FILES[name]
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / file if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise FileNotFoundError(f"the photograph {name!r} is a file of the package {package}, which is not "
                                "installed: run `pip install scikit-image scikit-learn`")
    with Image.open(path) as picture:
        checks.require(gray or picture.mode != "L", "names", name, "photographs in colour, or gray=True")
        pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
        return image_tensor(pixels.view(1, picture.height, picture.width, 3).permute(0, 3, 1, 2), gray)[0]


def photographs(
    names: str | Sequence[str] | None = None, *, gray: bool = True, pool: int = 2
) -> dict[str, Float[Tensor, "channels _ _"]]:
    """Return photographs that are files of scikit-image and scikit-learn, without importing either.

    `astronaut`, `camera` (gray only), `chelsea`, `coffee`, `rocket` and `motorcycle_left` come with scikit-image,
    `china` and `flower` with scikit-learn; 300–512 × 400–741 pixels before pooling. Used in the chapter *Simplicity
    bias*; source: scikit-image (most are CC0 or in the public domain), scikit-learn (CC BY 2.0, danielbuechele and
    vultilion).

    Parameters
    ----------
    names
        Which of `images.NAMES`; by default all of them, without `camera` where colours are asked for.
    gray
        One channel, .299 red + .587 green + .114 blue; otherwise three.
    pool
        Side of the squares of pixels that are averaged, which takes off grain and traces of compression; rows and
        columns left over at the far ends are dropped.

    Returns
    -------
    dict
        Name to float32 ``(channels, height, width)`` in [0, 1].

    Raises
    ------
    ValueError
        For an unknown name, `camera` in colour, or pooling squares larger than a photograph.
    FileNotFoundError
        When the packages are not installed.
    """
    if names is None:
        names = [name for name in NAMES if gray or name != "camera"]
    names = [names] if isinstance(names, str) else list(names)
    checks.require(len(names) > 0, "names", names, "at least one name")
    pool = checks.integer("pool", pool, low=1, high=300)
    return {checks.one_of("names", name, NAMES): avg_pool2d(_read(name, gray), pool) for name in names}


def split(
    images: Images, *, by: str = "region", test: float = _TEST, names: str | Sequence[str] | None = None
) -> tuple[dict[str, Float[Tensor, "channels _ _"]], dict[str, Float[Tensor, "channels _ _"]]]:
    """Divide images into training and test set so that no pixel is in both.

    By region, the last columns of every picture, a share `test` of its width, are for testing: same scenes, other
    places. By photograph, whole pictures are held out: other scenes. Used in the chapter *Simplicity bias*; source:
    this book.

    Parameters
    ----------
    images
        Name to ``(channels, height, width)``, as from :func:`photographs`.
    by
        ``"region"`` or ``"photograph"``.
    test
        Share of the width, or of the number of pictures, in [0.01, 0.9].
    names
        By photograph: those to be held out, instead of the last ones.

    Returns
    -------
    train, test
        Of the same kind as `images`; parts are views, not copies.

    Raises
    ------
    ValueError
        For parameters out of range, or when training or test set would be empty.
    """
    check(images)
    by, test = checks.one_of("by", by, ("region", "photograph")), checks.real("test", test, 0.01, 0.9)
    if by == "region":
        checks.require(names is None, "names", names, "left out for by='region', which cuts every picture")
        cuts = {name: round((1 - test) * x.shape[-1]) for name, x in images.items()}
        checks.require(all(0 < cuts[name] < x.shape[-1] for name, x in images.items()), "test", test,
                       "such that both parts of every picture have columns")
        return ({name: x[..., :cuts[name]] for name, x in images.items()},
                {name: x[..., cuts[name]:] for name, x in images.items()})
    if names is None:
        names = list(images)[len(images) - max(1, round(test * len(images))):]
    names = [names] if isinstance(names, str) else names
    held = [checks.one_of("names", name, tuple(images)) for name in names]
    checks.require(0 < len(set(held)) < len(images), "names", held, "some of the photographs, but not all")
    return ({name: x for name, x in images.items() if name not in held},
            {name: x for name, x in images.items() if name in held})


@dataclass(frozen=True, eq=False)
class Natural:
    """Patches of natural images, returned by :func:`natural`. Used in the chapter *Simplicity bias*.

    Parameters
    ----------
    train, test
        Standardised patches ``(n, channels, size, size)``, float32; no pixel is in both.
    train_groups, groups
        Blocks of the training and of the test patches, int64, to be left out together in a jackknife.
    scale
        What standardised them, fitted on all training pixels; ``scale.invert`` gives gray levels in [0, 1].
    source
        One line that says which images these are.
    """

    train: Float[Tensor, "n channels size size"]
    test: Float[Tensor, "m channels size size"]
    train_groups: Int[Tensor, " n"]
    groups: Int[Tensor, " m"]
    scale: Standardise
    source: str


def natural(
    size: int, n: int, *, n_test: int, root: str | Path | None = None, gray: bool = True, download: bool = False,
    seed: int = 0,
) -> Natural:
    """Return standardised patches of natural images: of CIFAR-10 where it is at hand, otherwise of photographs.

    The photographs are pooled 2 × 2 and divided by region, the right quarter for testing; CIFAR-10 has a test set of
    its own. Used in the chapter *Simplicity bias*; source: Krizhevsky 2009 (CIFAR-10), :func:`photographs`.

    Parameters
    ----------
    size
        Side of the patches, at most 32 with CIFAR-10.
    n, n_test
        Numbers of patches to train and to test on, drawn with replacement among all places of all images.
    root
        Folder of CIFAR-10, see :func:`cifar10`. Without one, or where it is not there and cannot be fetched, or is
        damaged, the photographs are taken, and `source` says why.
    gray, download
        As for :func:`photographs` and :func:`cifar10`.
    seed
        Non-negative integer.

    Raises
    ------
    ValueError
        For parameters out of range.
    FileNotFoundError
        When neither is there.
    """
    checks.require(root is not None or not download, "download", download, "False without a root")
    sets, absent = None, ""
    if root is not None:
        try:
            sets = [[cifar10(root, train=train, gray=gray, download=download)[0]] for train in (True, False)]
        except (FileNotFoundError, ValueError) as error:
            absent = "; " + " ".join(str(error).split())
    if sets is not None:
        source = f"CIFAR-10: {size} × {size} crops of {len(sets[0][0])} training and {len(sets[1][0])} test images"
    else:
        sets = [[x[None] for x in part.values()] for part in split(photographs(gray=gray))]
        source = (f"{len(sets[0])} photographs of scikit-image and scikit-learn, pooled 2 × 2: {size} × {size} "
                  f"patches, left {1 - _TEST:.0%} for training, right {_TEST:.0%} for testing{absent}")
    scale = Standardise.fit(torch.cat([x.flatten() for x in sets[0]]))
    (train, train_groups), (test, groups) = (
        cut(part, size, checks.integer(name, count, low=1), None, generator(seed, f"images.natural.{name}"))
        for part, name, count in zip(sets, ("n", "n_test"), (n, n_test)))
    return Natural(scale.apply(train), scale.apply(test), train_groups, groups, scale, source)
