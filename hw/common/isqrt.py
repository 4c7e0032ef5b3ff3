"""Integer square root in a pipeline: two binary digits of the root a stage."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

DIGITS_PER_STAGE = 2
"""Binary digits of the root that a pipeline stage finds."""


class Isqrt(wiring.Component):
    """root = floor(sqrt(square)): bits / 4 cycles later, one a cycle.

    For the 32 bits of the descriptor unit that is DESCRIPTOR_ROOT_LATENCY. Nothing is reset and nothing
    stalls: the parent knows which roots mean something.

    Members
    -------
    square : In(bits)       The number whose root is wanted, in every cycle another one.
    root : Out(bits / 2)    The root of the number that came bits / 4 cycles before.

    Raises ValueError for ``bits`` that are not a multiple of 4.
    """

    def __init__(self, bits: int) -> None:
        if bits < 4 or bits % (2 * DIGITS_PER_STAGE):
            raise ValueError(f"bits = {bits}; allowed: a multiple of {2 * DIGITS_PER_STAGE}")
        self.bits = bits
        super().__init__({"square": In(bits), "root": Out(bits // 2)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rest: Value = self.square  # its digits not yet looked at
        left: Value = Const(0, 1)  # what was looked at, less the root so far squared: at most twice the root
        root: Value = Const(0, 0)
        for stage in range(self.bits // (2 * DIGITS_PER_STAGE)):
            for digit in range(DIGITS_PER_STAGE):
                brought = Signal(len(root) + 3, name=f"brought_{stage}_{digit}")
                less = Signal(len(root) + 4, name=f"less_{stage}_{digit}")
                m.d.comb += [
                    brought.eq(Cat(rest[-2:], left)),
                    less.eq(brought - Cat(Const(1, 2), root)),
                ]
                fits = ~less[-1]
                left, root = Mux(fits, less, brought)[: len(root) + 2], Cat(fits, root)
                rest = rest[:-2]
            kept: list[Value] = []
            for name, value in (("left", left), ("root", root), ("rest", rest)):
                if not len(value):
                    kept.append(value)
                    continue
                register = Signal(len(value), name=f"{name}_{stage}", reset_less=True)
                m.d.sync += register.eq(value)
                kept.append(register)
            left, root, rest = kept
        m.d.comb += self.root.eq(root)
        return m
