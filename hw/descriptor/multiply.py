"""The descriptor unit's shifter and multiplier."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.spec.descriptor import DESCRIPTOR_RECIPROCAL_BITS, DESCRIPTOR_SQUARES_BITS

SHIFT_ORIGIN = DESCRIPTOR_SQUARES_BITS - 1
"""The ``amount`` that leaves x as it is."""

AMOUNT_BITS = 6
"""Width of an ``amount``."""
PRODUCT_BITS = DESCRIPTOR_SQUARES_BITS + DESCRIPTOR_RECIPROCAL_BITS
"""Width of a product."""


class DescriptorMultiply(wiring.Component):
    """product = ((x << 31) >> amount) * y, the shifted x cut to 32 bits.

        cycle 0   ``x``, ``amount``
        cycle 1   ``shifted``; ``y``, which may depend on it
        cycle 2   two partial products
        cycle 3   ``product``

    Members
    -------
    x : In(32)              The number that is shifted.
    amount : In(6)          How far: SHIFT_ORIGIN leaves x as it is, less moves it up, more moves it down.
    y : In(17)              The factor, one cycle after ``x``.
    shifted : Out(32)       The shifted x, one cycle after ``x``.
    product : Out(49)       Its product with y, three cycles after ``x``.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "x": In(DESCRIPTOR_SQUARES_BITS),
                "amount": In(AMOUNT_BITS),
                "y": In(DESCRIPTOR_RECIPROCAL_BITS),
                "shifted": Out(DESCRIPTOR_SQUARES_BITS),
                "product": Out(PRODUCT_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        half = DESCRIPTOR_RECIPROCAL_BITS // 2
        shifted = Signal.like(self.shifted, reset_less=True)
        low = Signal(DESCRIPTOR_SQUARES_BITS + half, reset_less=True)
        high = Signal(DESCRIPTOR_SQUARES_BITS + DESCRIPTOR_RECIPROCAL_BITS - half, reset_less=True)
        product = Signal.like(self.product, reset_less=True)
        m.d.sync += [
            shifted.eq(Cat(Const(0, SHIFT_ORIGIN), self.x) >> self.amount),
            low.eq(shifted * self.y[:half]),
            high.eq(shifted * self.y[half:]),
            product.eq(low + (high << half)),
        ]
        m.d.comb += [self.shifted.eq(shifted), self.product.eq(product)]
        return m


def length_of(value: Value) -> Value:
    """The number of bits up to the highest one that is set; 0 for 0."""
    if len(value) == 1:
        return value[0]
    half = 1 << (len(value) - 1).bit_length() - 1
    return Mux(value[half:].any(), half + length_of(value[half:]), length_of(value[:half]))
