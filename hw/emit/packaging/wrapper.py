"""The chip with the names that FPGA tools know."""

from kestrel.hw.chip.rom_check import checked_roms
from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.packaging.ports import RESET, interfaces, wrapper_ports
from kestrel.hw.emit.rom_parameters import file_parameter
from kestrel.hw.emit.verilog import TIMESCALE, VerilogFile
from kestrel.hw.spec.chip_config import ChipConfig

WRAPPER = "axi"
"""Without the prefix."""


def rom_names(chip: ChipConfig) -> tuple[str, ...]:
    """The chip's ROMs, in the order of their parameters."""
    return tuple(sorted(rom.name for rom in checked_roms(chip)))


def wrapper(chip: ChipConfig, names: Names) -> VerilogFile:
    """The chip as ``kestrel_axi``: aclk, aresetn (active low), s_axi_*, s_axis_*, m_axis_*, irq. An IP
    packager infers clock, reset, buses and interrupt from the names, and Vivado from the attributes."""
    name, roms = names.module(WRAPPER), rom_names(chip)
    buses = {bus.name: bus for bus in interfaces(chip)}
    ports = wrapper_ports(chip)
    declared, begun = [], set()
    for port in ports:
        bus = buses[port.interface]
        lines = [f'    (* X_INTERFACE_INFO = "{bus.kind} {bus.name} {port.logical.upper()}" *)']
        if bus.name not in begun:
            begun.add(bus.name)
            known = ", ".join(f"{key} {value}" for key, value in bus.parameters)
            lines.append(f'    (* X_INTERFACE_PARAMETER = "{known}" *)')
        width = f"[{port.bits - 1}:0] " if port.bits > 1 else ""
        lines.append(f"    {port.way:<6} wire {width}{port.name}")
        declared.append("\n".join(lines))
    parameters = [f'    parameter {file_parameter(rom)} = "{names.data(f"{rom}.mem")}"' for rom in roms]
    handed_on = [f"        .{file_parameter(rom)}({file_parameter(rom)})" for rom in roms]
    connected = [f"        .{port.inner}({'!' if port.name == RESET else ''}{port.name})" for port in ports]
    text = "\n".join(
        [
            "// The chip with the usual names of FPGA tools; the reset is synchronous, active low. The",
            "// parameters are the ROM images, for $readmemh.",
            f"module {name} #(",
            ",\n".join(parameters),
            ") (",
            ",\n".join(declared),
            ");",
            f"    {names.module('top')} #(",
            ",\n".join(handed_on),
            "    ) chip (",
            ",\n".join(connected),
            "    );",
            "endmodule",
            "",
        ]
    )
    return VerilogFile(f"{name}.v", TIMESCALE + text)
