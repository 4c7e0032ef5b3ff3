"""One kernel unit: a 3x3 window times one kernel, alpha * sum(M * x)."""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.weight_buses import kernel_layout
from kestrel.hw.spec.engine_config import EngineConfig, product_bits, tap_sum_bits
from kestrel.hw.spec.masks import MASK_MAGNITUDES
from kestrel.hw.spec.widths import SCALAR_BITS, TAPS


class KernelUnit(wiring.Component):
    """Nine shift-and-negate taps, an adder tree and one multiplier.

    A shadow register takes the next kernel while the working registers are in use; ``swap`` moves the
    digits, ``swap_alpha``, one cycle later, the scalar, because the scalar is used one stage later.

        cycle 0   swap (of the pass's first pixel)
        cycle 1   window       digits of the new kernel; swap_alpha
        cycle 2   tap sum      alpha of the new kernel
        cycle 3   product

    Members
    -------
    window : In(9 * A)           The activations, tap 0 in the low bits.
    load : In(1)                 Writes ``kernel`` into the shadow register.
    kernel : In(kernel_layout)   The kernel to be loaded.
    swap : In(1)                 Moves the digits from the shadow register to the working one.
    swap_alpha : In(1)           Moves the scalar from the shadow register to the working one.
    product : Out(signed)        alpha times the sum of digit * activation, ``product_bits`` wide, two cycles
                                 after ``window``; one window a cycle.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "window": In(TAPS * config.activation_bits),
                "load": In(1),
                "kernel": In(kernel_layout(config)),
                "swap": In(1),
                "swap_alpha": In(1),
                "product": Out(signed(product_bits(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, bits = self.config.activation_bits, self.config.digit_bits

        shadow = Signal(kernel_layout(self.config), reset_less=True)
        digits = Signal(shadow.digits.shape(), reset_less=True)
        alpha = Signal(SCALAR_BITS, reset_less=True)
        with m.If(self.load):
            m.d.sync += shadow.eq(self.kernel)
        with m.If(self.swap):
            m.d.sync += digits.eq(shadow.digits)
        with m.If(self.swap_alpha):
            m.d.sync += alpha.eq(shadow.alpha)

        # Two's complement as inversion here and one more in the carry below: -v = ~v + 1. The sign bit
        # counts -2**top; inverted it counts +2**top, less a constant: -n * w = (1 - n) * w - w. So
        # nothing is sign-extended, and the nine corrections are one constant.
        magnitudes = MASK_MAGNITUDES[bits]
        top = a + magnitudes[-1].bit_length() - 1
        sign_weight = 1 << top
        terms: list[Value] = []
        carries: list[Value] = []
        for tap in range(TAPS):
            x = self.window.word_select(tap, a)
            index = digits[tap][: bits - 1]
            negative = digits[tap][bits - 1]
            magnitude = Signal(top, name=f"magnitude_{tap}")
            if len(magnitudes) == 1:
                m.d.comb += magnitude.eq(x)
            else:
                with m.Switch(index):
                    for code, factor in enumerate(magnitudes):
                        if factor:
                            with m.Case(code):
                                m.d.comb += magnitude.eq(x << (factor.bit_length() - 1))
            term = Signal(top + 1, name=f"term_{tap}")
            m.d.comb += term.eq(Cat(magnitude ^ negative.replicate(top), ~negative))
            terms.append(term)
            carries.append(negative)

        sum_bits = tap_sum_bits(self.config)
        tap_sum = Signal(signed(sum_bits), reset_less=True)
        rows = [
            (terms[r] + terms[r + 1]) + (terms[r + 2] + carries[r]) + (carries[r + 1] + carries[r + 2])
            for r in (0, 3, 6)
        ]
        m.d.sync += tap_sum.eq(rows[0] + rows[1] + rows[2] - TAPS * sign_weight)

        # The sign bit of the tap sum counts -2**(sum_bits - 1): alpha times it is taken away apart, so that
        # the multiplier's rows need no sign extension either.
        product = Signal.like(self.product, reset_less=True)
        below = tap_sum[: sum_bits - 1]
        correction = Signal(len(product) - (sum_bits - 1))
        m.d.comb += correction.eq(-(alpha & tap_sum[sum_bits - 1].replicate(SCALAR_BITS)))
        high_part = Cat(Const(0, sum_bits - 1), correction)
        m.d.sync += product.eq((below * alpha + high_part)[: len(product)])
        m.d.comb += self.product.eq(product)
        return m
