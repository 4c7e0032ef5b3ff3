"""Sizes of pictures, as people give them."""

import re

from kestrel.hw.spec.errors import InputError

SIDE_MAX = 8192
"""Longest side of a resized image."""

Size = int | tuple[int, int]
"""The side of a square, or height and width, in pixels."""


def height_width(size: Size) -> tuple[int, int]:
    """Height and width of a size, each at least 1. Raises InputError."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise InputError(f"size {height}x{width}; allowed: height and width of 1 or more")
    return height, width


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of ``N``, a square, or ``HEIGHTxWIDTH``. Raises InputError."""
    match = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    if match is None or not all(1 <= int(side) <= SIDE_MAX for side in match.groups(match[1])):
        raise InputError(f"size {text!r}; allowed: N or HEIGHTxWIDTH, each 1..{SIDE_MAX}")
    return int(match[1]), int(match[2] or match[1])
