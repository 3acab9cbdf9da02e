"""Concept images: one soft disc whose colour, size and, if wanted, position are binary concepts with some diversity.

A **class** is a string of bits, or a row of 0s and 1s, one per concept in the order of :attr:`Concepts.names`: colour
0 is red and 1 blue, size 0 is big and 1 small, position 0 is left and 1 right. Class 00 is red and big.
"""

from dataclasses import dataclass

import numpy as np
import torch

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Int, Tensor

__all__ = ["Concepts", "Probe", "classes"]

RADIUS = 0.5                # halfway between small and big
BACKGROUND = 0.9, 0.1       # its mean and the half-width of its distribution, in [0, 1]
JITTER = 0.25, 0.375, 0.375     # half-widths of the uniform jitter, in units of h, size and position
GAIN = 4.0                  # of the condition vector


def classes(*names: str, n: int = 1) -> Int[Tensor, "rows concepts"]:
    """Return `n` rows of bits for each class named by its bits, such as "01", class by class.

    Raises
    ------
    ValueError
        For no names, names that are not bits or not of one length, or n below 1.

    Examples
    --------
    >>> classes("00", "10").tolist()
    [[0, 0], [1, 0]]
    """
    good = len(names) > 0 and all(name and set(name) <= {"0", "1"} and len(name) == len(names[0]) for name in names)
    checks.require(good, "names", names, "strings of 0 and 1, all of one length, one or more")
    bits = torch.tensor([[int(bit) for bit in name] for name in names])
    return bits.repeat_interleave(checks.integer("n", n, low=1), 0)


