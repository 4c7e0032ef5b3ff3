"""AXI4-Lite slave: one write and one read at a time, every output from a register."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.connections import ports
from kestrel.hw.spec.registers import ADDRESS_BITS, REGISTER_BITS

OKAY = 0
SLVERR = 2

READ_CYCLES = 2
"""Cycles from ``read`` to the data."""

_STROBES = REGISTER_BITS // 8

AXI_LITE = wiring.Signature(
    {
        "awaddr": Out(ADDRESS_BITS),
        "awprot": Out(3),
        "awvalid": Out(1),
        "awready": In(1),
        "wdata": Out(REGISTER_BITS),
        "wstrb": Out(_STROBES),
        "wvalid": Out(1),
        "wready": In(1),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
        "araddr": Out(ADDRESS_BITS),
        "arprot": Out(3),
        "arvalid": Out(1),
        "arready": In(1),
        "rdata": In(REGISTER_BITS),
        "rresp": In(2),
        "rvalid": In(1),
        "rready": Out(1),
    }
)
"""AXI4-Lite, 32 bits, of the manager's side."""

REGISTER_ACCESS = wiring.Signature(
    {
        "write": Out(1),
        "waddr": Out(ADDRESS_BITS - 2),
        "wdata": Out(REGISTER_BITS),
        "wstrb": Out(_STROBES),
        "write_fault": In(1),
        "read": Out(1),
        "raddr": Out(ADDRESS_BITS - 2),
        "rdata": In(REGISTER_BITS),
        "read_fault": In(1),
    }
)
"""Writes and reads of registers, as ``AxiLite`` says."""


class AxiLite(wiring.Component):
    """Write address and data may come in any order; the answer follows two cycles after both.

    Members
    -------
    s_axil_* : AXI4-Lite, 32 bits; AWPROT and ARPROT are ignored
    write : Out(1)   one cycle; waddr (of a word), wdata, wstrb are valid; ``write_fault`` In(1) one
                     cycle later
    read : Out(1)    one cycle; raddr is valid from it until the answer; ``rdata``, ``read_fault`` In
                     READ_CYCLES later
    """

    def __init__(self) -> None:
        super().__init__(ports("s_axil_", AXI_LITE.flip()) | ports("", REGISTER_ACCESS))

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # --- write ---------------------------------------------------------------------------------------
        has_address = Signal()
        has_data = Signal()
        answering = Signal()
        m.d.comb += [
            self.s_axil_awready.eq(~has_address),
            self.s_axil_wready.eq(~has_data),
            self.write.eq(has_address & has_data & ~answering & ~self.s_axil_bvalid),
        ]
        address = Signal.like(self.waddr, reset_less=True)
        word = Signal(len(self.wdata) + len(self.wstrb), reset_less=True)
        m.d.comb += [self.waddr.eq(address), Cat(self.wdata, self.wstrb).eq(word)]
        with m.If(self.s_axil_awvalid & ~has_address):
            m.d.sync += [has_address.eq(1), address.eq(self.s_axil_awaddr[2:])]
        with m.If(self.s_axil_wvalid & ~has_data):
            m.d.sync += [has_data.eq(1), word.eq(Cat(self.s_axil_wdata, self.s_axil_wstrb))]
        m.d.sync += answering.eq(self.write)
        with m.If(answering):
            m.d.sync += [
                has_address.eq(0),
                has_data.eq(0),
                self.s_axil_bvalid.eq(1),
                self.s_axil_bresp[1].eq(self.write_fault),
            ]
        with m.Elif(self.s_axil_bready):
            m.d.sync += self.s_axil_bvalid.eq(0)

        # --- read ----------------------------------------------------------------------------------------
        waiting = Signal(READ_CYCLES)  # a one that moves up
        has_read = Signal()
        read_address = Signal.like(self.raddr, reset_less=True)
        m.d.comb += [
            self.s_axil_arready.eq(~has_read),
            self.raddr.eq(read_address),
            self.read.eq(has_read & (waiting == 0) & ~self.s_axil_rvalid),
        ]
        m.d.sync += waiting.eq(Cat(self.read, waiting[:-1]))
        with m.If(self.s_axil_arvalid & ~has_read):
            m.d.sync += [has_read.eq(1), read_address.eq(self.s_axil_araddr[2:])]
        with m.If(waiting[-1]):
            m.d.sync += [
                has_read.eq(0),
                self.s_axil_rvalid.eq(1),
                self.s_axil_rdata.eq(self.rdata),
                self.s_axil_rresp[1].eq(self.read_fault),
            ]
        with m.Elif(self.s_axil_rready):
            m.d.sync += self.s_axil_rvalid.eq(0)
        return m
