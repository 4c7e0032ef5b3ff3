"""Byte packer: a stream of bytes becomes one of words, the first byte lowest."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.widths import BYTE, bits_for


class BytePacker(wiring.Component):
    """Only a packet's last word may have fewer bytes than ``word_lanes``; TKEEP marks them, others are 0.

    Members
    -------
    i_* : bytes in, o_* : words out, AXI4-Stream
    """

    def __init__(self, config: EngineConfig) -> None:
        self.lanes = config.word_lanes
        super().__init__(
            {
                "i_tdata": In(BYTE),
                "i_tlast": In(1),
                "i_tvalid": In(1),
                "i_tready": Out(1),
                "o_tdata": Out(BYTE * self.lanes),
                "o_tkeep": Out(self.lanes),
                "o_tlast": Out(1),
                "o_tvalid": Out(1),
                "o_tready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lane = Signal(bits_for(self.lanes - 1))
        m.d.comb += self.i_tready.eq(~self.o_tvalid)
        with m.If(self.o_tvalid & self.o_tready):
            m.d.sync += self.o_tvalid.eq(0)
        with m.If(self.i_tvalid & ~self.o_tvalid):
            with m.If(lane == 0):
                m.d.sync += [self.o_tdata.eq(0), self.o_tkeep.eq(0)]
            m.d.sync += [
                self.o_tdata.word_select(lane, BYTE).eq(self.i_tdata),
                self.o_tkeep.bit_select(lane, 1).eq(1),
                self.o_tlast.eq(self.i_tlast),
                lane.eq(lane + 1),
            ]
            with m.If(self.i_tlast | (lane == self.lanes - 1)):
                m.d.sync += [self.o_tvalid.eq(1), lane.eq(0)]
        return m
