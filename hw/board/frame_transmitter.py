"""Makes frames of packets of bytes: flags round them, the CRC behind them, what must not occur escaped."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.chip.crc import CRC_BITS, FINAL, INITIAL, crc_next
from kestrel.hw.spec.link import CRC_BYTES, ESCAPE, FLAG, FLIP
from kestrel.hw.spec.widths import BYTE, bits_for


class FrameTransmitter(wiring.Component):
    """Members
    -------
    i_* : In    A packet's bytes, AXI4-Stream; it has at least one.
    o_* : Out   Bytes for the line, AXI4-Stream without TLAST. They depend on the packet's byte of this cycle.
    """

    def __init__(self) -> None:
        super().__init__({
            "i_tdata": In(BYTE), "i_tlast": In(1), "i_tvalid": In(1), "i_tready": Out(1),
            "o_tdata": Out(BYTE), "o_tvalid": Out(1), "o_tready": In(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        crc = Signal(CRC_BITS, init=INITIAL)
        left = Signal(bits_for(CRC_BYTES))  # bytes of the CRC
        flipped = Signal()  # the escape has been sent
        byte = Signal(BYTE)  # what is to be sent, before escaping
        special = Signal()
        m.d.comb += [
            special.eq(((byte == FLAG) | (byte == ESCAPE)) & ~flipped),
            self.o_tdata.eq(Mux(special, ESCAPE, byte ^ Mux(flipped, FLIP, 0))),
        ]
        sent = Signal()  # the byte itself is taken in this cycle, not its escape
        taken = self.o_tvalid & self.o_tready
        m.d.comb += sent.eq(taken & ~special)
        with m.FSM():
            with m.State("OPEN"):
                m.d.comb += [self.o_tdata.eq(FLAG), self.o_tvalid.eq(self.i_tvalid)]
                with m.If(taken):
                    m.d.sync += [crc.eq(INITIAL), flipped.eq(0)]
                    m.next = "BODY"
            with m.State("BODY"):
                m.d.comb += [byte.eq(self.i_tdata), self.o_tvalid.eq(self.i_tvalid), self.i_tready.eq(sent)]
                with m.If(taken):
                    m.d.sync += flipped.eq(special)
                with m.If(sent):
                    m.d.sync += [crc.eq(crc_next(crc, self.i_tdata)), left.eq(CRC_BYTES - 1)]
                    with m.If(self.i_tlast):
                        m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [byte.eq(crc[:BYTE] ^ FINAL & 0xFF), self.o_tvalid.eq(1)]
                with m.If(taken):
                    m.d.sync += flipped.eq(special)
                with m.If(sent):
                    m.d.sync += [crc.eq(crc >> BYTE), left.eq(left - 1)]
                    with m.If(left == 0):
                        m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += [self.o_tdata.eq(FLAG), self.o_tvalid.eq(1)]
                with m.If(taken):
                    m.next = "OPEN"
        return m
