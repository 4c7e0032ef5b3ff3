"""Bench of the array: every cycle's sums and pixel."""

from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb
from amaranth.lib import data

from kestrel.hw.spec.masks import mask_values
from kestrel.hw.spec.widths import SCALAR_MAX, TAPS
from kestrel.verif.blocks.compute.array.model import Array
from kestrel.verif.blocks.support.kernel import Kernel
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.pixel import Pixel
from kestrel.verif.blocks.support.simulator import rng
from kestrel.verif.blocks.support.stimuli import kernel, nothing, strip, uniform_kernel, windows, with_gaps

CONFIG = bench_config()
A, INPUTS, OUTPUTS, K = (
    CONFIG.activation_bits, CONFIG.input_lanes, CONFIG.output_lanes, CONFIG.load_kernels,
)  # fmt: skip
BITS = CONFIG.digit_bits
IDLE = strip(1, 1)[0].cleared()
GREATEST = mask_values(BITS)[-1]
BLOCKS = INPUTS // K
GROUP_LANES = CONFIG.group_lanes if CONFIG.row_groups else 0
ALL_OUT, ALL_BLOCKS = (1 << OUTPUTS) - 1, (1 << BLOCKS) - 1
ZERO = Kernel(0, (0,) * TAPS)
NO_LOAD = {"out": 0, "block": ALL_BLOCKS, "kernels": [uniform_kernel(SCALAR_MAX, -1, BITS)] * K}
CLEAR = {"out": ALL_OUT, "block": ALL_BLOCKS, "kernels": [ZERO] * K}


def block(dut: Any) -> Block:
    return Block(dut, window=data.ArrayLayout(data.ArrayLayout(A, TAPS), INPUTS))


def loads(source: Random) -> list[dict[str, Any]]:
    """The beats of a tile."""
    return [
        {"out": 1 << out, "block": 1 << block, "kernels": [kernel(source, BITS) for _ in range(K)]}
        for out in range(OUTPUTS)
        for block in range(BLOCKS)
    ]


def start(source: Random) -> Iterator[dict[str, Any]]:
    """A reset, during which pixels continue to arrive, and the zeros that the weight loader writes at the
    start of a frame."""
    for _ in range(source.randint(1, 4)):
        pixel = nothing(source)._replace(valid=source.randrange(2))
        yield {"rst": 1, "ahead": pixel, "window": windows(source, A, INPUTS), "load": NO_LOAD}
    yield {"rst": 0, "ahead": IDLE, "window": windows(source, A, INPUTS), "load": CLEAR}


def rows(source: Random, pixels: Iterator[Pixel], beats: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Loads ``beats`` one after the other, beside ``pixels``, never in the cycle of a swap."""
    waiting = list(beats)
    for pixel in pixels:
        swaps = pixel.valid and pixel.first
        load = waiting.pop(0) if waiting and not swaps else NO_LOAD
        yield {"rst": 0, "ahead": pixel, "window": windows(source, A, INPUTS), "load": load}
    while waiting:
        yield {
            "rst": 0, "ahead": nothing(source), "window": windows(source, A, INPUTS),
            "load": waiting.pop(0),
        }  # fmt: skip


@cocotb.test()
async def passes_back_to_back(dut):
    """The next tile's kernels load during a pass and are used from its end, without a gap: in the longer
    passes the last beat comes well before the swap, in the others directly before it."""
    source = rng("passes")

    def traffic() -> Iterator[dict[str, Any]]:
        yield from start(source)
        beats = loads(source)
        yield from rows(source, iter(()), beats)
        for n in range(60):
            length = (1, OUTPUTS * BLOCKS + 1, OUTPUTS * BLOCKS + 4, 3)[n % 4]
            gaps = 0.3 if n % 3 == 0 else 0
            yield from rows(source, with_gaps(source, strip(1, length), gaps), loads(source))

    await lockstep(block(dut), Array(INPUTS, OUTPUTS, K, GROUP_LANES, BITS), traffic())


@cocotb.test()
async def any_traffic_with_resets(dut):
    source = rng("traffic")

    def traffic() -> Iterator[dict[str, Any]]:
        for _ in range(8):
            yield from start(source)
            for _ in range(120):
                pixel = nothing(source)._replace(valid=int(source.random() < 0.8))
                load = NO_LOAD
                if source.random() < 0.7 and not (pixel.valid and pixel.first):
                    load = {
                        "out": source.randrange(1 << OUTPUTS),
                        "block": source.randrange(1 << BLOCKS),
                        "kernels": [kernel(source, BITS) for _ in range(K)],
                    }
                window = windows(source, A, INPUTS)
                yield {"rst": 0, "ahead": pixel, "window": window, "load": load}

    await lockstep(block(dut), Array(INPUTS, OUTPUTS, K, GROUP_LANES, BITS), traffic())


@cocotb.test()
async def the_ends_of_the_range(dut):
    source = rng("ends")

    def traffic() -> Iterator[dict[str, Any]]:
        yield from start(source)
        for digit in (GREATEST, -GREATEST, GREATEST):
            load = {
                "out": ALL_OUT, "block": ALL_BLOCKS, "kernels": [uniform_kernel(SCALAR_MAX, digit, BITS)] * K
            }  # fmt: skip
            yield {"rst": 0, "ahead": IDLE, "window": [[0] * TAPS] * INPUTS, "load": load}
            for pixel in [*strip(1, 4), *(nothing(source) for _ in range(8))]:
                value = source.choice((0, (1 << A) - 1, (1 << A) - 1))
                window = [[value] * TAPS] * INPUTS
                yield {"rst": 0, "ahead": pixel, "window": window, "load": NO_LOAD}

    await lockstep(block(dut), Array(INPUTS, OUTPUTS, K, GROUP_LANES, BITS), traffic())
