"""The descriptor unit's output: a vector as bytes, as bits or as it is."""

from amaranth.hdl import Module, Mux, Signal, signed
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
_SEND = 5


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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        busy = Signal()
        step = Signal(range(_SEND + 1))
        index = Signal.like(self.read_index)
        held = Signal(DESCRIPTOR_WORD_BITS, reset_less=True)
        part = Signal(2)  # byte of a sum
        above = Signal(DESCRIPTOR_RECIPROCAL_BITS, reset_less=True)
        value = Signal(signed(DESCRIPTOR_FRACTION + 1))
        ends = index == self.last_index
        bits, sums = self.kind == DESCRIPTOR_OUTPUT_BITS, self.kind == DESCRIPTOR_OUTPUT_SUMS

        unsigned = self.element.magnitude[:DESCRIPTOR_FRACTION]
        m.d.comb += [
            value.eq(Mux(self.element.sign, -unsigned, unsigned)),
            self.read.eq(busy & (step == 0)),
            self.read_index.eq(index),
            self.rom_en.eq(self.read & bits),
            self.y.eq(above),
            self.tdata.eq(held[:BYTE]),
            self.done.eq(self.tvalid & self.tready & self.tlast),
        ]
        last_part = ~sums | (part == DESCRIPTOR_WORD_BITS // BYTE - 1)
        with m.If(busy):
            m.d.sync += step.eq(step + 1)
            with m.If(step == 1):
                with m.Switch(self.kind):
                    with m.Case(DESCRIPTOR_OUTPUT_BYTES):
                        difference = Signal(signed(LOW_BITS + 1))
                        m.d.comb += difference.eq(value - self.low)
                        m.d.sync += above.eq(Mux(difference < 0, 0, difference))
                    with m.Case(DESCRIPTOR_OUTPUT_BITS):
                        one = value > self.rom_data.as_signed()
                        m.d.sync += [
                            held.eq(Mux(index[:3] == 0, 0, held) | (one << index[:3])),
                            step.eq(Mux(ends | (index[:3] == BYTE - 1), _SEND, 0)),
                            self.tvalid.eq(ends | (index[:3] == BYTE - 1)),
                            self.tlast.eq(ends),
                        ]
                        with m.If(~ends & (index[:3] != BYTE - 1)):
                            m.d.sync += index.eq(index + 1)
                    with m.Default():
                        m.d.sync += [held.eq(self.element.magnitude), step.eq(_SEND), self.tvalid.eq(1)]
            with m.If(step == _SEND - 1):
                code = self.product >> DESCRIPTOR_GAIN_SHIFT
                m.d.sync += [
                    held.eq(Mux(code[BYTE:].any(), (1 << BYTE) - 1, code[:BYTE])),
                    self.tvalid.eq(1),
                    self.tlast.eq(ends),
                ]
            with m.If(step == _SEND):
                m.d.sync += step.eq(_SEND)
                with m.If(self.tready):
                    m.d.sync += [
                        held.eq(held >> BYTE),
                        part.eq(part + sums),
                        self.tlast.eq(ends & (part == DESCRIPTOR_WORD_BITS // BYTE - 2)),
                    ]
                    with m.If(last_part):
                        m.d.sync += [self.tvalid.eq(0), self.tlast.eq(0), step.eq(0), index.eq(index + 1)]
        with m.If(self.done):
            m.d.sync += busy.eq(0)
        with m.If(self.go):
            m.d.sync += [busy.eq(1), step.eq(0), index.eq(0), part.eq(0), self.tlast.eq(0)]
        return m
