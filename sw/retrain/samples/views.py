"""Pairs of views of one place, from which a network learns to recognise a place (docs/embedded-network.md).

A view is a quadrilateral cut out of a picture: a crop that is slightly turned, sheared and seen at an angle,
in other light. The second view of a pair lies near the first, so that they mostly overlap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from kestrel.sw.retrain.samples.augment import GREY

PROPORTION = 1.15
"""The mean ratio of width to height of a crop: halfway between that of the pictures and a square."""

REDUCTIONS = 3
"""The number of sizes in which a picture is kept, each half of the one before. A large crop is taken from a
small size, because it is sampled bilinearly."""


@dataclass(frozen=True)
class ViewSettings:
    """The ranges from which views are drawn.

    ``area`` is the smallest and largest share of the picture (uniform in its logarithm). ``aspect`` is the
    largest factor by which the ratio of width to height differs from the mean. ``turn`` is the largest angle,
    in radians. ``bend`` is the largest displacement of each corner, relative to the sides. ``apart`` is the
    largest distance of the second view's centre from the first's, relative to the first's sides. ``light`` is
    a value v: brightness, contrast and saturation are each multiplied by 1 - v..1 + v. ``tint`` is the same
    for each colour channel.
    """

    area: tuple[float, float] = (0.12, 0.6)
    aspect: float = 4 / 3
    turn: float = 0.1
    bend: float = 0.08
    apart: float = 0.4
    light: float = 0.3
    tint: float = 0.08


@dataclass(frozen=True)
class Crop:
    """The centre and the sides of a crop, in pixels."""

    x: float
    y: float
    width: float
    height: float


def reductions(picture: Image.Image) -> list[Image.Image]:
    """The picture and its reductions, each half the size of the one before."""
    return [picture, *(picture.reduce(2**n) for n in range(1, REDUCTIONS))]


def draw_crop(picture: Image.Image, near: Crop | None, settings: ViewSettings,
              generator: np.random.Generator) -> Crop:
    """A crop inside the picture, either anywhere or near another one."""
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
    """The view of ``crop``, uint8 RGB [side, side, 3]; ``sizes`` are those that ``reductions`` gives."""
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
    """A pair of views. Both or neither are mirrored, because a place is never seen mirrored. ``first`` and
    ``second`` are two pictures of one place and of the same size, or the same picture twice."""
    crop = draw_crop(first[0], None, settings, generator)
    other = draw_crop(second[0], crop, settings, generator)
    pair = [take(sizes, where, side, settings, generator)
            for sizes, where in ((first, crop), (second, other))]
    step = -1 if generator.random() < 0.5 else 1
    return pair[0][:, ::step], pair[1][:, ::step]


def relight(pictures: torch.Tensor, settings: ViewSettings, generator: torch.Generator) -> torch.Tensor:
    """Gives each picture of a uint8 [N, H, W, 3] a light of its own; shape and type stay the same."""
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
    al. 2018, over both views as in NT-Xent, Chen et al. 2020). ``descriptors`` are unit vectors [2N, D]; rows
    i and N + i show the same place."""
    count = len(descriptors) // 2
    similar = descriptors @ descriptors.T / temperature
    similar = similar.masked_fill(torch.eye(2 * count, dtype=torch.bool), float("-inf"))
    partner = torch.arange(2 * count).roll(count)
    return torch.nn.functional.cross_entropy(similar, partner)
