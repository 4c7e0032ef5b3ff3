"""Bench of an output lane: every cycle's sum."""

from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb

from hw.spec import SCALAR_MAX, TAPS
from verif.benches.lockstep import Block, bench_config, lockstep
from verif.benches.stimuli import kernel, uniform_kernel, windows
from verif.cocotb_support import pack, rng, unpack
from verif.models.output_lane import OutputLane

CONFIG = bench_config()
A, LANES, K = CONFIG.activation_bits, CONFIG.input_lanes, CONFIG.load_kernels
BLOCKS = LANES // K


class Packed(OutputLane):
    """The model, given the windows as the port carries them."""

    def __init__(self) -> None:
        super().__init__(LANES, K)

    def step(self, *, window: int, **inputs: Any) -> dict[str, int | None]:
        flat = unpack(window, A, LANES * TAPS)
        return super().step(window=[flat[i : i + TAPS] for i in range(0, len(flat), TAPS)], **inputs)


def packed(lanes: list[list[int]]) -> int:
    return pack([x for lane in lanes for x in lane], A)


def traffic(source: Random, cycles: int) -> Iterator[dict[str, Any]]:
    """First every block is loaded and swapped in, then anything in any cycle."""
    for cycle in range(cycles):
        block = 1 << cycle if cycle < BLOCKS else 1 << source.randrange(BLOCKS)
        swaps = cycle == BLOCKS, cycle == BLOCKS + 1
        yield {
            "rst": int(source.random() < 0.02),
            "window": packed(windows(source, A, LANES)),
            "load": int(cycle < BLOCKS or source.random() < 0.6),
            "load_in": block if cycle < BLOCKS or source.random() < 0.9 else source.randrange(1 << BLOCKS),
            "kernels": [kernel(source) for _ in range(K)],
            "swap": int(swaps[0] or source.random() < 0.2),
            "swap_alpha": int(swaps[1] or source.random() < 0.2),
        }


@cocotb.test()
async def any_traffic(dut):
    await lockstep(Block(dut, "output_lane"), Packed(), traffic(rng("traffic"), 8000 // (LANES + 4)))


@cocotb.test()
async def the_ends_of_the_range(dut):
    def rows() -> Iterator[dict[str, Any]]:
        for digit in (4, -4):
            for alpha in (SCALAR_MAX, 0):
                row = {
                    "load_in": (1 << BLOCKS) - 1, "kernels": [uniform_kernel(alpha, digit)] * K,
                    "load": 0, "swap": 0, "swap_alpha": 0,
                }  # fmt: skip
                for name in ("load", "swap", "swap_alpha"):
                    yield row | {name: 1, "window": 0}
                for value in ((1 << A) - 1, 0, 1, (1 << A) - 1):
                    yield row | {"window": packed([[value] * TAPS] * LANES)}
                yield from (row | {"window": 0} for _ in range(6))

    await lockstep(Block(dut, "output_lane"), Packed(), rows())
