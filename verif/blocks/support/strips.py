"""Random strips of maps in whole and in circular regions, for the benches of reader and window."""

from random import Random

from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS, EngineConfig
from kestrel.sw.planning.geometry import Region
from kestrel.verif.blocks.support.column_reader import Strip


def random_strip(
    source: Random, config: EngineConfig, groups: int, number: int, grouped: bool = False
) -> Strip:
    """A strip of a map of ``groups`` words a pixel: the narrowest ones first, then any. ``grouped``: of
    virtual rows."""
    widest = max(1, config.max_width if groups == 1 else config.max_width // 2)
    width = number + 1 if number < min(3, widest) else source.choice((widest, source.randint(1, widest)))
    height = source.randint(1, 9)
    whole = -(-height // BANKS)
    slots = source.randint(min(2, whole), whole)  # fewer than the map has: rows go round
    stride = groups * width
    base = source.randint(0, min(config.feature_words) - slots * stride)
    region = Region(0, base, slots, stride, width)
    if grouped:
        first = source.randrange(whole)
        count = source.randint(1, min(whole - first, slots))
        rows = min(count * ROW_GROUPS, height - first * ROW_GROUPS)
        return Strip(region, height, first * ROW_GROUPS, rows, grouped=True)
    first_row = source.randrange(height)
    # A circular region holds the strip's rows and one on either side.
    most = height - first_row if slots == whole else min(height - first_row, slots * BANKS - 2)
    return Strip(region, height, first_row, source.randint(1, most))
