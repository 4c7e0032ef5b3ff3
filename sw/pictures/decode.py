"""Picture files to RGB, whatever their format and mode, in bounded memory."""

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, TiffImagePlugin, features

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.damaged import reason_of
from kestrel.sw.pictures.quiet import libtiff_messages, silence
from kestrel.sw.pictures.samples import FloatRule, depth_remark, lab_to_rgb, sample_bits, upper_bits

HEIF_PACKAGE = "pillow_heif"

HEIF_SUFFIXES = (".heic", ".heif")

_OPTIONAL = {
    ".avif": features.check("avif"),
    ".jp2": features.check("jpg_2000"),
    **dict.fromkeys(HEIF_SUFFIXES, find_spec(HEIF_PACKAGE) is not None),
}
"""Formats that Pillow was built with or not, and those of an optional package."""

ALL_SUFFIXES = (
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm",
    ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Of all picture files that can be read where everything is installed."""

IMAGE_SUFFIXES = tuple(suffix for suffix in ALL_SUFFIXES if _OPTIONAL.get(suffix, True))
"""Of those that can be read here."""

PIXELS_MAX = 1 << 27
"""Most pixels of an image file (134 million). Below Pillow's own limit, so that ours is what is reported."""

COSTLY_PIXELS_MAX = 1 << 25
"""The same (34 million) for the formats of COSTLY, whose decoders hold several copies of a picture."""

COSTLY = ("AVIF", "HEIF", "JPEG2000", "WEBP")

KEPT_PIXELS = 1 << 24
"""Most pixels of a picture in memory (17 million). A larger file is reduced by 2, 4 or 8 while it is read:
far below what any engine's input shows."""

MEMORY_BYTES = 900 << 20
"""Most memory that reading a picture takes: 4 bytes for each of PIXELS_MAX while the decoder is at work, and
the pictures made of them."""

BAND_PIXELS = 1 << 20
"""A large picture is converted and reduced band by band of about so many pixels."""

EXACT_FORMATS = ("PNG", "TIFF")
"""Formats whose samples of 16 bits come as they were stored, of whatever range; Pillow scales the others' by
the range that the file states."""

_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, RuntimeError,
)  # fmt: skip
"""What Pillow's decoders raise for broken files."""

_LOWER_BYTES = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGB;16N": "RGB;16B"}
"""Pillow keeps the upper byte of a colour's 16 bits. Read as of the other byte order, it keeps the lower
one. N is the machine's order, little-endian wherever Pillow is built for."""

QUARTER = 64
"""Upper bytes of 16 bits all below it: the samples have no more than 14."""

_UPPER_ONLY = ("RGBA;16B", "RGBA;16L", "RGBA;16N", "LA;16B")
"""Of these the lower byte cannot be had."""

_TIFF_PLANAR, _TIFF_BITS, _TIFF_FORMAT = 284, 258, 339

_libtiff_switch = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """rgb: uint8 [H, W, 3]; remarks: rules that had to be applied, one line each."""

    rgb: np.ndarray
    remarks: tuple[str, ...] = ()


