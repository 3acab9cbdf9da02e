"""CIFAR-10 from its own files, 60,000 photographs of 32 × 32 pixels in ten classes."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hierlib.lab import checks
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["cifar10", "image_tensor"]

_FOLDER = "cifar-10-batches-py"
_TRAIN, _TEST = tuple(f"data_batch_{k}" for k in range(1, 6)), ("test_batch",)
_GRAY = (0.299, 0.587, 0.114)
_RECONSTRUCT = np.zeros(0).__reduce__()[0]       # what pickles of arrays call, whatever numpy's version names it
_ALLOWED = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
            ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT}


class _Unpickler(pickle.Unpickler):
    """Reads numbers, strings, lists, dicts and numpy arrays, and refuses everything else: a pickle can run code."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def image_tensor(pixels: Tensor, gray: bool = False) -> Float[Tensor, "n channels height width"]:
    """Return colour images as float32 in [0, 1], with `gray` in one channel, .299 red + .587 green + .114 blue.

    Used in the chapter *Simplicity bias*; source: ITU-R BT.601 (the weights).

    Parameters
    ----------
    pixels
        uint8 ``(n, 3, height, width)``.
    gray
        Whether to keep the luminance alone.

    Raises
    ------
    ValueError
        For another shape or type.
    """
    checks.require(pixels.dtype == torch.uint8 and pixels.ndim == 4 and pixels.shape[1] == 3, "pixels",
                   (tuple(pixels.shape), pixels.dtype), "uint8 of shape (n, 3, height, width)")
    if gray:
        levels = sum(weight * pixels[:, c:c + 1].float() for c, weight in enumerate(_GRAY))
        return (levels / 255).clamp_(0, 1)
    return pixels.float() / 255


def _batch(path: Path) -> tuple[Tensor, list[int]]:
    """Return uint8 ``(n, 3, 32, 32)`` and the labels of one file."""
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
        data, labels = content[b"data"], list(content[b"labels"])
        good = (data.dtype == np.uint8 and data.shape == (len(labels), 3072)
                and all(type(label) is int and 0 <= label < 10 for label in labels))
    except Exception as error:                   # a damaged pickle may raise anything
        raise ValueError(f"root: {str(path)!r} is not a batch of CIFAR-10 ({error})") from None
    checks.require(good, "root", str(path),
                   "a folder with batches of CIFAR-10: data, uint8 (n, 3072), and labels 0 … 9")
    return torch.from_numpy(data.copy()).view(-1, 3, 32, 32), labels


def cifar10(
    root: str | Path, *, train: bool = True, gray: bool = False, download: bool = False
) -> tuple[Float[Tensor, "n channels 32 32"], Int[Tensor, " n"]]:
    """Return the images and labels of CIFAR-10 from the files of its "python version".

    The files are pickles; they are read by an unpickler that makes numpy arrays, numbers and strings and nothing
    else. Used in the chapter *Simplicity bias*; source: Krizhevsky 2009.

    Parameters
    ----------
    root
        The folder ``cifar-10-batches-py``, or the one it lies in (torchvision's `root`); ``~`` is the home folder.
    train
        The 50,000 training images, or the 10,000 test images.
    gray
        One channel instead of three; see :func:`image_tensor`.
    download
        Whether to fetch the files (170 MB) by torchvision when they are not there.

    Returns
    -------
    images, labels
        float32 ``(n, 3 or 1, 32, 32)`` in [0, 1]; int64 ``(n,)`` in 0 … 9.

    Raises
    ------
    FileNotFoundError
        When files are missing, or torchvision for their download, or when the download fails (with its cause).
    ValueError
        When a file is not a batch of CIFAR-10.
    """
    root, names = Path(root).expanduser(), _TRAIN if train else _TEST
    def found() -> Path | None:
        return next((f for f in (root / _FOLDER, root) if all((f / name).is_file() for name in names)), None)

    folder = found()
    if folder is None and download:
        try:
            from torchvision.datasets import CIFAR10
        except ImportError:
            raise FileNotFoundError(
                f"CIFAR-10 is not in {str(root)!r}, and its download needs torchvision: run `pip install torchvision`, "
                f"or unpack cifar-10-python.tar.gz (from www.cs.toronto.edu/~kriz/cifar.html) there") from None
        try:
            CIFAR10(str(root), download=True)
        except Exception as error:               # no network, no room, a damaged archive: each library has its own
            raise FileNotFoundError(f"CIFAR-10 is not in {str(root)!r}, and could not be fetched "
                                    f"({type(error).__name__}: {error})") from error
        folder = found()
    if folder is None:
        raise FileNotFoundError(
            f"CIFAR-10 is not in {str(root)!r}: no folder {_FOLDER} with {names[0]}{' …' * train}. Unpack "
            "cifar-10-python.tar.gz (from www.cs.toronto.edu/~kriz/cifar.html) there, or give download=True with "
            "torchvision installed")
    pixels, labels = zip(*(_batch(folder / name) for name in names))
    images = torch.cat([image_tensor(part, gray) for part in pixels])
    return images, torch.tensor([label for part in labels for label in part])
