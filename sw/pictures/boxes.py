"""Parts of pictures, as queries of some benchmarks are."""

from pathlib import Path

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.images import open_image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom of a part of an image, in pixels."""


def cut_box(rgb: np.ndarray, box: Box) -> np.ndarray:
    """The part of a picture, uint8 [H, W, 3], inside ``box``, its sides rounded to whole pixels and kept
    within the picture. Raises InputError for a box of which nothing lies inside."""
    height, width = rgb.shape[:2]
    left, top, right, bottom = (round(side) for side in box)
    part = rgb[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    if 0 in part.shape or right <= 0 or bottom <= 0:
        raise InputError(f"box {box} of a picture of {width} x {height}; allowed: inside the picture")
    return part


def open_box(path: Path, box: Box | None, what: str) -> np.ndarray:
    """A picture's file, or the part of it, uint8 [H, W, 3]. Raises InputError, of a box with ``what`` it
    belongs to."""
    rgb = open_image(path)
    try:
        return rgb if box is None else cut_box(rgb, box)
    except InputError as error:
        raise InputError(f"{path}: {what}: {error}") from error
