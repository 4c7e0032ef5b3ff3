"""One kernel unit: a 3x3 window times one kernel, alpha * sum(M * x)."""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.spec import DIGIT_BITS, SCALAR_BITS, TAPS, product_bits, tap_sum_bits

KERNEL = data.StructLayout({"alpha": SCALAR_BITS, "digits": data.ArrayLayout(DIGIT_BITS, TAPS)})
"""A kernel as the weight registers hold it: one digit a tap, of the pass that is running."""


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
    window : In(9 * A)      activations, tap 0 in the low bits
    load, kernel : In       write ``kernel`` (KERNEL) into the shadow register
    swap, swap_alpha : In   shadow to working registers
    product : Out(signed)   two cycles after ``window``; one window a cycle
    """

    def __init__(self, activation_bits: int) -> None:
        self.activation_bits = activation_bits
        super().__init__(
            {
                "window": In(TAPS * activation_bits),
                "load": In(1),
                "kernel": In(KERNEL),
                "swap": In(1),
                "swap_alpha": In(1),
                "product": Out(signed(product_bits(activation_bits))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a = self.activation_bits

        shadow = Signal(KERNEL, reset_less=True)
        digits = Signal(KERNEL["digits"].shape, reset_less=True)
        alpha = Signal(SCALAR_BITS, reset_less=True)
        with m.If(self.load):
            m.d.sync += shadow.eq(self.kernel)
        with m.If(self.swap):
            m.d.sync += digits.eq(shadow.digits)
        with m.If(self.swap_alpha):
            m.d.sync += alpha.eq(shadow.alpha)

        # Two's complement as inversion here and one more in the carry below: -v = ~v + 1. The sign bit
        # counts -2**(a + 2); inverted it counts +2**(a + 2), less a constant: -n * w = (1 - n) * w - w. So
        # nothing is sign-extended, and the nine corrections are one constant.
        sign_weight = 1 << (a + 2)
        terms: list[Value] = []
        carries: list[Value] = []
        for tap in range(TAPS):
            x = self.window.word_select(tap, a)
            index = digits[tap][: DIGIT_BITS - 1]
            negative = digits[tap][DIGIT_BITS - 1]
            magnitude = Signal(a + 2, name=f"magnitude_{tap}")
            with m.Switch(index):
                with m.Case(1):
                    m.d.comb += magnitude.eq(x)
                with m.Case(2):
                    m.d.comb += magnitude.eq(x << 1)
                with m.Case(3):
                    m.d.comb += magnitude.eq(x << 2)
            term = Signal(a + 3, name=f"term_{tap}")
            m.d.comb += term.eq(Cat(magnitude ^ negative.replicate(a + 2), ~negative))
            terms.append(term)
            carries.append(negative)

        sum_bits = tap_sum_bits(a)
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
