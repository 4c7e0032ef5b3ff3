"""The chip's registers as a C header and as a Markdown page; both are kept in the repository."""

from pathlib import Path

from kestrel.hw.spec.registers import ADDRESS_BITS, CAUSES, INTERRUPTS, REGISTERS, VERSION, Register

GUARD = "KESTREL_REGISTERS_H"
PREFIX = "KESTREL_"


def c_registers() -> str:
    """A C99 header of macros: addresses, and of each field its shift and mask."""
    values: list[tuple[str, str]] = [
        ("REGISTERS_MAJOR", str(VERSION[0])),
        ("REGISTERS_MINOR", str(VERSION[1])),
    ]
    for register in REGISTERS:
        name = register.name.upper()
        values.append((f"{name}_ADDRESS", f"0x{register.address:03X}U"))
        if register.count > 1:
            values.append((f"{name}_COUNT", f"{register.count}U"))
        for f in register.fields:
            if f.width < 32:
                values += [
                    (f"{name}_{f.name.upper()}_SHIFT", str(f.lsb)),
                    (f"{name}_{f.name.upper()}_MASK", f"0x{f.mask:08X}U"),
                ]
    width = max(len(name) for name, _ in values)
    rows = [f"#define {PREFIX}{name:<{width}} {value}" for name, value in values]
    causes = [f'    X({c.name.upper()}, {c.bit}, "{c.text}") \\' for c in CAUSES]
    causes[-1] = causes[-1].removesuffix(" \\")
    lines = [
        "/* Generated from hw/spec/registers.py. */",
        f"#ifndef {GUARD}",
        f"#define {GUARD}",
        "",
        *rows,
        "",
        "/* X(name, bit of ERROR, text) */",
        f"#define {PREFIX}CAUSES(X) \\",
        *causes,
        "",
        f"#endif /* {GUARD} */",
    ]
    return "".join(f"{line}\n" for line in lines)


def markdown_registers() -> str:
    """The register map as a page."""
    lines = [
        "# Registers",
        "",
        "Generated from `hw/spec/registers.py`; a test holds this page to it. AXI4-Lite, 32 bits, "
        f"{1 << ADDRESS_BITS} bytes of address space.",
        "",
        "Access: `ro` is read only; `rw` is read and written; `w1c` is read, and a one written clears the "
        "bit; `wo` acts once when a one is written and reads 0. A *locked* register can be written only "
        "while the chip is not busy. Bits that are not listed read 0 and are ignored when written; byte "
        "strobes apply to every write. Reads and writes of other addresses and writes of `ro` registers "
        "have no effect and are answered with SLVERR. While the chip is busy the same holds, with the cause "
        "`write_busy`, for writes of locked registers and of `start`, `check` or `stream_reset`.",
        "",
        "| address | name | access | reset | what |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {_addresses(r)} | {_name(r)} | {r.access}{', locked' if r.locked else ''} | "
        f"{'' if r.access == 'ro' else f'0x{r.reset:X}'} | {r.text} |"
        for r in REGISTERS
    ]
    lines += ["", "## Fields", ""]
    for register in REGISTERS:
        fields = [f for f in register.fields if f.width < 32]
        if not fields:
            continue
        lines += [f"### {register.name}", "", "| bits | field | reset | what |", "|---|---|---|---|"]
        lines += [f"| {f.bits} | `{f.name}` | {f.reset} | {f.text} |" for f in fields]
        lines.append("")
    lines += [
        "## Interrupts",
        "",
        "`irq` is high while a bit is set in `irq_status` whose bit is set in `irq_enable`: "
        f"{', '.join(f'`{f.name}` ({f.text})' for f in INTERRUPTS)}.",
        "",
    ]
    return "\n".join(lines)


def _name(register: Register) -> str:
    """Linked to its fields, if they are listed."""
    listed = any(f.width < 32 for f in register.fields)
    return f"[`{register.name}`](#{register.name})" if listed else f"`{register.name}`"


def _addresses(register: Register) -> str:
    last = register.address + 4 * (register.count - 1)
    return f"0x{register.address:03X}" if register.count == 1 else f"0x{register.address:03X} .. 0x{last:03X}"


def main() -> None:
    """Write both files of the repository anew."""
    root = Path(__file__).resolve().parents[1]
    (root / "docs" / "registers.md").write_text(markdown_registers(), encoding="utf-8")
    (root / "sw" / "driver" / "kestrel_registers.h").write_text(c_registers(), encoding="ascii")


if __name__ == "__main__":
    main()
