"""Samples of more than 8 bits, floats and LAB: the rules by which they become bytes.

Such files seldom say which value is white. A 16-bit PNG or TIFF may hold what a camera measured in 12 bits,
which its upper bytes alone would show as nearly black. So the largest sample decides: integers have as many
bits as it takes, rounded up to one of DEPTHS, and their upper 8 are kept; floats lie within 0..1, 0..255 or
0..65535, or are stretched from the least to the largest. Each is told in one line (a remark), except for what
fills its 16 bits.
"""

import numpy as np
from PIL import Image, ImageCms

DEPTHS = (8, 10, 12, 14, 16, 20, 24, 28, 32)
"""Numbers of bits that integers are taken to have."""

FLOAT_RANGES = ((1.0, "0..1"), (255.0, "0..255"), (65535.0, "0..65535"))


def sample_bits(largest: int) -> int:
    """The least of DEPTHS that holds ``largest``."""
    return next(depth for depth in DEPTHS if largest < 1 << depth)


def depth_remark(stored: int, found: int) -> str:
    """What is said of samples of ``stored`` bits that are taken to have ``found``."""
    return f"{stored}-bit samples taken as of {found} bits, which their largest value needs"


def upper_bits(samples: np.ndarray, depth: int) -> np.ndarray:
    """Integers of ``depth`` bits, 8 or more, any shape -> uint8; negative ones become 0."""
    return np.clip(samples >> (depth - 8), 0, 255).astype(np.uint8)


class FloatRule:
    """Floats of one picture to bytes. Parameters: the least and the largest of all of them. Raises ValueError
    when they are not finite."""

    def __init__(self, least: float, largest: float) -> None:
        if not np.isfinite([least, largest]).all():
            raise ValueError("samples are not finite numbers")
        white = next(((top, name) for top, name in FLOAT_RANGES if least >= 0 and largest <= top), None)
        if white is None:
            self._black, self._white, name = least, largest, "their least to their largest"
        else:
            (self._white, name), self._black = white, 0.0
        self.remark = f"float samples taken as {name}"

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """float32, any shape -> uint8, rounded."""
        scaled = (samples.astype(np.float64) - self._black) * (255.0 / (self._white - self._black))
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


_to_srgb: list[ImageCms.ImageCmsTransform] = []


def lab_to_rgb(image: Image.Image) -> Image.Image:
    """CIE L*a*b* (D50, as TIFF and Photoshop have it) to sRGB."""
    if not _to_srgb:
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        _to_srgb.append(ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
    converted = ImageCms.applyTransform(image, _to_srgb[0])
    assert converted is not None, "not in place"
    return converted
