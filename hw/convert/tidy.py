"""Makes a netlist smaller and gives its wires the names that the source had for their values."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from kestrel.hw.convert.clocked import mapped
from kestrel.hw.convert.netlist import (
    Instance,
    Lookup,
    Netlist,
    Operation,
    constant,
    extended,
    known,
    temporary,
    whole,
)
from kestrel.hw.convert.rtlil import Assign, Bits, Const, Part, Statement, joined, read_by, slice_of, width_of

_NARROWING = {"not", "neg", "and", "or", "xor", "add", "sub", "mux", "shl", "mul", "hold"}
"""Operations of which the lower bits of the result depend on the lower bits of the operands only."""


def simplify(netlist: Netlist) -> None:
    """Takes out what computes nothing: rearranged bits, operations with constants, and the same again."""
    substitute(netlist)
    while fold(netlist) or merge_equal(netlist):
        substitute(netlist)


def merge_equal(netlist: Netlist) -> bool:
    """Computes once what is computed several times; whether there was anything.

    An expression that the source uses twice is there twice.
    """
    seen: dict[tuple[Operation, int], str] = {}
    found = False
    for wire, driver in netlist.drivers.items():
        if isinstance(driver, Operation) and driver.kind != "join":
            key = driver, netlist.wires[wire].width
            first = seen.setdefault(key, wire)
            if temporary(wire) and first != wire:
                netlist.drivers[wire] = Operation("join", ((Part(first, 0, key[1]),),))
                found = True
    return found


def substitute(netlist: Netlist) -> None:
    """Replaces every wire that is only a rearrangement of other bits by these, unless it has a name."""
    done: dict[str, Bits] = {}

    def of(wire: str) -> Bits | None:
        driver = netlist.drivers.get(wire)
        if not temporary(wire) or not isinstance(driver, Operation) or driver.kind != "join":
            return None
        if wire not in done:
            done[wire] = change(driver.operands[0])
        return done[wire]

    def change(bits: Bits) -> Bits:
        parts: list[Part | Const] = []
        for part in bits:
            value = of(part.wire) if isinstance(part, Part) else None
            if isinstance(part, Part) and value is not None:
                parts += slice_of(value, part.low, part.width)
            else:
                parts.append(part)
        return joined(*parts)

    _change_all(netlist, change)
    for wire in done:
        netlist.drivers.pop(wire, None)
    for wire, driver in list(netlist.drivers.items()):
        if isinstance(driver, Operation) and driver.kind == "pick" and not whole(netlist, driver.operands[0]):
            word, index = driver.operands  # an index needs a wire before it
            held = netlist.compute(width_of(word), "hold", word)
            netlist.drivers[wire] = replace(driver, operands=(held, index))


def fold(netlist: Netlist) -> bool:
    """Replaces operations with constants that need no operation; whether there were any."""
    found = False
    for wire, driver in netlist.drivers.items():
        value = _folded(driver, netlist.wires[wire].width) if isinstance(driver, Operation) else None
        if value is not None:
            netlist.drivers[wire] = Operation("join", (value,))
            found = True
    return found


def _folded(operation: Operation, width: int) -> Bits | None:
    """What the operation's result is, if that can be seen without computing."""
    kind, operands = operation.kind, operation.operands
    values = [known(bits) for bits in operands]
    ones = (1 << width) - 1
    if kind == "mux":
        _, yes, no = operands
        if values[0] is not None:
            return yes if values[0] else no
        return yes if yes == no else None
    if kind == "not" and values[0] is not None:
        return constant(values[0] ^ ones, width)
    constants = {"and": (ones, 0), "or": (0, ones), "xor": (0, None), "add": (0, None)}
    neutral, decisive = constants.get(kind, (None, None))
    for value, other in zip(values, reversed(operands), strict=True):
        if value is not None and value == neutral:
            return other
        if value is not None and value == decisive:
            return constant(value, width)
    return None


def name_after_ports(netlist: Netlist) -> None:
    """A wire that is an output port as it stands is called like the port, which need not be a copy then."""
    names: dict[str, str] = {}
    for port, wire in list(netlist.wires.items()):
        driver = netlist.drivers.get(port)
        if wire.direction == "output" and isinstance(driver, Operation) and driver.kind == "join":
            inner = whole(netlist, driver.operands[0])
            if inner and not netlist.wires[inner].direction and inner not in names:
                names[inner] = port
                del netlist.drivers[port]
    rename(netlist, names)


