"""Bench of the descriptor unit's shifter and multiplier: every amount, the largest factors."""

import cocotb

from kestrel.hw.descriptor.multiply import AMOUNT_BITS
from kestrel.hw.spec.descriptor import DESCRIPTOR_RECIPROCAL_BITS
from kestrel.verif.blocks.descriptor.models import Multiply
from kestrel.verif.blocks.support.lockstep import Block, lockstep
from kestrel.verif.blocks.support.simulator import rng


@cocotb.test()
async def products(dut):
    source = rng("products")

    def number(bits):
        return source.choice((source.getrandbits(bits), (1 << bits) - 1, source.getrandbits(bits // 2), 0))

    def rows():
        for cycle in range(2000):
            amount = cycle % (1 << AMOUNT_BITS)
            yield {"x": number(32), "amount": amount, "y": number(DESCRIPTOR_RECIPROCAL_BITS), "rst": 0}

    await lockstep(Block(dut), Multiply(), rows())
