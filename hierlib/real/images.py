"""Natural images as patches for denoisers: photographs inside installed packages, CIFAR-10, or a folder of classes.

Nothing here reaches for the network unless ``download=True`` asks for it. Images are float32 in [0, 1] with axes
(channels, height, width).
"""

import importlib.util
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import avg_pool2d

from hierlib.lab import checks, generator
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["NAMES", "Natural", "Standardise", "cifar10", "folder", "natural", "photographs", "split"]

_FILES = {
    "astronaut": ("skimage", "data/astronaut.png"), "camera": ("skimage", "data/camera.png"),
    "chelsea": ("skimage", "data/chelsea.png"), "coffee": ("skimage", "data/coffee.png"),
    "rocket": ("skimage", "data/rocket.jpg"), "motorcycle_left": ("skimage", "data/motorcycle_left.png"),
    "china": ("sklearn", "datasets/images/china.jpg"), "flower": ("sklearn", "datasets/images/flower.jpg"),
}
NAMES = tuple(_FILES)
_GRAY = (0.299, 0.587, 0.114)
_TEST = 0.25                 # share of a photograph, its right end, that is tested on
_BLOCK = 64                  # pixels; the side of a block that is left out together in a block jackknife
_CIFAR = "cifar-10-batches-py"

Images = Mapping[str, Float[Tensor, "channels _ _"]]


def _gray(pixels: Tensor) -> Tensor:
    """Return uint8 ``(n, 3, height, width)`` as float32 ``(n, 1, …)`` in [0, 1], weighted as ITU-R BT.601 has it."""
    return (sum(weight * pixels[:, c:c + 1].float() for c, weight in enumerate(_GRAY)) / 255).clamp_(0, 1)


def _open(path: Path, size: int | None = None) -> Float[Tensor, "1 height width"]:
    """Return the picture in a file; with a size its middle square, resized."""
    from PIL import Image, ImageOps  # comes with matplotlib

    with Image.open(path) as picture:
        whole = picture.convert("RGB") if size is None else ImageOps.fit(picture.convert("RGB"), (size, size))
        pixels = torch.frombuffer(bytearray(whole.tobytes()), dtype=torch.uint8)
        return _gray(pixels.view(1, whole.height, whole.width, 3).permute(0, 3, 1, 2))[0]


def _read(name: str) -> Float[Tensor, "1 height width"]:
    """Return one photograph from the folder of its package, which is found but not imported."""
    package, file = _FILES[name]
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / file if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise FileNotFoundError(f"the photograph {name!r} is a file of the package {package}, which is not "
                                "installed: run `pip install scikit-image scikit-learn`")
    return _open(path)


def photographs(names: Sequence[str] = NAMES) -> dict[str, Float[Tensor, "1 _ _"]]:
    """Return photographs that are files of scikit-image and scikit-learn, without importing either.

    `astronaut`, `camera`, `chelsea`, `coffee`, `rocket` and `motorcycle_left` come with scikit-image,
    `china` and `flower` with scikit-learn. Squares of 2 × 2 of their 300–512 × 400–741 pixels are averaged, which
    takes off grain and traces of compression. Source: scikit-image (most are CC0 or in the public domain),
    scikit-learn (CC BY 2.0, danielbuechele and vultilion).

    Parameters
    ----------
    names
        Which of `images.NAMES`; by default all of them.

    Returns
    -------
    dict
        Name to float32 ``(1, height, width)`` in [0, 1], .299 red + .587 green + .114 blue.

    Raises
    ------
    ValueError
        For an unknown name.
    FileNotFoundError
        When the packages are not installed.
    """
    return {checks.one_of("names", name, NAMES): avg_pool2d(_read(name), 2) for name in names}


def split(images: Images) -> tuple[dict[str, Float[Tensor, "channels _ _"]], dict[str, Float[Tensor, "channels _ _"]]]:
    """Divide images into training and test set so that no pixel is in both.

    The right quarter of every picture, of its columns, is for testing: same scenes, other places. Both parts are of
    the same kind as `images`, name to ``(channels, height, width)`` as from :func:`photographs`, and are views, not
    copies.

    Raises
    ------
    ValueError
        For other things than images, or when one is too narrow to be cut.
    """
    checks.require(isinstance(images, Mapping) and all(
        isinstance(x, Tensor) and x.ndim == 3 and x.is_floating_point() and x.shape[-1] > 2 for x in images.values())
        and len({len(x) for x in images.values()}) == 1, "images", type(images).__name__, "a non-empty dict of float "
        "tensors (channels, height, width), of at least 3 columns and of the same number of channels")
    cuts = {name: round((1 - _TEST) * x.shape[-1]) for name, x in images.items()}
    return ({name: x[..., :cuts[name]] for name, x in images.items()},
            {name: x[..., cuts[name]:] for name, x in images.items()})


