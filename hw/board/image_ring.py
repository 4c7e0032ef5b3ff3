"""The image on its way from the line to the chip: a ring that a frame is written to before it is known to be
right."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.board.frame_receiver import COUNT_BITS
from kestrel.hw.common.memories import ram_1r1w
from kestrel.hw.spec.link import HEADER_BYTES, OFFSET_BITS, RING_BYTES
from kestrel.hw.spec.widths import BYTE, bits_for

_ADDRESS_BITS = bits_for(RING_BYTES - 1)


class ImageRing(wiring.Component):
    """Every frame's payload, whatever its kind, is written behind what was accepted; if the frame turns out
    to be a right one with the next bytes of an image, it is accepted, otherwise the next one writes over it.

    Members
    -------
    data, index, valid : In   A byte of a frame and its number, as ``FrameReceiver`` gives them.
    begins : In(1)            A frame begins after this cycle.
    offer : In(1)             One cycle, which may be that of ``begins``: the frame that has come in is an
                              image's, its first byte number ``where`` of ``bytes``, the last of which ends
                              the image if ``ends``.
    accepted : Out(16)        The number of the next byte of the image.
    room : Out                Bytes that find room behind it; 0 while an image's end is on its way.
    o_* : Out                 The image, AXI4-Stream, a byte in two cycles at most.
    """

    def __init__(self) -> None:
        super().__init__({
            "data": In(BYTE), "index": In(COUNT_BITS), "valid": In(1), "begins": In(1),
            "offer": In(1), "where": In(OFFSET_BITS), "bytes": In(COUNT_BITS), "ends": In(1),
            "accepted": Out(OFFSET_BITS), "room": Out(bits_for(RING_BYTES)),
            "o_tdata": Out(BYTE), "o_tlast": Out(1), "o_tvalid": Out(1), "o_tready": In(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        accepted, consumed = self.accepted, Signal(OFFSET_BITS)
        free = Signal(bits_for(RING_BYTES))
        ending = Signal()  # the last byte accepted ends an image
        m.d.comb += free.eq(RING_BYTES - (accepted - consumed)[:OFFSET_BITS])
        with m.If(~ending):
            m.d.comb += self.room.eq(free)

        written = Signal(COUNT_BITS)  # bytes of this frame's payload, without a gap
        write, address = Signal(), Signal(_ADDRESS_BITS)
        m.d.comb += [
            write.eq(self.valid & (self.index == written + HEADER_BYTES) & (written < self.room)),
            address.eq(accepted + written),
        ]
        with m.If(write):
            m.d.sync += written.eq(written + 1)
        with m.If(self.begins):
            m.d.sync += written.eq(0)
        fits = (self.bytes != 0) & (self.bytes <= written) & (self.where == accepted)
        with m.If(self.offer & fits & ~ending):
            m.d.sync += [accepted.eq(accepted + self.bytes), ending.eq(self.ends)]

        read, byte = Signal(), Signal(BYTE)
        m.d.comb += [
            read.eq(~self.o_tvalid & (accepted != consumed)),
            self.o_tdata.eq(byte),
            self.o_tlast.eq(ending & (accepted == (consumed + 1)[:OFFSET_BITS])),
        ]
        with m.If(read):
            m.d.sync += self.o_tvalid.eq(1)
        with m.If(self.o_tvalid & self.o_tready):
            m.d.sync += [self.o_tvalid.eq(0), consumed.eq(consumed + 1)]
            with m.If(self.o_tlast):
                m.d.sync += ending.eq(0)
        ram_1r1w(
            m, "bytes_held", width=BYTE, depth=RING_BYTES, ren=read, raddr=consumed[:_ADDRESS_BITS],
            rdata=byte, wen=write, waddr=address, wdata=self.data,
        )  # fmt: skip
        return m
