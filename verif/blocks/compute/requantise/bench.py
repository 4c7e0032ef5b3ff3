"""Bench of requantisation: all lanes with their pixels."""

from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb

from kestrel.hw.spec.widths import BIAS_MAX, BIAS_MIN, SHIFT_MAX, SHIFT_MIN
from kestrel.verif.blocks.compute.requantise.model import Requantise
from kestrel.verif.blocks.compute.requantise_lane.bench import any_acc, any_groups
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.pixel import Pixel
from kestrel.verif.blocks.support.simulator import rng
from kestrel.verif.blocks.support.stimuli import between, nothing, strip, with_gaps

CONFIG = bench_config()
A, LANES, K = CONFIG.activation_bits, CONFIG.output_lanes, CONFIG.load_kernels
BLOCKS = -(-LANES // K)


class Layer:
    """Rows of inputs with the settings of one layer."""

    def __init__(self, source: Random, shift: int, maximum: int, last_out_lanes: int) -> None:
        self.source = source
        self.grouped = source.randrange(2)
        self.settings = {"shift": shift, "maximum": maximum, "last_out_lanes": last_out_lanes}

    def row(self, pixel: Pixel, block: int = 0, rst: int = 0) -> dict[str, Any]:
        source, shift, maximum = self.source, self.settings["shift"], self.settings["maximum"]
        load = {"block": block, "biases": [between(source, BIAS_MIN, BIAS_MAX) for _ in range(K)]}
        accs = [any_acc(source, shift, maximum) for _ in range(LANES)]
        groups: dict[str, Any] = {}
        if CONFIG.row_groups:
            lanes = [any_groups(source, shift, maximum)["groups"] for _ in range(LANES)]
            groups = {"grouped": self.grouped, "groups": lanes}
        return {"rst": rst, "ahead": pixel, "acc": accs, "load": load, **groups, **self.settings}

    def passes(self, lengths: list[int], gaps: float) -> Iterator[dict[str, Any]]:
        """Passes back to back or with gaps; biases load at any time, also in the cycle of a swap."""
        source = self.source
        yield from (self.row(nothing(source)._replace(valid=0), 1 << block) for block in range(BLOCKS))
        for length in lengths:
            pixels = strip(1, length, emit=1, last_out=source.randrange(2))
            for pixel in with_gaps(source, pixels, gaps):
                yield self.row(pixel, source.randrange(1 << BLOCKS) if source.random() < 0.4 else 0)
        yield from (self.row(nothing(source)) for _ in range(4))  # the settings stay until all is out


def layers(source: Random, count: int) -> Iterator[Layer]:
    for n in range(count):
        shift = (SHIFT_MIN, SHIFT_MAX)[n] if n < 2 else source.randint(SHIFT_MIN, SHIFT_MAX)
        maximum = (1 << source.randint(4, A)) - 1
        yield Layer(source, shift, maximum, 1 + n % LANES)


@cocotb.test()
async def layers_one_after_the_other(dut):
    source = rng("layers")

    def rows() -> Iterator[dict[str, Any]]:
        for n, layer in enumerate(layers(source, 24)):
            if n == 0:
                yield from (layer.row(nothing(source), rst=1) for _ in range(2))
            lengths = [1, 1, 2, *(source.randint(1, 12) for _ in range(5))]
            yield from layer.passes(lengths, source.choice((0, 0.4)))

    await lockstep(Block(dut), Requantise(LANES, K), rows())


@cocotb.test()
async def resets_in_the_middle(dut):
    source = rng("resets")

    def rows() -> Iterator[dict[str, Any]]:
        for layer in layers(source, 12):
            # Pixels during the reset swap biases, as data registers have no reset, but do not come out.
            yield from (layer.row(pixel, rst=1) for pixel in strip(1, source.randint(1, 3), emit=1))
            for item in layer.passes([3, 5, 2], 0):
                yield item
                if source.random() < 0.08:
                    break

    await lockstep(Block(dut), Requantise(LANES, K), rows())
