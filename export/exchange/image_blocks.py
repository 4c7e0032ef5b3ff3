"""An image in 2x2 blocks by ONNX operators, for images of any size (docs/arithmetic.md, section 1)."""

from itertools import product

import numpy as np

from kestrel.export.exchange.model_file import ModelBuilder
from kestrel.hw.spec.blocks import PARTS

FRAME = (2, 2, 1, 1)
"""Rows and columns outside the image that the slices need: at the top, on the left, at the bottom and on the
right."""

_ENDS = {(0, 0): -1, (1, 0): np.iinfo(np.int64).max, (1, 1): -2}
"""Where the slice of a part ends. Part (p, d) begins at row 2 - 2 d + p, and of the framed image's rows the
last one, none, or the last two are left out: that gives ceil(H / 2) of them for even and odd H alike."""


def blocks_of_framed(builder: ModelBuilder, framed: str) -> str:
    """The map in blocks, [N, 27, ceil(H/2), ceil(W/2)], of the image with FRAME around it."""
    axes, steps = (builder.constant(f"blocks_{what}", np.array(value, np.int64))
                   for what, value in (("axes", [2, 3]), ("steps", [2, 2])))
    parts: list[str] = []
    for number, (rows, columns) in enumerate(product(PARTS, PARTS)):
        starts = [2 - 2 * d + p for p, d in (rows, columns)]
        limits = [builder.constant(f"blocks_{what}_{number}", np.array(value, np.int64))
                  for what, value in (("starts", starts), ("ends", [_ENDS[rows], _ENDS[columns]]))]
        parts.append(builder.node("Slice", [framed, *limits, axes, steps], f"blocks_{number}"))
    return builder.node("Concat", parts, "blocks", axis=1)
