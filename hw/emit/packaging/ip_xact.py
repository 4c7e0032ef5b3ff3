"""The wrapper as an IP-XACT component (IEEE 1685-2014): ports, buses and registers."""

import xml.etree.ElementTree as ET

from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.packaging.ports import AXI_LITE, INPUT, Interface, Port, interfaces, wrapper_ports
from kestrel.hw.emit.packaging.wrapper import WRAPPER
from kestrel.hw.emit.verilog import VerilogFile
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.registers import (
    ADDRESS_BITS,
    REGISTER_BITS,
    REGISTERS,
    VERSION,
    BitField,
    Register,
)

NAMESPACE = "http://www.accellera.org/XMLSchema/IPXACT/1685-2014"
MAP = "registers"

_ACCESS = {
    "ro": ("read-only", ""), "rw": ("read-write", ""), "w1c": ("read-write", "oneToClear"),
    "wo": ("write-only", ""),
}  # fmt: skip


def ip_xact(chip: ChipConfig, names: Names) -> VerilogFile:
    """The elements in the order of the schema."""
    ET.register_namespace("ipxact", NAMESPACE)
    component = ET.Element(_tag("component"))
    version = ".".join(map(str, VERSION))
    _texts(component, vendor="kestrel", library="chip", name=names.module(WRAPPER), version=version)
    ports = wrapper_ports(chip)
    buses = _add(component, "busInterfaces")
    for bus in interfaces(chip):
        _bus(buses, bus, [port for port in ports if port.interface == bus.name])
    memory_map = _add(_add(component, "memoryMaps"), "memoryMap")
    _texts(memory_map, name=MAP)
    block = _add(memory_map, "addressBlock")
    _texts(block, name=MAP, baseAddress=0, range=1 << ADDRESS_BITS, width=REGISTER_BITS, usage="register")
    for register in REGISTERS:
        _register(block, register)
    listed = _add(_add(component, "model"), "ports")
    for port in ports:
        _port(listed, port)
    ET.indent(component)
    text = ET.tostring(component, encoding="unicode", xml_declaration=False)
    return VerilogFile(
        f"{names.module(WRAPPER)}.xml", f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'
    )


def _bus(parent: ET.Element, bus: Interface, ports: list[Port]) -> None:
    vendor, library, name, version = bus.kind.split(":")
    kind = {"vendor": vendor, "library": library, "name": name, "version": version}
    element = _add(parent, "busInterface")
    _texts(element, name=bus.name)
    _add(element, "busType", kind)
    abstraction = _add(_add(element, "abstractionTypes"), "abstractionType")
    _add(abstraction, "abstractionRef", {**kind, "name": f"{name}_rtl"})
    maps = _add(abstraction, "portMaps")
    for port in ports:
        mapped = _add(maps, "portMap")
        _texts(_add(mapped, "logicalPort"), name=port.logical.upper())
        _texts(_add(mapped, "physicalPort"), name=port.name)
    role = _add(element, "master" if bus.is_master else "slave")
    if bus.name == AXI_LITE:
        _add(role, "memoryMapRef", {"memoryMapRef": MAP})
    parameters = _add(element, "parameters")
    for key, value in bus.parameters:
        parameter = _add(parameters, "parameter", {"parameterId": f"{bus.name}_{key}"})
        _texts(parameter, name=key, value=f'"{value}"')


def _register(parent: ET.Element, register: Register) -> None:
    element = _add(parent, "register")
    _texts(element, name=register.name)
    _describe(element, register.text)
    if register.count > 1:
        _texts(element, dim=register.count)
    access, _ = _ACCESS[register.access]
    _texts(element, addressOffset=f"'h{register.address:X}", size=REGISTER_BITS, access=access)
    for f in register.fields:
        _field(element, register, f)


def _field(parent: ET.Element, register: Register, f: BitField) -> None:
    element = _add(parent, "field")
    _texts(element, name=f.name)
    _describe(element, f.text)
    _texts(element, bitOffset=f.lsb)
    if register.access != "ro":
        _texts(_add(_add(element, "resets"), "reset"), value=f.reset)
    access, on_write = _ACCESS[register.access]
    _texts(element, bitWidth=f.width, access=access)
    if on_write:
        _texts(element, modifiedWriteValue=on_write)


def _port(parent: ET.Element, port: Port) -> None:
    element = _add(parent, "port")
    _texts(element, name=port.name)
    wire = _add(element, "wire")
    _texts(wire, direction="in" if port.way == INPUT else "out")
    if port.bits > 1:
        _texts(_add(_add(wire, "vectors"), "vector"), left=port.bits - 1, right=0)


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _add(parent: ET.Element, name: str, attributes: dict[str, str] | None = None) -> ET.Element:
    return ET.SubElement(parent, _tag(name), attributes or {})


def _texts(parent: ET.Element, **texts: object) -> None:
    for name, text in texts.items():
        _add(parent, name).text = str(text)


def _describe(parent: ET.Element, text: str) -> None:
    if text:
        _texts(parent, description=text)
