"""Bench of the feature writer: results of whole layers in, strip by strip, and the words they must go to."""

from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb

from kestrel.hw.common.handover import layer_layout, visit_layout
from kestrel.hw.common.pixel import result_layout
from kestrel.hw.spec.engine_config import ROW_GROUPS
from kestrel.sw.planning.geometry import BANKS, Region, group_count
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.script import Step, record, script
from kestrel.verif.blocks.support.simulator import pack, rng
from kestrel.verif.blocks.support.writes import expected_write, no_write

CONFIG = bench_config()
A, LANES, WORD = CONFIG.activation_bits, CONFIG.output_lanes, CONFIG.word_lanes
NOTHING = no_write(CONFIG)


class Layer:
    """A layer's results as pooling hands them over, from row ``first_row`` of the map it writes on."""

    def __init__(self, source: Random) -> None:
        self.source = source
        self.grouped = CONFIG.row_groups and source.random() < 0.5
        self.groups = source.randint(1, 2 * CONFIG.out_slices + 1)
        self.width = source.randint(1, CONFIG.max_width)
        self.height = source.randint(1, 7)
        self.odd_column = source.random() < 0.3  # a last column that the pooling drops
        words = group_count(self.groups * LANES, WORD)
        slots = source.randint(1, group_count(self.height, BANKS))
        base = source.randint(0, min(CONFIG.feature_words) - slots * words * self.width)
        self.region = Region(source.randrange(2), base, slots, words * self.width, self.width)
        self.first_row = source.randrange(self.height)
        grouped = {}
        if self.grouped:
            self.first_row -= self.first_row % ROW_GROUPS
            self.odd_column = False
        if CONFIG.row_groups:
            grouped = {"row_groups": (self.height - 1) % ROW_GROUPS + 1 if self.grouped else 0}
        self.layer = record(
            source, layer_layout(CONFIG), write_base=base, write_end=self.region.end,
            write_stride=self.region.stride, out_width=self.width, read_part=1 - self.region.part,
            **grouped,
        )  # fmt: skip

    def cycle(self, result: dict[str, int] | None = None, **known: Any) -> dict[str, Any]:
        source = self.source
        idle = record(source, result_layout(CONFIG), valid=0, row_end=0, last=0)
        result = record(source, result_layout(CONFIG), **result) if result else idle
        data, *others = ([source.getrandbits(A) for _ in range(LANES)] for _ in range(ROW_GROUPS))
        anything = {"rst": 0, "load": 0, "visit": record(source, visit_layout(CONFIG)), "layer": self.layer}
        if CONFIG.row_groups:
            anything["others"] = others
        return anything | {"result": result, "data": data} | known

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
            step = 1
            if self.grouped:
                rows, odd_row, step = min(-(-rows // ROW_GROUPS) * ROW_GROUPS, self.height - row), False, 3
            for group in range(self.groups):
                last_out = int(group == self.groups - 1)
                for r in range(row, row + rows, step):
                    end = r + step >= row + rows and not odd_row
                    for column in range(self.width + self.odd_column):
                        exists = column < self.width
                        row_end = column == self.width + self.odd_column - 1
                        result = {
                            "valid": int(exists), "row_end": int(row_end), "last": int(end and row_end),
                            "last_out": last_out,
                        }  # fmt: skip
                        count = min(step, row + rows - r)
                        if self.grouped:
                            result["rows"] = count
                        inputs = self.cycle(result)
                        values = [inputs["data"], *inputs.get("others", ())][:count]
                        write = self.write(r, column, group, values) if exists else NOTHING
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

    def write(self, row: int, column: int, group: int, values: list[list[int]]) -> dict[str, Any]:
        """Where a pixel of an output group, and those below it, go; every part of the word carries the
        data."""
        word, piece = divmod(group, CONFIG.out_slices)
        region = self.region
        return expected_write(
            CONFIG,
            region.part,
            {
                (row + n) % BANKS: (
                    region.slot(row + n) + word * self.width + column,
                    ((1 << LANES) - 1) << (piece * LANES),
                    pack(data * CONFIG.out_slices, A),
                )
                for n, data in enumerate(values)
            },
        )


@cocotb.test()
async def layers(dut):
    source = rng("layers")

    def steps() -> Iterator[Step]:
        yield Layer(source).cycle(rst=1), {}
        for _ in range(50):
            yield from Layer(source).steps()

    await script(Block(dut), steps())


@cocotb.test()
async def resets_in_the_middle(dut):
    source = rng("resets")

    def steps() -> Iterator[Step]:
        for _ in range(40):
            yield Layer(source).cycle(rst=1), {}
            yield from Layer(source).steps(stop=0.02)

    await script(Block(dut), steps())