def read_picture(path: str | Path, *, pixels_max: int = PIXELS_MAX,
                 formats: tuple[str, ...] | None = None) -> Picture:
    """The first picture of a file.

    The EXIF orientation is applied. Greyscale, palette, CMYK and YCbCr are converted as Pillow does, LAB by
    its colour profile; 16 and 32 bits and floats by the rules of ``kestrel.sw.pictures.samples``;
    transparent pixels are laid over white; of an animation the first frame is taken. A picture of more than
    KEPT_PIXELS is reduced, each side by the same of 2, 4 and 8, by the JPEG decoder itself or by averaging.
    No more than MEMORY_BYTES are in use at a time. ``pixels_max`` allows fewer pixels than PIXELS_MAX;
    ``formats`` are the only ones that are tried, by Pillow's names (None: all that Pillow knows). Raises
    InputError for what is missing, unreadable, truncated, of an unsupported mode or larger than
    ``pixels_max`` (COSTLY_PIXELS_MAX).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such image file'}; "
                         "allowed: an image file")
    _check_optional(path)
    try:
        with silence:  # Pillow warns of large or slightly damaged files; the checks here decide instead.
            return _read(path, pixels_max, formats)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: image too large; allowed: at most {PIXELS_MAX} pixels") from error
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: not enough memory for the image; allowed: a smaller one") from error
    except _BROKEN as error:
        raise InputError(f"{path}: not a readable image ({reason_of(error, path)}); "
                         f"allowed: a whole {', '.join(s[1:] for s in IMAGE_SUFFIXES)} file") from error


def _check_optional(path: Path) -> None:
    suffix = path.suffix.lower()
    if not _OPTIONAL.get(suffix, True):
        needs = "the package pillow-heif" if suffix in HEIF_SUFFIXES else "a Pillow built with it"
        raise InputError(f"{path}: {suffix} needs {needs}; allowed here: {', '.join(IMAGE_SUFFIXES)}")
    if suffix in HEIF_SUFFIXES:
        from pillow_heif import register_heif_opener  # noqa: PLC0415 - optional

        register_heif_opener()


def _read(path: Path, pixels_max: int, formats: tuple[str, ...] | None) -> Picture:
    with ExitStack() as stack:
        image = stack.enter_context(Image.open(path, formats=formats))
        limit = min(pixels_max, COSTLY_PIXELS_MAX if image.format in COSTLY else PIXELS_MAX)
        if image.width * image.height > limit:
            raise InputError(f"{path}: image of {image.width} x {image.height} pixels; "
                             f"allowed: at most {limit} pixels")
        factor = _reduction(image.width, image.height)
        if factor > 1:  # Only for JPEG: the decoder computes fewer pixels, and the whole is never in memory.
            image.draft(None, (max(1, image.width // factor), max(1, image.height // factor)))
        messages: list[str] = []
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            messages = stack.enter_context(libtiff_messages())
            if _misread(image):
                image = stack.enter_context(_through_libtiff(path))
        rawmode = _rawmode(image)
        image.load()
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        rgb, remarks = _converted(path, image, rawmode)
    if messages:
        remarks = (*remarks, "damaged in places, as libtiff says")
    return Picture(_upright(rgb, orientation), remarks)


def _misread(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Planes of 16 bits without compression, of which Pillow's own reader takes bytes for samples."""
    return _is_planar(image) and max(image.tag_v2.get(_TIFF_BITS, (8,))) > 8


def _is_planar(image: Image.Image) -> bool:
    return (isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_TIFF_PLANAR) == 2
            and len(image.getbands()) > 1)


def _through_libtiff(path: Path) -> Image.Image:
    with _libtiff_switch:
        TiffImagePlugin.READ_LIBTIFF = True
        try:
            return Image.open(path)
        finally:
            TiffImagePlugin.READ_LIBTIFF = False


def _upright(rgb: np.ndarray, orientation: int) -> np.ndarray:
    if orientation == 1:
        return rgb
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(rgb)
    image.info["exif"] = exif.tobytes()
    return np.array(ImageOps.exif_transpose(image), dtype=np.uint8)


def _reduction(width: int, height: int) -> int:
    """The least of 1, 2, 4, 8 that brings an image of up to PIXELS_MAX below KEPT_PIXELS."""
    return next(f for f in (1, 2, 4, 8) if width * height <= KEPT_PIXELS * f * f)


Convert = Callable[[Image.Image], Image.Image]
"""A band of a picture to RGB, or to L."""


