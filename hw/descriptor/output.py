"""The descriptor unit's output: a vector as bytes, as bits or as it is."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
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


class DescriptorOutput(wiring.Component):
    """One element after the other, at its leisure:

        0   it is read, and its threshold
        1   less ``low``; or compared with the threshold
        2   times the gain
        4   the code
        5   a byte waits until it is taken; of sums four in a row

    So a byte takes 6 cycles, 8 bits 20, a sum 5, if the stream never waits.

    Members
    -------
    go : In(1), done : Out(1)     done with the transfer of the last byte
    kind : In(2)                  DESCRIPTOR_OUTPUT_*; must stay, as what follows
    last_index : In, low : In(signed 18), gain : In(32)
    read, read_index : Out, element : In(NUMBER)    normalised, or (sums) positive
    rom_en : Out, rom_data : In   the thresholds, one after the other
    y : Out, product : In         gain * y, 3 cycles later
    tdata, tlast, tvalid : Out, tready : In
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
        with m.FSM(name="state"):
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

    def _take(self, m: Module) -> None:
        """The element arrives: less ``low`` it is multiplied, or it is compared, or sent as it is."""
        value = Signal(signed(DESCRIPTOR_FRACTION + 1))
        difference = Signal(signed(LOW_BITS + 1))
        unsigned = self.element.magnitude[:DESCRIPTOR_FRACTION]
        m.d.comb += [
            value.eq(Mux(self.element.sign, -unsigned, unsigned)),
            difference.eq(value - self.low),
        ]
        with m.Switch(self.kind):
            with m.Case(DESCRIPTOR_OUTPUT_BYTES):
                m.d.sync += self._above.eq(Mux(difference < 0, 0, difference))
                m.next = "MULTIPLY"
            with m.Case(DESCRIPTOR_OUTPUT_BITS):
                place = self._index[: (BYTE - 1).bit_length()]
                one = value > self.rom_data.as_signed()
                m.d.sync += self._held.eq(Mux(place == 0, 0, self._held) | (one << place))
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
