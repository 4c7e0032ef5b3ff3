"""Bench of the kernel decoder: stored kernels of all widths, every pass of each."""

from random import Random
from typing import Any

import cocotb
from cocotb.triggers import Timer

from kestrel.hw.spec.masks import PASSES, decode_digit
from kestrel.hw.spec.widths import SCALAR_BITS, TAPS, kernel_bits
from kestrel.verif.blocks.compute.kernel_decoder.model import split_kernel
from kestrel.verif.blocks.support.layouts import decode
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.simulator import Scoreboard, rng

CONFIG = bench_config()
TOTAL_BITS = kernel_bits(CONFIG.mask_bits_max)
KERNELS = 150


async def decoded(block: Block, code: int, mask_bits: int) -> tuple[set[int], list[int]]:
    """The scalars seen in the passes (one, if all is well), and each tap's value from its digits."""
    alphas: set[int] = set()
    values = [0] * TAPS
    for digit in range(PASSES[mask_bits]):
        block.drive({"code": code, "mask_bits": mask_bits, "digit": digit})
        await Timer(1, unit="ns")
        kernel: dict[str, Any] = decode(block.outputs["kernel"], block.dut.kernel.value.to_unsigned())
        alphas.add(kernel["alpha"])
        for tap, register in enumerate(kernel["digits"]):
            values[tap] += decode_digit(register, CONFIG.digit_bits) << digit
    return alphas, values


def codes(source: Random, mask_bits: int) -> list[int]:
    """Stored kernels with random bits above their last one."""
    size = kernel_bits(mask_bits)
    minus_zeros = sum(1 << (SCALAR_BITS + tap * mask_bits + mask_bits - 1) for tap in range(TAPS))
    own = [0, (1 << size) - 1, minus_zeros]
    own += [1 << bit for bit in range(size)]
    own += [source.getrandbits(size) for _ in range(KERNELS)]
    return [code | source.getrandbits(TOTAL_BITS) >> size << size for code in own]


@cocotb.test()
async def stored_kernels(dut):
    block = Block(dut)
    source = rng("codes")
    cases = [(mask_bits, code) for mask_bits in CONFIG.mask_widths for code in codes(source, mask_bits)]
    source.shuffle(cases)
    with Scoreboard[tuple[set[int], list[int]]]("kernel") as board:
        for mask_bits, code in cases:
            alpha, values = split_kernel(code, mask_bits)
            board.expect([({alpha}, values)])
            board.receive(await decoded(block, code, mask_bits))
    assert board.checked == len(cases)
