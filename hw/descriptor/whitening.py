"""The descriptor unit's whitening: the matrix times the average, less the offsets, times the rows' scales."""

from enum import IntEnum

from amaranth.hdl import Module, Mux, Signal, Value, signed
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
"""Width of a number of regions."""
OFFSET_SHIFT = SUMMED_BITS - 1
"""How far the product of an offset and the number of regions is moved down."""


class RowStep(IntEnum):
    """Steps of a row, as the docstring of DescriptorWhitening numbers them; the others wait."""

    READ_OFFSET = 1
    TAKE_OFFSET = 2
    SUBTRACT = 5
    SPLIT = 6
    READ_SCALE = 7
    ADD = 10
    END = DESCRIPTOR_ROW_CYCLES - 1


class DescriptorWhitening(wiring.Component):
    """Takes ``matrix_rows`` rows at a time: a column a cycle, then DESCRIPTOR_ROW_CYCLES for each row.

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
    go : In(1)                       Begins with the matrix's first row.
    done : Out(1)                    High with the last row.
    last_channel : In                C - 1 for C channels; must stay until ``done``.
    last_dimension : In              D - 1 for D dimensions; must stay until ``done``.
    pairs : In(1)                    Two rows, added up, make a dimension; must stay until ``done``.
    summed : In(16)                  Regions in the sums; from two cycles before ``go`` until ``done``.
    rom_en : Out(1)                  Reads the whitening's next word of the ROM.
    rom_data : In(8 * matrix_rows)   The word, one cycle after ``rom_en``.
    read : Out(1)                    Reads an element of the vector ``sums``.
    read_index : Out                 Its number.
    element : In(NUMBER)             The element, one cycle later.
    x : Out(32)                      To be multiplied (DescriptorMultiply).
    x_amount : Out(6)                ``amount`` of the multiplier, with ``x``.
    y : Out(17)                      The factor, one cycle after ``x``.
    shifted : In(32)                 The shifted x, one cycle after ``x``.
    product : In(49)                 The product, three cycles after ``x``.
    row_valid : Out(1)               A dimension of the whitened vector is given.
    row_index : Out                  Its number.
    row : Out(NUMBER)                The dimension.
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
        self._step = Signal(range(DESCRIPTOR_ROW_CYCLES), name="row_step")
        self._column = Signal(index, name="column")
        self._first = Signal(name="first", reset_less=True)  # the column is a row's first one
        self._row = Signal(index, name="row_number")  # of the result, so a pair counts once
        self._in_word = Signal(range(descriptor.matrix_rows), name="in_word")  # row of the ROM's word
        self._magnitude = Signal(ROW_BITS + 1 - DESCRIPTOR_ROW_SHIFT, name="magnitude", reset_less=True)
        self._sign = Signal(name="sign", reset_less=True)  # of the offset, then of the row
        self._difference = Signal(signed(ROW_BITS + 2), name="difference", reset_less=True)
        self._total = Signal(signed(DESCRIPTOR_SQUARES_BITS + 1), name="total", reset_less=True)
        self._in_row = Signal(name="in_row")  # the multiplier works for a row, not for a column

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = DescriptorRows(self.descriptor)
        place(m, "rows", rows)
        self._feed(m, rows)
        self._multiply(m)
        m.d.comb += [
            self.row_index.eq(self._row),
            self.row.magnitude.eq(abs(self._total)),
            self.row.sign.eq(self._total < 0),
        ]
        with m.FSM():
            with m.State("REST"), m.If(self.go):
                m.d.sync += [self._row.eq(0), self._in_word.eq(0)]
                self._begin_columns(m)
            with m.State("COLUMNS"):
                m.d.comb += self.read.eq(1)
                m.d.sync += [self._column.eq(self._column + 1), self._first.eq(0)]
                with m.If(self._column == self.last_channel):
                    m.d.sync += self._step.eq(0)
                    m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += self._step.eq(self._step + 1)
                # In step 0 the last column's element is still to be shifted.
                m.d.comb += self._in_row.eq(self._step != 0)
                self._calculate(m, rows.sum)
                with m.If(self._step == RowStep.END):
                    m.d.comb += rows.shift.eq(1)
                    self._end_row(m)
        return m

    def _begin_columns(self, m: Module) -> None:
        """On to the columns of the next rows."""
        m.d.sync += [self._column.eq(0), self._first.eq(1)]
        m.next = "COLUMNS"

    def _feed(self, m: Module, rows: DescriptorRows) -> None:
        """Every column's element, shifted, and its word of the matrix go to the rows."""
        arrives = delayed(m, self.read, 1, "arrives")
        reads = (self._step == RowStep.READ_OFFSET) | (self._step == RowStep.READ_SCALE)
        m.d.comb += [
            self.read_index.eq(self._column),
            self.rom_en.eq(arrives | (self._in_row & reads)),
            rows.valid.eq(delayed(m, arrives, 1, "multiplies")),
            rows.first.eq(delayed(m, self._first, 2, "starts", reset_less=True)),
            rows.mean.eq(self.shifted[:MEAN_BITS]),
            rows.weights.eq(self.rom_data),
        ]

    def _multiply(self, m: Module) -> None:
        """What is multiplied: a column's element is only shifted; an offset is multiplied by the number of
        regions, and a row by its scale."""
        length = Signal(AMOUNT_BITS, reset_less=True)
        times = Signal(SUMMED_BITS, reset_less=True)  # the number of regions, moved up
        is_offset = Signal()
        was_offset = Signal(reset_less=True)
        number = self.rom_data[:DESCRIPTOR_WORD_BITS]
        m.d.sync += [
            length.eq(length_of(self.summed)),
            times.eq((self.summed << SUMMED_BITS) >> length),
            was_offset.eq(is_offset),
        ]
        to_mean = SHIFT_ORIGIN + DESCRIPTOR_FRACTION - DESCRIPTOR_MEAN_FRACTION - 1
        m.d.comb += [
            is_offset.eq(self._step == RowStep.TAKE_OFFSET),
            self.x.eq(self.element.magnitude),
            self.x_amount.eq(length + to_mean),
            self.y.eq(Mux(was_offset, times, number[:DESCRIPTOR_SCALE_BITS])),
        ]
        with m.If(self._in_row):
            m.d.comb += [
                self.x.eq(Mux(is_offset, number[:-1], self._magnitude)),
                self.x_amount.eq(SHIFT_ORIGIN),
            ]

    def _calculate(self, m: Module, row_sum: Value) -> None:
        """The steps of a row between its sum and its result."""
        offset = self.product >> OFFSET_SHIFT
        scaled = self.product >> DESCRIPTOR_SCALE_BITS
        with m.Switch(self._step):
            with m.Case(RowStep.TAKE_OFFSET):
                m.d.sync += self._sign.eq(self.rom_data[DESCRIPTOR_WORD_BITS - 1])
            with m.Case(RowStep.SUBTRACT):
                m.d.sync += self._difference.eq(row_sum + Mux(self._sign, offset, -offset))
            with m.Case(RowStep.SPLIT):
                m.d.sync += [
                    self._sign.eq(self._difference < 0),
                    self._magnitude.eq(abs(self._difference) >> DESCRIPTOR_ROW_SHIFT),
                ]
            with m.Case(RowStep.ADD):
                before = Mux(self.pairs & self._in_word[0], self._total, 0)
                m.d.sync += self._total.eq(before + Mux(self._sign, -scaled, scaled))

    def _end_row(self, m: Module) -> None:
        """Hand the result over, unless it waits for the pair's second row; on to the next row."""
        m.d.comb += [
            self.row_valid.eq(~self.pairs | self._in_word[0]),
            self.done.eq(self.row_valid & (self._row == self.last_dimension)),
        ]
        m.d.sync += [self._in_word.eq(self._in_word + 1), self._step.eq(0)]
        with m.If(self.row_valid):
            m.d.sync += self._row.eq(self._row + 1)
        with m.If(self._in_word == self.descriptor.matrix_rows - 1):
            self._begin_columns(m)
        with m.If(self.done):
            m.next = "REST"
