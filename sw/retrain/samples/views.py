"""Two views of one place: what a network learns by that is to know a place again (docs/embedded-network.md).

A view is a quadrilateral cut out of a picture: a crop, turned, sheared and seen aslant a little, in other
light. The second of a pair lies near the first, so that they mostly overlap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from kestrel.sw.retrain.samples.augment import GREY

PROPORTION = 1.15
"""Width to height that a crop has in the mean: that of the pictures, halfway to square."""

REDUCTIONS = 3
"""Sizes in which a picture is kept, each half the one before: a large crop is taken from a small one, as it
is sampled bilinearly."""


@dataclass(frozen=True)
class ViewSettings:
    """area: least and greatest share of the picture (uniform in its logarithm); aspect: width to height, up
    to this factor; turn: radians; bend: of each corner, in sides; apart: of the second view's centre from the
    first's, in the first's sides; light: brightness, contrast and saturation, each 1 - v..1 + v; tint: of
    each colour."""

    area: tuple[float, float] = (0.12, 0.6)
    aspect: float = 4 / 3
    turn: float = 0.1
    bend: float = 0.08
    apart: float = 0.4
    light: float = 0.3
    tint: float = 0.08


@dataclass(frozen=True)
class Crop:
    """Centre and sides, in pixels."""

    x: float
    y: float
    width: float
    height: float


def reductions(picture: Image.Image) -> list[Image.Image]:
    """The picture and its halves."""
    return [picture, *(picture.reduce(2**n) for n in range(1, REDUCTIONS))]


def draw_crop(picture: Image.Image, near: Crop | None, settings: ViewSettings,
              generator: np.random.Generator) -> Crop:
    """A crop inside the picture, anywhere or near another."""
    area = math.exp(generator.uniform(*np.log(settings.area))) * picture.width * picture.height
    spread = math.log(settings.aspect)
    ratio = PROPORTION * math.exp(generator.uniform(-spread, spread))
    width = min(float(picture.width), math.sqrt(area * ratio))
    height = min(float(picture.height), math.sqrt(area / ratio))
    if near is None:
        near, reach = Crop(picture.width / 2, picture.height / 2, picture.width, picture.height), 0.5
    else:
        reach = settings.apart
    x = near.x + generator.uniform(-reach, reach) * near.width
    y = near.y + generator.uniform(-reach, reach) * near.height
    return Crop(float(np.clip(x, width / 2, picture.width - width / 2)),
                float(np.clip(y, height / 2, picture.height - height / 2)), width, height)


def take(sizes: Sequence[Image.Image], crop: Crop, side: int, settings: ViewSettings,
         generator: np.random.Generator) -> np.ndarray:
    """The view of ``crop``, uint8 RGB [side, side, 3]; ``sizes`` as ``reductions`` gives them."""
    level = 0
    while level + 1 < len(sizes) and min(crop.width, crop.height) / 2**level > 1.5 * side:
        level += 1
    turn = generator.uniform(-settings.turn, settings.turn)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    sides = np.array([crop.width, crop.height])
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) / 2 * sides @ rotation
    corners += generator.uniform(-settings.bend, settings.bend, (4, 2)) * sides + (crop.x, crop.y)
    corners = np.clip(corners, 0, np.array(sizes[0].size) - 1) / 2**level
    return np.asarray(sizes[level].transform((side, side), Image.Transform.QUAD, corners.ravel().tolist(),
                                             Image.Resampling.BILINEAR))


def two_views(first: Sequence[Image.Image], second: Sequence[Image.Image], side: int, settings: ViewSettings,
              generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A pair, both mirrored or neither: a place is never seen mirrored. ``first`` and ``second``: two
    pictures of a place, of one size, or the same picture twice."""
    crop = draw_crop(first[0], None, settings, generator)
    other = draw_crop(second[0], crop, settings, generator)
    pair = [take(sizes, where, side, settings, generator)
            for sizes, where in ((first, crop), (second, other))]
    step = -1 if generator.random() < 0.5 else 1
    return pair[0][:, ::step], pair[1][:, ::step]


def relight(pictures: torch.Tensor, settings: ViewSettings, generator: torch.Generator) -> torch.Tensor:
    """uint8 [N, H, W, 3] -> the same, each picture in a light of its own."""
    count = len(pictures)

    def factors(spread: float, channels: int = 1) -> torch.Tensor:
        return 1 + spread * (2 * torch.rand(count, 1, 1, channels, generator=generator) - 1)

    x = pictures.float() * factors(settings.light) * factors(settings.tint, 3)
    weights = torch.from_numpy(GREY)
    mean = (x @ weights).mean(dim=(1, 2))[:, None, None, None]
    x = (x - mean) * factors(settings.light) + mean
    grey = (x @ weights)[..., None]
    x = grey + (x - grey) * factors(settings.light)
    return (x + 0.5).floor().clamp(0, 255).to(torch.uint8)


def contrast(descriptors: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of finding each view's partner among all others by its cosine (InfoNCE, van den Oord et
    al. 2018, over both views as NT-Xent, Chen et al. 2020). descriptors: unit vectors [2N, D], rows i and
    N + i of one place."""
    count = len(descriptors) // 2
    similar = descriptors @ descriptors.T / temperature
    similar = similar.masked_fill(torch.eye(2 * count, dtype=torch.bool), float("-inf"))
    partner = torch.arange(2 * count).roll(count)
    return torch.nn.functional.cross_entropy(similar, partner)