def cifar10(
    root: str | Path, *, train: bool = True, download: bool = False
) -> tuple[Float[Tensor, "n 1 32 32"], Int[Tensor, " n"]]:
    """Return the images of CIFAR-10 in gray, and their classes, by torchvision. Source: Krizhevsky 2009.

    Parameters
    ----------
    root
        The folder that holds ``cifar-10-batches-py``, or that folder itself; ``~`` is the home folder.
    train
        The 50,000 training images, or the 10,000 test images.
    download
        Whether to fetch the files (170 MB) when they are not there.

    Returns
    -------
    images, labels
        float32 ``(n, 1, 32, 32)`` in [0, 1]; int64 ``(n,)``, 0 to 9.

    Raises
    ------
    FileNotFoundError
        When files are missing or damaged (torchvision knows their checksums), when the download fails, or when
        torchvision cannot be imported; with the cause.
    """
    root = Path(root).expanduser()
    root = root.parent if root.name == _CIFAR else root
    try:
        from torchvision.datasets import CIFAR10

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")      # of numpy's, on files of Python 2
            data = CIFAR10(str(root), train=train, download=download)
    except Exception as error:      # torchvision is not there or for another torch; no network, no room, a damaged file
        raise FileNotFoundError(
            f"CIFAR-10 is not in {str(root)!r} or cannot be read ({type(error).__name__}: {error}): it needs "
            f"torchvision (`pip install torchvision`) and the undamaged folder {_CIFAR} of cifar-10-python.tar.gz (at "
            "www.cs.toronto.edu/~kriz/cifar.html), which download=True fetches") from error
    return _gray(torch.from_numpy(data.data).permute(0, 3, 1, 2)), torch.tensor(data.targets)


def folder(
    root: str | Path, size: int, *, per_class: int | None = None
) -> tuple[Float[Tensor, "n 1 size size"], Int[Tensor, " n"], tuple[str, ...]]:
    """Return the images of a folder in gray, such as one of ImageNet: each of its subfolders is a class.

    By Pillow, as torchvision's ``ImageFolder`` does it too: the middle square of each file (JPEG, PNG and what else
    Pillow reads; hidden files are left out), resized. Classes and files are in the order of their names.

    Parameters
    ----------
    root
        The folder, such as ImageNet's ``train`` or ``val``; ``~`` is the home folder.
    size
        Pixels of the side.
    per_class
        Only so many files of each class, the first ones.

    Returns
    -------
    images, labels, classes
        float32 ``(n, 1, size, size)`` in [0, 1]; int64 ``(n,)``, places in `classes`; the names of the subfolders.

    Raises
    ------
    FileNotFoundError
        When there is no such folder, or no subfolder with files in it.
    ValueError
        For numbers out of range, or a file that is no picture, with its name.
    """
    root, size = Path(root).expanduser(), checks.integer("size", size, low=1)
    most = None if per_class is None else checks.integer("per_class", per_class, low=1)
    files = [(kind.name, path) for kind in (sorted(root.iterdir()) if root.is_dir() else ()) if kind.is_dir()
             for path in sorted(p for p in kind.glob("[!.]*") if p.is_file())[:most] if kind.name[0] != "."]
    if not files:
        raise FileNotFoundError(f"no images in {str(root)!r}: it must be a folder with a subfolder of pictures for "
                                "each class, as ImageNet's train and val (image-net.org gives them to the registered)")
    classes, images = tuple(dict.fromkeys(name for name, _ in files)), []
    for name, path in files:
        try:
            images.append(_open(path, size))
        except OSError as error:                     # Pillow's UnidentifiedImageError is one, too
            raise ValueError(f"root = {str(root)!r}: must hold pictures only, but {name}/{path.name} cannot be read "
                             f"({error})") from error
    return torch.stack(images), torch.tensor([classes.index(name) for name, _ in files]), classes