def _converted(path: Path, image: Image.Image, rawmode: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """uint8 [H, W, 3], reduced, and the remarks."""
    exact = image.format in EXACT_FORMATS
    if image.mode == "F":
        rule = FloatRule(*_extremes(image))
        return _reduced(image, lambda band: Image.fromarray(rule(np.asarray(band)))), (rule.remark,)
    if image.mode.startswith("I"):
        return _integers(image, exact)
    if exact and rawmode in _LOWER_BYTES and not _is_planar(image):
        return _colour_of_16_bits(path, image, rawmode)
    rgb = _reduced(image, _as_rgb)
    if exact and rawmode in (*_LOWER_BYTES, *_UPPER_ONLY) and rgb.max(initial=0) < QUARTER:
        raise InputError(f"{path}: 16-bit samples, transparent or in planes, that reach a quarter of their "
                         "range at most; allowed: samples that use it, or opaque and interleaved ones")
    return rgb, ()


def _rawmode(image: Image.Image) -> str:
    """How samples lie in the file, in Pillow's words."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return ""
    arguments = image.tile[0].args
    first = arguments if isinstance(arguments, str) else arguments[0] if arguments else ""
    return first if isinstance(first, str) else ""


def _integers(image: Image.Image, exact: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Grey integers of 16 or 32 bits. A TIFF of 9 to 15 bits says so itself."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    stated = max(tags.get(_TIFF_BITS, (32 if image.mode == "I" and image.format == "TIFF" else 16,)))
    unsigned = stated == 32 and tags.get(_TIFF_FORMAT, (1,))[0] == 1

    def samples(band: Image.Image) -> np.ndarray:
        values = np.asarray(band)
        return (values.view(np.uint32) if unsigned else values).astype(np.int64)

    depth = 16
    if exact:
        largest = max(int(samples(band).max()) for band in _bands(image, 1))
        # Of black nothing can be told.
        depth = stated if 8 < stated < 16 or largest <= 0 else sample_bits(largest)
    rgb = _reduced(image, lambda band: Image.fromarray(upper_bits(samples(band), depth)))
    told = exact and not (stated <= 16 and depth in (16, stated))
    return rgb, (depth_remark(stated, depth),) if told else ()


def _colour_of_16_bits(path: Path, image: Image.Image, rawmode: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """``image``: the upper bytes of RGB. Where they leave the range empty, the lower ones are read too, after
    them, so that only one of the two is whole in memory."""
    upper = max(top for _, top in _band_extremes(image))
    if upper >= QUARTER:
        return _reduced(image, _as_rgb), ()
    lower_image = _other_bytes(path, rawmode)
    if upper == 0:
        lower_image.load()
        depth = sample_bits(max(top for _, top in _band_extremes(lower_image)))
    else:
        depth = sample_bits(upper << 8 | 255)
    # Bits of the one and of the other do not overlap, and the average of a sum is that of its parts.
    high = _reduced(image, lambda band: band.point([min(v << (16 - depth), 255) for v in range(256)] * 3))
    image.close()
    lower_image.load()
    low = _reduced(lower_image, lambda band: band.point([v >> (depth - 8) for v in range(256)] * 3))
    lower_image.close()
    return np.minimum(high.astype(np.int16) + low, 255).astype(np.uint8), (depth_remark(16, depth),)


def _other_bytes(path: Path, rawmode: str) -> Image.Image:
    """The picture again, not loaded yet, of which the lower bytes will be kept."""
    image = Image.open(path)
    assert isinstance(image, ImageFile.ImageFile)
    other = _LOWER_BYTES[rawmode]
    image.tile = [tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)
                  for tile in image.tile]
    return image


def _extremes(image: Image.Image) -> tuple[float, float]:
    """The least and the largest sample of a picture with one band, NaN if any is."""
    found = np.array([[band.min(), band.max()] for band in map(np.asarray, _bands(image, 1))])
    return float(found[:, 0].min()), float(found[:, 1].max())


def _band_extremes(image: Image.Image) -> list[tuple[int, int]]:
    """Least and largest of each colour."""
    found = image.getextrema()
    return [(int(low), int(high)) for low, high in found]  # type: ignore[misc]


def _bands(image: Image.Image, factor: int) -> Iterator[Image.Image]:
    """Bands of rows, each a multiple of ``factor`` high but the last."""
    rows = max(1, BAND_PIXELS // (image.width * factor)) * factor
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        band.info = image.info
        yield band


def _reduced(image: Image.Image, convert: Convert) -> np.ndarray:
    """uint8 [H, W, 3], of at most KEPT_PIXELS, averaged from squares of converted pixels."""
    factor = _reduction(image.width, image.height)
    height, width = -(-image.height // factor), -(-image.width // factor)
    rgb = np.empty((height, width, 3), dtype=np.uint8)
    row = 0
    for band in _bands(image, factor):
        converted = convert(band)
        part = np.asarray(converted.reduce(factor) if factor > 1 else converted)
        rgb[row : row + len(part)] = part if part.ndim == 3 else part[:, :, None]
        row += len(part)
    return rgb


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "LAB":
        return lab_to_rgb(image)
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
