"""The committed register map and header are what the description gives."""

from pathlib import Path

import pytest

from kestrel.export.registers import c_registers, markdown_registers
from kestrel.hw.spec.registers import CAUSES, REGISTERS

ROOT = Path(__file__).resolve().parents[2]
UPDATE = "python -m kestrel.export.registers"


@pytest.mark.parametrize(
    ("path", "text"),
    [("docs/registers.md", markdown_registers()), ("sw/driver/kestrel_registers.h", c_registers())],
)
def test_generated_files_are_up_to_date(path, text):
    assert (ROOT / path).read_text() == text, f"{path}: run {UPDATE}"


def test_registers_and_fields_do_not_overlap():
    addresses = [r.address + 4 * n for r in REGISTERS for n in range(r.count)]
    assert len(addresses) == len(set(addresses))
    assert all(address % 4 == 0 and 0 <= address < 4096 for address in addresses)
    for register in REGISTERS:
        assert register.mask == sum(f.mask for f in register.fields) <= 0xFFFFFFFF
        assert len({f.name for f in register.fields}) == len(register.fields)
        bits = [bit for f in register.fields for bit in range(f.lsb, f.lsb + f.width)]
        assert len(bits) == len(set(bits)), register.name
    assert len({cause.bit for cause in CAUSES}) == len(CAUSES)


def test_pack_and_unpack():
    register = next(r for r in REGISTERS if r.name == "image")
    assert register.unpack(register.pack(height=7, width=9)) == {"height": 7, "width": 9}
    with pytest.raises(ValueError, match=r"image\.height = 65536; allowed: 0\.\.65535"):
        register.pack(height=65536)
