"""The grid of regions, against figures worked out by hand and a direct implementation."""

import numpy as np
import pytest

from kestrel.sw.retrieval.pooling.grid import GridRegion, extra_regions, roi_grid


@pytest.mark.parametrize(("height", "width", "counts"), [
    (7, 7, (1, 4, 9)), (28, 28, (1, 4, 9)), (15, 20, (2, 6, 12)), (20, 15, (2, 6, 12)), (60, 80, (2, 6, 12)),
    (1, 1, (1, 4, 9)),
])
def test_numbers_of_regions(height, width, counts):
    assert tuple(len(roi_grid(height, width, [level])) for level in (1, 2, 3)) == counts
    assert len(roi_grid(height, width, (1, 2, 3))) == sum(counts)


def test_regions_of_a_7_x_7_map():
    assert roi_grid(7, 7, (1,)) == (GridRegion(0, 0, 7, 7),)
    assert roi_grid(7, 7, (2,)) == tuple(GridRegion(y, x, 4, 4) for y in (0, 3) for x in (0, 3))
    assert roi_grid(7, 7, (3,)) == tuple(GridRegion(y, x, 3, 3) for y in (0, 2, 4) for x in (0, 2, 4))


def test_regions_of_a_15_x_20_map():
    assert roi_grid(15, 20, (1,)) == (GridRegion(0, 0, 15, 15), GridRegion(0, 5, 15, 15))
    assert roi_grid(15, 20, (2,)) == tuple(GridRegion(y, x, 10, 10) for y in (0, 5) for x in (0, 5, 10))
    assert roi_grid(20, 15, (2,)) == tuple(GridRegion(y, x, 10, 10) for y in (0, 5, 10) for x in (0, 5))


@pytest.mark.parametrize(("height", "width", "extra"), [
    (10, 10, 0), (3, 4, 1), (10, 15, 1), (10, 16, 1),
    (10, 18, 1),  # two overlap by 20%, three by 60%: as near, so the fewer
    (10, 19, 2), (10, 24, 2), (10, 60, 6), (10, 1000, 6),
])
def test_extra_regions(height, width, extra):
    assert extra_regions(height, width) == extra_regions(width, height) == extra


@pytest.mark.parametrize("size", [(1, 9), (2, 2), (5, 31), (13, 7), (28, 21), (40, 40)])
def test_regions_lie_inside_are_distinct_squares_and_reach_the_corners(size):
    height, width = size
    for level in range(1, 5):
        grid = roi_grid(height, width, (level,))
        for r in grid:
            assert r.height == r.width == max(1, 2 * min(size) // (level + 1))
            assert r.top >= 0
            assert r.left >= 0
            assert r.top + r.height <= height
            assert r.left + r.width <= width
        if level > 1:
            assert grid[0].top == grid[0].left == 0
            assert (grid[-1].top + grid[-1].height, grid[-1].left + grid[-1].width) == size


def float32_places(length, side, count):
    """As the published program has them: centres in float32, rounded down."""
    step = np.float32((length - side) / (count - 1)) if count > 1 else np.float32(0)
    half = side // 2 - 1
    return [int(np.floor(np.float32(half) + np.float32(i) * step)) - half for i in range(count)]


def test_the_published_program_differs_where_float32_falls_short():
    differing = {}
    for height in range(7, 41):
        for width in range(height + 1, 41):
            extra = extra_regions(height, width)
            for level in (1, 2, 3):
                side = 2 * height // (level + 1)
                found = sorted({r.left for r in roi_grid(height, width, (level,))})
                published = float32_places(width, side, level + extra)
                if found != published:
                    differing[height, width] = (found[-1], published[-1], width - side)
                    assert found[:-1] == published[:-1]
    assert differing == {(7, 35): (31, 30, 31), (8, 36): (31, 30, 31), (9, 35): (31, 30, 31)}


def test_against_a_direct_implementation(rng):
    """The published form, in floating point, with its own way of placing: floor(i * step)."""
    for height, width in rng.integers(1, 80, (200, 2)).tolist():
        short, long = min(height, width), max(height, width)
        overlaps = [1 - (long - short) / (n - 1) / short for n in range(2, 8)]
        extra = 0 if short == long else int(np.argmin(np.abs(np.array(overlaps) - 0.4))) + 1
        distances = sorted(abs(x - 0.4) for x in overlaps)
        if short != long and distances[1] - distances[0] < 1e-9:
            continue  # a tie: rounding decides in floating point
        wanted = []
        for level in (1, 2, 3):
            side = max(1, int(2 * short / (level + 1)))
            rows, columns = level + extra * (height > width), level + extra * (width > height)
            tops = [int(i * (height - side) / (rows - 1) + 1e-9) if rows > 1 else 0 for i in range(rows)]
            lefts = [int(i * (width - side) / (columns - 1) + 1e-9) if columns > 1 else 0
                     for i in range(columns)]
            wanted += [GridRegion(top, left, side, side) for top in tops for left in lefts]
        assert roi_grid(height, width, (1, 2, 3)) == tuple(wanted), (height, width)
