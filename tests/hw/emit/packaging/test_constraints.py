"""The constraints, as text: the commands and ports in them."""

import re

import pytest

from kestrel.hw.emit.packaging.constraints import CLOCK_NS, constraints
from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.packaging.package import package
from kestrel.hw.spec.chip_config import ChipConfig

KNOWN = {"create_clock", "set_input_delay", "set_output_delay", "get_ports"}
"""Commands that Vivado's list of those in an XDC file, Quartus and OpenSTA have."""


@pytest.mark.parametrize(("module", "clock"), [("axi", "aclk"), ("top", "clk")])
def test_every_port_is_constrained_once(module, clock, smallest):
    chip = ChipConfig(smallest)
    text = {file.name: file.text for file in constraints(chip, Names("left"))}[f"left_{module}.sdc"]
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert {line.split()[0] for line in lines} | set(re.findall(r"\[(\w+) ", text)) == KNOWN
    assert f"create_clock -name {clock} -period {CLOCK_NS:.3f} [get_ports {clock}]" in lines
    verilog = {file.name: file.text for file in package(chip, Names("left")).rtl}[f"left_{module}.v"]
    pattern = r"^ *(input|output) +(?:wire +|reg +)?(\[\d+:0\] *)?(\w+)[;,]?$"
    declared = {(way, name + ("[*]" if bits else "")) for way, bits, name in
                re.findall(pattern, verilog, re.MULTILINE)}
    for way in ("input", "output"):
        (ports,) = re.findall(rf"set_{way}_delay .*\[get_ports \{{(.*)\}}\]", text)
        listed = ports.split()
        assert len(listed) == len(set(listed))
        expected = {name for direction, name in declared if direction == way and name != clock}
        assert set(listed) == expected
