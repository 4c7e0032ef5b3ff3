"""One output lane of the array: P_i kernel units and the tree that adds their products."""

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.place import place
from kestrel.hw.common.weight_buses import kernel_layout
from kestrel.hw.compute.kernel_unit import KernelUnit
from kestrel.hw.spec.engine_config import ROW_GROUPS, EngineConfig, group_sum_bits, lane_sum_bits
from kestrel.hw.spec.timing import LEVELS_PER_STAGE
from kestrel.hw.spec.widths import TAPS


class OutputLane(wiring.Component):
    """Adds alpha * sum(M * x) over the input lanes, for one output channel.

    The bus ``kernels`` carries the kernels of ``load_kernels`` neighbouring input lanes: block k stands for
    the input lanes from k * load_kernels on.

    Members
    -------
    window : In(P_i * 9 * A)          The windows of the input lanes, lane 0 in the low bits.
    load : In(1)                      This output lane takes the kernels on the bus.
    load_in : In(P_i / K)             The blocks of input lanes that take them, a bit a block.
    kernels : In(K x kernel_layout)   The bus.
    swap : In(1)                      Moves the digits from the shadow registers to the working ones.
    swap_alpha : In(1)                Moves the scalars from the shadow registers to the working ones.
    sum : Out(signed)                 The sum, ``lane_sum_bits`` wide, ``lane_latency`` cycles after
                                      ``window``; one window a cycle.
    groups : Out(3 x signed)          Only with ``config.row_groups``: the sums over the lanes of each row
                                      group, ``group_sum_bits`` wide, ``group_latency`` cycles after
                                      ``window``.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        groups = {}
        if config.row_groups:
            groups = {"groups": Out(data.ArrayLayout(signed(group_sum_bits(config)), ROW_GROUPS))}
        super().__init__(
            groups
            | {
                "window": In(config.input_lanes * TAPS * config.activation_bits),
                "load": In(1),
                "load_in": In(config.input_lanes // config.load_kernels),
                "kernels": In(data.ArrayLayout(kernel_layout(config), config.load_kernels)),
                "swap": In(1),
                "swap_alpha": In(1),
                "sum": Out(signed(lane_sum_bits(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config

        values: list[Value] = []
        for lane in range(config.input_lanes):
            unit = KernelUnit(config)
            place(m, f"unit_{lane}", unit)
            m.d.comb += [
                unit.window.eq(self.window.word_select(lane, TAPS * config.activation_bits)),
                unit.load.eq(self.load & self.load_in[lane // config.load_kernels]),
                unit.kernel.eq(self.kernels[lane % config.load_kernels]),
                unit.swap.eq(self.swap),
                unit.swap_alpha.eq(self.swap_alpha),
            ]
            values.append(unit.product)

        level = 0
        while len(values) > 1:
            if config.row_groups and 1 << level == config.group_lanes:
                m.d.comb += [self.groups[g].eq(values[g]) for g in range(ROW_GROUPS)]
            level += 1
            sums: list[Value] = [a + b for a, b in zip(values[0::2], values[1::2], strict=False)]
            if len(values) % 2:
                sums.append(values[-1])
            if level % LEVELS_PER_STAGE == 0 or len(sums) == 1:
                for n, value in enumerate(sums):
                    register = Signal(signed(len(value)), name=f"sum_{level}_{n}", reset_less=True)
                    m.d.sync += register.eq(value)
                    sums[n] = register
            values = sums
        m.d.comb += self.sum.eq(values[0])
        return m
