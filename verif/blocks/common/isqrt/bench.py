"""Bench of the square root: any number every cycle, squares and their neighbours among them."""

import cocotb

from kestrel.hw.spec.descriptor import DESCRIPTOR_SQUARES_BITS
from kestrel.verif.blocks.descriptor.models import Isqrt
from kestrel.verif.blocks.support.lockstep import Block, lockstep
from kestrel.verif.blocks.support.simulator import rng


@cocotb.test()
async def numbers(dut):
    source = rng("numbers")
    top = (1 << DESCRIPTOR_SQUARES_BITS) - 1

    def rows():
        yield {"square": 0, "rst": 1}
        for square in (0, 1, 2, 3, 4, top, top - 1):
            yield {"square": square, "rst": 0}
        for _ in range(2000):
            root = source.randrange(1 << DESCRIPTOR_SQUARES_BITS // 2)
            near = min(max(root * root + source.randint(-1, 1), 0), top)
            any_number = source.getrandbits(source.randint(1, DESCRIPTOR_SQUARES_BITS))
            yield {"square": source.choice((near, any_number)),
                   "rst": int(source.random() < 0.01)}  # fmt: skip

    await lockstep(Block(dut), Isqrt(), rows())
