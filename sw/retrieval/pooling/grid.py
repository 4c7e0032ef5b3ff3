"""The grid of regions of R-MAC (Tolias, Sicre, Jegou 2016, section 4.2): squares of several sizes that
cover a rectangle evenly, on feature maps (NIP) and on pictures (RNIP).

The published program (Radenovic, cnnimageretrieval) places them in float32. On all maps of 7 to 40 pixels a
side, levels 1 to 3, it gives the same regions but on 7 x 35, 8 x 36 and 9 x 35 and their transposes: there 6
steps of 31/6 come to 30.999998, and its last column of squares ends a pixel short of the edge. Here places
are fractions, exactly, so the last square reaches the edge, as the paper's even cover has it. That program
also adds the whole map as one more region; NIP has no such region (of a square map, level 1 is it).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

OVERLAP = Fraction(2, 5)
"""Wanted overlap of neighbouring squares along the longer side."""

STEPS = range(2, 8)
"""Numbers of squares of the first level, of which the one with the overlap nearest to that is taken."""


@dataclass(frozen=True)
class GridRegion:
    """A rectangle of rows top .. top + height - 1 and columns left .. left + width - 1."""

    top: int
    left: int
    height: int
    width: int


def extra_regions(height: int, width: int) -> int:
    """How many more squares a row has along the longer side than along the shorter: 0 for a square."""
    short, long = sorted((height, width))
    if short == long:
        return 0

    def distance(count: int) -> Fraction:
        overlap = 1 - Fraction(long - short, short * (count - 1))
        return abs(overlap - OVERLAP)

    return min(STEPS, key=distance) - 1  # the smaller number where two are as near


def roi_grid(height: int, width: int, levels: Sequence[int]) -> tuple[GridRegion, ...]:
    """Squares of side 2w // (l + 1), w the shorter side, for each level l: l along the shorter side and
    l + extra_regions along the longer, evenly spread; level by level, row by row.

    A square has at least one pixel, however high the level. A 7 x 7 map has 1 + 4 + 9 at levels 1, 2, 3, a
    15 x 20 map 2 + 6 + 12.
    """
    extra = extra_regions(height, width)
    regions: list[GridRegion] = []
    for level in levels:
        side = max(1, 2 * min(height, width) // (level + 1))
        tops = _offsets(height, side, level + (extra if height > width else 0))
        lefts = _offsets(width, side, level + (extra if width > height else 0))
        regions += [GridRegion(top, left, side, side) for top in tops for left in lefts]
    return tuple(regions)


def _offsets(length: int, side: int, count: int) -> list[int]:
    return [i * (length - side) // max(count - 1, 1) for i in range(count)]
