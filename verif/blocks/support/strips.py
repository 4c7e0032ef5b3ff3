"""Random strips of maps in whole and in circular regions, for the benches of reader and window."""

from dataclasses import replace
from random import Random

from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS, EngineConfig
from kestrel.sw.planning.geometry import Region, group_count
from kestrel.verif.blocks.support.column_reader import Strip


def random_strip(
    source: Random, config: EngineConfig, groups: int, number: int, grouped: bool = False, *,
    stride: int = 1, centre: bool = False,
) -> Strip:  # fmt: skip
    """A strip of a map of ``groups`` words a pixel: the narrowest ones first, then any. ``grouped``: of
    virtual rows. stride, centre: those of ``Strip``."""
    widest = _widest(config, groups)
    width = number + 1 if number < min(3, widest) else source.choice((widest, source.randint(1, widest)))
    # In a strip of four slots and more the reader comes to slots that it has not found ahead.
    long = source.random() < 0.3
    height = source.randint(16, 21) if long else source.randint(1, 9)
    whole = -(-height // BANKS)
    slots = source.randint(4 if long else min(2, whole), whole)  # fewer than the map has: rows go round
    region = _region(source, config, groups, width, slots)
    if grouped:
        first = source.randrange(whole)
        count = source.randint(1, min(whole - first, slots))
        rows = min(count * ROW_GROUPS, height - first * ROW_GROUPS)
        return Strip(region, height, first * ROW_GROUPS, rows, grouped=True)
    computed = -(-height // stride)
    first_row = source.randrange(computed // 2 if long else computed)
    most = computed - first_row
    if slots < whole:
        # A circular region holds the rows that the strip needs, and one on either side.
        most = min(most, (slots * BANKS - BANKS) // stride + 1)
    rows = most if long else source.randint(1, most)
    return Strip(region, height, first_row, rows, stride=stride, centre=centre)


def batch_strip(source: Random, config: EngineConfig, groups: int, stride: int, centre: bool) -> Strip:
    """A strip of a map of one image or several, from any row on."""
    height, images = source.randint(1, 7), source.randint(1, 4)
    image_rows = group_count(height, stride)
    if image_rows > 1 and stride == 1 and source.random() < 0.3:
        image_rows -= 1  # a row that the pooling would drop
    return _of_images(source, config, groups, images, Strip(
        Region(0, 0, 1, 1, 1), height, source.randrange(images * image_rows), 0, stride=stride, centre=centre,
        image_rows=image_rows,
    ))  # fmt: skip


def shortcut_of_batch(source: Random, config: EngineConfig, groups: int, strip: Strip, stride: int) -> Strip:
    """The same rows, of the shortcut's map."""
    height = (strip.image_rows - 1) * stride + 1 + source.randint(0, 1)
    images = group_count(strip.first_row + strip.rows, strip.image_rows)
    return _of_images(
        source, config, groups, images, replace(strip, height=height, stride=stride, centre=True)
    )


def _of_images(source: Random, config: EngineConfig, groups: int, images: int, strip: Strip) -> Strip:
    """The strip in a region of its own, of as many rows as it has or, if it has none, of any number."""
    most = images * strip.image_rows - strip.first_row
    rows = strip.rows or source.randint(1, most)
    # A circular region holds the rows that the strip needs, and one on either side.
    needed = sum(strip.place(strip.first_row + rows - 1)) - strip.row_above + 2
    whole = group_count(images * strip.height, BANKS)
    least = min(whole, (needed - 1) // BANKS + 2)
    slots = source.choice((least, source.randint(least, whole)))
    room = min(config.feature_words) // (slots * groups)
    width = source.randint(1, min(room, _widest(config, groups)))
    return replace(strip, region=_region(source, config, groups, width, slots), rows=rows)


def shortcut_strip(source: Random, config: EngineConfig, groups: int, rows: int, stride: int) -> Strip:
    """``rows`` rows of another map, from any row on: only the centre tap counts."""
    first_row, needed = source.randint(0, 12), (rows - 1) * stride + 1
    height = first_row * stride + needed + source.randint(0, 3)
    whole = -(-height // BANKS)
    least = min(whole, (needed - 1) // BANKS + 2)
    slots = source.choice((least, source.randint(least, whole)))
    room = min(config.feature_words) // (slots * groups)
    region = _region(source, config, groups, source.randint(1, min(room, _widest(config, groups))), slots)
    return Strip(region, height, first_row, rows, stride=stride, centre=True)


def _widest(config: EngineConfig, groups: int) -> int:
    return max(1, config.max_width if groups == 1 else config.max_width // 2)


def _region(source: Random, config: EngineConfig, groups: int, width: int, slots: int) -> Region:
    """A region anywhere in the memory."""
    stride = groups * width
    return Region(0, source.randint(0, min(config.feature_words) - slots * stride), slots, stride, width)
