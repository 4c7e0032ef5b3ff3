"""Bench of the kernel unit: every cycle's product."""

from collections.abc import Iterator
from itertools import chain
from random import Random
from typing import Any

import cocotb
from amaranth.lib import data

from kestrel.hw.spec.masks import mask_values
from kestrel.hw.spec.widths import SCALAR_MAX, TAPS
from kestrel.verif.blocks.compute.kernel_unit.model import KernelUnit
from kestrel.verif.blocks.support.kernel import Kernel
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.simulator import rng
from kestrel.verif.blocks.support.stimuli import activations, between, kernel, uniform_kernel

A, BITS = bench_config().activation_bits, bench_config().digit_bits


def block(dut: Any) -> Block:
    return Block(dut, window=data.ArrayLayout(A, TAPS))


def traffic(source: Random, cycles: int) -> Iterator[dict[str, Any]]:
    """Loads and swaps at any time, also in the same cycle; and resets, which change nothing."""
    for cycle in range(cycles):
        yield {
            "rst": int(source.random() < 0.02),
            "window": activations(source, A),
            "load": int(cycle < 2 or source.random() < 0.3),
            "kernel": kernel(source, BITS),
            "swap": int(source.random() < 0.3),
            "swap_alpha": int(source.random() < 0.3),
        }


def passes(kernels: list[Kernel], windows: list[list[int]]) -> Iterator[dict[str, Any]]:
    """A pass for each kernel over all windows, back to back, with the swaps where the array puts them."""
    idle = {"window": [0] * TAPS, "load": 0, "kernel": kernels[0], "swap": 0, "swap_alpha": 0}
    yield idle | {"load": 1}
    yield idle | {"swap": 1}
    for n in range(len(kernels)):
        following = kernels[(n + 1) % len(kernels)]
        for m, window in enumerate(windows):
            yield idle | {
                "window": window,
                "load": int(m == 0),
                "kernel": following,
                "swap": int(m == len(windows) - 1),
                "swap_alpha": int(m == 0),
            }
    yield from (idle for _ in range(3))


@cocotb.test()
async def any_traffic(dut):
    await lockstep(block(dut), KernelUnit(BITS), traffic(rng("traffic"), 3000))


@cocotb.test()
async def the_ends_of_the_range(dut):
    full = (1 << A) - 1
    kernels = [
        uniform_kernel(alpha, digit, BITS) for alpha in (0, 1, SCALAR_MAX) for digit in mask_values(BITS)
    ]
    windows = [[full] * TAPS, [0] * TAPS, [1] * TAPS]
    await lockstep(block(dut), KernelUnit(BITS), passes(kernels, windows))


@cocotb.test()
async def every_digit_code_on_every_tap(dut):
    source = rng("taps")
    kernels = [
        Kernel(between(source, 1, SCALAR_MAX), tuple(code if tap == n else 0 for tap in range(TAPS)))
        for n in range(TAPS)
        for code in range(1 << BITS)
    ]
    # Different values on neighbouring taps: a tap in the wrong place shows.
    windows = [[(7 * tap + 1) % (1 << A) for tap in range(TAPS)], activations(source, A)]
    await lockstep(block(dut), KernelUnit(BITS), passes(kernels, windows))


@cocotb.test()
async def passes_back_to_back(dut):
    source = rng("passes")
    kernels = [kernel(source, BITS) for _ in range(60)]
    rows = (passes(kernels, [activations(source, A) for _ in range(length)]) for length in (2, 3, 5))
    await lockstep(block(dut), KernelUnit(BITS), chain.from_iterable(rows))
