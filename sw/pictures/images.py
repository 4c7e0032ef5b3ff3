"""Images: reading, resizing, the chip's input rule, and generated pictures."""

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kestrel.hw.spec.errors import InputError, InputWarning
from kestrel.hw.spec.widths import PIXEL_BITS
from kestrel.sw.model.blocks import blocks_of
from kestrel.sw.model.preprocessing import Preprocessing, check_activation_bits
from kestrel.sw.pictures.decode import IMAGE_SUFFIXES, read_picture
from kestrel.sw.pictures.listing import check_folder
from kestrel.sw.pictures.sizes import SIDE_MAX


def open_image(path: str | Path) -> np.ndarray:
    """The first picture of a file as uint8 RGB [H, W, 3]: ``kestrel.sw.pictures.decode.read_picture``, its
    remarks as warnings (InputWarning). Raises InputError."""
    picture = read_picture(path)
    for remark in picture.remarks:
        warnings.warn(InputWarning(path, remark), stacklevel=2)
    return picture.rgb


def resize(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [height, width, 3]: the whole picture, stretched, by Pillow's bicubic
    filter, whose support grows with the reduction (antialiased). Raises InputError for an impossible size."""
    if not (1 <= height <= SIDE_MAX and 1 <= width <= SIDE_MAX):
        raise InputError(f"image size {height} x {width}; allowed: 1 x 1 .. {SIDE_MAX} x {SIDE_MAX}")
    if rgb.shape[:2] == (height, width):
        return rgb
    return np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC), dtype=np.uint8)


def load_image(path: str | Path, height: int | None = None, width: int | None = None) -> np.ndarray:
    """An image file as uint8 RGB [H, W, 3], resized where a side is given. Raises InputError."""
    rgb = open_image(path)
    return resize(rgb, height or rgb.shape[0], width or rgb.shape[1])


def list_images(folder: str | Path) -> list[Path]:
    """The image files (by suffix) directly in ``folder``, sorted by name. Raises InputError when there is
    no such folder or none in it."""
    folder = Path(folder)
    check_folder(folder)
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not found:
        raise InputError(f"{folder}: no images; allowed: at least one {', '.join(IMAGE_SUFFIXES)} file")
    return found


def quantise_pixels(rgb: np.ndarray, preprocessing: Preprocessing, activation_bits: int) -> np.ndarray:
    """The chip's input: uint8 RGB [H, W, 3] -> uint8 [3, H, W], channels in the network's order, rounded."""
    return round_pixels(preprocessing.pixels(rgb), activation_bits)


def first_map(
    rgb: np.ndarray, preprocessing: Preprocessing, activation_bits: int, *, blocks: bool = False
) -> np.ndarray:
    """The input of a network's first layer: uint8 RGB [H, W, 3] -> uint8 [3, H, W], the chip's input, or with
    ``blocks`` that in 2x2 blocks, uint8 [27, ceil(H/2), ceil(W/2)]."""
    pixels = quantise_pixels(rgb, preprocessing, activation_bits)
    if not blocks:
        return pixels
    pad = torch.from_numpy(preprocessing.pad(activation_bits))
    return blocks_of(torch.from_numpy(pixels)[None], pad)[0].numpy()


def round_pixels(pixels: np.ndarray, activation_bits: int) -> np.ndarray:
    """uint8 pixels of any shape to ``activation_bits`` bits: x = min((p + 2**(7 - A)) >> (8 - A), 2**A - 1)
    (docs/arithmetic.md, section 1)."""
    check_activation_bits(activation_bits)
    if activation_bits == PIXEL_BITS:
        return pixels
    half = 1 << (PIXEL_BITS - 1 - activation_bits)
    rounded = (pixels.astype(np.int32) + half) >> (PIXEL_BITS - activation_bits)
    return np.minimum(rounded, (1 << activation_bits) - 1).astype(np.uint8)


# --------------------------------------------------------------------------------------------------------
# Generated pictures
# --------------------------------------------------------------------------------------------------------

_OBJECTS = 12


def generate_picture(height: int, width: int, seed: int) -> np.ndarray:
    """A picture with the rough statistics of a photograph, uint8 RGB [height, width, 3].

    Smooth noise in octaves whose size grows with their scale (a spectrum near 1/f), mostly common to the
    three colours, and over it some shaded ellipses and rectangles with sharp edges. Only NumPy's generator
    and elementary operations: a seed gives the same picture everywhere.
    """
    generator = np.random.default_rng([seed, height, width])
    picture = np.zeros((height, width, 3)) + generator.normal(0.0, 15.0, 3)
    cells = 1
    while cells <= 2 * max(height, width):
        size = 55.0 / np.sqrt(cells)
        grey = generator.normal(0.0, size, (cells + 1, cells + 1, 1))
        colour = generator.normal(0.0, size / 4, (cells + 1, cells + 1, 3))
        picture += _spread(grey + colour, height, width)
        cells *= 2
    rows, columns = np.mgrid[0:height, 0:width]
    for _ in range(_OBJECTS):
        centre, half = generator.uniform(0, 1, 2), generator.uniform(0.04, 0.3, 2)
        v = (rows / height - centre[0]) / half[0]
        u = (columns / width - centre[1]) / half[1]
        inside = (u * u + v * v < 1) if generator.random() < 0.5 else (np.maximum(abs(u), abs(v)) < 1)
        colour = generator.normal(0, 45, 1) + generator.normal(0, 20, 3)
        shade = colour + (generator.normal(0, 18) * u + generator.normal(0, 18) * v)[:, :, None]
        picture[inside] += shade[inside]
    # Exposure: brightness and contrast of an ordinary photograph.
    contrast = 55.0 / max(float(picture.std()), 1.0)
    picture = (picture - picture.mean()) * contrast + generator.uniform(95, 135)
    return np.clip(np.floor(picture + 0.5), 0, 255).astype(np.uint8)


def _spread(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """A grid [n, n, C] stretched to [height, width, C] by linear interpolation."""
    def positions(count: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
        place = np.arange(count) * (cells / max(count, 1))
        low = np.minimum(place.astype(np.int64), cells - 1)
        return low, place - low

    row, row_part = positions(height, grid.shape[0] - 1)
    column, column_part = positions(width, grid.shape[1] - 1)
    a, b = row_part[:, None, None], column_part[None, :, None]
    top = grid[row][:, column] * (1 - b) + grid[row][:, column + 1] * b
    bottom = grid[row + 1][:, column] * (1 - b) + grid[row + 1][:, column + 1] * b
    return top * (1 - a) + bottom * a
