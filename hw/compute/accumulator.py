"""Partial sums: adds a pass's sums to those of the earlier passes over the same strip."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.memories import ram_1r1w
from kestrel.hw.common.pixel import PIXEL
from kestrel.hw.common.place import delayed, place
from kestrel.hw.spec.engine_config import EngineConfig, lane_sum_bits
from kestrel.hw.spec.widths import ACCUMULATOR_BITS, bits_for


class AccumulatorLane(wiring.Component):
    """acc = (fresh ? 0 : partial) + (sum << digit), modulo 2**32, registered.

    Members: ``sum``, ``partial``, ``fresh``, ``digit`` in; ``acc`` out, one cycle later. Where masks have no
    more than one digit, ``digit`` is not looked at.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.passes_max = config.passes_max
        super().__init__(
            {
                "sum": In(signed(lane_sum_bits(config))),
                "partial": In(ACCUMULATOR_BITS),
                "fresh": In(1),
                "digit": In(2),
                "acc": Out(signed(ACCUMULATOR_BITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        weighted = Signal(signed(len(self.sum) + self.passes_max - 1))
        m.d.comb += weighted.eq(self.sum)
        if self.passes_max > 1:
            with m.Switch(self.digit):
                for digit in range(1, self.passes_max):
                    with m.Case(digit):
                        m.d.comb += weighted.eq(self.sum << digit)
        acc = Signal(signed(ACCUMULATOR_BITS), reset_less=True)
        m.d.sync += acc.eq(Mux(self.fresh, 0, self.partial).as_signed() + weighted)
        m.d.comb += self.acc.eq(acc)
        return m


class Accumulator(wiring.Component):
    """Read, add, write back: one pixel a cycle for all output lanes.

        cycle 0   ``ahead``   the partial sums of the pixel are read
        cycle 1   ``sums``    they are added
        cycle 2   ``acc``     written back, or (``emit``) passed on

    The pixel's number in the strip is the address. A pixel is read again one pass later; a pass takes at
    least four cycles (it cannot load its weights faster), so the write has long happened.

    Members
    -------
    ahead : In(PIXEL)       of the sums that come in the next cycle
    sums : In(P_o x signed)
    acc_ahead : Out(PIXEL)  of the accumulators that come in the next cycle, valid only where complete
    acc : Out(P_o x 32)
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "ahead": In(PIXEL),
                "sums": In(data.ArrayLayout(signed(lane_sum_bits(config)), config.output_lanes)),
                "acc_ahead": Out(PIXEL),
                "acc": Out(data.ArrayLayout(signed(ACCUMULATOR_BITS), config.output_lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        address_bits = bits_for(config.partial_depth - 1)

        following = Signal(address_bits)
        address = Signal(address_bits)
        m.d.comb += address.eq(Mux(self.ahead.first, 0, following))
        with m.If(self.ahead.valid):
            m.d.sync += following.eq(address + 1)

        pixel = delayed(m, self.ahead, 1, "pixel")
        keep = delayed(m, pixel.valid & ~pixel.emit, 1, "keep")
        partial = Signal(ACCUMULATOR_BITS * config.output_lanes)
        ram_1r1w(
            m,
            "partial_sums",
            width=ACCUMULATOR_BITS * config.output_lanes,
            depth=config.partial_depth,
            ren=self.ahead.valid & ~self.ahead.fresh,
            raddr=address,
            rdata=partial,
            wen=keep,
            waddr=delayed(m, address, 2, "address", reset_less=True),
            wdata=self.acc.as_value(),
        )
        for n in range(config.output_lanes):
            lane = AccumulatorLane(config)
            place(m, f"lane_{n}", lane)
            m.d.comb += [
                lane.sum.eq(self.sums[n]),
                lane.partial.eq(partial.word_select(n, ACCUMULATOR_BITS)),
                lane.fresh.eq(pixel.fresh),
                lane.digit.eq(pixel.digit),
                self.acc[n].eq(lane.acc),
            ]
        m.d.comb += [
            self.acc_ahead.eq(pixel),
            self.acc_ahead.valid.eq(pixel.valid & pixel.emit),
        ]
        return m
