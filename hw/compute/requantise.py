"""Requantisation: bias, rounding, shift, ReLU and saturation in one step."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.pixel import pixel_layout
from kestrel.hw.common.place import delayed, place
from kestrel.hw.common.weight_buses import bias_bus
from kestrel.hw.spec.engine_config import ROW_GROUPS, EngineConfig, group_sum_bits
from kestrel.hw.spec.widths import (
    ACCUMULATOR_BITS,
    BIAS_BITS,
    BIAS_FRACTION,
    SHIFT_BITS,
    SHIFT_MAX,
    SHIFT_MIN,
    bits_for,
)


class RequantiseLane(wiring.Component):
    """y = clamp((acc + (bias << (s - F)) + 2**(s - 1)) >> s, 0, maximum), in two stages.

    The bias has a shadow register, as the kernels have.

    Members
    -------
    load : In(1)                Writes ``bias`` into the shadow register.
    bias : In(signed(12))       The bias to be loaded.
    swap : In(1)                Moves the bias from the shadow register to the working one, for the
                                accumulator of the next cycle.
    acc : In(signed(32))        The accumulator.
    shift : In(4)               s, from SHIFT_MIN to SHIFT_MAX.
    maximum : In(A)             The largest activation, 2**A - 1 for the A of the network that runs.
    y : Out(A)                  The activation, two cycles after ``acc``.

    With ``group_bits`` not 0, for layers in row groups:

    grouped : In(1)             Take ``groups`` instead of ``acc``. It counts from the next cycle on: it
                                stays for a layer and has many lanes to reach.
    groups : In(3 x signed)     The sums of the three rows, ``group_bits`` wide.
    others : Out(2 x A)         The activations of the second and third row, two cycles after ``groups``;
                                only these rows have adders of their own.
    """

    def __init__(self, activation_bits: int, group_bits: int = 0) -> None:
        self.group_bits = group_bits
        grouped = {}
        if group_bits:
            grouped = {
                "grouped": In(1),
                "groups": In(data.ArrayLayout(signed(group_bits), ROW_GROUPS)),
                "others": Out(data.ArrayLayout(activation_bits, ROW_GROUPS - 1)),
            }
        super().__init__(
            grouped
            | {
                "load": In(1),
                "bias": In(signed(BIAS_BITS)),
                "swap": In(1),
                "acc": In(signed(ACCUMULATOR_BITS)),
                "shift": In(SHIFT_BITS),
                "maximum": In(activation_bits),
                "y": Out(activation_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shadow = Signal(signed(BIAS_BITS), reset_less=True)
        bias = Signal(signed(BIAS_BITS), reset_less=True)
        with m.If(self.load):
            m.d.sync += shadow.eq(self.bias)
        with m.If(self.swap):
            m.d.sync += bias.eq(shadow)

        # The bias and the rounding half, at the accumulator's unit: (bias << (s - F)) + (1 << (s - 1)).
        amount = Signal(SHIFT_BITS)
        offset = Signal(signed(BIAS_BITS + SHIFT_MAX - BIAS_FRACTION + 1))
        m.d.comb += amount.eq(self.shift - SHIFT_MIN)
        rounded: Value = bias + (1 << (BIAS_FRACTION - 1))
        for n in range(SHIFT_BITS):
            rounded = Mux(amount[n], rounded << (1 << n), rounded)
        m.d.comb += offset.eq(rounded)
        acc = self.acc
        if self.group_bits:
            acc = Mux(delayed(m, self.grouped, 1, "grouped", reset_less=True), self.groups[0], acc)
        total = Signal(signed(ACCUMULATOR_BITS), reset_less=True)
        m.d.sync += total.eq(acc + offset)
        m.d.comb += self.y.eq(self._result(m, total, amount, "y"))
        for n in range(ROW_GROUPS - 1) if self.group_bits else ():
            other = Signal(signed(max(self.group_bits, len(offset)) + 1), name=f"total_{n}", reset_less=True)
            m.d.sync += other.eq(self.groups[n + 1] + offset)
            m.d.comb += self.others[n].eq(self._result(m, other, amount, f"other_{n}"))
        return m

    def _result(self, m: Module, total: Signal, amount: Signal, name: str) -> Signal:
        """A register that takes ``total`` shifted right by SHIFT_MIN + amount, cut to 0..maximum."""
        y = Signal.like(self.y, name=name, reset_less=True)
        shifted = Signal(signed(len(total) - SHIFT_MIN), name=f"shifted_{name}")
        # Stage by stage, the longest first: smaller than what synthesis makes of a shift by ``amount``.
        value: Value = total >> SHIFT_MIN
        for n in reversed(range(SHIFT_BITS)):
            value = Mux(amount[n], value >> (1 << n), value)
        m.d.comb += shifted.eq(value)
        # The maximum is a row of ones: what is larger has another bit set, and comparing is masking.
        low = shifted[: len(y)]
        above = Signal(name=f"above_{name}")
        m.d.comb += above.eq((low & ~self.maximum).any() | shifted[len(y) : -1].any())
        m.d.sync += y.eq((low | above.replicate(len(y))) & self.maximum & (~total[-1]).replicate(len(y)))
        return y


def requantise_lane(config: EngineConfig) -> RequantiseLane:
    """A lane as this configuration needs it."""
    return RequantiseLane(config.activation_bits, group_sum_bits(config) if config.row_groups else 0)


class Requantise(wiring.Component):
    """Requantises all output lanes. Lanes beyond the layer's last channel give 0.

        cycle 0   ``ahead``   of a pass's first pixel: biases swap
        cycle 1   ``acc``
        cycle 3   ``y``

    Members
    -------
    ahead : In(pixel_layout)      The pixel of the accumulators that come in the next cycle.
    acc : In(P_o x signed(32))    The accumulators of the output lanes.
    load : In(bias_bus)           Biases for the shadow registers.
    shift : In(4)                 The layer's shift; it must stay until the layer's last ``y``.
    maximum : In(A)               The largest activation; it must stay until the layer's last ``y``.
    last_out_lanes : In           The channels of the layer's last output group, from 1 to P_o; it must stay
                                  until the layer's last ``y``.
    y_ahead : Out(pixel_layout)   The pixel of the results that come in the next cycle.
    y : Out(P_o x A)              The activations of the output lanes.

    With ``config.row_groups``:

    grouped : In(1)                 The layer runs in row groups: ``groups`` are taken instead of ``acc``.
                                    They come two cycles earlier than accumulators would; ``ahead`` is then
                                    theirs.
    groups : In(P_o x 3 x signed)   The sums of the three rows, ``group_sum_bits`` wide.
    others : Out(2 x P_o x A)       The activations of the second and third row.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        a, lanes = config.activation_bits, config.output_lanes
        grouped = {}
        if config.row_groups:
            lane = data.ArrayLayout(signed(group_sum_bits(config)), ROW_GROUPS)
            grouped = {
                "grouped": In(1),
                "groups": In(data.ArrayLayout(lane, lanes)),
                "others": Out(data.ArrayLayout(data.ArrayLayout(a, lanes), ROW_GROUPS - 1)),
            }
        super().__init__(
            grouped
            | {
                "ahead": In(pixel_layout(config)),
                "acc": In(data.ArrayLayout(signed(ACCUMULATOR_BITS), lanes)),
                "load": In(bias_bus(config)),
                "shift": In(SHIFT_BITS),
                "maximum": In(a),
                "last_out_lanes": In(bits_for(lanes)),
                "y_ahead": Out(pixel_layout(config)),
                "y": Out(data.ArrayLayout(a, lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.d.comb += self.y_ahead.eq(delayed(m, self.ahead, 2, "pixel"))
        pixel = delayed(m, self.y_ahead, 1, "pixel_y")
        for n in range(config.output_lanes):
            lane = requantise_lane(config)
            place(m, f"lane_{n}", lane)
            exists = ~pixel.last_out | (n < self.last_out_lanes)
            m.d.comb += [
                lane.load.eq(self.load.block[n // config.load_kernels]),
                lane.bias.eq(self.load.biases[n % config.load_kernels]),
                lane.swap.eq(self.ahead.valid & self.ahead.first),
                lane.acc.eq(self.acc[n]),
                lane.shift.eq(self.shift),
                lane.maximum.eq(self.maximum),
                self.y[n].eq(Mux(exists, lane.y, 0)),
            ]
            if config.row_groups:
                m.d.comb += [lane.grouped.eq(self.grouped), lane.groups.eq(self.groups[n])]
                m.d.comb += [
                    other[n].eq(Mux(exists, value, 0))
                    for other, value in zip(self.others, lane.others, strict=True)
                ]
        return m
