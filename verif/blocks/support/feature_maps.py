"""A map in the banks of the feature memory, and the windows around its pixels."""

from collections.abc import Sequence
from random import Random

from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS
from kestrel.verif.blocks.support.column_reader import Strip

Pixel = list[int]
"""The channels of a pixel, as many as all words of it hold."""


def random_map(source: Random, strip: Strip, channels: int, bits: int) -> list[list[Pixel]]:
    """Rows of pixels."""
    return [
        [[source.getrandbits(bits) for _ in range(channels)] for _ in range(strip.region.width)]
        for _ in range(strip.height)
    ]


def bank_word(
    strip: Strip, rows: Sequence[Sequence[Pixel]], lanes: int, bank: int, address: int, row: int
) -> Pixel:
    """What a bank gives at ``address`` while row ``row`` is worked on: of the rows that share the address,
    the one among row - 1 .. row + 1. Raises LookupError where there is none."""
    region = strip.region
    slot, within = divmod(address - region.base, region.stride)
    group, column = divmod(within, region.width)
    for r in (row - 1, row, row + 1):
        if 0 <= r < strip.height and r % BANKS == bank and r // BANKS % region.slots == slot:
            return rows[r][column][group * lanes : (group + 1) * lanes]
    raise LookupError(f"no row near {row} at {address} of bank {bank}")


def virtual_word(
    source: Random, rows: Sequence[Sequence[Pixel]], lanes: int, size: int, row: int, column: int
) -> Pixel:
    """A word of a virtual row: in each group of ``size`` lanes the pixel of another row of the image;
    anything where there is none and in the lanes beyond."""
    word = [source.choice(rows)[column][lane] for lane in range(lanes)]
    for group in range(ROW_GROUPS):
        if 0 <= row + group - 1 < len(rows):
            word[group * size : (group + 1) * size] = rows[row + group - 1][column][:size]
    return word


def window(rows: Sequence[Sequence[Pixel]], row: int, column: int, channel: int, pad: int) -> list[int]:
    """The nine taps of a channel around a pixel, row by row."""
    return [
        rows[r][c][channel] if 0 <= r < len(rows) and 0 <= c < len(rows[0]) else pad
        for r in range(row - 1, row + 2)
        for c in range(column - 1, column + 2)
    ]
