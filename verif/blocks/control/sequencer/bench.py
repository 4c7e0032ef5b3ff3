"""Bench of the sequencer: frames of random plans with blocks and a loader that take any time, every cycle
against the model; tables that are refused, pictures that break off, resets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import cocotb
import numpy as np
from amaranth.lib import data

from kestrel.export.schedule_table import encode_table
from kestrel.hw.common.handover import layer_layout, visit_layout
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.records import RECORD_WORDS, TABLE_WORD_BITS, Field, unpack_record
from kestrel.hw.spec.status import ERROR_FRAME_LONG, ERROR_FRAME_SHORT, ERROR_TABLE_CONFIG, ERROR_TABLE_MAGIC
from kestrel.hw.spec.table import HEADER_FIELDS, KIND_INPUT, layer_fields, visit_fields, visit_words
from kestrel.hw.spec.timing import HEADER_WORDS_USED
from kestrel.sw.planning.plan import Plan, make_plan, plan_layers, with_schedule
from kestrel.sw.planning.visit_order import depth_first_schedules
from kestrel.verif.blocks.control.sequencer.handovers import HandOver, hand_overs, table_reads
from kestrel.verif.blocks.control.sequencer.model import SequencerModel
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.simulator import fail, rng
from kestrel.verif.cases.depth_first import depth_first_plan
from kestrel.verif.cases.random_graph import GraphKinds, lane_channels, random_shapes
from kestrel.verif.cases.random_network import random_network, stack

CONFIG = bench_config()
LANES = CONFIG.word_lanes
COUNTED = frozenset(
    (
        "in_groups",
        "out_groups",
        "passes",
        "width",
        "mask_bits",
        "read_part",
        "kind",
        "layer",
        "new_layer",
        "rows",
    )
)
"""Fields of layers and visits, beside those of shortcuts, that the sequencer looks at, or its model."""

KINDS = GraphKinds(shortcut=0.9, other_source=0.3)
"""Of random graphs: shortcuts in most layers, from maps of both parts of the feature memory."""


def random_plan(source: Random) -> Plan:
    """A few layers of every mask width, layer by layer or depth first: of an engine for residual networks
    most often a graph."""
    if CONFIG.residual and source.random() < 0.8:
        return random_graph_plan(source)
    channels = [
        source.choice((1, LANES, source.randint(1, 2 * LANES + 1))) for _ in range(source.randint(2, 4))
    ]
    depth = len(channels) - 1
    network = random_network(
        np.random.default_rng(source.getrandbits(32)),
        stack(channels, [n for n in range(depth) if source.random() < 0.3][:1]),
        [source.choice(CONFIG.mask_widths) for _ in range(depth)],
        activation_bits=source.randint(4, CONFIG.activation_bits),
        tables=CONFIG.scalar_tables,
    )
    height, width = source.randint(2, 9), source.randint(2, 8)
    if source.random() < 0.5:
        return depth_first_plan(network, CONFIG, height, width, source.choice((1, 1, 2, 3, 4)))
    return make_plan(network, CONFIG, height, width)


def random_graph_plan(source: Random) -> Plan:
    """Up to five layers with shortcuts, strides and poolings of all kinds, and schedules of all kinds."""
    draw = np.random.default_rng(source.getrandbits(32))
    channels = lane_channels(CONFIG.input_lanes, CONFIG.output_lanes)
    while True:
        blocks = source.random() < 0.2
        shapes = random_shapes(draw, source.randint(2, 5), channels, blocks=blocks, kinds=KINDS)
        network = random_network(
            draw, shapes, [source.choice(CONFIG.mask_widths) for _ in shapes],
            activation_bits=source.randint(4, CONFIG.activation_bits), blocks=blocks,
            shortcut_shift_max=CONFIG.shortcut_shift_max, tables=CONFIG.scalar_tables,
        )  # fmt: skip
        try:
            plan = make_plan(network, CONFIG, source.randint(3, 9), source.randint(3, 8))
        except InputError:  # it pools a map to nothing, or a line memory is too short for it
            continue
        if source.random() < 0.5:
            size = plan.records[0].out_height, plan.records[0].out_width
            found = depth_first_schedules(network.name, plan_layers(network), CONFIG, *size, blocks)
            plan = with_schedule(plan, source.choice(found)) if found else plan
        if table_words(plan) <= CONFIG.table_words:
            return plan


def table_words(plan: Plan) -> int:
    """Words of the plan's table, the end included."""
    return (1 + len(plan.records)) * RECORD_WORDS + (len(plan.visits) + 1) * visit_words(CONFIG)


