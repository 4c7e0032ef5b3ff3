"""Augmentation of training pictures: random crops, mirroring and colours, all drawn from a generator."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.images import resize

ATTEMPTS = 10
"""The number of crops that are drawn before the whole picture is taken instead."""

GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""The contributions of red, green and blue to brightness (ITU-R BT.601)."""


@dataclass(frozen=True)
class Augmentation:
    """The ranges from which changes are drawn. Raises InputError.

    ``area`` is the smallest and largest share of the picture's area that a crop keeps. ``aspect`` bounds a
    crop's ratio of width to height: relative to the wanted ratio, it lies in 1/aspect..aspect. ``flip`` says
    whether half of the pictures are mirrored. ``brightness``, ``contrast`` and ``saturation`` are values v:
    each property is multiplied by a factor in 1 - v..1 + v.
    """

    area: tuple[float, float] = (0.35, 1.0)
    aspect: float = 4 / 3
    flip: bool = True
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3

    def __post_init__(self) -> None:
        low, high = self.area
        if not 0 < low <= high <= 1:
            raise InputError(f"area of crops {low:g}..{high:g}; allowed: above 0, up to 1, least first")
        if not 1 <= self.aspect <= 4:
            raise InputError(f"aspect of crops {self.aspect:g}; allowed: 1..4")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name):g}; allowed: 0 up to less than 1")


def prepare(rgb: np.ndarray, height: int, width: int, augmentation: Augmentation | None,
            generator: np.random.Generator) -> np.ndarray:
    """Turns uint8 RGB [H, W, 3] into uint8 RGB [height, width, 3]; without augmentation this is the whole
    picture, stretched, as retrieval uses it."""
    if augmentation is None:
        return resize(rgb, height, width)
    left, top, right, bottom = _draw_crop(rgb.shape[0], rgb.shape[1], width / height, augmentation, generator)
    image = Image.fromarray(rgb)
    picture = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, (left, top, right, bottom)))
    if augmentation.flip and generator.random() < 0.5:
        picture = picture[:, ::-1]
    return _change_colours(picture, augmentation, generator)


def _draw_crop(height: int, width: int, wanted: float, augmentation: Augmentation,
               generator: np.random.Generator) -> tuple[int, int, int, int]:
    """A crop at a random place, with random area and aspect (uniform in its logarithm): left, top, right,
    bottom."""
    for _ in range(ATTEMPTS):
        area = height * width * generator.uniform(*augmentation.area)
        spread = math.log(augmentation.aspect)
        ratio = wanted * math.exp(generator.uniform(-spread, spread))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(generator.integers(width - w + 1)), int(generator.integers(height - h + 1))
            return left, top, left + w, top + h
    return 0, 0, width, height


def _change_colours(picture: np.ndarray, augmentation: Augmentation,
                    generator: np.random.Generator) -> np.ndarray:
    spreads = (augmentation.brightness, augmentation.contrast, augmentation.saturation)
    brightness, contrast, saturation = (float(generator.uniform(1 - s, 1 + s)) for s in spreads)
    if not any(spreads):
        return np.ascontiguousarray(picture)
    x = picture.astype(np.float32) * np.float32(brightness)
    grey = x @ GREY
    mean = np.float32(grey.mean())
    x = (x - mean) * np.float32(contrast) + mean
    grey = ((grey - mean) * np.float32(contrast) + mean)[:, :, None]
    x = grey + (x - grey) * np.float32(saturation)
    return np.clip(np.floor(x + np.float32(0.5)), 0, 255).astype(np.uint8)
