"""Bench of pooling: strips of layers that pool and of layers that do not."""

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any

import cocotb

from kestrel.hw.spec.engine_config import ROW_GROUPS
from kestrel.verif.blocks.compute.pool.model import Pool
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.pixel import Pixel
from kestrel.verif.blocks.support.simulator import rng
from kestrel.verif.blocks.support.stimuli import activations, nothing, shapes, strip, with_gaps

CONFIG = bench_config()
A, LANES = CONFIG.activation_bits, CONFIG.output_lanes
MOST_PIXELS = 5 * CONFIG.max_width
DEPTH = max(2, CONFIG.max_width // 2)


def row(
    source: Random, pixel: Pixel, pool: int, rst: int = 0, grouped: int = 0, wide: int = 0
) -> dict[str, Any]:
    """Random values, also in cycles without a pixel."""
    inputs = {"ahead": pixel, "y": activations(source, A, LANES), "pool": pool, "rst": rst}
    if CONFIG.residual:
        inputs["pool_3x3"] = wide if pool else source.randrange(2)
    return inputs | ({"grouped": grouped} if CONFIG.row_groups else {})


def grouped_layer(source: Random, sizes: Iterator[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """A layer in row groups: in its pixels ``rows`` says how many of three rows exist."""
    for _ in range(3):
        height, width = next(sizes)
        for group in range(2):
            pixels = strip(height, width, emit=1, last_out=group, rows=source.randint(1, ROW_GROUPS))
            for pixel in with_gaps(source, pixels, source.choice((0, 0.4))):
                yield row(source, pixel, 0, grouped=1)
    yield from (row(source, nothing(source), 0, grouped=1) for _ in range(3))


def layer(
    source: Random, pool: int, sizes: Iterator[tuple[int, int]], strips: int
) -> Iterator[dict[str, Any]]:
    """A layer's strips. One output group follows the other without a gap, or after one; inside a pass that
    does not pool there may be gaps too."""
    for _ in range(strips):
        height, width = next(sizes)
        for group in range(2):
            pixels = strip(height, width, emit=1, last_out=group)
            gaps = 0 if pool else source.choice((0, 0, 0.4))
            yield from (row(source, pixel, pool) for pixel in with_gaps(source, pixels, gaps))
        yield from (row(source, nothing(source), pool) for _ in range(source.choice((0, 0, 1, 5))))
    yield from (row(source, nothing(source), pool) for _ in range(3))  # the setting stays until all is out


def wide_layer(source: Random, number: int) -> Iterator[dict[str, Any]]:
    """A map with windows of 3x3, in strips that begin on any row; the narrowest ones first, then as wide as
    the line memory holds. Strips of a layer that does not pool may come in between."""
    groups = source.choice((1, 2, min(3, DEPTH)))
    most = min(CONFIG.max_width, 2 * (DEPTH // groups))
    width = number + 1 if number < min(4, most) else source.choice((most, source.randint(1, most)))
    height = source.choice((1, 2, source.randint(3, 9)))
    first = 0
    while first < height:
        rows = source.choice((1, height - first, source.randint(1, height - first)))
        for group in range(groups):
            last_out = int(group == groups - 1)
            pixels = strip(rows, width, emit=1, last_out=last_out, first_row=first, map_height=height)
            yield from (row(source, pixel, 1, wide=1) for pixel in pixels)
            yield from (row(source, nothing(source), 1, wide=1) for _ in range(source.choice((0, 0, 2))))
        yield from (row(source, nothing(source), 1, wide=1) for _ in range(3))
        first += rows
        if source.random() < 0.3:
            yield from layer(source, 0, shapes(source, CONFIG.max_width, MOST_PIXELS), 1)


@cocotb.test(skip=not CONFIG.residual)
async def windows_of_3x3(dut):
    """Among layers of the other kinds."""
    source = rng("windows")

    def rows() -> Iterator[dict[str, Any]]:
        yield from (row(source, nothing(source), 0, rst=1) for _ in range(2))
        pooled = shapes(source, CONFIG.max_width, MOST_PIXELS)
        for number in range(40):
            yield from wide_layer(source, number)
            if source.random() < 0.3:
                yield from layer(source, 1, pooled, 2)
            if source.random() < 0.1:
                cut = source.randint(1, 20)
                yield from islice(wide_layer(source, 9), cut)
                yield from (row(source, nothing(source), 1, rst=1, wide=1) for _ in range(2))

    await lockstep(Block(dut), Pool(CONFIG.row_groups), rows())


@cocotb.test()
async def layers_of_both_kinds(dut):
    source = rng("layers")

    def rows() -> Iterator[dict[str, Any]]:
        yield from (row(source, nothing(source), 0, rst=1) for _ in range(2))
        pooled, plain = (shapes(source, CONFIG.max_width, MOST_PIXELS) for _ in range(2))
        for _ in range(8):
            yield from layer(source, 1, pooled, 5)
            yield from layer(source, 0, plain, 2)
            if CONFIG.row_groups:
                yield from grouped_layer(source, plain)

    await lockstep(Block(dut), Pool(CONFIG.row_groups), rows())


@cocotb.test()
async def resets_in_the_middle(dut):
    source = rng("resets")

    def rows() -> Iterator[dict[str, Any]]:
        for _ in range(25):
            pool = source.randrange(2)
            # Pixels go on arriving during the reset; they must not count.
            yield from (row(source, pixel, pool, rst=1) for pixel in strip(1, source.randint(1, 3), emit=1))
            sizes = shapes(source, CONFIG.max_width, MOST_PIXELS)
            for number, item in enumerate(layer(source, pool, sizes, 6)):
                yield item
                if number > 4 and source.random() < 0.04:
                    break

    await lockstep(Block(dut), Pool(CONFIG.row_groups), rows())
