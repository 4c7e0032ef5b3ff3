"""Images: reading, resizing, the chip's input rule, and generated pictures."""

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import PIXEL_BITS
from kestrel.sw.model.preprocessing import Preprocessing, check_activation_bits

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

PIXELS_MAX = 1 << 27
"""Most pixels of an image file (134 million). Below Pillow's own limit, so that ours is what is reported."""

KEPT_PIXELS = 1 << 24
"""Most pixels of a picture in memory (17 million). A larger file is reduced by 2, 4 or 8 while it is read:
far below what any engine's input shows."""

SIDE_MAX = 8192
"""Longest side of a resized image."""


_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error)
"""What Pillow's decoders raise for broken files."""


def open_image(path: str | Path) -> np.ndarray:
    """The first picture of a file as uint8 RGB [H, W, 3].

    The EXIF orientation is applied. Greyscale, palette, CMYK and YCbCr are converted as Pillow does; of
    16-bit grey samples the upper 8 bits are kept; transparent pixels are laid over white; of an animation
    the first frame is taken. A picture of more than KEPT_PIXELS is reduced, each side by the same of 2, 4
    and 8, by the JPEG decoder itself or by averaging. Raises InputError for what is missing, unreadable,
    truncated, of an unsupported mode or larger than PIXELS_MAX.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such image file'}; "
                         "allowed: an image file")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large or slightly damaged files; the checks here decide instead.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                if image.width * image.height > PIXELS_MAX:
                    raise InputError(f"{path}: image of {image.width} x {image.height} pixels; "
                                     f"allowed: at most {PIXELS_MAX} pixels")
                if image.width * image.height > KEPT_PIXELS:
                    # Only for JPEG: the decoder computes fewer pixels, and the whole is never in memory.
                    factor = _reduction(image)
                    image.draft(None, (max(1, image.width // factor), max(1, image.height // factor)))
                image.load()
                return _as_rgb(path, ImageOps.exif_transpose(_reduced(image)))
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: image too large; allowed: at most {PIXELS_MAX} pixels") from error
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: not enough memory for the image; allowed: a smaller one") from error
    except _BROKEN as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].replace(str(path), "file")[:100]
        raise InputError(f"{path}: not a readable image ({reason}); "
                         f"allowed: a whole {', '.join(s[1:] for s in IMAGE_SUFFIXES)} file") from error


def _reduction(image: Image.Image) -> int:
    """The least of 1, 2, 4, 8 that brings an image of up to PIXELS_MAX below KEPT_PIXELS."""
    return next(f for f in (1, 2, 4, 8) if image.width * image.height <= KEPT_PIXELS * f * f)


def _reduced(image: Image.Image) -> Image.Image:
    """An image of at most KEPT_PIXELS, averaged from squares of pixels."""
    factor = _reduction(image)
    if factor == 1:
        return image
    # reduce() forgets what else the file says; of that the orientation is still to be applied.
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
    if image.mode.startswith("I;"):  # 16 bits: no averaging in Pillow; the upper 8 are what is kept anyway
        image = Image.fromarray(_upper_bits(image))
    elif image.mode in {"1", "P", "PA"}:
        transparent = image.mode == "PA" or "transparency" in image.info
        image = image.convert("RGBA" if transparent else "RGB")
    smaller = image.reduce(factor)
    smaller.info["exif"] = exif.tobytes()
    return smaller


def _upper_bits(image: Image.Image) -> np.ndarray:
    """uint8 [H, W]: the upper half of 16-bit samples, also where Pillow holds them in 32."""
    samples = np.asarray(image)
    if samples.dtype.itemsize > 2:
        samples = np.clip(samples, 0, 65535)
    return (samples >> 8).astype(np.uint8)


def _as_rgb(path: Path, image: Image.Image) -> np.ndarray:
    """Converts any mode to uint8 [H, W, 3]. Raises InputError for a mode without a defined conversion."""
    if image.mode.startswith("I"):
        return np.repeat(_upper_bits(image)[:, :, None], 3, axis=2)
    if image.mode in {"F", "LAB"}:
        raise InputError(f"{path}: image of mode {image.mode}; allowed: grey, palette, RGB, CMYK or YCbCr")
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
    return np.array(image.convert("RGB"), dtype=np.uint8)


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
    if not folder.is_dir():
        raise InputError(f"{folder}: {'is not a folder' if folder.exists() else 'no such folder'}; "
                         "allowed: a folder of images")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not found:
        raise InputError(f"{folder}: no images; allowed: at least one {', '.join(IMAGE_SUFFIXES)} file")
    return found


def quantise_pixels(rgb: np.ndarray, preprocessing: Preprocessing, activation_bits: int) -> np.ndarray:
    """The chip's input: uint8 RGB [H, W, 3] -> uint8 [3, H, W], channels in the network's order, rounded."""
    return round_pixels(preprocessing.pixels(rgb), activation_bits)


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
