"""The array: P_o output lanes of P_i kernel units."""

from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.pixel import pixel_layout
from kestrel.hw.common.place import delayed, place
from kestrel.hw.common.weight_buses import kernel_bus
from kestrel.hw.compute.output_lane import OutputLane
from kestrel.hw.spec.engine_config import ROW_GROUPS, EngineConfig, group_sum_bits, lane_sum_bits
from kestrel.hw.spec.timing import group_latency, lane_latency
from kestrel.hw.spec.widths import TAPS


class Array(wiring.Component):
    """P_i x P_o kernel units, all busy in every cycle with a valid window.

    A pass's kernels wait in the shadow registers. They become the working kernels between the last window
    of one pass and the first of the next, without a gap: ``ahead`` announces each window one cycle early,
    and its ``first`` swaps. Nothing may be loaded in the cycle of a swap.

    Members
    -------
    ahead : In(pixel_layout)         The pixel of the window that comes in the next cycle.
    window : In(P_i * 9 * A)         The windows of the input lanes, lane 0 in the low bits.
    load : In(kernel_bus)            Kernels for the shadow registers.
    sums_ahead : Out(pixel_layout)   The pixel of the sums that come in the next cycle.
    sums : Out(P_o x signed)         The sums of the output lanes, ``lane_sum_bits`` wide, ``lane_latency``
                                     cycles after ``window``.

    With ``config.row_groups``:

    groups_ahead : Out(pixel_layout)   The pixel of the row groups' sums that come in the next cycle.
    groups : Out(P_o x 3 x signed)     The sums of the output lanes over each row group, ``group_sum_bits``
                                       wide, ``group_latency`` cycles after ``window``.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        groups = {}
        if config.row_groups:
            lane = data.ArrayLayout(signed(group_sum_bits(config)), ROW_GROUPS)
            groups = {
                "groups_ahead": Out(pixel_layout(config)),
                "groups": Out(data.ArrayLayout(lane, config.output_lanes)),
            }
        super().__init__(
            groups
            | {
                "ahead": In(pixel_layout(config)),
                "window": In(config.input_lanes * TAPS * config.activation_bits),
                "load": In(kernel_bus(config)),
                "sums_ahead": Out(pixel_layout(config)),
                "sums": Out(data.ArrayLayout(signed(lane_sum_bits(config)), config.output_lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        swap = self.ahead.valid & self.ahead.first
        swap_alpha = delayed(m, swap, 1, "swap")
        for n in range(self.config.output_lanes):
            lane = OutputLane(self.config)
            place(m, f"lane_{n}", lane)
            m.d.comb += [
                lane.window.eq(self.window),
                lane.load.eq(self.load.out[n]),
                lane.load_in.eq(self.load.block),
                lane.kernels.eq(self.load.kernels),
                lane.swap.eq(swap),
                lane.swap_alpha.eq(swap_alpha),
                self.sums[n].eq(lane.sum),
            ]
            if self.config.row_groups:
                m.d.comb += self.groups[n].eq(lane.groups)
        latency, pixel = lane_latency(self.config.input_lanes), self.ahead
        if self.config.row_groups:
            early = group_latency(self.config)
            latency, pixel = latency - early, delayed(m, pixel, early, "pixel_groups")
            m.d.comb += self.groups_ahead.eq(pixel)
        m.d.comb += self.sums_ahead.eq(delayed(m, pixel, latency, "pixel"))
        return m
