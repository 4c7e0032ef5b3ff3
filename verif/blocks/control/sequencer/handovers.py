"""What the sequencer must hand over for a plan, pass by pass, and what it must read for that."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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
from kestrel.verif.blocks.control.tiles import Fields, LayerTile, LayerWork, ShortcutWork, layer_tiles


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
        tiles = list(_tiles(plan, visit.record)) or [LayerTile({})]
        found += [
            HandOver(fields, layer, tile.fields, n == 0, n == len(tiles) - 1, tile.rewind)
            for n, tile in enumerate(tiles)
        ]
    return found


def _tiles(plan: Plan, number: int) -> Iterator[LayerTile]:
    """The tiles of a layer; nothing for image and output."""
    record, config = plan.records[number], plan.config
    layer = record.layer
    if layer is None:
        return
    shortcut, region = layer.shape.shortcut, record.shortcut_read
    work = LayerWork(layer.shape.in_channels, layer.shape.out_channels, PASSES[layer.mask_bits], record.width)
    if shortcut is not None and region is not None:
        greatest_tap = MASK_MAGNITUDES[config.digit_bits][-1].bit_length() - 1
        digit = max(0, layer.shortcut_shift - greatest_tap)
        channels = plan.records[shortcut.source + 1].channels
        work = replace(work, shortcut=ShortcutWork(shortcut.projection, channels, region.width, digit))
    yield from layer_tiles(work, config)


def table_reads(plan: Plan, base: int) -> Iterator[int]:
    """Addresses of the table, whose visits begin at ``base``, in the order in which a frame reads them."""
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
