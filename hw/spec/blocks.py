"""An image in 2x2 blocks: what the channels of its map are, and in which words they lie.

Channel (set * 3 + stream) * 3 + colour of the map's pixel (y, x) is that colour of the image's pixel

    row     2y in set 0, 2y + 1 in set 1, 2y - 1 in set 2
    column  2x in stream 0, 2x + 1 in stream 1, 2x - 1 in stream 2

or the colour's pad value outside the image. A 3x3 convolution of this map can be any 7x7 one of stride 2 and
padding 3 of the image. A row of the image belongs to one or two sets, and a pair of its pixels, 2x and
2x + 1, together with pixel 2x - 1 to all the streams of pixel x.
"""

from kestrel.hw.spec.engine_config import EngineConfig

COLOURS = 3
STREAMS = 3
SETS = 3
SET_CHANNELS = STREAMS * COLOURS
BLOCK_CHANNELS = SETS * SET_CHANNELS
"""Channels of the map."""

PARTS = ((0, 0), (1, 0), (1, 1))
"""(p, d) of the sets, and of the streams of a set: at row (column) y stands row (column) 2(y - d) + p of the
image."""


def block_words(config: EngineConfig) -> int:
    """Memory words of a pixel of the map."""
    return -(-BLOCK_CHANNELS // config.word_lanes)


def set_words(config: EngineConfig, number: int) -> range:
    """The words of a pixel that hold channels of set ``number``."""
    first = number * SET_CHANNELS
    return range(first // config.word_lanes, (first + SET_CHANNELS - 1) // config.word_lanes + 1)


def pair_words(config: EngineConfig, *, odd: bool, top: bool, last: bool) -> range:
    """The words of a pixel that are written for a pair of the image's pixels in an odd or even row: those
    from its first set to its last one. An even row belongs to set 0; in the image's first row (``top``) set 2
    is written with pad values besides, in its ``last`` one set 1. An odd row belongs to set 1, and unless it
    is the last one to set 2 of the next row of blocks."""
    if odd:
        sets = (1, 1 if last else 2)
    else:
        sets = (0, 2 if top else 1 if last else 0)
    first, end = (set_words(config, number) for number in sets)
    return range(first.start, end.stop)
