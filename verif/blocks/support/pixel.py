"""What travels with every pixel, as a plain record."""

from typing import NamedTuple


class Pixel(NamedTuple):
    """A pixel of a pass; with ``valid`` 0 the rest means nothing."""

    valid: int = 0
    first: int = 0
    last: int = 0
    row_end: int = 0
    fresh: int = 0
    emit: int = 0
    digit: int = 0
    last_out: int = 0


IDLE = Pixel()
