"""Bench of the descriptor unit's total and reciprocal: totals of every length, resets at any time."""

import cocotb

from kestrel.verif.blocks.descriptor.models import Reciprocal
from kestrel.verif.blocks.support.lockstep import Block, lockstep
from kestrel.verif.blocks.support.simulator import rng


@cocotb.test()
async def totals(dut):
    source = rng("totals")

    def row(**known):
        anything = {"clear": 0, "add": 0, "value": source.getrandbits(32), "go": 0, "rst": 0}
        return anything | known

    def rows():
        yield row(rst=1, go=1)
        for number in range(70):
            yield row(clear=1)
            count = source.choice((0, 1, 2, 512, source.randint(1, 40)))
            bits = number % 33
            largest = source.random() < 0.2
            for n in range(count):
                while source.random() < 0.1:
                    yield row()
                value = (1 << 32) - 1 if largest else source.getrandbits(bits) if bits else 0
                yield row(add=1, value=value, go=int(n == count - 1))
            if not count:
                yield row(go=1)
            for _ in range(62):
                if source.random() < 0.002:
                    yield row(rst=1)
                    break
                yield row()

    await lockstep(Block(dut), Reciprocal(), rows())
