"""The output stream's side of the chip: a register slice, and packets that were given up closed."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.register_slice import register_slice
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.widths import BYTE


class StreamOutput(wiring.Component):
    """AXI4-Stream out, from the core.

    A beat that was offered stays, whatever happens in the core: only ``rst`` of the chip takes it back. A
    packet that the core does not finish is closed by a beat without bytes: TKEEP 0, TLAST 1.

    Members
    -------
    from_* : from the core; m_axis_* : the chip's port
    abort : In(1)      the core gives up
    closing : Out(1)   from an abort on, until the sink has taken the last beat that was offered, which is the
                       closing one of a packet that was cut short
    """

    def __init__(self, config: EngineConfig) -> None:
        lanes = config.word_lanes
        super().__init__(
            {
                "from_tdata": In(BYTE * lanes),
                "from_tkeep": In(lanes),
                "from_tlast": In(1),
                "from_tvalid": In(1),
                "from_tready": Out(1),
                "m_axis_tdata": Out(BYTE * lanes),
                "m_axis_tkeep": Out(lanes),
                "m_axis_tlast": Out(1),
                "m_axis_tvalid": Out(1),
                "m_axis_tready": In(1),
                "abort": In(1),
                "closing": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = Cat(self.from_tdata, self.from_tkeep, self.from_tlast)
        payload = Signal(len(beat))
        valid = Signal()
        unclosed = Signal()  # the closing beat is still to enter the slice
        m.d.comb += [
            payload.eq(Mux(unclosed, Const(1 << len(beat) - 1, len(beat)), beat)),
            valid.eq(unclosed | self.from_tvalid),
        ]
        ready, out, out_valid = register_slice(m, "slice", payload, valid, self.m_axis_tready)
        m.d.comb += [
            self.from_tready.eq(ready & ~unclosed),
            Cat(self.m_axis_tdata, self.m_axis_tkeep, self.m_axis_tlast).eq(out),
            self.m_axis_tvalid.eq(out_valid),
        ]
        inside = Signal()  # a packet has begun and not ended
        inside_next = Signal()
        m.d.comb += inside_next.eq(Mux(valid & ready, ~payload[-1], inside))
        m.d.sync += inside.eq(inside_next)
        with m.If(self.abort | unclosed):
            m.d.sync += unclosed.eq(inside_next)
        # A host that knows the output to be empty can give the sink's memory back and will not take what is
        # left of this packet for the next frame's.
        with m.If(self.abort):
            m.d.sync += self.closing.eq(1)
        with m.Elif(~unclosed & ~out_valid):
            m.d.sync += self.closing.eq(0)
        return m