@dataclass(frozen=True)
class Concepts:
    """Images of one disc on a light background, and condition vectors that tell of them.

    Images are ``(n, 3, pixels, pixels)``. The grid of pixels spans [−1, 1]², corners included. At the distance ρ from
    its centre the disc of radius r covers the background by m = σ(pixels · (r − ρ)): its edge is as wide in pixels at
    every resolution. A class bit sets the mean of its attribute, and every image departs from it at random
    (diversity), uniformly by up to: h/4 in each channel of the colour; 3/8 of `size` in the radius; 3/8 of `position`
    in the centre; and the background is uniform in [0.8, 1] in each channel. Values are in [−1, 1], and Gaussian pixel
    noise comes on top.

    Source: this book (a small version of the images of Yang et al. 2025, sect. 5 and app. G; Park et al. 2024).

    Parameters
    ----------
    h
        Half-separation of the colours, in (0, 0.4]: red is (½ + h, ½ − h, ½ − h), blue (½ − h, ½ − h, ½ + h), in
        [0, 1]. The paper's colour separation is 2h.
    size
        Half-separation of the radii, in (0, 0.36): big is ½ + size, small ½ − size.
    pixels
        Height and width.
    position
        Half-separation of the horizontal centres, ∓position, in (0, 0.72]; None for a centred disc and two concepts.
    noise
        Standard deviation of the pixel noise, in units where images are in [−1, 1].

    Raises
    ------
    ValueError
        For a parameter out of range.

    Examples
    --------
    >>> images, condition = Concepts(0.1).render(classes("00", "11", n=5))
    >>> images.shape, condition.shape
    (torch.Size([10, 3, 8, 8]), torch.Size([10, 4]))
    """

    h: float
    size: float = 0.2
    pixels: int = 8
    position: float | None = None
    noise: float = 0.02

    def __post_init__(self) -> None:
        plain = {"pixels": checks.integer("pixels", self.pixels, low=2), "noise": checks.real("noise", self.noise, 0.0)}
        highest = {"h": 0.4, "size": 0.36} | ({} if self.position is None else {"position": 0.72})
        plain |= {name: checks.positive(name, getattr(self, name), high) for name, high in highest.items()}
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    @property
    def names(self) -> tuple[str, ...]:
        """The concepts in the order of the bits."""
        return ("colour", "size") if self.position is None else ("colour", "size", "position")

    @property
    def condition_size(self) -> int:
        """Length of the condition vectors: three colours, radius, and position where it is a concept."""
        return len(self.names) + 2

    def all_classes(self) -> list[str]:
        """Return the names of all 2^s classes, "00", "01", …, in binary order."""
        return [f"{k:0{len(self.names)}b}" for k in range(2 ** len(self.names))]

    def render(
        self, cls: Int[Tensor, "n concepts"], seed: Seed = 0, *, device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Float[Tensor, "n channels height width"], Float[Tensor, "n k"]]:
        """Draw one image per row of `cls`, and return the images and their condition vectors.

        With one integer seed, images of different h, size and position are made of the same random numbers.

        Returns
        -------
        images
            ``(n, 3, pixels, pixels)``.
        condition
            4 (RGB − ½, r − ½ [, centre]) with the image's own, continuous values, ``(n, 4)`` or ``(n, 5)``.

        Raises
        ------
        ValueError
            For rows that are not 0s and 1s, one per concept.
        """
        gen, n = generator(seed, "Concepts.render"), len(cls)
        u = 2 * torch.rand(n, 8, generator=gen, dtype=torch.float64) - 1     # colour 3, background 3, radius, centre
        noise = torch.randn(n, 3, self.pixels, self.pixels, generator=gen, dtype=dtype).to(device)
        jitter = torch.cat([JITTER[0] * self.h * u[:, :3], JITTER[1] * self.size * u[:, 6:7],
                            JITTER[2] * (self.position or 0.0) * u[:, 7:]], 1)
        attributes = (self._attributes(cls) + jitter).to(device, dtype)
        background = (BACKGROUND[0] + BACKGROUND[1] * u[:, 3:6]).to(device, dtype)
        clean = _paint(attributes[:, :3], background, self._mask(attributes[:, 3], attributes[:, 4]))
        return clean + self.noise * noise, self._condition(attributes)

    def mean(self, cls: Int[Tensor, "n concepts"]) -> Float[Tensor, "n channels height width"]:
        """Return the exact mean images of the classes, float64: the mean mask by quadrature, all else is linear in it.

        ValueError as :meth:`render`.
        """
        attributes = self._attributes(cls)
        node, weight = map(torch.from_numpy, np.polynomial.legendre.leggauss(24))
        radius = attributes[:, 3, None, None] + JITTER[1] * self.size * node[:, None]
        centre = attributes[:, 4, None, None] + JITTER[2] * (self.position or 0.0) * node
        mask = self._mask(*torch.broadcast_tensors(radius, centre))                # (n, 24, 24, pixels, pixels)
        mask = torch.einsum("nijhw, i, j -> nhw", mask, weight / 2, weight / 2)
        return _paint(attributes[:, :3], torch.full_like(attributes[:, :3], BACKGROUND[0]), mask)

    def condition(self, cls: Int[Tensor, "n concepts"]) -> Float[Tensor, "n k"]:
        """Return the class means of the condition vectors, float64: the prompts. ValueError as :meth:`render`."""
        return self._condition(self._attributes(cls))

    def signals(self) -> Float[Tensor, "concepts"]:
        """Return for each concept ‖mean image of the class with only its bit set − that of class 0…0‖², its signal."""
        single = torch.eye(len(self.names), dtype=torch.int64)
        means = self.mean(torch.cat([0 * single[:1], single]))
        return (means[1:] - means[0]).square().sum((1, 2, 3))

    def _attributes(self, cls: Tensor) -> Tensor:
        """Return colour, radius and centre of the classes without jitter, float64 ``(n, 5)``."""
        s = len(self.names)
        checks.require(cls.ndim == 2 and cls.shape[1] == s and bool(((cls == 0) | (cls == 1)).all()), "cls",
                       tuple(cls.shape), f"rows of {s} bits, 0 or 1, for {', '.join(self.names)}")
        sign = 2.0 * cls.double().cpu() - 1                                        # −1 for bit 0, +1 for bit 1
        red, blue = 0.5 - self.h * sign[:, 0], 0.5 + self.h * sign[:, 0]
        green, centre = torch.full_like(red, 0.5 - self.h), (self.position or 0.0) * sign[:, -1]
        return torch.stack([red, green, blue, RADIUS - self.size * sign[:, 1], centre], 1)

    def _condition(self, attributes: Tensor) -> Tensor:
        return GAIN * (attributes - attributes.new_tensor([0.5, 0.5, 0.5, RADIUS, 0.0]))[:, :self.condition_size]

    def _mask(self, radius: Float[Tensor, "*b"], centre: Float[Tensor, "*b"]) -> Float[Tensor, "*b height width"]:
        """Return how much of each pixel the disc covers."""
        grid = torch.linspace(-1, 1, self.pixels, dtype=radius.dtype, device=radius.device)
        distance = torch.hypot(grid - centre[..., None, None], grid[:, None])
        return torch.sigmoid(self.pixels * (radius[..., None, None] - distance))


