"""The descriptor unit's vectors, and what is done with a whole vector at once."""

from enum import IntEnum
from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.isqrt import Isqrt
from kestrel.hw.common.memories import ram_1r1w
from kestrel.hw.common.place import delayed, place
from kestrel.hw.descriptor.multiply import AMOUNT_BITS, PRODUCT_BITS, DescriptorMultiply, length_of
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_FRACTION,
    DESCRIPTOR_RECIPROCAL_BITS,
    DESCRIPTOR_ROOT_LATENCY,
    DESCRIPTOR_SQUARES_BITS,
    DescriptorConfig,
)
from kestrel.hw.spec.widths import bits_for

NUMBER = data.StructLayout({"magnitude": DESCRIPTOR_SQUARES_BITS, "sign": 1})
"""An element of a vector; zero is positive."""

MULTIPLIED = 4
"""Cycles from an element's read to its product, the memory's one included."""

ROOTED = MULTIPLIED + DESCRIPTOR_ROOT_LATENCY


class Pass(IntEnum):
    """What a pass over a vector does; u(x) is x * R >> 16, rooted, with the sign of x."""

    SUM = 0  # sums = (fresh ? 0 : sums) + u(squares)
    COPY = 1  # best = fresh ? sums : max(best, sums)
    TURN = 2  # best = fresh ? u(squares) : max(best, u(squares))
    SQUARE_ROWS = 3  # squares = squares ** 2, 16 bits of them
    SQUARE_BEST = 4  # squares = best ** 2, likewise
    UNIT = 5  # sums = u(squares)


