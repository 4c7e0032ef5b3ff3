"""The register file: ``kestrel.hw.spec.registers`` as hardware, between the AXI4-Lite slave and the chip."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.chip.axi_lite import REGISTER_ACCESS
from kestrel.hw.common.connections import ports
from kestrel.hw.spec.registers import (
    ADDRESS_BITS,
    BY_NAME,
    COUNTER_REGISTERS,
    REGISTER_BITS,
    REGISTERS,
    Register,
)
from kestrel.hw.spec.status import COUNTER_ADDRESS_BITS, COUNTER_BITS

CONTROL = BY_NAME["control"]
REFUSED_WHILE_BUSY = sum(CONTROL.field(name).mask for name in ("start", "check", "stream_reset"))
"""Bits of CONTROL that may not be written while the chip is busy."""


def register_layout(register: Register) -> data.StructLayout:
    """A register's fields, without the gaps between them."""
    return data.StructLayout({f.name: f.width for f in register.fields})


class RegisterFile(wiring.Component):
    """Members, for a register NAME of access
    ro    NAME : In       what is read
    rw    NAME : Out      its fields
    w1c   NAME : Out      its bits; NAME_set : In, bits that are set in this cycle, also against a clear
    wo    NAME : Out      bits written as one, for one cycle

    write, ... read_fault : as in kestrel.hw.chip.axi_lite
    busy : In(1)          locked registers and REFUSED_WHILE_BUSY are refused
    write_refused : Out(1)   one cycle: such a write
    counter_addr : Out(9), counter_value : In(32)   the engine's counters, one cycle later
    """

    def __init__(self) -> None:
        members: dict[str, Any] = ports("", REGISTER_ACCESS.flip()) | {
            "busy": In(1),
            "write_refused": Out(1),
            "counter_addr": Out(COUNTER_ADDRESS_BITS),
            "counter_value": In(COUNTER_BITS),
        }
        for register in REGISTERS:
            if register.name in COUNTER_REGISTERS:
                continue
            layout = register_layout(register)
            if register.access == "ro":
                members[register.name] = In(layout)
            else:
                init = {f.name: f.reset for f in register.fields}
                members[register.name] = Out(layout, init=init)  # pyright: ignore[reportCallIssue]
            if register.access == "w1c":
                members[f"{register.name}_set"] = In(layout)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()

        strobes = Cat(bit.replicate(8) for bit in self.wstrb)
        writable = Signal()
        refused = Signal()
        m.d.sync += [self.write_fault.eq(self.write & (refused | ~writable))]
        m.d.comb += self.write_refused.eq(self.write & refused)

        word = Signal(REGISTER_BITS)  # of the address that is read
        mapped = Signal()
        with m.Switch(self.raddr):
            for register in REGISTERS:
                for address in range(register.address >> 2, (register.address >> 2) + register.count):
                    if register.name in COUNTER_REGISTERS:
                        continue
                    with m.Case(address):
                        m.d.comb += mapped.eq(1)
                        if register.access != "wo":
                            value = getattr(self, register.name)
                            for f in register.fields:
                                m.d.comb += word[f.lsb : f.lsb + f.width].eq(value[f.name])
        # The counters fill whole powers of two from the middle on.
        records, counters = (BY_NAME[name] for name in COUNTER_REGISTERS)
        is_record = self.raddr[-2:] == records.address >> ADDRESS_BITS - 2
        in_counters = (self.raddr[-2:] == counters.address >> ADDRESS_BITS - 2) & (
            self.raddr[:-2] < counters.count
        )
        m.d.comb += self.counter_addr.eq(self.raddr[:COUNTER_ADDRESS_BITS])

        # One cycle for the address and the counters' memory, one for the choice.
        was_word = Signal.like(word, reset_less=True)
        was_counter = Signal()
        hidden = Signal()
        was_mapped = Signal()
        data_out = Signal(REGISTER_BITS, reset_less=True)
        m.d.sync += [
            was_word.eq(word),
            was_counter.eq(is_record | in_counters),
            hidden.eq(is_record & self.busy),
            was_mapped.eq(mapped | is_record | in_counters),
            data_out.eq(Mux(was_counter, Mux(hidden, 0, self.counter_value), was_word)),
            self.read_fault.eq(~was_mapped),
        ]
        m.d.comb += self.rdata.eq(data_out)

        for register in REGISTERS:
            if register.access == "ro":
                continue
            here = Signal(name=f"write_{register.name}")
            m.d.comb += here.eq(self.write & (self.waddr == register.address >> 2))
            with m.If(here):
                m.d.comb += writable.eq(1)
            value = getattr(self, register.name)
            if register.locked:
                with m.If(here & self.busy):
                    m.d.comb += refused.eq(1)
                here = here & ~self.busy
            for f in register.fields:
                bits = slice(f.lsb, f.lsb + f.width)
                enable, written = strobes[bits], self.wdata[bits]
                ones = Mux(here, written & enable, 0)
                if register.access == "rw":
                    with m.If(here):
                        m.d.sync += value[f.name].eq(written & enable | value[f.name] & ~enable)
                elif register.access == "w1c":
                    was_set = getattr(self, f"{register.name}_set")[f.name]
                    m.d.sync += value[f.name].eq(value[f.name] & ~ones | was_set)
                else:
                    busy_masks = self.busy & bool(f.mask & REFUSED_WHILE_BUSY)
                    m.d.sync += value[f.name].eq(Mux(busy_masks, 0, ones))
        asked = self.write & (self.waddr == CONTROL.address >> 2)
        with m.If(asked & self.busy & (self.wdata & strobes & REFUSED_WHILE_BUSY).any()):
            m.d.comb += refused.eq(1)
        return m
