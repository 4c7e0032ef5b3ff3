"""Bench of an output lane: every cycle's sum."""

from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb
from amaranth.lib import data

from kestrel.hw.spec.masks import mask_values
from kestrel.hw.spec.widths import SCALAR_MAX, TAPS
from kestrel.verif.blocks.compute.output_lane.model import OutputLane
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.simulator import rng
from kestrel.verif.blocks.support.stimuli import kernel, uniform_kernel, windows

CONFIG = bench_config()
A, LANES, K = CONFIG.activation_bits, CONFIG.input_lanes, CONFIG.load_kernels
BITS = CONFIG.digit_bits
GREATEST = mask_values(BITS)[-1]
BLOCKS = LANES // K
GROUP_LANES = CONFIG.group_lanes if CONFIG.row_groups else 0
ZERO = [[0] * TAPS] * LANES


def block(dut: Any) -> Block:
    window = data.ArrayLayout(data.ArrayLayout(A, TAPS), LANES)
    return Block(dut, window=window)


def traffic(source: Random, cycles: int) -> Iterator[dict[str, Any]]:
    """Every block is loaded and swapped in first; then the inputs are random in every cycle."""
    for cycle in range(cycles):
        load_in = 1 << (cycle if cycle < BLOCKS else source.randrange(BLOCKS))
        if cycle >= BLOCKS and source.random() < 0.1:
            load_in = source.randrange(1 << BLOCKS)
        swaps = cycle == BLOCKS, cycle == BLOCKS + 1
        yield {
            "rst": int(source.random() < 0.02),
            "window": windows(source, A, LANES),
            "load": int(cycle < BLOCKS or source.random() < 0.6),
            "load_in": load_in,
            "kernels": [kernel(source, BITS) for _ in range(K)],
            "swap": int(swaps[0] or source.random() < 0.2),
            "swap_alpha": int(swaps[1] or source.random() < 0.2),
        }


@cocotb.test()
async def any_traffic(dut):
    cycles = 8000 // (LANES + 4)
    await lockstep(block(dut), OutputLane(LANES, K, GROUP_LANES, BITS), traffic(rng("traffic"), cycles))


@cocotb.test()
async def the_ends_of_the_range(dut):
    def rows() -> Iterator[dict[str, Any]]:
        for digit in (GREATEST, -GREATEST):
            for alpha in (SCALAR_MAX, 0):
                row = {
                    "load_in": (1 << BLOCKS) - 1, "kernels": [uniform_kernel(alpha, digit, BITS)] * K,
                    "load": 0, "swap": 0, "swap_alpha": 0,
                }  # fmt: skip
                for name in ("load", "swap", "swap_alpha"):
                    yield row | {name: 1, "window": ZERO}
                for value in ((1 << A) - 1, 0, 1, (1 << A) - 1):
                    yield row | {"window": [[value] * TAPS] * LANES}
                yield from (row | {"window": ZERO} for _ in range(6))

    await lockstep(block(dut), OutputLane(LANES, K, GROUP_LANES, BITS), rows())
