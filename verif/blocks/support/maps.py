"""Random maps of which a stream carries every pixel, for the benches of image input and feature output."""

from dataclasses import dataclass
from random import Random

from kestrel.hw.common.handover import layer_layout
from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS, EngineConfig
from kestrel.sw.planning.geometry import Region, group_count, last_lanes
from kestrel.verif.blocks.support.script import record


@dataclass(frozen=True)
class StreamMap:
    """A map of ``channels`` that is streamed in ``visits``: first row and rows of each. ``grouped``: an image
    for row groups."""

    region: Region
    channels: int
    height: int
    visits: tuple[tuple[int, int], ...]
    grouped: bool = False

    @property
    def width(self) -> int:
        return self.region.width

    @property
    def rows(self) -> list[list[int]]:
        """The rows of each visit."""
        return [list(range(first, first + rows)) for first, rows in self.visits]

    def layer(self, source: Random, config: EngineConfig) -> dict[str, int]:
        """The record of a layer that reads and writes this map's region."""
        region = self.region
        where = {"base": region.base, "end": region.end, "stride": region.stride}
        grouped = {"row_groups": (self.height - 1) % ROW_GROUPS + 1 if self.grouped else 0}
        return record(
            source, layer_layout(config), height=self.height, width=self.width,
            in_groups=group_count(self.channels, config.word_lanes),
            last_in_lanes=last_lanes(self.channels, config.word_lanes),
            **{f"{side}_{name}": value for side in ("read", "write") for name, value in where.items()},
            **(grouped if config.row_groups else {}),
        )  # fmt: skip


def random_visits(source: Random, height: int) -> tuple[tuple[int, int], ...]:
    """One visit or several to ``height`` rows: first row and rows of each."""
    visits: list[tuple[int, int]] = []
    first = 0
    while first < height:
        rows = source.choice((height - first, source.randint(1, height - first)))
        visits.append((first, rows))
        first += rows
    return tuple(visits)


def random_stream_map(source: Random, config: EngineConfig, number: int, grouped: bool = False) -> StreamMap:
    """Channels and widths that differ in kind first, then any; one visit or several; a region that is whole
    or so small that rows go round. ``grouped``: an image for row groups."""
    lanes = config.word_lanes
    kinds = (1, lanes, lanes + 1, max(1, lanes - 1), 2 * lanes, 3 * lanes + 1, 40 * lanes)
    channels = kinds[number] if number < len(kinds) else source.randint(1, 3 * lanes + 1)
    if grouped:
        channels = source.randint(1, config.group_lanes)
    width = source.choice((1, 2, config.max_width, source.randint(1, config.max_width)))
    if channels == kinds[-1]:
        width = source.randint(1, min(2, config.max_width))
    height = source.choice((1, source.randint(1, 9), source.randint(2, 9)))
    visits = random_visits(source, height)
    stride = group_count(channels, lanes) * width
    longest = max(rows for _, rows in visits)
    # A region holds at least the rows of a visit.
    slots = source.randint(group_count(longest, BANKS), group_count(height, BANKS))
    base = source.choice((0, source.randint(0, min(config.feature_words) - slots * stride)))
    return StreamMap(Region(0, base, slots, stride, width), channels, height, visits, grouped)
