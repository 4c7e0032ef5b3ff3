"""The tiles of a layer in the order in which a visit uses them, as channels and lanes give them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.sw.planning.geometry import group_count

Fields = dict[str, Any]
"""The fields of a record by name; None where they do not matter."""

_OF_SHORTCUTS = dict.fromkeys(("last_map_group", "first_in", "first_out"))
"""Fields of a tile that say something of some tiles of a shortcut only."""


@dataclass(frozen=True)
class ShortcutWork:
    """What a layer adds up besides: a map of ``channels`` and of ``width`` columns, through a projection or
    as it is; ``digit`` is the shift of the sums."""

    projection: bool
    channels: int
    width: int
    digit: int


@dataclass(frozen=True)
class LayerWork:
    """What tiles a layer has: channels, digits of its masks, and columns of the map that it reads."""

    in_channels: int
    out_channels: int
    passes: int
    width: int
    shortcut: ShortcutWork | None = None


@dataclass(frozen=True)
class LayerTile:
    """A tile for a pass. fields: of ``tile_layout``; rewind: the ROM's tile is the one before once more."""

    fields: Fields
    rewind: bool = False


def layer_tiles(work: LayerWork, config: EngineConfig) -> Iterator[LayerTile]:
    """Output groups; in each the shortcut's tiles, then input groups, and digits of these."""
    in_groups = group_count(work.in_channels, config.input_lanes)
    out_groups = group_count(work.out_channels, config.output_lanes)
    for out_group in range(out_groups):
        last_out = int(out_group == out_groups - 1)
        for tile in _shortcut_tiles(work, config, out_group):
            yield LayerTile(tile | {"last_out": last_out})
        for in_group in range(in_groups):
            word, piece = divmod(in_group * config.input_lanes, config.word_lanes)
            for digit in range(work.passes):
                tile = {
                    "group_offset": word * work.width,
                    "slice": piece // config.input_lanes,
                    "digit": digit,
                    "fresh": int(in_group == digit == 0 and work.shortcut is None),
                    "emit": int(in_group == in_groups - 1 and digit == work.passes - 1),
                    "last_in": int(in_group == in_groups - 1),
                    "last_out": last_out,
                }
                if config.residual:
                    tile |= _OF_SHORTCUTS | {"shortcut": 0}
                yield LayerTile(tile, rewind=digit > 0)


def _shortcut_tiles(work: LayerWork, config: EngineConfig, out_group: int) -> Iterator[Fields]:
    """Those of an output group: of a projection one for each input group of its map, of an identity one for
    each input group that holds channels of the output group."""
    shortcut, lanes = work.shortcut, config.input_lanes
    if shortcut is None:
        return
    channels = range(shortcut.channels)
    if not shortcut.projection:
        first = out_group * config.output_lanes
        channels = range(first, min(first + config.output_lanes, shortcut.channels))
    groups = range(channels[0] // lanes, channels[-1] // lanes + 1)
    for group in groups:
        word, piece = divmod(group * lanes, config.word_lanes)
        begins = max(group * lanes, channels[0])
        diagonal = {"first_in": begins - group * lanes, "first_out": begins - channels[0]}
        yield {
            **_OF_SHORTCUTS,
            "shortcut": 1,
            "group_offset": word * shortcut.width,
            "slice": piece // lanes,
            "digit": shortcut.digit,
            "fresh": int(group == groups[0]),
            "emit": 0,
            "last_in": 0,
            "last_map_group": int(group == (shortcut.channels - 1) // lanes),
            **({} if shortcut.projection else diagonal),
        }
