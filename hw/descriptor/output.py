"""The descriptor unit's output: a vector as bytes, as bits, or as it is."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.descriptor.multiply import PRODUCT_BITS
from kestrel.hw.descriptor.vectors import NUMBER
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_FRACTION,
    DESCRIPTOR_GAIN_SHIFT,
    DESCRIPTOR_OUTPUT_BITS,
    DESCRIPTOR_OUTPUT_BYTES,
    DESCRIPTOR_OUTPUT_SUMS,
    DESCRIPTOR_RECIPROCAL_BITS,
    DESCRIPTOR_WORD_BITS,
    DescriptorConfig,
)
from kestrel.hw.spec.widths import BYTE, bits_for

LOW_BITS = DESCRIPTOR_FRACTION + 2
"""Signed width of ``low``, which may lie beyond every element."""


class DescriptorOutput(wiring.Component):
    """Sends one element after the other; from the cycle in which an element is read:

        0   READ       the element is read, and its threshold
        1   TAKE       less ``low`` it is held; or it is compared with its threshold; or it is held as it is
        2   MULTIPLY   times the gain
        4   CODE       the code arrives
        5   SEND       a byte waits until it is taken; of a sum four, one after the other

    So a byte takes 6 cycles, 8 bits 20, a sum 5, if the stream never waits.

    Members
    -------
    go : In(1)                    Begins to send a vector.
    done : Out(1)                 High with the transfer of the last byte.
    kind : In(2)                  What is sent: DESCRIPTOR_OUTPUT_BYTES, _BITS or _SUMS; must stay until
                                  ``done``.
    last_index : In               Number of the vector's last element; must stay until ``done``.
    low : In(signed(18))          The element that gives the code 0; must stay until ``done``.
    read : Out(1)                 Reads an element of the vector.
    read_index : Out              Its number.
    element : In(NUMBER)          The element, one cycle later: normalised, or (sums) positive.
    rom_en : Out(1)               Reads the next threshold.
    rom_data : In(32)             The threshold, one cycle after ``rom_en``.
    y : Out(17)                   The element less ``low``, to be multiplied by the gain.
    product : In(49)              Their product, two cycles after ``y``.
    tdata : Out(8)                The byte that is sent.
    tlast : Out(1)                It is the last one.
    tvalid : Out(1)               The byte is offered; it stays until it is taken.
    tready : In(1)                The byte is taken.
    """

    def __init__(self, descriptor: DescriptorConfig) -> None:
        index = bits_for(descriptor.channels - 1)
        super().__init__(
            {
                "go": In(1),
                "done": Out(1),
                "kind": In(2),
                "last_index": In(index),
                "low": In(signed(LOW_BITS)),
                "read": Out(1),
                "read_index": Out(index),
                "element": In(NUMBER),
                "rom_en": Out(1),
                "rom_data": In(DESCRIPTOR_WORD_BITS),
                "y": Out(DESCRIPTOR_RECIPROCAL_BITS),
                "product": In(PRODUCT_BITS),
                "tdata": Out(BYTE),
                "tlast": Out(1),
                "tvalid": Out(1),
                "tready": In(1),
            }
        )
        self._index = Signal(index, name="index")
        self._sum = Signal(signed(DESCRIPTOR_WORD_BITS + 1), name="sum")
        self._above = Signal(DESCRIPTOR_RECIPROCAL_BITS, name="above", reset_less=True)  # less ``low``
        self._held = Signal(DESCRIPTOR_WORD_BITS, name="held", reset_less=True)  # to be sent, next byte low
        self._part = Signal(2, name="part")  # byte of a sum
        self._ends = Signal(name="ends")  # the element is the last one

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.read_index.eq(self._index),
            self._ends.eq(self._index == self.last_index),
            self.y.eq(self._above),
            self.tdata.eq(self._held[:BYTE]),
            self.done.eq(self.tvalid & self.tready & self.tlast),
        ]
        self._add(m)
        with m.FSM():
            with m.State("REST"), m.If(self.go):
                m.d.sync += [self._index.eq(0), self._part.eq(0)]
                m.next = "READ"
            with m.State("READ"):
                m.d.comb += [self.read.eq(1), self.rom_en.eq(self.kind == DESCRIPTOR_OUTPUT_BITS)]
                m.next = "TAKE"
            with m.State("TAKE"):
                self._take(m)
            with m.State("MULTIPLY"):
                m.next = "WAIT"
            with m.State("WAIT"):
                m.next = "CODE"
            with m.State("CODE"):
                code = self.product >> DESCRIPTOR_GAIN_SHIFT
                m.d.sync += self._held.eq(Mux(code[BYTE:].any(), (1 << BYTE) - 1, code[:BYTE]))
                self._offer(m, last=self._ends)
            with m.State("SEND"), m.If(self.tready):
                self._after_byte(m)
        return m

    def _add(self, m: Module) -> None:
        """One addition makes both what is multiplied and what is compared, as the element comes late from its
        memory: its value and -low, or its value and -threshold - 1, which is negative unless the value is
        above the threshold. Of a negative element the inverted magnitude is added, and the 1 that this lacks
        as a carry from a lower place.
        """
        sign = self.element.sign
        magnitude = self.element.magnitude[:DESCRIPTOR_FRACTION]
        value = Cat(sign, magnitude ^ sign.replicate(DESCRIPTOR_FRACTION), sign).as_signed()
        minus = Mux(self.kind == DESCRIPTOR_OUTPUT_BITS, ~self.rom_data.as_signed(), -self.low)
        total = Signal(signed(DESCRIPTOR_WORD_BITS + 2))
        m.d.comb += [total.eq(value + Cat(sign, minus).as_signed()), self._sum.eq(total >> 1)]

    def _take(self, m: Module) -> None:
        """The element arrives: less ``low`` it is multiplied, or it is compared, or sent as it is."""
        with m.Switch(self.kind):
            with m.Case(DESCRIPTOR_OUTPUT_BYTES):
                m.d.sync += self._above.eq(Mux(self._sum[-1], 0, self._sum))
                m.next = "MULTIPLY"
            with m.Case(DESCRIPTOR_OUTPUT_BITS):
                place = self._index[: (BYTE - 1).bit_length()]
                with m.If(place == 0):
                    m.d.sync += self._held.eq(0)
                m.d.sync += self._held.bit_select(place, 1).eq(~self._sum[-1])
                with m.If(self._ends | (place == BYTE - 1)):
                    self._offer(m, last=self._ends)
                with m.Else():
                    m.d.sync += self._index.eq(self._index + 1)
                    m.next = "READ"
            with m.Default():
                m.d.sync += self._held.eq(self.element.magnitude)
                self._offer(m, last=0)

    def _offer(self, m: Module, *, last: Value | int) -> None:
        """Offer a byte from the next cycle on."""
        m.d.sync += [self.tvalid.eq(1), self.tlast.eq(last)]
        m.next = "SEND"

    def _after_byte(self, m: Module) -> None:
        """A byte was taken: the next byte of the sum, the next element, or the end."""
        sums = self.kind == DESCRIPTOR_OUTPUT_SUMS
        before_last = self._part == DESCRIPTOR_WORD_BITS // BYTE - 2
        m.d.sync += [
            self._held.eq(self._held >> BYTE),
            self._part.eq(self._part + sums),
            self.tlast.eq(self._ends & before_last),
        ]
        with m.If(~sums | (self._part == DESCRIPTOR_WORD_BITS // BYTE - 1)):
            m.d.sync += [self.tvalid.eq(0), self.tlast.eq(0), self._index.eq(self._index + 1)]
            m.next = "READ"
            with m.If(self.tlast):
                m.next = "REST"
