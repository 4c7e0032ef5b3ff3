"""Bench of a pooling lane: with few bits every input, otherwise any and the ends."""

from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb

from kestrel.verif.blocks.compute.pool_lane.model import PoolLane
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.simulator import rng
from kestrel.verif.blocks.support.stimuli import between

A = bench_config().activation_bits
MAXIMUM = (1 << A) - 1
EXHAUSTIVE_BITS = 4


def neighbours(count: int) -> Iterator[int]:
    """Numbers below ``count`` in an order in which every pair occurs once one after the other."""
    for low in range(count):
        yield low
        for high in range(low + 1, count):
            yield from (low, high)
    yield 0


def everything() -> Iterator[dict[str, Any]]:
    for lower in (0, 1):
        for above in range(MAXIMUM + 1):
            yield from ({"y": y, "above": above, "lower": lower} for y in neighbours(MAXIMUM + 1))


def traffic(source: Random, cycles: int) -> Iterator[dict[str, Any]]:
    for _ in range(cycles):
        yield {
            "y": between(source, 0, MAXIMUM),
            "above": between(source, 0, MAXIMUM),
            "lower": source.randrange(2),
            "rst": int(source.random() < 0.02),
        }


@cocotb.test()
async def every_cycle(dut):
    rows = everything() if A <= EXHAUSTIVE_BITS else traffic(rng("traffic"), 4000)
    await lockstep(Block(dut), PoolLane(), rows)
