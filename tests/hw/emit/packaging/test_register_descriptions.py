"""The registers in SystemRDL and IP-XACT, as other programs read them, against the one description."""

import re
import xml.etree.ElementTree as ET

import pytest

from kestrel.hw.emit.packaging.ip_xact import NAMESPACE, ip_xact
from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.packaging.ports import wrapper_ports
from kestrel.hw.emit.packaging.system_rdl import system_rdl
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.registers import ADDRESS_BITS, REGISTERS

systemrdl = pytest.importorskip("systemrdl", reason="SystemRDL is missing: pip install systemrdl-compiler")
peakrdl_ipxact = pytest.importorskip("peakrdl_ipxact", reason="missing: pip install peakrdl-ipxact")


@pytest.fixture
def compiled(request, tmp_path, smallest):
    """The address map that a compiler makes of the file in one of the formats."""
    compiler = systemrdl.RDLCompiler()
    if request.param == "SystemRDL":
        (tmp_path / "kestrel.rdl").write_text(system_rdl(Names()).text)
        compiler.compile_file(str(tmp_path / "kestrel.rdl"))
        return compiler.elaborate().top
    (tmp_path / "kestrel.xml").write_text(ip_xact(ChipConfig(smallest), Names()).text)
    peakrdl_ipxact.IPXACTImporter(compiler).import_file(str(tmp_path / "kestrel.xml"))
    # The importer puts the address block into a map of its own.
    return next(iter(compiler.elaborate().top.children()))


@pytest.mark.parametrize("compiled", ["SystemRDL", "IP-XACT"], indirect=True)
def test_every_register_and_field_is_that_of_the_description(compiled):
    on_write = {"w1c": systemrdl.rdltypes.OnWriteType.woclr}
    found = list(compiled.registers())
    assert [node.inst_name for node in found] == [register.name for register in REGISTERS]
    for node, register in zip(found, REGISTERS, strict=True):
        assert node.raw_absolute_address == register.address
        assert node.get_property("regwidth") == 32
        assert (node.array_dimensions or [1]) == [register.count]
        assert not node.is_array or node.array_stride == 4
        assert (node.get_property("desc") or "") == register.text
        fields = sorted(node.fields(), key=lambda field: field.low)
        assert [(field.inst_name, field.low, field.width) for field in fields] == [
            (field.name, field.lsb, field.width) for field in register.fields
        ]
        for field, expected in zip(fields, register.fields, strict=True):
            assert field.is_sw_readable == (register.access != "wo")
            assert field.is_sw_writable == (register.access != "ro")
            assert field.get_property("onwrite") == on_write.get(register.access)
            assert (field.get_property("desc") or "") == expected.text
            assert field.get_property("reset") == (None if register.access == "ro" else expected.reset)


def test_the_component_names_every_port_and_bus(smallest):
    chip = ChipConfig(smallest)
    component = ET.fromstring(ip_xact(chip, Names("left")).text)  # noqa: S314 - our own file
    space = {"ipxact": NAMESPACE}
    assert component.findtext("ipxact:name", "", space) == "left_axi"
    ports = {port.name: port for port in wrapper_ports(chip)}
    listed = component.findall("ipxact:model/ipxact:ports/ipxact:port", space)
    assert [port.findtext("ipxact:name", "", space) for port in listed] == list(ports)
    for port in listed:
        expected = ports[port.findtext("ipxact:name", "", space)]
        left = port.findtext("ipxact:wire/ipxact:vectors/ipxact:vector/ipxact:left", "0", space)
        assert int(left) == expected.bits - 1
        way = {"in": "input", "out": "output"}[port.findtext("ipxact:wire/ipxact:direction", "", space)]
        assert way == expected.way
    mapped = component.findall(".//ipxact:portMap/ipxact:physicalPort/ipxact:name", space)
    assert sorted(name.text or "" for name in mapped) == sorted(ports)
    block = component.find(".//ipxact:addressBlock", space)
    assert block is not None
    assert block.findtext("ipxact:range", "", space) == str(1 << ADDRESS_BITS)


def test_the_names_follow_the_prefix():
    assert re.search(r"^addrmap left \{", system_rdl(Names("left")).text, re.MULTILINE)
    assert system_rdl(Names("left")).name == "left.rdl"
