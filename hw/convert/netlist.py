"""A block as registers, instances and operations, between Amaranth's text and Verilog.

Every operation is exact in width: its operands have been extended to the width at which it computes, and
constant shifts and the like have become rearranged bits, so that in Verilog no width depends on a context.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kestrel.hw.convert.rtlil import (
    Assign,
    Bits,
    Case,
    Cell,
    Const,
    Module,
    Part,
    Statement,
    Switch,
    Wire,
    joined,
    read_by,
    slice_of,
    width_of,
)


@dataclass(frozen=True)
class Operation:
    """What drives a wire. The kinds, with operands a, b, ... as wide as the result unless said otherwise:

    not, neg, and, or, xor, add, sub; mux (condition of 1 bit, if true, if false); eq, ne, lt, le, gt, ge
    (operands of equal width, result of 1 bit); any, all, parity (a of any width, result of 1 bit); mul (any
    widths; the operands are extended as ``signed`` says); shl, shr, sshr (b of any width); pick (as many bits
    of the wire a, from bit b upwards, as the result has); join (a itself); hold (a itself, as a
    wire that has to be there).
    """

    kind: str
    operands: tuple[Bits, ...]
    signed: bool = False


@dataclass(frozen=True)
class Lookup:
    """A wire whose value is chosen among many, as statements that assign to it."""

    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Register:
    """Statements that are carried out at the rising edge of ``clock``; what is not assigned stays."""

    clock: str
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Instance:
    module: str
    name: str
    parameters: dict[str, int | str]
    ports: dict[str, Bits]
    outputs: frozenset[str]
    source: str = ""


@dataclass
class Netlist:
    """A module. ``aliases``: further names for bits; nothing reads them by these names."""

    name: str
    wires: dict[str, Wire]
    drivers: dict[str, Operation | Lookup] = field(default_factory=dict)
    registers: dict[str, Register] = field(default_factory=dict)
    instances: list[Instance] = field(default_factory=list)
    aliases: list[tuple[str, Bits]] = field(default_factory=list)
    _fresh: int = 0

    def compute(self, width: int, kind: str, *operands: Bits, signed: bool = False) -> Bits:
        """A new wire with the result of an operation."""
        self._fresh += 1
        name = f"$new{self._fresh}"
        self.wires[name] = Wire(width)
        self.drivers[name] = Operation(kind, operands, signed)
        return (Part(name, 0, width),)


def temporary(wire: str) -> bool:
    """Whether the wire has no name of the user's."""
    return wire.startswith("$")


def whole(netlist: Netlist, bits: Bits) -> str | None:
    """The wire of which these are all bits."""
    if len(bits) == 1 and isinstance(bits[0], Part) and bits[0].width == netlist.wires[bits[0].wire].width:
        return bits[0].wire
    return None


def assignments(body: tuple[Statement, ...]) -> Iterator[Assign]:
    """All assignments in statements, those in the cases of switches included."""
    for statement in body:
        if isinstance(statement, Assign):
            yield statement
        else:
            for case in statement.cases:
                yield from assignments(case.body)


def constant(value: int, width: int) -> Bits:
    """A number as bits."""
    return joined(Const(f"{value:0{width}b}")) if width else ()


def known(bits: Bits) -> int | None:
    """The number, if all bits are constant."""
    if all(isinstance(part, Const) for part in bits):
        return int("".join(part.bits for part in bits if isinstance(part, Const)) or "0", 2)
    return None


def extended(bits: Bits, width: int, *, signed: bool) -> Bits:
    """The bits as a number of another width, the upper ones cut off or added."""
    own = width_of(bits)
    if own >= width:
        return slice_of(bits, 0, width)
    if not signed or not own:
        return joined(Const("0" * (width - own)), *bits)
    return joined(*(slice_of(bits, own - 1, 1) * (width - own)), *bits)


