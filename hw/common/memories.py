"""The memories: instances of the wrappers in ``hw.emit.primitives`` in Verilog, Amaranth's own in simulation.

``en``, ``addr`` and the like are the values at the ports; ``rdata`` is the signal for the word read, which
comes one cycle later and stays until the next read. Addresses have bits_for(depth - 1) bits. In simulation a
word that was never written is 0.
"""

from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import ClockSignal, Elaboratable, Instance, Module, Mux
from amaranth.lib.memory import Memory

from kestrel.hw.common.place import PREFIX, Emission
from kestrel.hw.spec.widths import bits_for


class _Wrapper(Elaboratable):
    """``ports`` of the wrapper ``name``, parameters first; ``simulated`` makes a module of its behaviour."""

    def __init__(self, name: str, ports: dict[str, Any], simulated: Callable[[], Module]) -> None:
        self._name, self._ports, self._simulated = name, ports, simulated

    def elaborate(self, platform: object) -> Any:
        if not isinstance(platform, Emission):
            return self._simulated()
        platform.memories.add(self._name)
        return Instance(PREFIX + self._name, **self._ports)


def rom(
    m: Module, name: str, *, width: int, depth: int, en: Any, addr: Any, rdata: Any, init: Sequence[int] = ()
) -> None:
    """Add the ROM ``name``. In Verilog its contents come from a file, NAME.mem; ``init`` are those in
    simulation, the words that it does not give being 0."""

    def simulated() -> Module:
        inner = Module()
        inner.submodules.words = words = Memory(shape=width, depth=depth, init=init)
        port = words.read_port()
        inner.d.comb += [port.en.eq(en), port.addr.eq(addr), rdata.eq(port.data)]
        return inner

    ports = {
        "p_WIDTH": width,
        "p_DEPTH": depth,
        "p_ADDR_BITS": bits_for(depth - 1),
        "p_INIT_FILE": f"{name}.mem",
        "i_clk": ClockSignal("sync"),
        "i_en": en,
        "i_addr": addr,
        "o_rdata": rdata,
    }
    m.submodules[name] = _Wrapper("rom", ports, simulated)


def ram_1rw(
    m: Module,
    name: str,
    *,
    lanes: int,
    lane_bits: int,
    depth: int,
    en: Any,
    we: Any,
    addr: Any,
    wdata: Any,
    rdata: Any,
) -> None:
    """Add the single-port memory ``name``; ``we`` has a bit a lane, 0 is a read."""

    def simulated() -> Module:
        inner = Module()
        inner.submodules.words = words = Memory(shape=lanes * lane_bits, depth=depth, init=())
        write, read = words.write_port(granularity=lane_bits), words.read_port()
        inner.d.comb += [
            write.en.eq(Mux(en, we, 0)),
            write.addr.eq(addr),
            write.data.eq(wdata),
            read.en.eq(en & (we == 0)),
            read.addr.eq(addr),
            rdata.eq(read.data),
        ]
        return inner

    ports = {
        "p_LANES": lanes,
        "p_LANE_BITS": lane_bits,
        "p_DEPTH": depth,
        "p_ADDR_BITS": bits_for(depth - 1),
        "i_clk": ClockSignal("sync"),
        "i_en": en,
        "i_we": we,
        "i_addr": addr,
        "i_wdata": wdata,
        "o_rdata": rdata,
    }
    m.submodules[name] = _Wrapper("ram_1rw", ports, simulated)


def ram_1r1w(
    m: Module,
    name: str,
    *,
    width: int,
    depth: int,
    ren: Any,
    raddr: Any,
    rdata: Any,
    wen: Any,
    waddr: Any,
    wdata: Any,
) -> None:
    """Add the memory ``name`` with a port to read and one to write."""

    def simulated() -> Module:
        inner = Module()
        inner.submodules.words = words = Memory(shape=width, depth=depth, init=())
        write, read = words.write_port(), words.read_port()
        inner.d.comb += [
            read.en.eq(ren),
            read.addr.eq(raddr),
            rdata.eq(read.data),
            write.en.eq(wen),
            write.addr.eq(waddr),
            write.data.eq(wdata),
        ]
        return inner

    ports = {
        "p_WIDTH": width,
        "p_DEPTH": depth,
        "p_ADDR_BITS": bits_for(depth - 1),
        "i_clk": ClockSignal("sync"),
        "i_ren": ren,
        "i_raddr": raddr,
        "o_rdata": rdata,
        "i_wen": wen,
        "i_waddr": waddr,
        "i_wdata": wdata,
    }
    m.submodules[name] = _Wrapper("ram_1r1w", ports, simulated)
