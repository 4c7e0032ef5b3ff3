"""Bench of an accumulator lane: every cycle's sum, wrapping at both ends of 32 bits."""

from collections.abc import Iterator
from itertools import product
from random import Random
from typing import Any

import cocotb

from kestrel.hw.spec.engine_config import lane_sum_bits
from kestrel.hw.spec.widths import ACCUMULATOR_BITS, ACCUMULATOR_MAX, ACCUMULATOR_MIN
from kestrel.verif.blocks.compute.accumulator_lane.model import AccumulatorLane
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.simulator import rng
from kestrel.verif.blocks.support.stimuli import between

CONFIG = bench_config()
SUM_MAX = (1 << (lane_sum_bits(CONFIG) - 1)) - 1
SUM_MIN = -SUM_MAX - 1


def stored(value: int) -> int:
    """A partial sum as the memory holds it."""
    return value % (1 << ACCUMULATOR_BITS)


def rows(source: Random) -> Iterator[dict[str, Any]]:
    sums = (SUM_MIN, -1, 0, 1, SUM_MAX)
    partials = (ACCUMULATOR_MIN, -1, 0, 1, ACCUMULATOR_MAX)
    for value, partial, fresh, digit in product(sums, partials, (0, 1), range(CONFIG.passes_max)):
        yield {"sum": value, "partial": stored(partial), "fresh": fresh, "digit": digit}
    for _ in range(3000):
        yield {
            "sum": between(source, SUM_MIN, SUM_MAX),
            "partial": stored(between(source, ACCUMULATOR_MIN, ACCUMULATOR_MAX)),
            "fresh": source.randrange(2),
            "digit": source.randrange(CONFIG.passes_max),
            "rst": int(source.random() < 0.02),
        }


@cocotb.test()
async def every_cycle(dut):
    await lockstep(Block(dut), AccumulatorLane(), rows(rng("rows")))