def retargeted(body: tuple[Statement, ...], wire: str) -> tuple[Statement, ...]:
    """The statements, assigning to another wire."""
    return tuple(
        Assign(Part(wire, s.target.low, s.target.width), s.value)
        if isinstance(s, Assign)
        else Switch(s.selector, tuple(Case(c.patterns, retargeted(c.body, wire)) for c in s.cases))
        for s in body
    )


_PLAIN = {"$not": "not", "$neg": "neg", "$and": "and", "$or": "or", "$xor": "xor",
          "$add": "add", "$sub": "sub"}  # fmt: skip
_COMPARISONS = {"$eq": "eq", "$ne": "ne", "$lt": "lt", "$le": "le", "$gt": "gt", "$ge": "ge"}
_REDUCTIONS = {"$reduce_or": "any", "$reduce_bool": "any", "$reduce_and": "all", "$reduce_xor": "parity"}


def build(module: Module, outputs: Mapping[str, frozenset[str]]) -> Netlist:
    """The module's netlist; processes that are not a register's are left to ``choices``.

    ``outputs``: module -> names of its outputs, for modules of the same text.

    Raises ValueError for a cell that no block of ours may have: a memory, an asynchronous reset, a division.
    """
    netlist = Netlist(module.name, dict(module.wires))
    processes = {next(assignments(body)).target.wire: body for body in module.processes}
    readers: dict[str, int] = {}
    for bits in _read(module):
        for part in bits:
            if isinstance(part, Part):
                readers[part.wire] = readers.get(part.wire, 0) + 1
    for cell in module.cells:
        if cell.kind == "$dff":
            output = _output(netlist, cell, "Q")
            clock = whole(netlist, cell.ports["CLK"])
            if clock is None or cell.parameters["CLK_POLARITY"] != 1:
                raise ValueError(f"{module.name}: a register without a rising edge of a clock of its own")
            data = cell.ports["D"]
            source = whole(netlist, data)
            body = (Assign(Part(output, 0, width_of(data)), data),)
            if source in processes and temporary(source) and readers[source] == 1:
                body = retargeted(processes.pop(source), output)
            netlist.registers[output] = Register(clock, _without_hold(body, output))
    for cell in module.cells:
        if cell.kind != "$dff" and not cell.kind.startswith("\\"):
            netlist.drivers[_output(netlist, cell, "Y")] = _operation(netlist, cell)
    for wire, body in processes.items():
        netlist.drivers[wire] = Lookup(body)
    for cell in module.cells:
        if cell.kind.startswith("\\"):
            driven = frozenset(cell.driven | outputs.get(cell.kind[1:], frozenset()))
            netlist.instances.append(
                Instance(cell.kind[1:], cell.name, cell.parameters, cell.ports, driven, cell.source)
            )
    for wire, bits in module.connections:
        if module.wires[wire].direction == "output":
            netlist.drivers[wire] = Operation("join", (bits,))
        else:
            netlist.aliases.append((wire, bits))
    return netlist


def _read(module: Module) -> Iterator[Bits]:
    """Everything that cells, processes and connections read (and what cells drive, which does not matter)."""
    for cell in module.cells:
        for port, bits in cell.ports.items():
            if port not in {"Q", "Y"} or cell.kind.startswith("\\"):
                yield bits

    for body in module.processes:
        yield from read_by(body)
    for _, bits in module.connections:
        yield bits


def _output(netlist: Netlist, cell: Cell, port: str) -> str:
    wire = whole(netlist, cell.ports.get(port, ()))
    if wire is None:
        raise ValueError(f"{netlist.name}: {cell.kind} is not known to the converter")
    return wire


def _without_hold(body: tuple[Statement, ...], register: str) -> tuple[Statement, ...]:
    """Without the first statement, if it only says that the register stays as it is."""
    first = body[0]
    if isinstance(first, Assign) and first.value == (first.target,) and first.target.wire == register:
        return body[1:]
    return body


