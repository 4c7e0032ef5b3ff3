"""The grid of regions of R-MAC (Tolias, Sicre, Jegou 2016, section 4.2): squares of several sizes that
cover a rectangle evenly. It is used on feature maps (NIP) and on pictures (RNIP).

The published program (Radenovic, cnnimageretrieval) computes positions in float32. On all maps of 7 to 40
pixels a side, at levels 1 to 3, it gives the same regions except on 7 x 35, 8 x 36 and 9 x 35 and their
transposes. There, 6 steps of 31/6 come to 30.999998, and its last column of squares ends a pixel before the
edge. Here positions are exact fractions, so the last square reaches the edge, as the even cover in the paper
requires. That program also adds the whole map as one more region; NIP has no such region (on a square map,
level 1 is that region).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

OVERLAP = Fraction(2, 5)
"""The overlap of neighbouring squares along the longer side that is aimed at."""

STEPS = range(2, 8)
"""The numbers of squares of the first level, of which the one that gives the overlap nearest to OVERLAP is
taken."""


@dataclass(frozen=True)
class GridRegion:
    """A rectangle of rows top .. top + height - 1 and columns left .. left + width - 1."""

    top: int
    left: int
    height: int
    width: int


def extra_regions(height: int, width: int) -> int:
    """How many more squares lie along the longer side than along the shorter one: 0 for a square."""
    short, long = sorted((height, width))
    if short == long:
        return 0

    def distance(count: int) -> Fraction:
        overlap = 1 - Fraction(long - short, short * (count - 1))
        return abs(overlap - OVERLAP)

    return min(STEPS, key=distance) - 1  # the smaller number if two are equally near


def roi_grid(height: int, width: int, levels: Sequence[int]) -> tuple[GridRegion, ...]:
    """For each level l, squares of side 2w // (l + 1), where w is the shorter side: l along the shorter side
    and l + extra_regions along the longer, evenly spread. They are ordered level by level, row by row.

    A square has at least one pixel, however high the level. A 7 x 7 map has 1 + 4 + 9 squares at levels 1, 2
    and 3, a 15 x 20 map 2 + 6 + 12.
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