def _paint(colour: Tensor, background: Tensor, mask: Tensor) -> Tensor:
    """Return images in [−1, 1] of colours and backgrounds ``(n, 3)`` in [0, 1] and masks ``(n, height, width)``."""
    colour, background = colour[..., None, None], background[..., None, None]
    return 2 * (background + (colour - background) * mask[:, None]) - 1


class Probe:
    """Linear read-out of the concepts from images, fitted in closed form to labelled images of all classes.

    The ridge regression min Σ ‖Wᵀ(x − x̄) + ȳ − y‖² + λ‖W‖² of the bits y on the images x: a **concept coordinate** is
    near 0 or 1 for real images of a class, and may be anything for others. Source: this book (in place of the trained
    classifier of Yang et al. 2025, app. G).

    Parameters
    ----------
    images, cls
        Images ``(n, …)`` and their classes ``(n, concepts)``.
    ridge
        λ, positive.

    Raises
    ------
    ValueError
        For different numbers of images and classes, a λ that is not positive, or no images; when called, for images of
        another shape.

    Attributes
    ----------
    weight, bias : Tensor
        ``(pixels, concepts)`` and ``(concepts,)``, of the images' dtype, on the device of those of the fit.
    """

    def __init__(self, images: Float[Tensor, "n *shape"], cls: Int[Tensor, "n concepts"], ridge: float = 0.1) -> None:
        checks.require(len(images) == len(cls) > 0, "images", len(images), f"as many as classes ({len(cls)}), not none")
        self.shape, ridge = images.shape[1:], checks.positive("ridge", ridge)
        x, y = images.flatten(1).double(), cls.to(images.device).double()
        centred = x - x.mean(0)
        gram = centred.T @ centred + ridge * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        weight = torch.linalg.solve(gram, centred.T @ (y - y.mean(0)))
        self.weight, self.bias = weight.to(images.dtype), (y.mean(0) - x.mean(0) @ weight).to(images.dtype)

    @classmethod
    def of(cls, concepts: Concepts, n: int = 256, seed: Seed = 0, *, device: torch.device | str = "cpu") -> "Probe":
        """Return the probe fitted to `n` new images of each of the classes of `concepts`."""
        bits = classes(*concepts.all_classes(), n=n)
        return cls(concepts.render(bits, generator(seed, "Probe.of"), device=device)[0], bits)

    def __call__(self, images: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the concept coordinates ``(…, concepts)`` of images with any leading axes."""
        wanted = f"of shape (…, {', '.join(map(str, self.shape))})"
        checks.require(images.shape[-len(self.shape):] == self.shape, "images", tuple(images.shape), wanted)
        return images.flatten(-len(self.shape)) @ self.weight.to(images.device) + self.bias.to(images.device)
