"""Bench of the descriptor unit's rows: sums of up to 512 columns, with gaps, shifted out."""

import cocotb
from amaranth.hdl import signed
from amaranth.lib import data

from kestrel.hw.descriptor.rows import MEAN_BITS
from kestrel.hw.spec.descriptor import DESCRIPTOR_MATRIX_BITS
from kestrel.verif.blocks.descriptor.models import Rows
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.simulator import rng

ROWS = bench_config().whitening_rows


@cocotb.test()
async def sums(dut):
    source = rng("sums")
    top = 1 << DESCRIPTOR_MATRIX_BITS - 1

    def row(mean=None, **known):
        value = source.getrandbits(MEAN_BITS) if mean is None else mean
        weights = [source.randint(-top, top - 1) for _ in range(ROWS)]
        return {"valid": 0, "first": 0, "mean": value, "weights": weights, "shift": 0, "rst": 0} | known

    def rows():
        yield row(rst=1)
        for number in range(60):
            columns = source.choice((1, 2, 512, source.randint(1, 60)))
            # No longer than 2**20, as the average is: all elements alike are the most that there can be.
            most = min(int((1 << MEAN_BITS) / columns**0.5), (1 << MEAN_BITS) - 1)
            extreme = source.choice((None, -top, top - 1))
            for column in range(columns):
                while source.random() < 0.05:
                    yield row(first=source.getrandbits(1))
                mean = most if number % 3 == 0 else source.randint(0, most)
                known = {} if extreme is None else {"weights": [extreme] * ROWS}
                yield row(mean, valid=1, first=int(column == 0), **known)
            yield row()
            for _ in range(ROWS + 1):
                yield row(shift=1)
                yield row()

    weights = data.ArrayLayout(signed(DESCRIPTOR_MATRIX_BITS), ROWS)
    await lockstep(Block(dut, weights=weights), Rows(ROWS), rows())