def rename(netlist: Netlist, names: dict[str, str]) -> None:
    """Gives wires other names, which must be of no other driver."""
    if not names:
        return

    def change(bits: Bits) -> Bits:
        return tuple(
            Part(names.get(part.wire, part.wire), part.low, part.width) if isinstance(part, Part) else part
            for part in bits
        )

    def targets(body: Iterable[Statement]) -> tuple[Statement, ...]:
        return tuple(
            Assign(change((s.target,))[0], s.value)  # type: ignore[arg-type]
            if isinstance(s, Assign)
            else replace(s, cases=tuple(replace(c, body=targets(c.body)) for c in s.cases))
            for s in body
        )

    _change_all(netlist, change)
    for old, new in names.items():
        known_wire = netlist.wires.pop(old)
        netlist.wires.setdefault(new, known_wire)
    netlist.drivers = {
        names.get(wire, wire): Lookup(targets(driver.body)) if isinstance(driver, Lookup) else driver
        for wire, driver in netlist.drivers.items()
    }
    netlist.registers = {
        names.get(wire, wire): replace(register, body=targets(register.body))
        for wire, register in netlist.registers.items()
    }


def keep_what_is_read(netlist: Netlist) -> None:
    """Takes away what nothing depends on, and upper bits that nobody reads of operations without a name."""
    while True:
        uses = read_up_to(netlist)
        narrower = False
        for wire, driver in list(netlist.drivers.items()):
            used = uses.get(wire, 0)
            if netlist.wires[wire].direction == "output":
                continue
            if not used:
                del netlist.drivers[wire]
            elif (
                temporary(wire) and used < netlist.wires[wire].width
                and isinstance(driver, Operation) and driver.kind in _NARROWING
            ):  # fmt: skip
                netlist.wires[wire] = replace(netlist.wires[wire], width=used)
                netlist.drivers[wire] = _narrowed(driver, used)
                narrower = True
        if not narrower and all(
            wire in uses or netlist.wires[wire].direction == "output" for wire in netlist.drivers
        ):
            return


def name_after_aliases(netlist: Netlist) -> None:
    """A wire without a name gets that of a signal with the same value, if there is one."""
    names: dict[str, str] = {}
    for alias, bits in netlist.aliases:
        wire = whole(netlist, bits)
        if wire and temporary(wire) and plain(alias) and wire not in names and alias not in names.values():
            names[wire] = alias
    for old, new in names.items():
        netlist.wires[new] = replace(netlist.wires[new], width=netlist.wires[old].width)
    netlist.aliases = [(alias, bits) for alias, bits in netlist.aliases if alias not in names.values()]
    rename(netlist, names)


def plain(name: str) -> bool:
    """Whether a name is the user's, and that of one signal only."""
    return name.startswith("\\") and "$" not in name


def read_bits(netlist: Netlist) -> Iterator[Bits]:
    """Everything that is read by something."""
    for driver in netlist.drivers.values():
        if isinstance(driver, Operation):
            yield from driver.operands
        else:
            yield from read_by(driver.body)
    for register in netlist.registers.values():
        yield from read_by(register.body)
    for instance in netlist.instances:
        for port, bits in instance.ports.items():
            if port not in instance.outputs:
                yield bits


def read_up_to(netlist: Netlist) -> dict[str, int]:
    """For each wire how many bits, from the lowest to the highest that is read."""
    uses: dict[str, int] = {}
    for bits in read_bits(netlist):
        for part in bits:
            if isinstance(part, Part):
                uses[part.wire] = max(uses.get(part.wire, 0), part.low + part.width)
    return uses


def _narrowed(operation: Operation, width: int) -> Operation:
    """The operation with a result of fewer bits."""
    operands = list(operation.operands)
    for n in range(len(operands)):
        if (operation.kind, n) not in {("mux", 0), ("shl", 1)} and operation.kind != "mul":
            operands[n] = slice_of(operands[n], 0, width)
        elif operation.kind == "mul":
            own = sum(part.width for part in operands[n])
            operands[n] = extended(operands[n], min(own, width), signed=False)
    return replace(operation, operands=tuple(operands))


def _change_all(netlist: Netlist, change: Callable[[Bits], Bits]) -> None:
    for wire, driver in netlist.drivers.items():
        if isinstance(driver, Operation):
            operands = tuple(change(bits) for bits in driver.operands)
            netlist.drivers[wire] = replace(driver, operands=operands)
        else:
            netlist.drivers[wire] = Lookup(mapped(driver.body, change))
    netlist.registers = {
        wire: replace(register, body=mapped(register.body, change))
        for wire, register in netlist.registers.items()
    }
    netlist.instances = [
        Instance(i.module, i.name, i.parameters, {port: change(bits) for port, bits in i.ports.items()},
                 i.outputs, i.source)
        for i in netlist.instances
    ]  # fmt: skip
    netlist.aliases = [(alias, change(bits)) for alias, bits in netlist.aliases]
