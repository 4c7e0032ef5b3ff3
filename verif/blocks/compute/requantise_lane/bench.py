"""Bench of a requantisation lane: every cycle's result."""

from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb

from kestrel.hw.spec.engine_config import ROW_GROUPS, group_sum_bits
from kestrel.hw.spec.widths import (
    ACCUMULATOR_MAX,
    ACCUMULATOR_MIN,
    ACTIVATION_BITS_MIN,
    BIAS_FRACTION,
    BIAS_MAX,
    BIAS_MIN,
    SHIFT_MAX,
    SHIFT_MIN,
)
from kestrel.verif.blocks.compute.requantise_lane.model import RequantiseLane
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.simulator import rng
from kestrel.verif.blocks.support.stimuli import between

CONFIG = bench_config()
A = CONFIG.activation_bits
NO_GROUPS = {"grouped": 0, "groups": [0] * ROW_GROUPS} if CONFIG.row_groups else {}
REACH = 1 << (11 + SHIFT_MAX - BIAS_FRACTION + 1)
"""More than bias and rounding can add: the network is proved to stay within 32 bits with them."""


def any_acc(source: Random, shift: int, maximum: int) -> int:
    """Mostly where the result is neither 0 nor saturated."""
    if source.random() < 0.2:
        return between(source, ACCUMULATOR_MIN + REACH, ACCUMULATOR_MAX - REACH)
    return source.randint(-(maximum << shift) // 2, (maximum << shift) * 3 // 2)


def any_groups(source: Random, shift: int, maximum: int) -> dict[str, Any]:
    """Inputs of a lane for row groups: sums that the array can produce, mostly as in ``any_acc``."""
    if not CONFIG.row_groups:
        return {}
    most = 1 << (group_sum_bits(CONFIG) - 1)
    sums = [any_acc(source, shift, maximum) for _ in range(ROW_GROUPS)]
    return {"grouped": source.randrange(2), "groups": [min(max(s, -most), most - 1) for s in sums]}


def traffic(source: Random, shift: int, maximum: int, cycles: int) -> Iterator[dict[str, Any]]:
    """Biases load and swap at any time, also in the same cycle; and resets, which change nothing."""
    for cycle in range(cycles):
        yield {
            "rst": int(source.random() < 0.02),
            "load": int(cycle == 0 or source.random() < 0.3),
            "bias": between(source, BIAS_MIN, BIAS_MAX),
            "swap": int(cycle == 1 or source.random() < 0.3),
            "acc": any_acc(source, shift, maximum),
            "shift": shift,
            "maximum": maximum,
            **any_groups(source, shift, maximum),
        }


def with_bias(bias: int, shift: int, maximum: int, accs: list[int]) -> Iterator[dict[str, Any]]:
    row: dict[str, Any] = {
        "load": 0, "swap": 0, "bias": bias, "acc": 0, "shift": shift, "maximum": maximum, **NO_GROUPS
    }  # fmt: skip
    yield row | {"load": 1}
    yield row | {"swap": 1}
    most = 1 << (group_sum_bits(CONFIG) - 1)
    for acc in accs:
        yield row | {"acc": acc}
        if CONFIG.row_groups:
            yield row | {"grouped": 1, "groups": [min(max(acc, -most), most - 1)] * ROW_GROUPS}
    yield from (row for _ in range(3))


@cocotb.test()
async def any_traffic(dut):
    source = rng("traffic")

    def rows() -> Iterator[dict[str, Any]]:
        for shift in range(SHIFT_MIN, SHIFT_MAX + 1):
            # A network may have fewer activation bits than the engine.
            for bits in range(ACTIVATION_BITS_MIN, A + 1):
                yield from traffic(source, shift, (1 << bits) - 1, 60)

    await lockstep(Block(dut), RequantiseLane(), rows())


@cocotb.test()
async def both_ends_of_accumulator_and_bias(dut):
    maximum = (1 << A) - 1

    def rows() -> Iterator[dict[str, Any]]:
        for shift in range(SHIFT_MIN, SHIFT_MAX + 1):
            for bias in (BIAS_MIN, -1, 0, BIAS_MAX):
                offset = bias * 2 ** (shift - BIAS_FRACTION) + 2 ** (shift - 1)
                ends = [ACCUMULATOR_MIN - min(offset, 0), ACCUMULATOR_MAX - max(offset, 0)]
                yield from with_bias(bias, shift, maximum, [*ends, -offset, 0, ends[1], ends[0]])

    await lockstep(Block(dut), RequantiseLane(), rows())


@cocotb.test()
async def every_bit_of_a_sum(dut):
    """Sums, bias and rounding half included, of one bit that is set or, below 0, is not: each alone decides
    whether the result is saturated."""
    maximum = (1 << A) - 1

    def rows() -> Iterator[dict[str, Any]]:
        for shift in range(SHIFT_MIN, SHIFT_MAX + 1):
            half = 1 << (shift - 1)
            accs = [sum_ - half for bit in range(30) for sum_ in (1 << bit, -1 - (1 << bit))]
            yield from with_bias(0, shift, maximum, accs)

    await lockstep(Block(dut), RequantiseLane(), rows())


@cocotb.test()
async def every_rounding_edge(dut):
    maximum = (1 << A) - 1

    def rows() -> Iterator[dict[str, Any]]:
        for shift in range(SHIFT_MIN, SHIFT_MAX + 1):
            half = 1 << (shift - 1)
            # y steps where acc passes an odd multiple of the half.
            accs = [(y << shift) + half + d for y in range(-2, maximum + 2) for d in (-1, 0)]
            yield from with_bias(0, shift, maximum, accs if shift in {SHIFT_MIN, 7, SHIFT_MAX} else accs[::7])

    await lockstep(Block(dut), RequantiseLane(), rows())
