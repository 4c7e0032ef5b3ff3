"""The image stream's side of the chip: a register slice, and frames that were given up thrown away."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.register_slice import register_slice
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.widths import PIXEL_BITS


class StreamInput(wiring.Component):
    """AXI4-Stream in, to the core.

    Members
    -------
    s_axis_* : the chip's port; to_* : the same stream for the core
    waiting : Out(1)    a beat waits for the core
    start : In(1)       the core begins a frame
    abort : In(1)       the core gives up: the rest of a frame of which it has taken a part, or of which a
                        beat waits for it, is thrown away up to its TLAST
    draining : Out(1)   that is going on
    """

    def __init__(self, config: EngineConfig) -> None:
        bits = PIXEL_BITS * config.stream_bytes
        super().__init__(
            {
                "s_axis_tdata": In(bits),
                "s_axis_tvalid": In(1),
                "s_axis_tlast": In(1),
                "s_axis_tready": Out(1),
                "to_tdata": Out(bits),
                "to_tvalid": Out(1),
                "to_tlast": Out(1),
                "to_tready": In(1),
                "waiting": Out(1),
                "start": In(1),
                "abort": In(1),
                "draining": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inside = Signal()  # a part of a frame has been taken
        take = Signal()
        payload = Cat(self.s_axis_tdata, self.s_axis_tlast)
        ready, out, valid = register_slice(m, "slice", payload, self.s_axis_tvalid, take)
        last = out[-1]
        inside_next = Signal()
        m.d.comb += [
            self.s_axis_tready.eq(ready),
            self.to_tdata.eq(out[:-1]),
            self.to_tlast.eq(last),
            self.to_tvalid.eq(valid & ~self.draining),
            self.waiting.eq(self.to_tvalid),
            take.eq(self.draining | self.to_tready),
            inside_next.eq(Mux(valid & take, ~last, inside)),
        ]
        m.d.sync += inside.eq(inside_next)
        # A frame that has been started and has taken nothing: what waits is its image, not the next one's.
        untouched = Signal()
        with m.If(self.start):
            m.d.sync += untouched.eq(1)
        with m.Elif(self.abort | valid & take):
            m.d.sync += untouched.eq(0)
        with m.If(self.abort):
            m.d.sync += self.draining.eq(inside_next | untouched & valid & ~take)
        with m.Elif(valid & last):
            m.d.sync += self.draining.eq(0)
        return m
