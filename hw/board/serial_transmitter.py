"""Transmitter of a serial line: eight bits a byte, the lowest first, no parity."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.board.serial_receiver import bit_step
from kestrel.hw.spec.link import LinkConfig
from kestrel.hw.spec.widths import BYTE, bits_for


class SerialTransmitter(wiring.Component):
    """Members
    -------
    i_tdata : In(8)     A byte.
    i_tvalid : In(1)    It is offered.
    i_tready : Out(1)   It is taken; its start bit begins in the next cycle.
    tx : Out(1)         The line, from a register; it rests high.
    """

    def __init__(self, link: LinkConfig) -> None:
        self._step, self._whole = bit_step(link)
        super().__init__({"i_tdata": In(BYTE), "i_tvalid": In(1), "i_tready": Out(1), "tx": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        step, whole = self._step, self._whole
        phase = Signal(bits_for(whole + step))
        advanced = Signal(bits_for(whole + step))
        bits = Signal(BYTE + 1, reset_less=True)  # what follows the bit on the line
        left = Signal(bits_for(BYTE + 2))
        line = Signal(init=1)
        m.d.comb += [advanced.eq(phase + step), self.i_tready.eq(left == 0), self.tx.eq(line)]
        with m.If(left == 0):
            with m.If(self.i_tvalid):
                m.d.sync += [
                    line.eq(0), bits.eq(Cat(self.i_tdata, Const(1, 1))), left.eq(BYTE + 2), phase.eq(0),
                ]  # fmt: skip
        with m.Elif(advanced >= whole):
            m.d.sync += [
                phase.eq(advanced - whole), left.eq(left - 1),
                line.eq(bits[0]), bits.eq(Cat(bits[1:], Const(1, 1))),
            ]  # fmt: skip
        with m.Else():
            m.d.sync += phase.eq(advanced)
        return m
