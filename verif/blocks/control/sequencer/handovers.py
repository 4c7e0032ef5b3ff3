"""What the sequencer must hand over for a plan, pass by pass, and what it must read for that."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kestrel.export.schedule_table import FIRST_RECORD
from kestrel.hw.spec.masks import MASK_MAGNITUDES, PASSES
from kestrel.hw.spec.records import RECORD_WORDS, unpack_record
from kestrel.hw.spec.table import (
    HEADER_FIELDS,
    HEADER_WORDS_USED,
    KIND_CONV,
    layer_fields,
    layer_words,
    visit_fields,
    visit_words,
    visit_words_used,
)
from kestrel.sw.planning.geometry import group_count
from kestrel.sw.planning.plan import Plan

Fields = dict[str, Any]
"""Values by name; None where they do not matter."""

NOT_OF_A_SHORTCUT = dict.fromkeys(("last_map_group", "first_in", "first_out"))
"""Fields of a tile that say nothing unless they are set: all for tiles of the convolution."""


@dataclass(frozen=True)
class HandOver:
    """One pass, or the whole of a visit to the image or the output.

    ``tile`` is empty for a visit without weights. ``rewind``: the ROM tile before it once more.
    """

    visit: Fields
    layer: Fields
    tile: Fields
    first_of_visit: bool
    last_of_visit: bool
    rewind: bool

    @property
    def is_conv(self) -> bool:
        return self.visit["kind"] == KIND_CONV

    @property
    def new_layer(self) -> bool:
        """Whether the layer record must be adopted before."""
        return self.first_of_visit and bool(self.visit["new_layer"])

    @property
    def waits(self) -> bool:
        """Whether the pass reads the part of the feature memory that the output group before it is being
        written to: it is the first one of a shortcut whose map lies there."""
        first = self.tile.get("shortcut") and self.tile["fresh"]
        return bool(first) and self.layer["shortcut_part"] != self.layer["read_part"]


def hand_overs(plan: Plan, table: Sequence[int]) -> list[HandOver]:
    """The passes of a frame; layers and visits as ``table``, the plan's own, has them."""
    base = unpack_record(HEADER_FIELDS, list(table[:RECORD_WORDS]))["visits_base"]
    found: list[HandOver] = []
    words = visit_words(plan.config)
    before: int | None = None
    for number, visit in enumerate(plan.visits):
        start = base + number * words
        fields = unpack_record(visit_fields(plan.config), list(table[start : start + words]))
        start = (FIRST_RECORD + visit.record) * RECORD_WORDS
        layer = unpack_record(layer_fields(plan.config), list(table[start : start + RECORD_WORDS]))
        record = plan.records[visit.record]
        at_once = 1 if record.layer is None else record.layer.rows_at_once(plan.config)
        assert fields["rows"] == group_count(visit.rows, at_once)
        assert fields["new_layer"] == int(visit.record != before)
        before = visit.record
        tiles = list(_tiles(plan, visit.record)) or [({}, False)]
        found += [
            HandOver(fields, layer, tile, n == 0, n == len(tiles) - 1, rewind)
            for n, (tile, rewind) in enumerate(tiles)
        ]
    return found


def _tiles(plan: Plan, number: int) -> Iterator[tuple[Fields, bool]]:
    """Output groups, in each the shortcut's tiles, then input groups and digits of a layer, and whether the
    ROM's tile is the one before once more; nothing for image and output."""
    record, config = plan.records[number], plan.config
    if record.layer is None:
        return
    shape, passes = record.layer.shape, PASSES[record.layer.mask_bits]
    in_groups = group_count(shape.in_channels, config.input_lanes)
    out_groups = group_count(shape.out_channels, config.output_lanes)
    for out_group in range(out_groups):
        last_out = int(out_group == out_groups - 1)
        shortcuts = list(_shortcut_tiles(plan, number, out_group)) if config.residual else []
        for tile in shortcuts:
            yield tile | {"last_out": last_out}, False
        for in_group in range(in_groups):
            word, piece = divmod(in_group * config.input_lanes, config.word_lanes)
            for digit in range(passes):
                yield (
                    {
                        "group_offset": word * record.width,
                        "slice": piece // config.input_lanes,
                        "digit": digit,
                        "fresh": int(in_group == digit == 0 and not shortcuts),
                        "emit": int(in_group == in_groups - 1 and digit == passes - 1),
                        "last_in": int(in_group == in_groups - 1),
                        "last_out": last_out,
                        **({**NOT_OF_A_SHORTCUT, "shortcut": 0} if config.residual else {}),
                    },
                    digit > 0,
                )


def _shortcut_tiles(plan: Plan, number: int, out_group: int) -> Iterator[Fields]:
    """The tiles of a layer's shortcut in an output group: of a projection one for each input group of its
    map, of an identity one for each input group that holds channels of the output group."""
    record, config = plan.records[number], plan.config
    assert record.layer is not None
    shortcut, lanes = record.layer.shape.shortcut, config.input_lanes
    if shortcut is None:
        return
    assert record.shortcut_read is not None
    channels = range(record.layer.shortcut_channels)
    if not shortcut.projection:
        first = out_group * config.output_lanes
        channels = range(first, min(first + config.output_lanes, channels.stop))
    greatest_tap = MASK_MAGNITUDES[config.digit_bits][-1].bit_length() - 1
    groups = range(channels[0] // lanes, channels[-1] // lanes + 1)
    for group in groups:
        word, piece = divmod(group * lanes, config.word_lanes)
        begins = max(group * lanes, channels[0])
        diagonal = {"first_in": begins - group * lanes, "first_out": begins - channels[0]}
        yield {
            **NOT_OF_A_SHORTCUT,
            "shortcut": 1,
            "group_offset": word * record.shortcut_read.width,
            "slice": piece // lanes,
            "digit": max(0, record.layer.shortcut_shift - greatest_tap),
            "fresh": int(group == groups[0]),
            "emit": 0,
            "last_in": 0,
            "last_map_group": int(group == (record.layer.shortcut_channels - 1) // lanes),
            **({} if shortcut.projection else diagonal),
        }


def table_reads(plan: Plan) -> Iterator[int]:
    """Addresses of the table in the order in which a frame reads them."""
    base = (FIRST_RECORD + len(plan.records)) * RECORD_WORDS
    used = visit_words_used(plan.config)
    yield from range(HEADER_WORDS_USED)
    before: int | None = None
    for number, visit in enumerate(plan.visits):
        start = base + number * visit_words(plan.config)
        yield from range(start, start + used)
        if visit.record != before:
            start = (FIRST_RECORD + visit.record) * RECORD_WORDS
            yield from range(start, start + layer_words(plan.config))
        before = visit.record
    end = base + len(plan.visits) * visit_words(plan.config)
    yield from range(end, end + used)