@dataclass(frozen=True)
class Standardise:
    """Shift and scale by two numbers from the training set, (x − mean)/std.

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
        vars(self).update(mean=checks.real("mean", self.mean), std=checks.positive("std", self.std))

    @classmethod
    def fit(cls, x: Float[Tensor, "..."]) -> "Standardise":
        """Return the one that gives `x` mean 0 and standard deviation 1."""
        return cls(float(x.double().mean()), float(x.double().std(correction=0)))

    def apply(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return (x − mean)/std."""
        return (x - self.mean) / self.std

    def invert(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return std x + mean, for showing results as pictures."""
        return self.std * x + self.mean


def _patches(
    stacks: Sequence[Tensor], size: int, n: int, gen: torch.Generator
) -> tuple[Float[Tensor, "n channels size size"], Int[Tensor, " n"]]:
    """Cut n patches out of stacks ``(N, channels, height, width)``, each of images of one size.

    They are drawn with replacement, uniformly among all places of all images. Patches overlap, and so are far from
    independent: each image is divided into blocks of about 64 × 64 pixels, and the numbers of the blocks in which
    the patches have their centres are returned too.
    """
    grids = [(len(x), x.shape[2] - size + 1, x.shape[3] - size + 1) for x in stacks]
    counts = [math.prod(grid) for grid in grids]
    index = (torch.rand(n, generator=gen, dtype=torch.float64) * sum(counts)).long()
    out = stacks[0].new_empty(n, stacks[0].shape[1], size, size)
    block, place, blocks = torch.empty_like(index), 0, 0
    for x, (_, rows, columns), count in zip(stacks, grids, counts):
        mine = ((index >= place) & (index < place + count)).nonzero()[:, 0]
        here = index[mine] - place
        k, row, column = here // (rows * columns), here // columns % rows, here % columns
        out[mine] = x.unfold(2, size, 1).unfold(3, size, 1)[k, :, row, column]
        high, wide = (max(1, round(side / _BLOCK)) for side in x.shape[-2:])
        down, across = (row + size // 2) * high // x.shape[2], (column + size // 2) * wide // x.shape[3]
        block[mine] = blocks + (k * high + down) * wide + across
        place, blocks = place + count, blocks + len(x) * high * wide
    return out, block


@dataclass(frozen=True, eq=False)
class Natural:
    """Patches of natural images, returned by :func:`natural`.

    Parameters
    ----------
    train, test
        Standardised patches ``(n, channels, size, size)``, float32; no pixel is in both.
    train_groups, groups
        The block of about 64 × 64 pixels that each training and each test patch comes from, int64: patches overlap,
        and a jackknife that leaves out whole blocks gives honest standard errors.
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
    size: int, n: int, *, n_test: int, root: str | Path | None = None, download: bool = False, seed: int = 0
) -> Natural:
    """Return standardised patches of natural images: of CIFAR-10 where it is at hand, otherwise of photographs.

    The photographs are divided by :func:`split`; CIFAR-10 has a test set of its own. Of one seed, fewer patches are
    the first of more.

    Parameters
    ----------
    size
        Side of the patches, at most 32 with CIFAR-10.
    n, n_test
        Numbers of patches to train and to test on, drawn with replacement among all places of all images.
    root
        Folder of CIFAR-10, see :func:`cifar10`. Without one, or where it is not there and cannot be fetched, or is
        damaged, the photographs are taken, and `source` says why.
    download
        As for :func:`cifar10`.
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
    size, n, n_test = checks.integers(1, size=size, n=n, n_test=n_test)
    sets, absent = None, ""
    if root is not None:
        try:
            sets = [[cifar10(root, train=train, download=download)[0]] for train in (True, False)]
        except FileNotFoundError as error:
            absent = "; " + " ".join(str(error).split())
    if sets is not None:
        source = f"CIFAR-10: {size} × {size} crops of {len(sets[0][0])} training and {len(sets[1][0])} test images"
    else:
        sets = [[x[None] for x in part.values()] for part in split(photographs())]
        source = (f"{len(sets[0])} photographs of scikit-image and scikit-learn, pooled 2 × 2: {size} × {size} "
                  f"patches, left {1 - _TEST:.0%} for training, right {_TEST:.0%} for testing{absent}")
    smallest = min(min(x.shape[-2:]) for part in sets for x in part)
    checks.require(size <= smallest, "size", size, f"at most the smallest side of an image, {smallest} pixels")
    scale = Standardise.fit(torch.cat([x.flatten() for x in sets[0]]))
    (train, train_groups), (test, groups) = (
        _patches(part, size, count, generator(seed, f"images.natural.{name}"))
        for part, name, count in zip(sets, ("n", "n_test"), (n, n_test)))
    return Natural(scale.apply(train), scale.apply(test), train_groups, groups, scale, source)