class DescriptorVectors(wiring.Component):
    """Three memories of a vector each: ``squares``, ``sums`` and ``best``, and the multiplier and the root
    that every pass uses.

    From the cycle t in which ``start`` is high element i is read in t + 1 + i, its product is there in
    t + 5 + i, its root in t + 13 + i; it is written as soon as that is there (COPY: in t + 2 + i). ``done``
    is high with the last write. ``mode``, ``fresh``, ``last_index``, ``amount`` and ``reciprocal`` must stay
    until then.

    Members
    -------
    start : In(1), mode : In(Pass), fresh : In(1), last_index : In
    busy, done : Out(1)
    amount, reciprocal : In     of u(x)
    square_valid, square : In   written to ``squares``, one after the other from element 0; ``rewind`` : In
                                back to element 0
    row_valid, row_index, row : In   an element of ``squares``, with its sign; ``unseen`` : In  before the
                                first: forgets how large the elements were
    add, value : Out            the new squares, for their total
    read, read_best, read_index : In, element : Out(NUMBER)   an element of ``sums`` or ``best``, one cycle
                                later; not while busy
    x, x_amount, y : In, shifted, product : Out    the multiplier, while not busy
    """

    def __init__(self, descriptor: DescriptorConfig) -> None:
        self.descriptor = descriptor
        index = bits_for(descriptor.channels - 1)
        super().__init__(
            {
                "start": In(1),
                "mode": In(3),
                "fresh": In(1),
                "last_index": In(index),
                "busy": Out(1),
                "done": Out(1),
                "amount": In(AMOUNT_BITS),
                "reciprocal": In(DESCRIPTOR_RECIPROCAL_BITS),
                "rewind": In(1),
                "square_valid": In(1),
                "square": In(DESCRIPTOR_SQUARES_BITS),
                "unseen": In(1),
                "row_valid": In(1),
                "row_index": In(index),
                "row": In(NUMBER),
                "add": Out(1),
                "value": Out(DESCRIPTOR_SQUARES_BITS),
                "read": In(1),
                "read_best": In(1),
                "read_index": In(index),
                "element": Out(NUMBER),
                "x": In(DESCRIPTOR_SQUARES_BITS),
                "x_amount": In(AMOUNT_BITS),
                "y": In(DESCRIPTOR_RECIPROCAL_BITS),
                "shifted": Out(DESCRIPTOR_SQUARES_BITS),
                "product": Out(PRODUCT_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Registers of what the mode means: the multiplier waits for them.
        mode = self.mode
        copies, squares_it, to_best, to_sums, reads_best, accumulates = kinds = tuple(
            Signal(name=name, reset_less=True)
            for name in ("copies", "squares_it", "to_best", "to_sums", "reads_best", "accumulates")
        )
        modes = (
            (Pass.COPY,),
            (Pass.SQUARE_ROWS, Pass.SQUARE_BEST),
            (Pass.COPY, Pass.TURN),
            (Pass.SUM, Pass.UNIT),
            (Pass.SQUARE_BEST,),
            (Pass.SUM,),
        )
        with m.If(self.start), m.Switch(mode):
            for value in Pass:
                with m.Case(value):
                    m.d.sync += [kind.eq(value in those) for kind, those in zip(kinds, modes, strict=True)]

        # --- the course of a pass ------------------------------------------------------------------------
        index, near_index = Signal.like(self.last_index), Signal.like(self.last_index)
        stages = [Signal(name=f"stage_{n}") for n in range(ROOTED)]
        near = Signal()  # the element is written in the next cycle
        write = Signal()
        write_index = Signal.like(index, reset_less=True)
        m.d.comb += [
            near.eq(Mux(copies, stages[0], Mux(squares_it, stages[MULTIPLIED - 1], stages[-1])) & self.busy),
            self.done.eq(write & (write_index == self.last_index)),
        ]
        m.d.sync += [
            *(later.eq(stage) for stage, later in pairwise(stages)),
            write.eq(near),
            write_index.eq(near_index),
        ]
        with m.If(stages[0]):
            m.d.sync += [index.eq(index + 1), stages[0].eq(index != self.last_index)]
        with m.If(near | self.square_valid):
            m.d.sync += near_index.eq(near_index + 1)
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)
        with m.If(self.start):
            # What a short pass leaves in the later stages is no element of the next one.
            m.d.sync += [stage.eq(0) for stage in stages[1:]]
            m.d.sync += [self.busy.eq(1), stages[0].eq(1), index.eq(0), near_index.eq(0)]
        with m.If(self.rewind):
            m.d.sync += near_index.eq(0)

        # --- the memories --------------------------------------------------------------------------------
        root = Signal(DESCRIPTOR_FRACTION)
        multiply = DescriptorMultiply()
        squares = self._memory(
            m, "squares",
            read=stages[0] & self.busy, read_index=index,
            write=self.square_valid | self.row_valid | (write & squares_it),
            write_index=Mux(self.row_valid, self.row_index, Mux(self.square_valid, near_index, write_index)),
            written=(written_square := Signal(NUMBER)),
        )  # fmt: skip
        sums = self._memory(
            m, "sums",
            read=Mux(self.busy, near & (accumulates | copies), self.read & ~self.read_best),
            read_index=Mux(self.busy, near_index, self.read_index),
            write=write & to_sums, write_index=write_index,
            written=(written_sum := Signal(NUMBER)),
        )  # fmt: skip
        best = self._memory(
            m, "best",
            read=Mux(self.busy, Mux(reads_best, stages[0], near & to_best), self.read & self.read_best),
            read_index=Mux(self.busy, Mux(reads_best, index, near_index), self.read_index),
            write=write & to_best, write_index=write_index,
            written=(written_best := Signal(NUMBER)),
        )  # fmt: skip
        was_best = Signal(reset_less=True)
        with m.If(self.read):
            m.d.sync += was_best.eq(self.read_best)
        m.d.comb += self.element.eq(Mux(was_best, best.as_value(), sums.as_value()))

        # --- the multiplier and the root -----------------------------------------------------------------
        read = Signal(NUMBER)  # in stage 1
        seen = Signal(DESCRIPTOR_SQUARES_BITS, reset_less=True)
        seen_bits = Signal(range(DESCRIPTOR_SQUARES_BITS + 1), reset_less=True)
        m.d.comb += read.eq(Mux(reads_best, best.as_value(), squares.as_value()))
        m.d.sync += seen_bits.eq(length_of(seen))
        # 15 more than the largest element has bits: then its upper 16 are left.
        own_amount = Mux(squares_it, seen_bits + (DESCRIPTOR_FRACTION - 1), self.amount)
        own_y = Mux(squares_it, multiply.shifted[:DESCRIPTOR_FRACTION], self.reciprocal)
        place(m, "multiply", multiply)
        m.d.comb += [
            multiply.x.eq(Mux(self.busy, read.magnitude, self.x)),
            multiply.amount.eq(Mux(self.busy, own_amount, self.x_amount)),
            multiply.y.eq(Mux(self.busy, own_y, self.y)),
            self.shifted.eq(multiply.shifted),
            self.product.eq(multiply.product),
        ]
        isqrt = Isqrt(DESCRIPTOR_SQUARES_BITS)
        place(m, "isqrt", isqrt)
        m.d.comb += [isqrt.square.eq(multiply.product >> DESCRIPTOR_FRACTION), root.eq(isqrt.root)]
        square_sign = delayed(m, read.sign, MULTIPLIED - 1, "sign", reset_less=True)
        root_sign = (
            delayed(m, square_sign, DESCRIPTOR_ROOT_LATENCY, "root_sign", reset_less=True) & root.any()
        )

        # --- what is written -----------------------------------------------------------------------------
        new = Signal(NUMBER)
        greater = (new.magnitude > best.magnitude) ^ new.sign
        replaces = Mux(new.sign ^ best.sign, best.sign, greater)
        m.d.comb += [
            new.magnitude.eq(Mux(copies, sums.magnitude, root)),
            new.sign.eq(~copies & root_sign),
            written_best.eq(Mux(self.fresh | replaces, new.as_value(), best.as_value())),
            written_sum.sign.eq(~accumulates & root_sign),
            written_sum.magnitude.eq(
                root + Mux(accumulates & ~self.fresh, sums.magnitude, 0)
            ),
            written_square.eq(
                Mux(self.row_valid, self.row.as_value(),
                    Mux(self.square_valid, self.square, Cat(self.value, square_sign)))
            ),
            self.value.eq(multiply.product),
            self.add.eq(write & squares_it),
        ]  # fmt: skip
        with m.If(self.row_valid):
            m.d.sync += seen.eq(seen | self.row.magnitude)
        with m.If(write & to_best):
            m.d.sync += seen.eq(seen | written_best.magnitude)
        with m.If(self.unseen | (self.start & ((mode == Pass.COPY) | (mode == Pass.TURN)))):
            m.d.sync += seen.eq(0)
        return m

    def _memory(
        self, m: Module, name: str, *, read: Value, read_index: Value, write: Value, write_index: Value,
        written: data.View,
    ) -> data.View:  # fmt: skip
        word = Signal(NUMBER, name=f"{name}_word")
        ram_1r1w(
            m,
            name,
            width=NUMBER.size,
            depth=self.descriptor.channels,
            ren=read,
            raddr=read_index,
            rdata=word.as_value(),
            wen=write,
            waddr=write_index,
            wdata=written.as_value(),
        )
        return word