def random_fields(source: Random, fields: tuple[Field, ...], layout: data.StructLayout) -> dict[str, int]:
    """Fields that the sequencer hands on and does not look at: any values that the layout holds."""
    steered = COUNTED | {field.name for field in fields if field.name.startswith("shortcut")}
    return {
        field.name: source.getrandbits(min(field.width, layout[field.name].width))
        for field in fields
        if field.name not in steered
    }


def blurred_table(source: Random, plan: Plan) -> list[int]:
    """The plan's table with random values in the bits that have no meaning for the sequencer, and sometimes
    with visits that begin behind a gap."""
    words = encode_table(plan).to_ints()[: table_words(plan)]
    base = (1 + len(plan.records)) * RECORD_WORDS
    gap = source.choice(
        (0, source.randint(0, CONFIG.table_words - len(words)) // RECORD_WORDS * RECORD_WORDS)
    )
    words[base:base] = [0] * gap
    base += gap
    place = next(field for field in HEADER_FIELDS if field.name == "visits_base")
    words[place.word] = words[place.word] & ~(place.max << place.lsb) | base << place.lsb
    records: list[tuple[int, tuple[Field, ...], int]] = [(0, HEADER_FIELDS, RECORD_WORDS)]
    known = layer_fields(CONFIG)
    records += [((n + 1) * RECORD_WORDS, known, RECORD_WORDS) for n in range(len(plan.records))]
    size, visits = visit_words(CONFIG), visit_fields(CONFIG)
    records += [(base + n * size, visits, size) for n in range(len(plan.visits))]
    for start, fields, _ in records[1:]:
        layout = layer_layout(CONFIG) if fields is known else visit_layout(CONFIG)
        for name, value in random_fields(source, fields, layout).items():
            field = next(field for field in fields if field.name == name)
            kept = words[start + field.word] & ~(field.max << field.lsb)
            words[start + field.word] = kept | value << field.lsb
    records.append((base + len(plan.visits) * size, visits[:1], size))  # the end
    for start, fields, count in records:
        for n in range(count):
            used = sum(f.max << f.lsb for f in fields if f.word == n)
            words[start + n] |= source.getrandbits(TABLE_WORD_BITS) & ~used
    return words


@dataclass
class Visit:
    """The block that is working: the cycles that it still needs."""

    kind: int
    left: int


class Surroundings:
    """Table, loader and streaming blocks; makes the inputs of each cycle and holds the block to its model."""

    def __init__(self, dut: Any, source: Random) -> None:
        self.block = Block(dut)
        self.source = source
        self.model = SequencerModel(CONFIG)
        self.table: list[int] = []
        self.reads: Iterator[int] = iter(())
        self.activation_bits: int | None = None
        self.fetched = 0
        self.visit: Visit | None = None
        self.loading: int | None = None  # cycles until the tile is loaded; None if none is asked for
        self.fault = 0

    def row(self, start: int, **known: int) -> dict[str, int]:
        """The inputs of the next cycle."""
        source, visit = self.source, self.visit
        ending = visit is not None and visit.left == 1
        error = 0
        if visit is not None and visit.kind == KIND_INPUT and self.fault:
            if self.fault == ERROR_FRAME_SHORT and source.random() < (0.5 if ending else 0.03):
                error = ERROR_FRAME_SHORT
            elif self.fault == ERROR_FRAME_LONG and ending:
                error = ERROR_FRAME_LONG
        if error:
            self.visit, self.fault = None, 0
        return {
            "rst": 0, "start": start, "table_data": self.fetched,
            "ending": int(ending and not error), "input_error": error,
            "loaded": source.getrandbits(1) if self.loading is None else int(self.loading == 0),
        } | known  # fmt: skip

    def step(self, *, rst: int, table_data: int, **inputs: int) -> Mapping[str, Any]:
        """What the block must show; then everything reacts to it."""
        del table_data
        source = self.source
        if rst:
            self.model.reset()
            self.visit, self.loading = None, None
            return {}
        expected = self.model.step(**inputs)
        self.fetched = source.getrandbits(TABLE_WORD_BITS)  # seen only if nothing is read now
        if self.block.sample("table_en"):
            address = next(self.reads, None)
            if address is None:
                raise fail("a word more is read from the table")
            expected["table_addr"] = address
            self.fetched = self.table[address]
        if self.visit is not None:
            self.visit.left -= 1
            if not self.visit.left:
                self.visit = None
        if self.loading:
            self.loading -= 1
        if expected["go"]:
            expected["activation_bits"] = self.activation_bits
            self.loading = None
            self.visit = Visit(expected["visit"]["kind"], source.choice((1, 2, 8, source.randint(1, 60))))
        if expected["load_start"]:
            self.loading = source.choice((0, source.randint(0, 12), source.randint(0, 70)))
        return expected

    def begin(self, frame: list[HandOver], table: list[int], reads: Iterator[int], cause: int = 0) -> None:
        self.model.begin(frame, cause)
        self.table, self.reads = table, reads

    def frame(self, plan: Plan, fault: int = 0, stop: float = 0) -> Iterator[dict[str, int]]:
        """A frame; a picture that breaks off with ``fault``; with ``stop`` a reset may come in any cycle."""
        source = self.source
        table = blurred_table(source, plan)
        base = unpack_record(HEADER_FIELDS, table[:RECORD_WORDS])["visits_base"]
        self.begin(hand_overs(plan, table), table, table_reads(plan, base))
        self.activation_bits, self.fault = plan.activation_bits, fault
        yield self.row(start=1)
        while self.model.busy:
            if source.random() < stop:
                yield from self.reset()
                return
            yield self.row(start=int(source.random() < 0.2))
        if not self.model.error and next(self.reads, None) is not None:
            raise fail("the frame ended before the end of the table was read")

    def refused(self, plan: Plan) -> Iterator[dict[str, int]]:
        """A frame with a wrong header."""
        source = self.source
        table = blurred_table(source, plan)
        field: Field = source.choice(HEADER_FIELDS[:-1])
        here = table[field.word] >> field.lsb & field.max
        wrong = here ^ 1 << source.randrange(field.width)
        if field.name == "activation_bits":  # fewer than the engine has are right
            wrong = source.randint(CONFIG.activation_bits + 1, field.max)
        elif field.name == "mask_bits":
            wrong = source.randint(CONFIG.mask_bits_max + 1, field.max)
        table[field.word] ^= (here ^ wrong) << field.lsb
        cause = ERROR_TABLE_MAGIC if field.name in {"magic", "version"} else ERROR_TABLE_CONFIG
        self.begin([], table, iter(range(HEADER_WORDS_USED)), cause)
        yield self.row(start=1)
        while self.model.busy:
            yield self.row(start=source.getrandbits(1))

    def reset(self) -> Iterator[dict[str, int]]:
        for _ in range(2):
            yield self.row(start=self.source.getrandbits(1), rst=1)

    def idle(self) -> Iterator[dict[str, int]]:
        for _ in range(self.source.choice((0, 1, self.source.randint(2, 30)))):
            yield self.row(start=0)


@cocotb.test()
async def frames(dut):
    """One after the other, also in the first cycle after the last."""
    bench = Surroundings(dut, rng("frames"))

    def rows() -> Iterator[dict[str, int]]:
        yield from bench.reset()
        for _ in range(15):
            yield from bench.frame(random_plan(bench.source))
            yield from bench.idle()

    await lockstep(bench.block, bench, rows())


@cocotb.test()
async def broken_frames(dut):
    """Refused tables and pictures that break off; good frames between them."""
    bench = Surroundings(dut, rng("broken"))

    def rows() -> Iterator[dict[str, int]]:
        yield from bench.reset()
        for _ in range(50):
            plan = random_plan(bench.source)
            if bench.source.random() < 0.2:
                yield from bench.refused(plan)
            else:
                fault = bench.source.choice((0, ERROR_FRAME_SHORT, ERROR_FRAME_LONG, ERROR_FRAME_LONG))
                yield from bench.frame(plan, fault)
            yield from bench.idle()

    await lockstep(bench.block, bench, rows())


@cocotb.test()
async def resets_in_the_middle(dut):
    bench = Surroundings(dut, rng("resets"))

    def rows() -> Iterator[dict[str, int]]:
        yield from bench.reset()
        for _ in range(25):
            yield from bench.frame(random_plan(bench.source), stop=bench.source.choice((0.003, 0.01, 0.05)))

    await lockstep(bench.block, bench, rows())
