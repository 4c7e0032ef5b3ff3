"""Clock constraints, in commands that every tool has: OpenSTA, Vivado (as XDC), Quartus, Design Compiler."""

from collections.abc import Iterable
from dataclasses import replace

from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.packaging.ports import CLOCK, INPUT, OUTPUT, Port, wrapper_ports
from kestrel.hw.emit.packaging.wrapper import WRAPPER
from kestrel.hw.emit.verilog import VerilogFile
from kestrel.hw.spec.chip_config import ChipConfig

CLOCK_NS = 5.0
"""Period of the clock constraint: a place to begin."""


def constraints(chip: ChipConfig, names: Names) -> tuple[VerilogFile, ...]:
    """A file for the wrapper and one for the chip without it."""
    ports = wrapper_ports(chip)
    inner = [replace(port, name=port.inner) for port in ports]
    return (
        VerilogFile(f"{names.module(WRAPPER)}.sdc", _constraints(ports, CLOCK)),
        VerilogFile(f"{names.module('top')}.sdc", _constraints(inner, "clk")),
    )


def _constraints(ports: Iterable[Port], clock: str) -> str:
    ports = list(ports)
    inputs = [port for port in ports if port.way == INPUT and port.name != clock]
    outputs = [port for port in ports if port.way == OUTPUT]
    half = f"{CLOCK_NS / 2:.3f}"
    return "\n".join(
        [
            "# One clock. The period is a place to begin; inputs and outputs keep half of it for the board.",
            f"create_clock -name {clock} -period {CLOCK_NS:.3f} [get_ports {clock}]",
            f"set_input_delay -clock {clock} {half} {_get(inputs)}",
            f"set_output_delay -clock {clock} {half} {_get(outputs)}",
            "",
        ]
    )


def _get(ports: Iterable[Port]) -> str:
    """By name, as there is no command for all inputs but one that every tool has."""
    return f"[get_ports {{{' '.join(port.name + ('[*]' if port.bits > 1 else '') for port in ports)}}}]"
