"""Bench of the kernel decoder: stored kernels of all widths, every pass of each."""

from random import Random
from typing import Any

import cocotb
from cocotb.triggers import Timer

from kestrel.hw.spec.masks import MASK_MAGNITUDES, PASSES, decode_digit
from kestrel.hw.spec.widths import SCALAR_BITS, TAPS, centre_kernel_bits, kernel_bits
from kestrel.verif.blocks.compute.kernel_decoder.model import centre_kernel, split_kernel
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
        alpha, digits = await one_pass(block, code=code, mask_bits=mask_bits, digit=digit)
        alphas.add(alpha)
        values = [value + (d << digit) for value, d in zip(values, digits, strict=True)]
    return alphas, values


async def one_pass(block: Block, **inputs: int) -> tuple[int, list[int]]:
    """Scalar and digits of a pass; of a kernel of 3x3 taps unless ``centre`` is among the inputs."""
    if CONFIG.scalar_tables:  # the scalar comes apart from the masks
        code = inputs["code"]
        inputs |= {"scalar": code & ((1 << SCALAR_BITS) - 1), "code": code >> SCALAR_BITS}
    block.drive({"centre": 0, "tap": 0} | inputs if CONFIG.residual else inputs)
    await Timer(1, unit="ns")
    kernel: dict[str, Any] = decode(block.outputs["kernel"], block.dut.kernel.value.to_unsigned())
    return kernel["alpha"], [decode_digit(register, CONFIG.digit_bits) for register in kernel["digits"]]


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


@cocotb.test(skip=not CONFIG.residual)
async def centre_kernels(dut):
    """Every 1x1 kernel with every tap that the digits have, whatever the mask and the other bits are."""
    block = Block(dut)
    source = rng("centres")
    taps = MASK_MAGNITUDES[CONFIG.digit_bits][-1].bit_length()
    with Scoreboard[tuple[int, list[int]]]("kernel") as board:
        for code in range(1 << centre_kernel_bits()):
            for tap in range(taps):
                board.expect([centre_kernel(code, tap)])
                above = source.getrandbits(TOTAL_BITS) >> centre_kernel_bits() << centre_kernel_bits()
                inputs = {"mask_bits": source.choice(CONFIG.mask_widths), "digit": source.randrange(3)}
                board.receive(await one_pass(block, code=code | above, centre=1, tap=tap, **inputs))
