"""Proofs that need no solver: which ports of a module a port depends on within a cycle, and on which bits a
module of exclusive ors depends."""

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.chip.crc import CRC_BITS, crc_next
from kestrel.hw.common.place import PREFIX
from kestrel.hw.emit.verilog import MEMORIES, VerilogFile
from kestrel.verif.physical.synthesis import run_yosys


@dataclass(frozen=True)
class Netlist:
    """One flattened module. ports: the bits of every port; drivers: the cell that drives a bit, as its type,
    the bits of its inputs and, where input bit n decides output bit n alone, its number."""

    ports: Mapping[str, tuple[Any, ...]]
    directions: Mapping[str, str]
    drivers: Mapping[Any, tuple[str, Mapping[str, tuple[Any, ...]], int]]


def netlist(files: Iterable[VerilogFile], top: str) -> Netlist:
    """The netlist of ``top``, registers and memories as they are. Raises SynthesisError."""
    with tempfile.TemporaryDirectory(prefix="kestrel-netlist-") as name:
        folder = Path(name)
        files = list(files)
        boxes = [f"{PREFIX}{memory}.v" for memory in MEMORIES]
        for file in files:
            # Of a memory only the ports: with its body, yosys would look for the image of a ROM.
            text = file.text[: file.text.index(");")] + ");\nendmodule\n" if file.name in boxes else file.text
            (folder / file.name).write_text(text, encoding="utf-8")
        run_yosys(
            [*(f"read_verilog {'-lib' if file.name in boxes else '-sv'} {file.name}" for file in files),
             f"hierarchy -check -top {top}", "proc",
             "flatten", "opt_clean", "write_json net.json"],
            folder,
        )  # fmt: skip
        module = json.loads((folder / "net.json").read_text(encoding="utf-8"))["modules"][top]
    ports = {port: tuple(entry["bits"]) for port, entry in module["ports"].items()}
    directions = {port: entry["direction"] for port, entry in module["ports"].items()}
    drivers: dict[Any, tuple[str, Mapping[str, tuple[Any, ...]], int]] = {}
    for cell in module["cells"].values():
        ways = cell["port_directions"]
        inputs = {port: tuple(bits) for port, bits in cell["connections"].items() if ways[port] == "input"}
        for port, bits in cell["connections"].items():
            if ways[port] == "output":
                drivers |= {bit: (cell["type"], inputs, n) for n, bit in enumerate(bits)}
    return Netlist(ports, directions, drivers)


def depends_on(net: Netlist, output: str) -> set[str]:
    """The input ports from which a path without a register leads to the port ``output``."""
    inputs_of = [port for port in net.ports if net.directions[port] == "input"]
    of_bit = {bit: port for port in inputs_of for bit in net.ports[port]}
    found: set[str] = set()
    seen: set[Any] = set()
    todo = list(net.ports[output])
    while todo:
        bit = todo.pop()
        if bit in seen or isinstance(bit, str):  # constants are strings
            continue
        seen.add(bit)
        if bit in of_bit:
            found.add(of_bit[bit])
        if bit not in net.drivers:
            continue
        kind, inputs, _ = net.drivers[bit]
        if "dff" in kind or kind.startswith(PREFIX):  # the memories' outputs are registers
            continue
        for bits in inputs.values():
            todo.extend(bits)
    return found


def parities(net: Netlist, output: str) -> list[frozenset[tuple[str, int]]]:
    """Of every bit of a port the bits of inputs, as port and number, whose exclusive or it is. Raises
    ValueError if the module has another kind of cell on the way."""
    known: dict[Any, frozenset[tuple[str, int]]] = {
        bit: frozenset({(port, n)})
        for port, bits in net.ports.items() if net.directions[port] == "input" for n, bit in enumerate(bits)
    }  # fmt: skip

    def parity(bit: Any) -> frozenset[tuple[str, int]]:
        if bit not in known:
            kind, inputs, n = net.drivers[bit]
            if kind != "$xor":
                raise ValueError(f"{output}: a cell {kind}; allowed: exclusive ors")
            known[bit] = parity(inputs["A"][n]) ^ parity(inputs["B"][n])
        return known[bit]

    return [parity(bit) for bit in net.ports[output]]


class CrcStep(wiring.Component):
    """``crc_next`` of ``bits`` bits, alone: out is the register after ``state`` has taken ``value``."""

    def __init__(self, bits: int) -> None:
        super().__init__({"state": In(CRC_BITS), "value": In(bits), "out": Out(CRC_BITS)})

    def elaborate(self, platform: object) -> Module:
        del platform
        m = Module()
        m.d.comb += self.out.eq(crc_next(self.state, self.value))
        return m


def divided(bits: int) -> list[frozenset[tuple[str, int]]]:
    """What ``parities`` must be for a CRC step: a division by the polynomial 0x04C11DB7 a bit of ``value``,
    the lowest first, the register with its highest power in bit 0."""
    powers = [n for n in range(CRC_BITS) if 0x04C11DB7 >> n & 1]
    register = [frozenset({("state", n)}) for n in range(CRC_BITS)]
    for n in range(bits):
        out = register[0] ^ {("value", n)}
        register = [*register[1:], frozenset()]
        for power in powers:
            register[CRC_BITS - 1 - power] ^= out
    return register
