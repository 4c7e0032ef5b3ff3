"""The registers in SystemRDL 2.0."""

import json

from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.verilog import VerilogFile
from kestrel.hw.spec.registers import REGISTER_BITS, REGISTERS, BitField, Register

_ACCESS = {
    "ro": ("sw = r;", "hw = w;"),
    "rw": ("sw = rw;", "hw = r;"),
    "w1c": ("sw = rw;", "onwrite = woclr;", "hw = rw;"),
    "wo": ("sw = w;", "singlepulse;", "hw = r;"),
}


def system_rdl(names: Names) -> VerilogFile:
    """An address map of the prefix's name."""
    lines = [
        f"addrmap {names.prefix} {{",
        '    name = "Kestrel";',
        '    desc = "Image retrieval engine: the registers of its AXI4-Lite slave";',
        f"    default regwidth = {REGISTER_BITS};",
        f"    default accesswidth = {REGISTER_BITS};",
    ]
    for register in REGISTERS:
        lines += ["", "    reg {", *_described(register.text, 8)]
        for f in register.fields:
            lines += _field(register, f)
        array = f"[{register.count}]" if register.count > 1 else ""
        step = f" += {REGISTER_BITS // 8}" if register.count > 1 else ""
        lines.append(f"    }} {register.name}{array} @ 0x{register.address:03X}{step};")
    return VerilogFile(f"{names.prefix}.rdl", "\n".join([*lines, "};", ""]))


def _field(register: Register, f: BitField) -> list[str]:
    reset = [] if register.access == "ro" else [f"reset = {f.reset};"]
    return [
        "        field {",
        *_described(f.text, 12),
        f"            {' '.join([*_ACCESS[register.access], *reset])}",
        f"        }} {f.name}[{f.lsb + f.width - 1}:{f.lsb}];",
    ]


def _described(text: str, indent: int) -> list[str]:
    return [f"{' ' * indent}desc = {json.dumps(text)};"] if text else []
