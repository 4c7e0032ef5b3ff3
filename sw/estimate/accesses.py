"""Accesses of the engine's memories during a frame, in closed form from the plan. They equal those that the
probes of ``kestrel.verif.physical.activity`` count in the Verilog.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from kestrel.hw.spec.blocks import SET_CHANNELS, pair_words
from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS, EngineConfig
from kestrel.hw.spec.records import TABLE_WORD_BITS
from kestrel.hw.spec.status import COUNTER_BITS
from kestrel.hw.spec.table import HEADER_WORDS_USED, KIND_OUTPUT, layer_words, visit_words_used
from kestrel.hw.spec.timing import FILL_CYCLES
from kestrel.hw.spec.widths import ACCUMULATOR_BITS
from kestrel.sw.planning.geometry import PlanLayer, group_count, tile_kinds, tile_passes, tile_stream_bits
from kestrel.sw.planning.plan import Plan, Record

FILL_WORDS = FILL_CYCLES - 1
"""ROM words that the weight loader fetches before a tile's first beat. Each boundary between two words that
the tile reaches costs one more, so that it always has the two words behind its last one too."""


@dataclass(frozen=True)
class Accesses:
    """What a frame asks of a memory: words read, words written (those of which only some lanes are written
    count too), and bits written. ``width``: bits of a word."""

    width: int
    reads: int
    writes: int
    bits_written: int

    @property
    def bits_read(self) -> int:
        return self.reads * self.width

    @property
    def bits(self) -> int:
        """Read and written."""
        return self.bits_read + self.bits_written

    def __add__(self, other: "Accesses") -> "Accesses":
        if self.width != other.width:
            raise ValueError(f"words of {other.width} bits added to words of {self.width}")
        return Accesses(
            self.width,
            self.reads + other.reads,
            self.writes + other.writes,
            self.bits_written + other.bits_written,
        )


@dataclass
class _Counts:
    """Accesses while they are counted; ``bits`` where a write may be narrower than a word."""

    reads: int = 0
    writes: int = 0
    bits: int = 0

    def write(self, words: int, bits: int) -> None:
        self.writes += words
        self.bits += words * bits


def memory_accesses(plan: Plan, *, outputs: bool = True) -> dict[str, Accesses]:
    """Accesses of every memory of ``kestrel.sw.estimate.memories.engine_memories``, by its name, from the
    frame's start on; those of several instances together. ``outputs``: the last maps leave as a stream; False
    if a descriptor unit reads them (``descriptor_accesses``).

    A pass takes a word from each of three banks a cycle; the output stream reads all banks too. A map is
    written once, an output group of lanes at a time; the image of row groups, whose rows lie in three lane
    groups, three times. Partial sums are read unless a sum begins, and written unless it ends. Every pass
    loads its tile anew, also for the next digit of the same masks. The cycle records are written at the end
    of every pass; that they are read in every cycle, busy or not, is left out.
    """
    config = plan.config
    counts: dict[str, _Counts] = defaultdict(_Counts)
    table = counts["schedule table"]
    table.reads = HEADER_WORDS_USED + visit_words_used(config)  # the last visit says that the frame ends
    before = -1
    for visit in plan.visits:
        record = plan.records[visit.record]
        table.reads += visit_words_used(config) + layer_words(config) * (visit.record != before)
        before = visit.record
        if record.layer is not None:
            _count_visit(counts, plan, record, record.layer, visit.rows)
        else:
            counts["cycle records"].writes += 1
            if record.kind == KIND_OUTPUT and outputs:
                assert record.read is not None
                words = group_count(record.channels, config.word_lanes)
                features = counts[f"features, part {record.read.part}"]
                features.reads += BANKS * visit.rows * record.width * words
    for words, lanes in _image_writes(plan):
        counts["features, part 0"].write(words, lanes * config.activation_bits)
    for record in plan.records:
        if record.layer is not None and record.write is not None:
            words = record.out_height * record.out_width * group_count(record.channels, config.output_lanes)
            features = counts[f"features, part {record.write.part}"]
            features.write(words, config.output_lanes * config.activation_bits)
    widths = {
        "features, part 0": config.word_bits, "features, part 1": config.word_bits,
        "partial sums": config.output_lanes * ACCUMULATOR_BITS,
        "pool line": config.output_lanes * config.activation_bits,
        "weights": config.rom_word_bits, "schedule table": TABLE_WORD_BITS, "cycle records": COUNTER_BITS,
    }  # fmt: skip
    return {
        name: Accesses(width, found.reads, found.writes, found.bits or found.writes * width)
        for name, width in widths.items() for found in (counts[name],)
    }  # fmt: skip


def _count_visit(counts: dict[str, _Counts], plan: Plan, record: Record, layer: PlanLayer, rows: int) -> None:
    """Adds a visit of a layer, to ``rows`` rows."""
    config, shape = plan.config, layer.shape
    assert record.read is not None
    assert record.write is not None
    passed_rows = group_count(rows, layer.rows_at_once(config))
    pixels = passed_rows * record.conv_width
    out_groups = group_count(shape.out_channels, config.output_lanes)
    passes = 0
    for tile, number in tile_kinds(layer, config).items():
        count = number * tile_passes(tile, layer)
        passes += count
        read = record.read
        if tile.shortcut:
            assert record.shortcut_read is not None
            read = record.shortcut_read
        columns = passed_rows * layer.pass_columns(tile, record.width)
        counts[f"features, part {read.part}"].reads += BANKS * columns * count
        advances = tile_stream_bits(tile, layer) // config.rom_word_bits
        counts["weights"].reads += (FILL_WORDS + advances) * count
    counts["cycle records"].writes += passes
    _count_line(counts, record, layer, rows, config, out_groups)
    counts["partial sums"].reads += pixels * (passes - out_groups)
    counts["partial sums"].writes += pixels * (passes - out_groups)


def _count_line(
    counts: dict[str, _Counts],
    record: Record,
    layer: PlanLayer,
    rows: int,
    config: EngineConfig,
    out_groups: int,
) -> None:
    """The line memory of the pooling, in a visit to ``rows`` rows. Windows of 2x2 read it in odd rows and
    write it in even ones, windows of 3x3 do both in every row. An engine with ``residual`` hands a word on
    that is wanted in the cycle in which it is written, which in rows of one or two pixels is that of the row
    before; only the first row of a visit then reads."""
    shape, columns = layer.shape, record.conv_width
    if not shape.pool:
        return
    words = group_count(columns, 2)
    line = counts["pool line"]
    if shape.pool_size == 3:
        line.reads += out_groups * (rows * words if columns > 2 else 1)
        line.writes += out_groups * rows * words
        return
    if columns > 2 or not config.residual:
        line.reads += out_groups * rows // 2 * words
    line.writes += out_groups * rows // 2 * (columns // 2)


def _image_writes(plan: Plan) -> Iterator[tuple[int, int]]:
    """The words of the image's map that are written, and of how many lanes each."""
    config, image = plan.config, plan.records[0]
    if plan.blocks:
        for row in range(plan.height):
            odd, top, last = row % 2 == 1, row == 0, row == plan.height - 1
            here = {1} if odd else {0, *({2} if top else ()), *({1} if last else ())}
            below = {2} if odd and not last else set()
            for number in pair_words(config, odd=odd, top=top, last=last):
                for sets in (here, below):
                    lanes = _lanes_of_sets(config, number, sets)
                    if lanes:
                        yield plan.images * group_count(plan.width, 2), lanes
        return
    words = image.out_height * image.out_width * group_count(image.channels, config.word_lanes)
    if plan.row_groups:
        yield ROW_GROUPS * words, config.group_lanes
    else:
        yield words, config.word_lanes


def _lanes_of_sets(config: EngineConfig, number: int, sets: set[int]) -> int:
    """The lanes of word ``number`` of a pixel in blocks that hold channels of these sets."""
    first = number * config.word_lanes
    return sum(channel // SET_CHANNELS in sets for channel in range(first, first + config.word_lanes))
