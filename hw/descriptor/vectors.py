"""The descriptor unit's vectors, and the arithmetic of the passes over them."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.isqrt import Isqrt
from kestrel.hw.common.memories import ram_1r1w
from kestrel.hw.common.place import delayed, place
from kestrel.hw.descriptor.multiply import AMOUNT_BITS, PRODUCT_BITS, DescriptorMultiply, length_of
from kestrel.hw.descriptor.passes import PASS_KINDS, Pass
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_FRACTION,
    DESCRIPTOR_RECIPROCAL_BITS,
    DESCRIPTOR_ROOT_LATENCY,
    DESCRIPTOR_SQUARES_BITS,
    DescriptorConfig,
)
from kestrel.hw.spec.widths import bits_for

NUMBER = data.StructLayout({"magnitude": DESCRIPTOR_SQUARES_BITS, "sign": 1})
"""An element of a vector: magnitude and sign; zero is positive."""

MULTIPLIED = 4
"""Cycles from an element's read to its product, the memory's one included."""

ROOTED = MULTIPLIED + DESCRIPTOR_ROOT_LATENCY
"""Cycles from an element's read to the root of its product."""


class DescriptorVectors(wiring.Component):
    """Holds three vectors in memories, ``squares``, ``sums`` and ``best``, and the multiplier and the root
    that every pass (``Pass``) uses.

    From the cycle t in which ``start`` is high element i is read in t + 1 + i, its product is there in
    t + 5 + i, its root in t + 13 + i; it is written as soon as that is there (COPY: in t + 2 + i). ``done``
    is high with the last write. ``mode``, ``fresh``, ``last_index``, ``amount`` and ``reciprocal`` must stay
    until then.

    A unit for several maps of a frame has ``sums`` and ``best`` for each of them.

    Members
    -------
    map : In                      Which map's ``sums`` and ``best``; must stay until ``done``, and while
                                  elements are read. In a unit for several maps only.
    start : In(1)                 Begins a pass.
    mode : In(Pass)               Which pass.
    fresh : In(1)                 The vector that is written begins anew: what it held does not count.
    last_index : In               Number of the vectors' last element.
    busy : Out(1)                 A pass runs.
    done : Out(1)                 High with the pass's last write.
    amount : In(6)                p of the total (DescriptorReciprocal).
    reciprocal : In(17)           R of the total.
    rewind : In(1)                The next square goes to element 0 of ``squares``.
    square_valid : In(1)          Writes ``square`` to the next element of ``squares``; not while a pass
                                  runs.
    square : In(32)               The square.
    unseen : In(1)                Rows follow: forgets how large the elements were that will be squared.
    row_valid : In(1)             Writes ``row`` to an element of ``squares``; not while a pass runs.
    row_index : In                The element's number.
    row : In(NUMBER)              The row.
    add : Out(1)                  A pass that squares has a new square, to be added to the total.
    value : Out(32)               That square.
    read : In(1)                  Reads an element of ``sums`` or ``best`` for the parent; not while a pass
                                  runs.
    read_best : In(1)             With ``read``: of ``best``.
    read_index : In               The element's number.
    element : Out(NUMBER)         The element, one cycle after ``read``.
    x : In(32)                    Multiplied for the parent while no pass runs (DescriptorMultiply).
    x_amount : In(6)              ``amount`` of the multiplier, with ``x``.
    y : In(17)                    The factor, one cycle after ``x``.
    shifted : Out(32)             The shifted x, one cycle after ``x``.
    product : Out(49)             The product, three cycles after ``x``.
    """

    def __init__(self, descriptor: DescriptorConfig) -> None:
        self.descriptor = descriptor
        index = bits_for(descriptor.channels - 1)
        super().__init__(
            ({"map": In(range(descriptor.maps))} if descriptor.maps > 1 else {})
            | {
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
        # Of the running pass: see PassKind.
        self._copies = Signal(name="copies", reset_less=True)
        self._squares_it = Signal(name="squares_it", reset_less=True)
        self._to_best = Signal(name="to_best", reset_less=True)
        self._to_sums = Signal(name="to_sums", reset_less=True)
        self._reads_best = Signal(name="reads_best", reset_less=True)
        self._accumulates = Signal(name="accumulates", reset_less=True)
        # Its progress: element ``index`` is read in stage 0, element ``write_index`` is written.
        self._index = Signal(index, name="index")
        self._near_index = Signal(index, name="near_index")  # of ``near``, and of the next square that comes
        self._stages = [Signal(name=f"stage_{n}") for n in range(ROOTED)]
        self._near = Signal(name="near")  # the element is written in the next cycle
        self._write = Signal(name="write")
        self._write_index = Signal(index, name="write_index", reset_less=True)
        # What is written to each memory.
        self._written_square = Signal(NUMBER, name="written_square")
        self._written_sum = Signal(NUMBER, name="written_sum")
        self._written_best = Signal(NUMBER, name="written_best")
        self._seen = Signal(DESCRIPTOR_SQUARES_BITS, name="seen", reset_less=True)  # any bit of any element

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._choose_kind(m)
        self._count(m)
        multiply = DescriptorMultiply()
        isqrt = Isqrt(DESCRIPTOR_SQUARES_BITS)
        squares = self._squares_memory(m)
        sums = self._sums_memory(m)
        best = self._best_memory(m)
        self._show_element(m, sums, best)
        read = Signal(NUMBER)  # in stage 1
        m.d.comb += read.eq(Mux(self._reads_best, best.as_value(), squares.as_value()))
        self._multiply(m, multiply, read)
        place(m, "isqrt", isqrt)
        m.d.comb += isqrt.square.eq(multiply.product >> DESCRIPTOR_FRACTION)
        self._write_back(m, isqrt.root, multiply.product, read.sign, sums, best)
        self._see(m)
        return m

    def _choose_kind(self, m: Module) -> None:
        """Take the kind of the pass that starts."""
        with m.If(self.start), m.Switch(self.mode):
            for mode, kind in PASS_KINDS.items():
                with m.Case(mode):
                    m.d.sync += [
                        self._copies.eq(kind.copies),
                        self._squares_it.eq(kind.squares_it),
                        self._to_best.eq(kind.to_best),
                        self._to_sums.eq(kind.to_sums),
                        self._reads_best.eq(kind.reads_best),
                        self._accumulates.eq(kind.accumulates),
                    ]

    def _count(self, m: Module) -> None:
        """The progress of a pass from its first read to its last write."""
        index, stages = self._index, self._stages
        written_from = Mux(self._squares_it, stages[MULTIPLIED - 1], stages[-1])
        m.d.comb += [
            self._near.eq(Mux(self._copies, stages[0], written_from) & self.busy),
            self.done.eq(self._write & (self._write_index == self.last_index)),
        ]
        m.d.sync += [
            *(later.eq(stage) for stage, later in pairwise(stages)),
            self._write.eq(self._near),
            self._write_index.eq(self._near_index),
        ]
        with m.If(stages[0]):
            m.d.sync += [index.eq(index + 1), stages[0].eq(index != self.last_index)]
        with m.If(self._near | self.square_valid):
            m.d.sync += self._near_index.eq(self._near_index + 1)
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)
        with m.If(self.start):
            # What a short pass leaves in the later stages is no element of the next one.
            m.d.sync += [stage.eq(0) for stage in stages[1:]]
            m.d.sync += [self.busy.eq(1), stages[0].eq(1), index.eq(0), self._near_index.eq(0)]
        with m.If(self.rewind):
            m.d.sync += self._near_index.eq(0)

    # --- the memories ------------------------------------------------------------------------------------

    def _squares_memory(self, m: Module) -> data.View:
        """``squares``: read by passes; written by sums of squares, whitening, and passes that square."""
        own_index = Mux(self.square_valid, self._near_index, self._write_index)
        return self._memory(
            m, "squares",
            read=self._stages[0] & self.busy, read_index=self._index,
            write=self.square_valid | self.row_valid | (self._write & self._squares_it),
            write_index=Mux(self.row_valid, self.row_index, own_index),
            written=self._written_square,
        )  # fmt: skip

    def _sums_memory(self, m: Module) -> data.View:
        """``sums``: read just before the element is written, or from outside."""
        return self._memory(
            m, "sums",
            read=Mux(self.busy, self._near & (self._accumulates | self._copies),
                     self.read & ~self.read_best),
            read_index=self._of_map(Mux(self.busy, self._near_index, self.read_index)),
            write=self._write & self._to_sums, write_index=self._of_map(self._write_index),
            written=self._written_sum, vectors=self.descriptor.maps,
        )  # fmt: skip

    def _best_memory(self, m: Module) -> data.View:
        """``best``: read as an operand, or just before the element is written, or from outside."""
        reads, near = self._reads_best, self._near & self._to_best
        return self._memory(
            m, "best",
            read=Mux(self.busy, Mux(reads, self._stages[0], near), self.read & self.read_best),
            read_index=self._of_map(
                Mux(self.busy, Mux(reads, self._index, self._near_index), self.read_index)
            ),
            write=self._write & self._to_best, write_index=self._of_map(self._write_index),
            written=self._written_best, vectors=self.descriptor.maps,
        )  # fmt: skip

    def _of_map(self, index: Value) -> Value:
        """Where an element of the map's vector lies in a memory that holds one for each map."""
        return index if self.descriptor.maps == 1 else Cat(index, self.map)

    def _memory(
        self, m: Module, name: str, *, read: Value, read_index: Value, write: Value, write_index: Value,
        written: data.View, vectors: int = 1,
    ) -> data.View:  # fmt: skip
        """The memory of a vector, or of ``vectors`` of them; the word that was read comes one cycle later."""
        word = Signal(NUMBER, name=f"{name}_word")
        ram_1r1w(
            m,
            name,
            width=NUMBER.size,
            depth=vectors * self.descriptor.channels,
            ren=read,
            raddr=read_index,
            rdata=word.as_value(),
            wen=write,
            waddr=write_index,
            wdata=written.as_value(),
        )
        return word

    def _show_element(self, m: Module, sums: data.View, best: data.View) -> None:
        """The element that was read from outside."""
        was_best = Signal(reset_less=True)
        with m.If(self.read):
            m.d.sync += was_best.eq(self.read_best)
        m.d.comb += self.element.eq(Mux(was_best, best.as_value(), sums.as_value()))

    # --- the arithmetic ----------------------------------------------------------------------------------

    def _multiply(self, m: Module, multiply: DescriptorMultiply, read: data.View) -> None:
        """The multiplier: by the reciprocal, by the element itself, or for others while no pass runs."""
        seen_bits = Signal(range(DESCRIPTOR_SQUARES_BITS + 1), reset_less=True)
        m.d.sync += seen_bits.eq(length_of(self._seen))
        # 15 more than the largest element has bits: then its upper 16 are left.
        own_amount = Mux(self._squares_it, seen_bits + (DESCRIPTOR_FRACTION - 1), self.amount)
        own_y = Mux(self._squares_it, multiply.shifted[:DESCRIPTOR_FRACTION], self.reciprocal)
        place(m, "multiply", multiply)
        m.d.comb += [
            multiply.x.eq(Mux(self.busy, read.magnitude, self.x)),
            multiply.amount.eq(Mux(self.busy, own_amount, self.x_amount)),
            multiply.y.eq(Mux(self.busy, own_y, self.y)),
            self.shifted.eq(multiply.shifted),
            self.product.eq(multiply.product),
        ]

    def _write_back(
        self, m: Module, root: Value, product: Value, sign: Value, sums: data.View, best: data.View
    ) -> None:
        """What is written to the memories; ``sign`` is that of the element in stage 1."""
        square_sign = delayed(m, sign, MULTIPLIED - 1, "sign", reset_less=True)
        root_sign = delayed(m, square_sign, DESCRIPTOR_ROOT_LATENCY, "root_sign", reset_less=True)
        root_sign = root_sign & root.any()
        new = Signal(NUMBER)
        greater = (new.magnitude > best.magnitude) ^ new.sign
        replaces = Mux(new.sign ^ best.sign, best.sign, greater)
        added_to = Mux(self._accumulates & ~self.fresh, sums.magnitude, 0)
        own_square = Mux(self.square_valid, self.square, Cat(self.value, square_sign))
        m.d.comb += [
            new.magnitude.eq(Mux(self._copies, sums.magnitude, root)),
            new.sign.eq(~self._copies & root_sign),
            self._written_best.eq(Mux(self.fresh | replaces, new.as_value(), best.as_value())),
            self._written_sum.sign.eq(~self._accumulates & root_sign),
            self._written_sum.magnitude.eq(root + added_to),
            self._written_square.eq(Mux(self.row_valid, self.row.as_value(), own_square)),
            self.value.eq(product),
            self.add.eq(self._write & self._squares_it),
        ]

    def _see(self, m: Module) -> None:
        """Remember how large the elements that will be squared are: every bit that any of them has."""
        with m.If(self.row_valid):
            m.d.sync += self._seen.eq(self._seen | self.row.magnitude)
        with m.If(self._write & self._to_best):
            m.d.sync += self._seen.eq(self._seen | self._written_best.magnitude)
        begins = self.start & ((self.mode == Pass.COPY) | (self.mode == Pass.TURN))
        with m.If(self.unseen | begins):
            m.d.sync += self._seen.eq(0)
