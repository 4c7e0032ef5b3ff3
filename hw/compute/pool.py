"""2x2/2 max pooling on the fly, or nothing."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.memories import ram_1r1w
from kestrel.hw.common.pixel import PIXEL, result_layout
from kestrel.hw.common.place import delayed, place
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.widths import bits_for


class PoolLane(wiring.Component):
    """Maxima of one output lane.

    Members: ``y`` in; ``above`` the line memory's word; ``pooled`` the maximum of this pixel, the one
    before it and, if ``lower``, of ``above``; ``across`` the maximum without ``above``.
    """

    def __init__(self, activation_bits: int) -> None:
        a = activation_bits
        super().__init__({"y": In(a), "above": In(a), "lower": In(1), "across": Out(a), "pooled": Out(a)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        before = Signal.like(self.y, reset_less=True)
        m.d.sync += before.eq(self.y)
        m.d.comb += [
            self.across.eq(Mux(self.y > before, self.y, before)),
            self.pooled.eq(Mux(self.lower & (self.above > self.across), self.above, self.across)),
        ]
        return m


class Pool(wiring.Component):
    """Results enter row by row; pooled ones leave at every second pixel of every second row.

    The maxima of pixel pairs of an even row wait in a line memory for the row below. A strip of a pooled
    layer begins on an even row.

        cycle 0   ``ahead``
        cycle 1   ``y``; in an odd row the line memory is read for the pair that ends one cycle later
        cycle 2   ``result``, ``data``

    The pixels of a pass must come without gaps, and ``pool`` must stay until the last result.

    Members
    -------
    ahead : In(PIXEL)        of the results that come in the next cycle
    y : In(P_o x A)
    pool : In(1)             the layer pools
    result : Out(result_layout), data : Out(P_o x A)
    grouped : In(1)          the layer runs in row groups: ``result`` and ``data`` belong to ``y`` and come in
                             the same cycle; only with ``config.row_groups``
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        lanes = data.ArrayLayout(config.activation_bits, config.output_lanes)
        grouped = {"grouped": In(1)} if config.row_groups else {}
        super().__init__(
            grouped
            | {
                "ahead": In(PIXEL),
                "y": In(lanes),
                "pool": In(1),
                "result": Out(result_layout(config)),
                "data": Out(lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        a = config.activation_bits
        depth = max(2, config.max_width // 2)
        address_bits = bits_for(depth - 1)

        pixel = delayed(m, self.ahead, 1, "pixel")
        column = Signal(range(config.max_width))
        lower = Signal()  # in an odd row
        with m.If(pixel.valid):
            m.d.sync += column.eq(column + 1)
            with m.If(pixel.row_end):
                m.d.sync += [column.eq(0), lower.eq(~lower)]
            with m.If(pixel.last):
                m.d.sync += lower.eq(0)

        pair = pixel.valid & column[0]
        above = Signal(config.output_lanes * a)
        across = Signal(config.output_lanes * a)
        ram_1r1w(
            m,
            "line",
            width=config.output_lanes * a,
            depth=depth,
            # Read while the pair's first pixel passes.
            ren=self.pool & pixel.valid & lower & ~column[0],
            raddr=column[1 : 1 + address_bits],
            rdata=above,
            wen=self.pool & pair & ~lower,
            waddr=column[1 : 1 + address_bits],
            wdata=across,
        )
        value = Signal.like(self.data, reset_less=True)
        m.d.comb += self.data.eq(value)
        for n in range(config.output_lanes):
            lane = PoolLane(a)
            place(m, f"lane_{n}", lane)
            m.d.comb += [
                lane.y.eq(self.y[n]),
                lane.above.eq(above.word_select(n, a)),
                lane.lower.eq(lower),
                across.word_select(n, a).eq(lane.across),
            ]
            m.d.sync += value[n].eq(Mux(self.pool, lane.pooled, self.y[n]))
        result = self.result
        if config.row_groups:
            # The values of the other rows need no registers if none of the three waits here.
            result = Signal.like(self.result, name="result_pooled")
            m.d.comb += self.result.eq(result)
            with m.If(self.grouped):
                m.d.comb += [
                    self.result.valid.eq(pixel.valid),
                    self.result.row_end.eq(pixel.valid & pixel.row_end),
                    self.result.last.eq(pixel.valid & pixel.last),
                    self.result.last_out.eq(pixel.last_out),
                    self.result.rows.eq(pixel.digit),
                    self.data.eq(self.y),
                ]
        m.d.sync += [
            result.valid.eq(pixel.valid & (~self.pool | (lower & column[0]))),
            result.row_end.eq(pixel.valid & pixel.row_end & (~self.pool | lower)),
            result.last.eq(pixel.valid & pixel.last),
            result.last_out.eq(pixel.last_out),
        ]
        return m
