"""Bench of the accumulator: strips of one pass and of many, to the end of the memory."""

from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb

from kestrel.hw.spec.engine_config import lane_sum_bits
from kestrel.verif.blocks.compute.accumulator.model import Accumulator
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.pixel import Pixel
from kestrel.verif.blocks.support.simulator import rng
from kestrel.verif.blocks.support.stimuli import between, nothing, shapes, strip, with_gaps

CONFIG = bench_config()
LANES = CONFIG.output_lanes
SUM_MAX = (1 << (lane_sum_bits(CONFIG) - 1)) - 1
SHORTEST_PASS = 4
"""The fewest cycles that a pass takes; after a shorter strip the next pass waits."""


def row(source: Random, pixel: Pixel, rst: int = 0) -> dict[str, Any]:
    """Random sums, also in cycles without a pixel."""
    sums = [between(source, -SUM_MAX - 1, SUM_MAX) for _ in range(LANES)]
    return {"ahead": pixel, "sums": sums, "rst": rst}


def strip_passes(source: Random, height: int, width: int, passes: int, gaps: float) -> Iterator[Pixel]:
    """All passes over a strip: the first starts its sums, the last passes them on."""
    last_out = source.randrange(2)
    for n in range(passes):
        pixels = strip(
            height, width, fresh=int(n == 0), emit=int(n == passes - 1),
            digit=source.randrange(CONFIG.passes_max), last_out=last_out,
        )  # fmt: skip
        yield from with_gaps(source, pixels, gaps)
        for _ in range(SHORTEST_PASS - len(pixels)):
            yield nothing(source)


def traffic(source: Random, strips: int) -> Iterator[dict[str, Any]]:
    """Strips without a gap between them, and with gaps anywhere."""
    yield from (row(source, nothing(source), rst=1) for _ in range(2))
    sizes = shapes(source, CONFIG.max_width, CONFIG.partial_depth)
    for _ in range(strips):
        height, width = next(sizes)
        gaps = source.choice((0, 0, 0.4))
        for pixel in strip_passes(source, height, width, source.choice((1, 2, 3, 7)), gaps):
            yield row(source, pixel)
    yield from (row(source, nothing(source)) for _ in range(4))


@cocotb.test()
async def strips_of_any_size(dut):
    await lockstep(Block(dut), Accumulator(LANES), traffic(rng("traffic"), 40))


@cocotb.test()
async def the_whole_memory(dut):
    source = rng("whole")

    def rows() -> Iterator[dict[str, Any]]:
        yield row(source, nothing(source), rst=1)
        for pixel in strip_passes(source, 1, CONFIG.partial_depth, 3, 0):
            yield row(source, pixel)
        yield from (row(source, nothing(source)) for _ in range(4))

    await lockstep(Block(dut), Accumulator(LANES), rows())


@cocotb.test()
async def resets_in_the_middle(dut):
    source = rng("resets")

    def rows() -> Iterator[dict[str, Any]]:
        for _ in range(12):
            # Pixels go on arriving during the reset; none of them may be kept or passed on.
            for number, item in enumerate(traffic(source, 4)):
                yield item
                if number > 6 and source.random() < 0.05:
                    break
            for pixel in strip(1, source.randint(1, 3), fresh=1, emit=1):
                yield row(source, pixel, rst=1)

    await lockstep(Block(dut), Accumulator(LANES), rows())
