"""Bench of a pooling lane: with few bits every input, then any and the ends."""

from collections.abc import Iterator
from itertools import chain
from random import Random
from typing import Any

import cocotb

from kestrel.verif.blocks.compute.pool_lane.model import PoolLane
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.simulator import rng
from kestrel.verif.blocks.support.stimuli import between

CONFIG = bench_config()
A = CONFIG.activation_bits
MAXIMUM = (1 << A) - 1
EXHAUSTIVE_BITS = 4
RESTING = {"alone": 0, "keep": 0} if CONFIG.residual else {}


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
            for y in neighbours(MAXIMUM + 1):
                yield {"y": y, "above": above, "lower": lower} | RESTING


def traffic(source: Random, cycles: int) -> Iterator[dict[str, Any]]:
    for _ in range(cycles):
        yield {
            "y": between(source, 0, MAXIMUM),
            "above": between(source, 0, MAXIMUM),
            "lower": source.randrange(2),
            "rst": int(source.random() < 0.02),
        } | {name: source.randrange(2) for name in RESTING}


@cocotb.test()
async def every_cycle(dut):
    rows = everything() if A <= EXHAUSTIVE_BITS else iter(())
    await lockstep(Block(dut), PoolLane(), chain(rows, traffic(rng("traffic"), 4000)))
