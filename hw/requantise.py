"""Requantisation: bias, rounding, shift, ReLU and saturation in one."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.pixel import PIXEL
from hw.place import delayed, place
from hw.spec import (
    ACCUMULATOR_BITS,
    BIAS_BITS,
    BIAS_FRACTION,
    SHIFT_BITS,
    SHIFT_MAX,
    SHIFT_MIN,
    EngineConfig,
    bits_for,
)
from hw.weights import bias_bus


class RequantiseLane(wiring.Component):
    """y = clamp((acc + (bias << (s - F)) + 2**(s - 1)) >> s, 0, maximum), in two stages.

    The bias has a shadow register, as the kernels have.

    Members
    -------
    load, bias : In        write ``bias`` into the shadow register
    swap : In(1)           shadow to working register, for the accumulator of the next cycle
    acc : In(signed(32))
    shift : In(4)          SHIFT_MIN..SHIFT_MAX
    maximum : In(A)        2**A - 1 of the network that runs
    y : Out(A)             two cycles after ``acc``
    """

    def __init__(self, activation_bits: int) -> None:
        super().__init__(
            {
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

        # The bias and the rounding half, at the accumulator's unit.
        offset = Signal(signed(BIAS_BITS + SHIFT_MAX - BIAS_FRACTION + 1))
        total = Signal(signed(ACCUMULATOR_BITS), reset_less=True)
        shifted = Signal(signed(ACCUMULATOR_BITS - SHIFT_MIN))
        with m.Switch(self.shift):
            for s in range(SHIFT_MIN, SHIFT_MAX + 1):
                with m.Case(s):
                    m.d.comb += [
                        offset.eq((bias << (s - BIAS_FRACTION)) + (1 << (s - 1))),
                        shifted.eq(total >> s),
                    ]
        m.d.sync += total.eq(self.acc + offset)

        y = Signal.like(self.y, reset_less=True)
        with m.If(shifted < 0):
            m.d.sync += y.eq(0)
        with m.Elif(shifted > self.maximum):
            m.d.sync += y.eq(self.maximum)
        with m.Else():
            m.d.sync += y.eq(shifted)
        m.d.comb += self.y.eq(y)
        return m


class Requantise(wiring.Component):
    """All output lanes. Lanes beyond the layer's last channel give 0.

        cycle 0   ``ahead``   of a pass's first pixel: biases swap
        cycle 1   ``acc``
        cycle 3   ``y``

    Members
    -------
    ahead : In(PIXEL)            of the accumulators that come in the next cycle
    acc : In(P_o x 32)
    load : In(bias_bus)
    shift, maximum : In          until the last ``y`` of the layer, like last_out_lanes
    last_out_lanes : In          channels of the last output group
    y_ahead : Out(PIXEL)         of the results that come in the next cycle
    y : Out(P_o x A)
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        a, lanes = config.activation_bits, config.output_lanes
        super().__init__(
            {
                "ahead": In(PIXEL),
                "acc": In(data.ArrayLayout(signed(ACCUMULATOR_BITS), lanes)),
                "load": In(bias_bus(config)),
                "shift": In(SHIFT_BITS),
                "maximum": In(a),
                "last_out_lanes": In(bits_for(lanes)),
                "y_ahead": Out(PIXEL),
                "y": Out(data.ArrayLayout(a, lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.d.comb += self.y_ahead.eq(delayed(m, self.ahead, 2, "pixel"))
        pixel = delayed(m, self.y_ahead, 1, "pixel_y")
        for n in range(config.output_lanes):
            lane = RequantiseLane(config.activation_bits)
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
        return m
