"""An image in 2x2 blocks: a map of half its size and 27 channels, on which a 3x3 convolution of stride 1
computes what a 7x7 one of stride 2 does on the image (docs/arithmetic.md, section 1).

A 7x7 window in steps of two covers four blocks in each direction, one more than a 3x3 window. What it covers
of the fourth is one row (or column) of pixels, which therefore comes as channels of its own, moved by one
block.
"""

from itertools import product

import numpy as np
import torch

from kestrel.hw.spec.blocks import BLOCK_CHANNELS, PARTS
from kestrel.sw.model.shapes import IMAGE_CHANNELS

STEM_SIZE = 7
"""Rows and columns of the kernel that becomes one of 3x3."""


def blocks_of(image: torch.Tensor, pad: torch.Tensor) -> torch.Tensor:
    """The map in blocks, [N, 27, ceil(H/2), ceil(W/2)], of ``image`` [N, 3, H, W], with the type of the
    image.

    ``pad`` [3] is what stands outside the image, by colour. Channel (set * 3 + stream) * 3 + colour.
    """
    n, colours, height, width = image.shape
    rows, columns = -(-height // 2), -(-width // 2)
    # One block more at the top and on the left, and a last row and column where the sides are odd.
    framed = pad.to(image.dtype).view(1, -1, 1, 1).expand(n, colours, 2 * rows + 2, 2 * columns + 2).clone()
    framed[:, :, 2 : 2 + height, 2 : 2 + width] = image
    parts = []
    for (p, dy), (q, dx) in product(PARTS, PARTS):
        top, left = 2 - 2 * dy + p, 2 - 2 * dx + q
        parts.append(framed[:, :, top : top + 2 * rows : 2, left : left + 2 * columns : 2])
    return torch.cat(parts, dim=1)


def blocks_kernel(weight: np.ndarray) -> np.ndarray:
    """The kernels [C_out, 27, 3, 3] on an image in blocks of the kernels ``weight`` [C_out, 3, 7, 7] of
    stride 2 and padding 3 on the image. Taps that belong to no tap of ``weight`` are 0."""
    found = np.zeros((len(weight), BLOCK_CHANNELS, 3, 3), dtype=weight.dtype)
    for row, column in product(range(STEM_SIZE), range(STEM_SIZE)):
        first, tap_row, tap_column = _tap(row, column)
        found[:, first : first + IMAGE_CHANNELS, tap_row, tap_column] = weight[:, :, row, column]
    return found


def _place(offset: int) -> tuple[int, int]:
    """(part, tap) of a row or column -3..3 from the middle of the window."""
    p, block = offset & 1, offset >> 1
    return (PARTS.index((1, 1)), 0) if block == -2 else (PARTS.index((p, 0)), block + 1)


def stem_kernel(weight: np.ndarray) -> np.ndarray | None:
    """The kernels [C_out, 3, 7, 7] whose ``blocks_kernel`` is ``weight`` [C_out, 27, 3, 3]; None if there are
    none, as taps outside the 7x7 window are not 0."""
    found = np.zeros((len(weight), IMAGE_CHANNELS, STEM_SIZE, STEM_SIZE), dtype=weight.dtype)
    for row, column in product(range(STEM_SIZE), range(STEM_SIZE)):
        first, tap_row, tap_column = _tap(row, column)
        found[:, :, row, column] = weight[:, first : first + IMAGE_CHANNELS, tap_row, tap_column]
    return found if np.array_equal(blocks_kernel(found), weight) else None


def _tap(row: int, column: int) -> tuple[int, int, int]:
    """(first of three channels, tap row, tap column) of a tap of the 7x7 window."""
    part_row, tap_row = _place(row - STEM_SIZE // 2)
    part_column, tap_column = _place(column - STEM_SIZE // 2)
    return (part_row * len(PARTS) + part_column) * IMAGE_CHANNELS, tap_row, tap_column


def blocks_pad(pad: np.ndarray) -> np.ndarray:
    """What stands outside the map in blocks, [27], from what stands outside the image, [3]."""
    return np.resize(pad, BLOCK_CHANNELS)
