"""The sums of the descriptor unit's whitening: some rows of the matrix at a time, a column a cycle."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.place import delayed
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_CHANNELS_MAX,
    DESCRIPTOR_MATRIX_BITS,
    DESCRIPTOR_MEAN_FRACTION,
    DescriptorConfig,
)
from kestrel.hw.spec.widths import bits_for

MEAN_BITS = DESCRIPTOR_MEAN_FRACTION + 1
"""Width of an element of the average that is whitened."""

ROW_BITS = MEAN_BITS + DESCRIPTOR_MATRIX_BITS + bits_for(DESCRIPTOR_CHANNELS_MAX - 1) // 2 + 1
"""Signed width of a row's sum. The average is no longer than 2**20, so the sum of its elements, or of any of
them, is at most sqrt(C) times as large."""


class DescriptorRows(wiring.Component):
    """sums[r] = sum over the columns of weight[r] * mean.

        cycle 0   ``valid``, ``mean``, ``weights``; ``first`` with the first column
        cycle 1   products
        cycle 2   added: in cycle 3 the sums

    Members
    -------
    valid : In(1)           A column is given.
    first : In(1)           It is the first one: the sums begin with it.
    mean : In(20)           The column's element of the average.
    weights : In(8 x rows)  The column's weights, those of row 0 in the low bits, each signed.
    shift : In(1)           Moves the sums down: ``sum`` is then that of the next row.
    sum : Out(signed(37))   The sum of the first row that has not been moved away.
    """

    def __init__(self, descriptor: DescriptorConfig) -> None:
        self.rows = descriptor.matrix_rows
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "mean": In(MEAN_BITS),
                "weights": In(descriptor.word_bits),
                "shift": In(1),
                "sum": Out(signed(ROW_BITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        adds = delayed(m, self.valid, 1, "adds")
        starts = delayed(m, self.first, 1, "starts", reset_less=True)
        weights = data.View(data.ArrayLayout(signed(DESCRIPTOR_MATRIX_BITS), self.rows), self.weights)
        sums = [Signal(signed(ROW_BITS), name=f"sum_{r}", reset_less=True) for r in range(self.rows)]
        for r, row in enumerate(sums):
            product = Signal(signed(MEAN_BITS + DESCRIPTOR_MATRIX_BITS), name=f"product_{r}", reset_less=True)
            m.d.sync += product.eq(self.mean * weights[r])
            with m.If(adds):
                m.d.sync += row.eq(Mux(starts, 0, row) + product)
            with m.Elif(self.shift):
                m.d.sync += row.eq(sums[r + 1] if r + 1 < len(sums) else 0)
        m.d.comb += self.sum.eq(sums[0])
        return m
