"""Bench of the feature writer: results of whole layers in, strip by strip, and the words they must go to."""

from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb

from hw.pool import RESULT
from hw.schedule import layer_layout, visit_layout
from sw.geometry import BANKS, Region, group_count
from verif.benches.lockstep import Block, bench_config
from verif.benches.script import Step, record, script
from verif.cocotb_support import pack, rng

CONFIG = bench_config()
A, LANES, WORD = CONFIG.activation_bits, CONFIG.output_lanes, CONFIG.word_lanes
NOTHING = {"en": 0, "part": None, "bank": None, "addr": None, "lanes": None, "data": None}


class Layer:
    """A layer's results as pooling hands them over, from row ``first_row`` of the map it writes on."""

    def __init__(self, source: Random) -> None:
        self.source = source
        self.groups = source.randint(1, 2 * CONFIG.out_slices + 1)
        self.width = source.randint(1, CONFIG.max_width)
        self.height = source.randint(1, 7)
        self.odd_column = source.random() < 0.3  # a last column that the pooling drops
        words = group_count(self.groups * LANES, WORD)
        slots = source.randint(1, group_count(self.height, BANKS))
        base = source.randint(0, min(CONFIG.feature_words) - slots * words * self.width)
        self.region = Region(source.randrange(2), base, slots, words * self.width, self.width)
        self.first_row = source.randrange(self.height)
        self.layer = record(
            source, layer_layout(CONFIG), write_base=base, write_end=self.region.end,
            write_stride=self.region.stride, out_width=self.width, read_part=1 - self.region.part,
        )  # fmt: skip

    def cycle(self, result: dict[str, int] | None = None, **known: Any) -> dict[str, Any]:
        source = self.source
        idle = record(source, RESULT, valid=0, row_end=0, last=0)
        data = [source.getrandbits(A) for _ in range(LANES)]
        anything = {"rst": 0, "load": 0, "visit": record(source, visit_layout(CONFIG)), "layer": self.layer}
        return anything | {"result": result or idle, "data": data} | known

    def steps(self, stop: float = 0) -> Iterator[Step]:
        """Load, then strips of rows, each with all output groups; with gaps."""
        source, region = self.source, self.region
        visit = record(
            source, visit_layout(CONFIG), write_bank=self.first_row % BANKS,
            write_slot=region.slot(self.first_row),
        )  # fmt: skip
        yield self.cycle(load=1, visit=visit), {"write": NOTHING}
        row = self.first_row
        while row < self.height:
            rows = source.randint(1, self.height - row)
            odd_row = source.random() < 0.3  # a last row that the pooling drops: only ``last`` comes of it
            for group in range(self.groups):
                last_out = int(group == self.groups - 1)
                for r in range(row, row + rows):
                    end = r == row + rows - 1 and not odd_row
                    for column in range(self.width + self.odd_column):
                        exists = column < self.width
                        row_end = column == self.width + self.odd_column - 1
                        result = {
                            "valid": int(exists), "row_end": int(row_end), "last": int(end and row_end),
                            "last_out": last_out,
                        }  # fmt: skip
                        inputs = self.cycle(result)
                        write = self.write(r, column, group, inputs["data"]) if exists else NOTHING
                        yield inputs, {"write": write}
                        if source.random() < 0.1:
                            yield self.cycle(), {"write": NOTHING}
                        if source.random() < stop:
                            return
                if odd_row:
                    dropped = {"valid": 0, "row_end": 0, "last": 1, "last_out": last_out}
                    yield self.cycle(dropped), {"write": NOTHING}
            row += rows
            for _ in range(source.choice((0, 0, 3))):
                yield self.cycle(), {"write": NOTHING}

    def write(self, row: int, column: int, group: int, data: list[int]) -> dict[str, int]:
        """Where a pixel of an output group goes; every part of the word carries the data."""
        word, piece = divmod(group, CONFIG.out_slices)
        region = self.region
        return {
            "en": 1,
            "part": region.part,
            "bank": row % BANKS,
            "addr": region.slot(row) + word * self.width + column,
            "lanes": ((1 << LANES) - 1) << (piece * LANES),
            "data": pack(data * CONFIG.out_slices, A),
        }


@cocotb.test()
async def layers(dut):
    source = rng("layers")

    def steps() -> Iterator[Step]:
        yield Layer(source).cycle(rst=1), {}
        for _ in range(50):
            yield from Layer(source).steps()

    await script(Block(dut, "writer"), steps())


@cocotb.test()
async def resets_in_the_middle(dut):
    source = rng("resets")

    def steps() -> Iterator[Step]:
        for _ in range(40):
            yield Layer(source).cycle(rst=1), {}
            yield from Layer(source).steps(stop=0.02)

    await script(Block(dut, "writer"), steps())
