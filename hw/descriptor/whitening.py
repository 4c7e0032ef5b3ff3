"""The descriptor unit's whitening: the matrix times the average, less the offsets, times the rows' scales."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.place import delayed, place
from kestrel.hw.descriptor.multiply import AMOUNT_BITS, PRODUCT_BITS, SHIFT_ORIGIN, length_of
from kestrel.hw.descriptor.rows import MEAN_BITS, ROW_BITS, DescriptorRows
from kestrel.hw.descriptor.vectors import NUMBER
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_FRACTION,
    DESCRIPTOR_MEAN_FRACTION,
    DESCRIPTOR_RECIPROCAL_BITS,
    DESCRIPTOR_ROW_CYCLES,
    DESCRIPTOR_ROW_SHIFT,
    DESCRIPTOR_SCALE_BITS,
    DESCRIPTOR_SQUARES_BITS,
    DESCRIPTOR_SUMMED_MAX,
    DESCRIPTOR_WORD_BITS,
    DescriptorConfig,
)
from kestrel.hw.spec.widths import bits_for

SUMMED_BITS = bits_for(DESCRIPTOR_SUMMED_MAX)
OFFSET_SHIFT = SUMMED_BITS - 1


class DescriptorWhitening(wiring.Component):
    """``matrix_rows`` rows at a time: a column a cycle, then DESCRIPTOR_ROW_CYCLES for each row.

        columns   0   an element of ``sums`` is read
                  1   shifted to between once and twice its average; a word of the ROM is read
                  2   four products
                  3   added
        row       0   the last column's element is shifted
                  1   the offset is read
                  2   times the number of regions (as far shifted as the elements)
                  5   subtracted from the row's sum
                  6   sign and magnitude
                  7   times the scale, which is read
                  10  added to the row before, where the two are a pair
                  11  ``row_valid``, unless it is a pair's first

    Members
    -------
    go : In(1), done : Out(1)          done with the last row's write
    last_channel, last_dimension : In  C - 1, D - 1
    pairs : In(1)                      two rows make a dimension
    summed : In(16)                    regions in the sums
    rom_en : Out, rom_data : In        words of the whitening, one after the other
    read, read_index : Out, element : In      of the vectors, like the rest
    x, x_amount, y : Out, shifted, product : In
    row_valid, row_index, row : Out
    """

    def __init__(self, descriptor: DescriptorConfig) -> None:
        self.descriptor = descriptor
        index = bits_for(descriptor.channels - 1)
        super().__init__(
            {
                "go": In(1),
                "done": Out(1),
                "last_channel": In(index),
                "last_dimension": In(index),
                "pairs": In(1),
                "summed": In(SUMMED_BITS),
                "rom_en": Out(1),
                "rom_data": In(descriptor.word_bits),
                "read": Out(1),
                "read_index": Out(index),
                "element": In(NUMBER),
                "x": Out(DESCRIPTOR_SQUARES_BITS),
                "x_amount": Out(AMOUNT_BITS),
                "y": Out(DESCRIPTOR_RECIPROCAL_BITS),
                "shifted": In(DESCRIPTOR_SQUARES_BITS),
                "product": In(PRODUCT_BITS),
                "row_valid": Out(1),
                "row_index": Out(index),
                "row": Out(NUMBER),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = DescriptorRows(self.descriptor)
        place(m, "rows", rows)

        length = Signal(AMOUNT_BITS, reset_less=True)
        times = Signal(SUMMED_BITS, reset_less=True)
        m.d.sync += [length.eq(length_of(self.summed)), times.eq((self.summed << SUMMED_BITS) >> length)]

        # --- columns -------------------------------------------------------------------------------------
        reading = Signal()
        column = Signal.like(self.read_index)
        first = Signal(reset_less=True)
        arrives = delayed(m, reading, 1, "arrives")
        m.d.comb += [
            self.read.eq(reading),
            self.read_index.eq(column),
            rows.valid.eq(delayed(m, arrives, 1, "multiplies")),
            rows.first.eq(delayed(m, first, 2, "starts", reset_less=True)),
            rows.mean.eq(self.shifted[:MEAN_BITS]),
            rows.weights.eq(self.rom_data),
        ]
        row_step = Signal(range(DESCRIPTOR_ROW_CYCLES))
        row_busy = Signal()
        with m.If(reading):
            m.d.sync += [column.eq(column + 1), first.eq(0)]
            with m.If(column == self.last_channel):
                m.d.sync += [reading.eq(0), row_busy.eq(1), row_step.eq(0)]

        # --- rows ----------------------------------------------------------------------------------------
        row = Signal.like(self.row_index)
        in_word = Signal(range(self.descriptor.matrix_rows))
        number = self.rom_data[:DESCRIPTOR_WORD_BITS]  # of the words that are no column
        sign = Signal(reset_less=True)  # of the offset, then of the row
        offset = self.product >> OFFSET_SHIFT
        difference = Signal(signed(ROW_BITS + 2), reset_less=True)
        ends_row = Signal()
        total = Signal(signed(DESCRIPTOR_SQUARES_BITS + 1), reset_less=True)
        scaled = self.product >> DESCRIPTOR_SCALE_BITS
        magnitude = Signal(ROW_BITS + 1 - DESCRIPTOR_ROW_SHIFT, reset_less=True)
        m.d.comb += [
            self.rom_en.eq(arrives | (row_busy & ((row_step == 1) | (row_step == 7)))),
            ends_row.eq(row_busy & (row_step == DESCRIPTOR_ROW_CYCLES - 1)),
            rows.shift.eq(ends_row),
            self.row_valid.eq(ends_row & (~self.pairs | in_word[0])),
            self.row_index.eq(row),
            self.row.magnitude.eq(abs(total)),
            self.row.sign.eq(total < 0),
            self.done.eq(self.row_valid & (row == self.last_dimension)),
        ]
        for_offset = Signal(reset_less=True)
        m.d.sync += for_offset.eq(row_step == 2)
        m.d.comb += [
            self.x.eq(self.element.magnitude),
            self.x_amount.eq(length + (SHIFT_ORIGIN + DESCRIPTOR_FRACTION - DESCRIPTOR_MEAN_FRACTION - 1)),
            self.y.eq(Mux(for_offset, times, number[:DESCRIPTOR_SCALE_BITS])),
        ]
        with m.If(row_busy & (row_step != 0)):  # in step 0 the last column's element is still to be shifted
            m.d.comb += [
                self.x.eq(Mux(row_step == 2, number[:-1], magnitude)),
                self.x_amount.eq(SHIFT_ORIGIN),
            ]
        with m.If(row_busy):
            m.d.sync += row_step.eq(row_step + 1)
            with m.Switch(row_step):
                with m.Case(2):
                    m.d.sync += sign.eq(number[-1])
                with m.Case(5):
                    m.d.sync += difference.eq(rows.sum + Mux(sign, offset, -offset))
                with m.Case(6):
                    m.d.sync += [
                        sign.eq(difference < 0),
                        magnitude.eq(abs(difference) >> DESCRIPTOR_ROW_SHIFT),
                    ]
                with m.Case(10):
                    before = Mux(self.pairs & in_word[0], total, 0)
                    m.d.sync += total.eq(before + Mux(sign, -scaled, scaled))
                with m.Case(DESCRIPTOR_ROW_CYCLES - 1):
                    m.d.sync += [in_word.eq(in_word + 1), row_step.eq(0)]
                    with m.If(self.row_valid):
                        m.d.sync += row.eq(row + 1)
                    with m.If(in_word == self.descriptor.matrix_rows - 1):
                        m.d.sync += [row_busy.eq(0), reading.eq(1), column.eq(0), first.eq(1)]
        with m.If(self.done):
            m.d.sync += [row_busy.eq(0), reading.eq(0)]
        with m.If(self.go):
            m.d.sync += [
                reading.eq(1), row_busy.eq(0), column.eq(0), first.eq(1), row.eq(0), in_word.eq(Const(0)),
            ]  # fmt: skip
        return m
