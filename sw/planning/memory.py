"""The memory that a network needs in a configuration, and how full the feature memory is during a frame.

Word widths are those of the engine's memories. A feature word holds one activation for each of the
``word_lanes`` lanes, a partial-sum word holds ACCUMULATOR_BITS for each output lane, and a word of the
pooling line holds one activation for each output lane.
"""

from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.records import RECORD_WORDS
from kestrel.hw.spec.table import visit_words
from kestrel.hw.spec.widths import ACCUMULATOR_BITS, BIAS_BITS, PAD_BITS, SCALAR_BITS, TAPS
from kestrel.sw.planning.geometry import (
    Region,
    line_words,
    output_group_tiles,
    pool_line_words,
    tile_passes,
)
from kestrel.sw.planning.plan import Plan


@dataclass(frozen=True)
class MemorySize:
    """The bytes of a memory that a network uses, and the bytes that the configuration has."""

    used: int
    configured: int


@dataclass(frozen=True)
class MemoryNeeds:
    """The needs for every memory of the engine.

    ``features`` are the two parts of the feature memory, each of three banks. ``partial_sums`` is for the
    longest strip of a layer with more than one pass. ``pool_line`` is for the widest map that is pooled.
    ``weights`` is the ROM, in whole words. ``table_words`` and ``table_words_max`` are words of the schedule
    table. ``shadow_bits`` are flip-flops that hold the next pass's kernels, biases and pad values, and do not
    depend on the network.
    """

    features: tuple[MemorySize, MemorySize]
    partial_sums: MemorySize
    pool_line: MemorySize
    weights: MemorySize
    weight_bits: int
    table_words: int
    table_words_max: int
    shadow_bits: int

    @property
    def feature_bytes(self) -> int:
        """Bytes used in both parts together."""
        return sum(part.used for part in self.features)

    @property
    def feature_bytes_configured(self) -> int:
        return sum(part.configured for part in self.features)


def memory_needs(plan: Plan) -> MemoryNeeds:
    """The memories that a plan needs."""
    config = plan.config
    used, configured = (
        [_bytes(BANKS * words * config.word_bits) for words in both]
        for both in (plan.feature_words, config.feature_words)
    )
    partial_bits = config.output_lanes * ACCUMULATOR_BITS
    line_bits = config.output_lanes * config.activation_bits
    return MemoryNeeds(
        features=(MemorySize(used[0], configured[0]), MemorySize(used[1], configured[1])),
        partial_sums=MemorySize(
            _bytes(longest_strip(plan) * partial_bits), _bytes(config.partial_depth * partial_bits)
        ),
        pool_line=MemorySize(
            _bytes(_pool_words(plan) * line_bits), _bytes(pool_line_words(config) * line_bits)
        ),
        weights=MemorySize(
            _bytes(plan.weight_words * config.rom_word_bits),
            _bytes(config.weight_words * config.rom_word_bits),
        ),
        weight_bits=plan.weight_words * config.rom_word_bits,
        table_words=table_words(plan),
        table_words_max=config.table_words,
        shadow_bits=shadow_bits(config),
    )


def table_words(plan: Plan) -> int:
    """32-bit words of the schedule table: the header, the records, the visits and the end mark."""
    return RECORD_WORDS * (1 + len(plan.records)) + visit_words(plan.config) * (len(plan.visits) + 1)


def shadow_bits(config: EngineConfig) -> int:
    """Bits of the shadow registers: a scalar and nine digits for each kernel unit, a bias for each output
    lane and a pad value for each input lane."""
    units = config.input_lanes * config.output_lanes
    kernel = SCALAR_BITS + TAPS * config.digit_bits
    return units * kernel + config.output_lanes * BIAS_BITS + config.input_lanes * PAD_BITS


def longest_strip(plan: Plan) -> int:
    """Pixels of the longest strip whose sums must wait for another pass; 0 if there is none."""
    longest = 0
    for visit in plan.visits:
        layer = plan.records[visit.record].layer
        if layer is None:
            continue
        passes = sum(tile_passes(tile, layer) for tile in output_group_tiles(layer, plan.config))
        if passes > 1:
            longest = max(longest, visit.rows * plan.records[visit.record].conv_width)
    return longest


def _pool_words(plan: Plan) -> int:
    """Words of the pooling's line memory that are used."""
    return max(
        line_words(record.layer.shape, record.out_width, plan.config)
        for record in plan.records
        if record.layer is not None
    )


def region_bytes(region: Region, config: EngineConfig) -> int:
    """The bytes of a region, over all banks."""
    return _bytes(BANKS * region.slots * region.stride * config.word_bits)


def _bytes(bits: int) -> int:
    return -(-bits // 8)


# --------------------------------------------------------------------------------------------------------
# Over time
# --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MapUse:
    """Bytes of a map that hold rows which are still to be read or are being written. From ``cycles[n]`` until
    ``cycles[n + 1]`` these are ``bytes[n]``. ``name`` is the record that writes the map."""

    name: str
    part: int
    cycles: np.ndarray
    bytes: np.ndarray


def memory_use(plan: Plan, visit_starts: tuple[int, ...], end: int) -> tuple[MapUse, ...]:
    """How full the feature memory is, map by map, during a frame that ends in cycle ``end``.

    The rows of a visit take up their space when the visit starts. The rows that it was the last to read are
    free when it ends.
    """
    uses: list[MapUse] = []
    ends = (*visit_starts[1:], end)
    for number, record in enumerate(plan.records):
        if record.write is None:
            continue
        row_bytes = record.write.stride * plan.config.word_bits / 8
        cycles, rows = [0], [0]
        # The first row that each of the map's readers still needs.
        needed = {n: 0 for n, r in enumerate(plan.records) if number in {r.source, r.shortcut}}
        for visit, start, stop in zip(plan.visits, visit_starts, ends, strict=True):
            if visit.record == number:
                change = written_rows(plan, number, visit.first_row + visit.rows) - written_rows(
                    plan, number, visit.first_row
                )
                cycles.append(start)
            elif visit.record in needed:
                before = min(needed.values())
                needed[visit.record] = _first_needed(plan, visit.record, number, visit.first_row + visit.rows)
                change = before - min(needed.values())
                cycles.append(stop)
            else:
                continue
            rows.append(rows[-1] + change)
        uses.append(
            MapUse(record.name, record.write.part, np.array([*cycles, end]),
                   np.array([*rows, rows[-1]]) * row_bytes)
        )  # fmt: skip
    return tuple(uses)


def written_rows(plan: Plan, number: int, done: int) -> int:
    """Rows of its output that a record has written after working on ``done`` rows."""
    record = plan.records[number]
    if record.counted is not None:
        return record.counted.written(done)
    if plan.row_groups or plan.blocks:  # the row below is written too
        return min(done + 1, record.out_height + plan.row_groups) if done else 0
    return done


def _first_needed(plan: Plan, number: int, map_number: int, done: int) -> int:
    """The first row of a map that its reader, record ``number``, still needs after ``done`` rows."""
    reader = plan.records[number]
    grouped = number == 1 and plan.row_groups
    if done >= reader.rows:
        return plan.records[map_number].out_height + grouped
    if grouped or reader.counted is None:  # the three rows of a group are freed together with it
        return done
    rows = []
    if reader.source == map_number:
        rows.append(reader.counted.window(done).start)
    if reader.shortcut == map_number:
        rows.append(reader.counted.shortcut_row(done))
    return min(rows)
