"""Bench of the sliding window: columns from a model of the banks in, windows out, pad values outside.

What the reader would present comes from the reader's model, which the reader is held to in its own bench.
"""

from collections import deque
from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb
from amaranth.lib import data

from kestrel.hw.common.pixel import EDGES, pixel_layout
from kestrel.hw.spec.engine_config import BANKS
from kestrel.hw.spec.timing import FILL_CYCLES, WINDOW_LATENCY
from kestrel.hw.spec.widths import TAPS
from kestrel.verif.blocks.support.column_reader import columns
from kestrel.verif.blocks.support.feature_maps import bank_word, random_map, virtual_word, window
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.script import Step, record, script
from kestrel.verif.blocks.support.simulator import pack, rng
from kestrel.verif.blocks.support.strips import random_strip

CONFIG = bench_config()
A, LANES, WORD = CONFIG.activation_bits, CONFIG.input_lanes, CONFIG.word_lanes
SIZE = CONFIG.group_lanes
FIRST_BEAT = FILL_CYCLES + 1
"""Cycles from a pass's first column to the first write for the next pass; the loader is not faster."""

NO_LOAD = {"block": 0, "values": [0] * CONFIG.load_kernels}


def cycle(source: Random, **known: Any) -> dict[str, Any]:
    """Inputs without a pixel, random where the value does not matter."""
    return {
        "rst": 0,
        "pixel": record(source, pixel_layout(CONFIG), valid=0),
        "edges": record(source, EDGES),
        "top_bank": source.randrange(BANKS),
        "slice": source.randrange(CONFIG.in_slices),
        "lanes": source.randint(1, LANES),
        "has_pad": source.randrange(2),
        "load": NO_LOAD,
        **({"row_groups": 0} if CONFIG.row_groups else {}),
    } | known


def pad_beats(values: list[int]) -> deque[dict[str, Any]]:
    """Beats that bring the pad values into the shadow registers."""
    k = CONFIG.load_kernels
    return deque({"block": 1 << n, "values": values[n * k :][:k]} for n in range(LANES // k))


Taps = list[list[int | None]]
"""Nine for each lane; None where it does not matter."""


def block(dut: Any) -> Block:
    return Block(dut, window=data.ArrayLayout(data.ArrayLayout(A, TAPS), LANES))


class Passes:
    """Makes the inputs pass by pass and knows the windows that follow."""

    def __init__(self, source: Random) -> None:
        self.source = source
        # What is due: the banks' words one cycle after the column, the pixel one before its window.
        self.words: list[int] | None = None
        self.due: deque[tuple[Any, Any]] = deque([(None, None)] * WINDOW_LATENCY)

    def step(self, row: dict[str, Any], words: list[int] | None = None, taps: Taps | None = None) -> Step:
        """One cycle; ``words`` and ``taps`` belong to the column it presents."""
        source = self.source
        banks = self.words or [source.getrandbits(CONFIG.word_bits) for _ in range(BANKS)]
        pixel = row["pixel"] if taps is not None else {"valid": 0} | {
            name: None for name in row["pixel"] if name != "valid"}  # fmt: skip
        self.due.append((pixel, taps))
        self.words = words
        outputs = {"ahead": self.due[1][0], "window": self.due[0][1]}
        self.due.popleft()
        if row["rst"]:
            self.due = deque([(None, None)] * WINDOW_LATENCY)
        return row | {"banks": banks}, outputs

    def pads(self) -> list[int]:
        return [self.source.getrandbits(A) for _ in range(LANES)]

    def layer(self, number: int, count: int, stop: float = 0) -> Iterator[Step]:
        """Passes over a strip of a random map, each over an input group of its own."""
        source = self.source
        grouped = CONFIG.row_groups and source.random() < 0.5
        groups = 1 if grouped else source.randint(1, 2)
        kind = {}
        if CONFIG.residual and not grouped:
            kind = {"stride": source.randint(1, 2), "centre": source.random() < 0.3}
        strip = random_strip(source, CONFIG, groups, number, grouped, **kind)
        rows = random_map(source, strip, groups * WORD, A)
        settings = {"has_pad": source.randrange(2)}
        if CONFIG.row_groups:
            settings["row_groups"] = strip.last_rows
        following = self.pads()
        beats = pad_beats(following)
        for _ in range(count):
            while beats:  # what the pass before was too short for
                yield self.step(cycle(source, load=beats.popleft(), **settings))
            for _ in range(source.choice((0, 0, 3))):
                yield self.step(cycle(source, **settings))
            values, following = following, self.pads()
            beats = pad_beats(following)
            lanes, piece = source.randint(1, LANES), source.randrange(CONFIG.in_slices)
            if grouped:
                lanes, piece = 2 * SIZE + source.randint(1, SIZE), 0
            group = source.randrange(groups)
            for age, column in enumerate(columns(strip, group * strip.region.width)):
                pixel = record(
                    source, pixel_layout(CONFIG), valid=int(column.valid), first=int(column.first),
                    last=int(column.last), row_end=int(column.row_end),
                )  # fmt: skip
                words = []
                for bank, address in enumerate(column.addresses):
                    if strip.grouped:
                        virtual = column.row + bank
                        words.append(pack(virtual_word(source, rows, WORD, SIZE, virtual, column.column), A))
                    elif address is None:
                        words.append(source.getrandbits(CONFIG.word_bits))
                    else:
                        words.append(pack(bank_word(strip, rows, WORD, bank, address, column.row), A))
                taps: Taps = []
                for lane in range(LANES):
                    channel, below = group * WORD + piece * LANES + lane, 0
                    if strip.grouped:
                        below, channel = divmod(lane, SIZE)
                    pad = values[lane] if settings["has_pad"] else 0
                    if lane >= lanes:
                        taps.append([0] * TAPS)
                    elif column.row + below >= strip.height:  # a row of a triple that does not exist
                        taps.append([None] * TAPS)
                    else:
                        taps.append([*window(rows, column.row + below, column.column, channel, pad)])
                    if strip.centre:
                        taps[-1] = [tap if n == TAPS // 2 else None for n, tap in enumerate(taps[-1])]
                edges = column.edges or record(source, EDGES)
                row = cycle(
                    source, pixel=pixel, edges=edges, top_bank=column.top_bank, slice=piece,
                    lanes=lanes, load=beats.popleft() if beats and age >= FIRST_BEAT else NO_LOAD, **settings,
                )  # fmt: skip
                yield self.step(row, words, taps)
                if source.random() < stop:
                    return
            for _ in range(FIRST_BEAT - strip.cycles):
                yield self.step(cycle(source, **settings))
        # The layer stays until its last window has left.
        for _ in range(WINDOW_LATENCY):
            yield self.step(cycle(source, **settings))

    def reset(self) -> Iterator[Step]:
        for _ in range(2):
            yield self.step(cycle(self.source, rst=1))


@cocotb.test()
async def windows_of_strips(dut):
    passes = Passes(rng("windows"))

    def steps() -> Iterator[Step]:
        yield from passes.reset()
        for number in range(40):
            yield from passes.layer(number, 3)

    await script(block(dut), steps())


@cocotb.test()
async def resets_in_the_middle(dut):
    passes = Passes(rng("resets"))

    def steps() -> Iterator[Step]:
        for number in range(30):
            yield from passes.reset()
            yield from passes.layer(3 + number, 3, stop=0.05)

    await script(block(dut), steps())
