"""Bench of the descriptor unit's shifter and multiplier: every amount, the largest factors."""

import cocotb

from hw.nip_multiply import AMOUNT_BITS
from hw.spec.descriptor import NIP_RECIPROCAL_BITS
from verif.benches.lockstep import Block, lockstep
from verif.cocotb_support import rng
from verif.models.nip_parts import Multiply


@cocotb.test()
async def products(dut):
    source = rng("products")

    def number(bits):
        return source.choice((source.getrandbits(bits), (1 << bits) - 1, source.getrandbits(bits // 2), 0))

    def rows():
        for cycle in range(2000):
            amount = cycle % (1 << AMOUNT_BITS)
            yield {"x": number(32), "amount": amount, "y": number(NIP_RECIPROCAL_BITS), "rst": 0}

    await lockstep(Block(dut, "nip_multiply"), Multiply(), rows())
