"""Generated pictures with labels: a shape of one of ten outlines, filled with one of ten patterns, somewhere
on a backdrop. Enough to train a small network on where there are no photographs with classes.

A class is an outline and a pattern; colours, place, size, turn and backdrop differ from picture to picture
and tell nothing.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_directory
from kestrel.sw.common.origin import Origin
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.pictures.sizes import SIDE_MAX

SIDE_MIN = 16
PICTURES_MAX = 10_000

FINE = 2
"""Points of the shape for each pixel of a side, averaged: soft edges."""

RADIUS = (0.28, 0.46)
"""Of the shape, in sides of the picture, least and greatest."""

TURN = 0.4
"""Greatest turn, in radians either way."""

CONTRAST = 60.0
"""Least distance of the shape's two colours from each other, and of each from its backdrop, in pixel steps
(as far as a hundred draws find some)."""

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""field(u, v) -> bool: inside or not, at coordinates in which the shape fills -1..1."""


def _polygon(corners: int) -> Field:
    def inside(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        angles = 2 * np.pi * (np.arange(corners) + 0.5) / corners - np.pi / 2
        return np.max([np.cos(a) * u + np.sin(a) * v for a in angles], axis=0) < np.cos(np.pi / corners)

    return inside


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    turn = (np.arctan2(u, -v) / (2 * np.pi) * 5) % 1.0
    return np.hypot(u, v) < 0.42 + 0.58 * np.abs(2 * turn - 1) ** 1.5


OUTLINES: dict[str, Field] = {
    "disc": lambda u, v: np.hypot(u, v) < 0.95,
    "triangle": _polygon(3),
    "square": _polygon(4),
    "hexagon": _polygon(6),
    "star": _star,
    "cross": lambda u, v: (np.minimum(abs(u), abs(v)) < 0.3) & (np.maximum(abs(u), abs(v)) < 0.95),
    "ring": lambda u, v: abs(np.hypot(u, v) - 0.72) < 0.24,
    "half": lambda u, v: (np.hypot(u, v - 0.4) < 1.0) & (v < 0.4),
    "bar": lambda u, v: (abs(u) < 1.0) & (abs(v) < 0.32),
    "crescent": lambda u, v: (np.hypot(u, v) < 0.95) & (np.hypot(u - 0.5, v) > 0.72),
}

PATTERNS: dict[str, Field] = {
    "plain": lambda u, v: np.full(u.shape, fill_value=False),
    "stripes": lambda u, v: v * 2.5 % 1 < 0.5,
    "columns": lambda u, v: u * 2.5 % 1 < 0.5,
    "lines": lambda u, v: v * 6 % 1 < 0.5,
    "chequers": lambda u, v: (u * 1.7 % 1 < 0.5) ^ (v * 1.7 % 1 < 0.5),
    "dots": lambda u, v: np.hypot(u * 2.5 % 1 - 0.5, v * 2.5 % 1 - 0.5) < 0.32,
    "circles": lambda u, v: np.hypot(u, v) * 3 % 1 < 0.5,
    "halves": lambda u, v: u < 0,
    "grid": lambda u, v: (u * 2 % 1 < 0.22) | (v * 2 % 1 < 0.22),
    "diagonals": lambda u, v: (u + v) * 2 % 1 < 0.5,
}

CLASSES = tuple(f"{outline}-{pattern}" for pattern in PATTERNS for outline in OUTLINES)
"""Names of the classes; the first ten differ in outline alone."""


def shape_picture(label: int, height: int, width: int, seed: int) -> np.ndarray:
    """A picture of class ``label``, uint8 RGB [height, width, 3]; label and seed give the same one."""
    generator = np.random.default_rng([seed, label, height, width])
    backdrop = generate_picture(height, width, int(generator.integers(2**31))).astype(np.float64)
    side = min(height, width)
    radius = generator.uniform(*RADIUS) * side
    x, y = (generator.uniform(radius * 0.9, length - radius * 0.9) for length in (width, height))
    turn = generator.uniform(-TURN, TURN)
    rows, columns = np.mgrid[0 : height * FINE, 0 : width * FINE]
    right, down = ((columns + 0.5) / FINE - x) / radius, ((rows + 0.5) / FINE - y) / radius
    u, v = np.cos(turn) * right + np.sin(turn) * down, np.cos(turn) * down - np.sin(turn) * right
    outline, pattern = CLASSES[label].split("-")
    inside = OUTLINES[outline](u, v)
    second = PATTERNS[pattern](u, v) & inside
    around = backdrop[_shrink(inside) > 0].mean(axis=0)
    first_colour, second_colour = _colours(around, generator)
    shape, spots = _shrink(inside)[:, :, None], _shrink(second)[:, :, None]
    picture = backdrop * (1 - shape) + first_colour * (shape - spots) + second_colour * spots
    picture += generator.normal(0, 4, picture.shape)
    return np.clip(np.floor(picture + 0.5), 0, 255).astype(np.uint8)


def _shrink(fine: np.ndarray) -> np.ndarray:
    """bool [FINE H, FINE W] -> its share in every pixel, float64 [H, W]."""
    height, width = fine.shape
    return fine.reshape(height // FINE, FINE, width // FINE, FINE).mean(axis=(1, 3))


def _colours(around: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    first = second = around
    for _ in range(100):
        first, second = generator.uniform(10, 245, (2, 3))
        apart = (first - second, first - around, second - around)
        if min(float(np.abs(difference).mean()) for difference in apart) >= CONTRAST:
            break
    return first, second


@dataclass(frozen=True)
class ShapePictures:
    """``per_class`` pictures of each of the first ``classes`` classes, those of one class in a row."""

    classes: int
    per_class: int
    height: int
    width: int
    seed: int

    def __len__(self) -> int:
        return self.classes * self.per_class

    def name(self, index: int) -> str:
        label, number = divmod(index, self.per_class)
        return f"{label:02}-{CLASSES[label]}/{number:04}.png"

    def read(self, index: int) -> np.ndarray:
        label, number = divmod(index, self.per_class)
        return shape_picture(label, self.height, self.width, self.seed + number)


def make_shapes(classes: int, per_class: int, height: int, width: int, seed: int) -> ShapePictures:
    """Raises InputError for numbers outside their range."""
    for what, value, least, most in (
        ("classes", classes, 2, len(CLASSES)), ("pictures of a class", per_class, 1, PICTURES_MAX),
        ("height", height, SIDE_MIN, SIDE_MAX // FINE), ("width", width, SIDE_MIN, SIDE_MAX // FINE),
        ("seed", seed, 0, 2**63 - 1 - PICTURES_MAX),
    ):  # fmt: skip
        if not least <= value <= most:
            raise InputError(f"{what} {value}; allowed: {least}..{most}")
    return ShapePictures(classes, per_class, height, width, seed)


def write_shapes(output: Path, pictures: ShapePictures, advance: Callable[[int], None], *,
                 force: bool = False) -> None:
    """A folder a class, PNG; ``advance`` is called after each picture; ``force``: what another run has left
    in the folder is replaced too. Raises InputError."""
    origin = Origin("generated shapes", asdict(pictures))
    with atomic_directory(output, origin, force=force) as folder:
        for index in range(len(pictures)):
            path = folder / pictures.name(index)
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pictures.read(index)).save(path)
            advance(1)