def _operation(netlist: Netlist, cell: Cell) -> Operation:
    kind = cell.kind
    a, b = cell.ports.get("A", ()), cell.ports.get("B", ())
    a_signed, b_signed = (bool(cell.parameters.get(f"{port}_SIGNED", 0)) for port in "AB")
    width = width_of(cell.ports["Y"])
    if kind in _PLAIN:
        operands = (extended(a, width, signed=a_signed), extended(b, width, signed=b_signed))
        return Operation(_PLAIN[kind], operands if "B" in cell.ports else operands[:1])
    if kind == "$mux":
        return Operation("mux", (cell.ports["S"], b, a))
    if kind in _COMPARISONS:
        size = max(width_of(a), width_of(b))
        operands = (extended(a, size, signed=a_signed), extended(b, size, signed=b_signed))
        return _comparison(_COMPARISONS[kind], operands, signed=a_signed)
    if kind in _REDUCTIONS:
        return Operation(_REDUCTIONS[kind], (a,)) if width_of(a) > 1 else Operation("join", (a,))
    if kind == "$mul":
        return _product(a, b, width, signed=a_signed)
    if kind == "$shl":
        a = extended(a, width, signed=a_signed)
        if (by := known(b)) is not None:
            return Operation("join", (extended(joined(*a, Const("0" * by)), width, signed=False),))
        return Operation("shl", (a, b))
    if kind in {"$shr", "$sshr"}:
        signed = kind == "$sshr" and a_signed
        a = extended(a, max(width, width_of(a)), signed=a_signed)
        if (by := known(b)) is not None:
            return Operation("join", (_moved_down(a, by, width, signed=signed),))
        shifted = netlist.compute(width_of(a), "sshr" if signed else "shr", a, b)
        return Operation("join", (slice_of(shifted, 0, width),))
    if kind == "$shift":
        return _pick(netlist, a, b, width, signed=a_signed)
    raise ValueError(f"{netlist.name}: {kind} is not known to the converter")


def _moved_down(a: Bits, by: int, width: int, *, signed: bool) -> Bits:
    """Shifted right by a constant."""
    own = width_of(a)
    if by < own:
        return extended(slice_of(a, by, own - by), width, signed=signed)
    return extended(slice_of(a, own - 1, 1) if signed else (), width, signed=signed)


def _comparison(kind: str, operands: tuple[Bits, Bits], *, signed: bool) -> Operation:
    a, b = operands
    if width_of(a) == 1 and kind in {"eq", "ne"} and (value := known(b)) is not None:
        return Operation("join" if (value == 1) == (kind == "eq") else "not", (a,))
    return Operation(kind, operands, signed and kind not in {"eq", "ne"})


def _product(a: Bits, b: Bits, width: int, *, signed: bool) -> Operation:
    """A product; by a power of two it is a matter of wires."""
    for value, other in ((known(b), a), (known(a), b)):
        if value is not None and not signed and value.bit_count() == 1:
            shifted = joined(*other, Const("0" * (value.bit_length() - 1)))
            return Operation("join", (extended(shifted, width, signed=False),))
    return Operation("mul", (a, b), signed)


def _pick(netlist: Netlist, a: Bits, b: Bits, width: int, *, signed: bool) -> Operation:
    """Bits of ``a`` from ``b`` upwards: by an index if there are always enough of them, else by a shift."""
    largest = int("".join(p.bits if isinstance(p, Const) else "1" * p.width for p in b) or "0", 2)
    if (by := known(b)) is not None:
        return Operation("join", (_moved_down(a, by, width, signed=signed),))
    if largest + width <= width_of(a):
        index = extended(b, (width_of(a) - 1).bit_length(), signed=False)
        return Operation("pick", (a, index))
    a = extended(a, max(width, width_of(a)), signed=signed)
    shifted = netlist.compute(width_of(a), "sshr" if signed else "shr", a, b)
    return Operation("join", (slice_of(shifted, 0, width),))
