"""Receiver of a serial line: eight bits a byte, the lowest first, no parity."""

from math import gcd

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.spec.link import LinkConfig
from kestrel.hw.spec.widths import BYTE, bits_for


def bit_step(link: LinkConfig) -> tuple[int, int]:
    """``step`` and ``whole`` of a phase that grows by ``step`` a cycle and wraps at ``whole`` once a bit, so
    that the clock need not be a multiple of the line's rate."""
    common = gcd(link.clock, link.baud)
    return link.baud // common, link.clock // common


class SerialReceiver(wiring.Component):
    """Samples each bit once, in its middle, counted from the edge that begins the start bit.

    Members
    -------
    rx : In(1)        The line, of another clock; it rests high.
    data : Out(8)     A byte, valid with ``valid``.
    valid : Out(1)    One cycle, in the middle of the stop bit.
    broken : Out(1)   One cycle instead of ``valid``: the stop bit was low, so that was no byte.
    """

    def __init__(self, link: LinkConfig) -> None:
        self._step, self._whole = bit_step(link)
        super().__init__({"rx": In(1), "data": Out(BYTE), "valid": Out(1), "broken": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        step, whole = self._step, self._whole
        near, line, before = Signal(init=1), Signal(init=1), Signal(init=1)
        m.d.sync += [near.eq(self.rx), line.eq(near), before.eq(line)]
        phase = Signal(bits_for(whole + step))
        advanced = Signal(bits_for(whole + step))
        sample = Signal()
        left = Signal(bits_for(BYTE + 1))  # bits until the stop bit
        active = Signal()
        m.d.comb += [advanced.eq(phase + step), sample.eq(active & (advanced >= whole))]
        m.d.sync += [self.valid.eq(0), self.broken.eq(0), phase.eq(advanced)]
        with m.If(~active):
            # A falling edge, not a low line: after a break no byte begins before the line has rested. Half a
            # bit later is the middle of the start bit.
            m.d.sync += [phase.eq(whole // 2), left.eq(BYTE + 1), active.eq(before & ~line)]
        with m.Elif(sample):
            m.d.sync += [phase.eq(advanced - whole), left.eq(left - 1)]
            with m.If(left == BYTE + 1):
                with m.If(line):  # a spike
                    m.d.sync += active.eq(0)
            with m.Elif(left != 0):
                m.d.sync += self.data.eq(Cat(self.data[1:], line))
            with m.Else():
                m.d.sync += [self.valid.eq(line), self.broken.eq(~line), active.eq(0)]
        return m
