"""The descriptor unit's total of squares: how far it must be shifted, and its reciprocal."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.descriptor.multiply import AMOUNT_BITS
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_RECIPROCAL_BITS,
    DESCRIPTOR_SQUARES_BITS,
    DESCRIPTOR_TOTAL_BITS,
)


class DescriptorReciprocal(wiring.Component):
    """Adds up T, then finds p, the place of its highest one, and R = floor((2**48 - 1) / T'), where T' = T
    >> (p - 31) (or << where that is negative) lies in [2**31, 2**32). For T = 0 p is 0, and R means
    nothing.

    From the cycle t in which ``go`` is high, whatever T is:

        t + 1 .. t + 40    T moves up by one, as long as its highest bit is 0
        t + 41 .. t + 57   a digit of R each, by restoring division
        t + 58             ``done``; amount and reciprocal stay until the next ``clear``

    Members
    -------
    clear : In(1)                 Sets T to 0.
    add : In(1)                   Adds ``value`` to T.
    value : In(32)                What is added.
    go : In(1)                    T is complete, the value that comes with ``go`` included: find p and R.
    done : Out(1)                 High in one cycle: they are found.
    amount : Out(6)               p.
    reciprocal : Out(17)          R.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "clear": In(1),
                "add": In(1),
                "value": In(DESCRIPTOR_SQUARES_BITS),
                "go": In(1),
                "done": Out(1),
                "amount": Out(AMOUNT_BITS),
                "reciprocal": Out(DESCRIPTOR_RECIPROCAL_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = Signal(DESCRIPTOR_TOTAL_BITS, reset_less=True)
        amount = Signal.like(self.amount, reset_less=True)
        reciprocal = Signal.like(self.reciprocal, reset_less=True)
        left = Signal(DESCRIPTOR_SQUARES_BITS, reset_less=True)
        m.d.comb += [self.amount.eq(amount), self.reciprocal.eq(reciprocal)]

        moves, digits = DESCRIPTOR_TOTAL_BITS - 1, DESCRIPTOR_RECIPROCAL_BITS
        steps = Signal(range(moves + digits + 1))
        with m.If(self.add):
            m.d.sync += total.eq(total + self.value)
        with m.If(self.clear):
            m.d.sync += total.eq(0)

        brought = Signal(DESCRIPTOR_SQUARES_BITS + 1)
        less = Signal(DESCRIPTOR_SQUARES_BITS + 2)
        m.d.comb += [
            brought.eq(Cat(Const(1, 1), left)),
            less.eq(brought - total[-DESCRIPTOR_SQUARES_BITS:]),
        ]
        m.d.sync += self.done.eq(steps == 1)
        with m.If(steps != 0):
            m.d.sync += steps.eq(steps - 1)
            with m.If(steps > digits):
                with m.If(~total[-1]):
                    m.d.sync += [total.eq(total << 1), amount.eq(amount - 1)]
            with m.Else():
                fits = ~less[-1]
                m.d.sync += [left.eq(Mux(fits, less, brought)), reciprocal.eq(Cat(fits, reciprocal))]
        with m.If(self.go):
            # The first 31 of the dividend's 48 ones are less than T'.
            m.d.sync += [
                steps.eq(moves + digits),
                amount.eq(moves),
                left.eq((1 << (DESCRIPTOR_SQUARES_BITS - 1)) - 1),
            ]
        return m
