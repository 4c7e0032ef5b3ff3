"""Finds frames in the bytes of a serial line, and checks them."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.chip.crc import CRC_BITS, FINAL, INITIAL, crc_next, crc_step
from kestrel.hw.spec.link import CRC_BYTES, ESCAPE, FLAG, FLIP, FRAME_MAX
from kestrel.hw.spec.widths import BYTE, bits_for

COUNT_BITS = bits_for(FRAME_MAX + 1)

GOOD = crc_step(0xFFFFFFFF, 0xFFFFFFFF ^ FINAL, CRC_BITS)
"""The register after a frame and its CRC, whatever the frame: what a right CRC leaves, which is the register
before it, exclusive-or itself and FINAL, shifted through."""


class FrameReceiver(wiring.Component):
    """Bytes of a frame, without flags and escapes, as they come; whether they were right is known at its end.

    A flag ends a frame in every state and begins the next, so a line that was disturbed, or a host that died
    in the middle, costs the frame it was in. Nothing here waits for anything.

    Members
    -------
    i_data : In(8)      A byte of the line, with ``i_valid``.
    i_valid : In(1)
    i_broken : In(1)    One cycle instead of it: something came that was no byte.
    data : Out(8)       A byte of the frame, with ``valid``, two cycles after ``i_valid``.
    index : Out         Its number in the frame; FRAME_MAX for every byte from there on.
    valid : Out(1)
    good : Out(1)       One cycle: a frame has ended, of at most FRAME_MAX bytes and with the right CRC.
    count : Out         Its bytes, those of the CRC among them; valid with ``good``.
    begins : Out(1)     One cycle: a flag, so what came before will not be ``good`` any more.
    """

    def __init__(self) -> None:
        super().__init__({
            "i_data": In(BYTE), "i_valid": In(1), "i_broken": In(1),
            "data": Out(BYTE), "index": Out(COUNT_BITS), "valid": Out(1),
            "good": Out(1), "count": Out(COUNT_BITS), "begins": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spoilt = Signal(init=1)  # until the first flag, and after something that was no byte
        escape = Signal()
        count = Signal(COUNT_BITS)
        crc = Signal(CRC_BITS, init=INITIAL)
        m.d.comb += self.count.eq(count)
        m.d.sync += [self.valid.eq(0), self.good.eq(0), self.begins.eq(0)]
        with m.If(self.i_broken):
            m.d.sync += spoilt.eq(1)
        with m.If(self.begins):
            m.d.sync += [spoilt.eq(0), escape.eq(0), count.eq(0), crc.eq(INITIAL)]
        with m.If(self.i_valid):
            with m.If(self.i_data == FLAG):
                right = ~spoilt & ~escape & (count > CRC_BYTES) & (count <= FRAME_MAX) & (crc == GOOD)
                m.d.sync += [self.good.eq(right), self.begins.eq(1)]
            with m.Elif((self.i_data == ESCAPE) & ~escape):
                m.d.sync += escape.eq(1)
            with m.Else():
                m.d.sync += [self.valid.eq(~spoilt), self.index.eq(count), escape.eq(0)]
                m.d.sync += self.data.eq(self.i_data ^ (escape.replicate(BYTE) & FLIP))
                with m.If(count <= FRAME_MAX):
                    m.d.sync += count.eq(count + 1)
        with m.If(self.valid):
            m.d.sync += crc.eq(crc_next(crc, self.data))
        return m
