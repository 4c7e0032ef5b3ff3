"""Which wires of a netlist are declared in Verilog, and what they are called.

A wire without a name whose expression is short, and is read in one place, is not declared: its expression
stands there. A part of a wire has the name of the signal that it is, if the source has one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kestrel.hw.convert.clocked import Block
from kestrel.hw.convert.expression import CHAINS, Text, bits_text, operation_text
from kestrel.hw.convert.names import Names, legal
from kestrel.hw.convert.netlist import Lookup, Netlist, Operation, known, temporary, whole
from kestrel.hw.convert.rtlil import Bits, Part
from kestrel.hw.convert.statements import reads
from kestrel.hw.convert.tidy import plain

WEIGHT_MAX = 8
"""An expression of more wires than this is divided, with names for its parts."""

CHAIN_MAX = 64
"""The same for a chain of one operator, which reads like a list."""

NAME_MAX = 32

_DECLARED = {"mul", "sshr", "hold"}
"""Operations whose width or sign Verilog would take from the context."""

_CHEAP = {"not", "eq", "ne"}
"""Operations that may be written down several times if they are of one wire."""

_GENERIC = {
    "add": "sum", "sub": "difference", "mul": "product", "mux": "choice", "hold": "word", "pick": "element",
    "shl": "shifted", "shr": "shifted", "sshr": "shifted", "neg": "negative",
}  # fmt: skip
_VAGUE = {*_GENERIC.values(), "condition"}
_WORDS = {
    "add": "plus", "sub": "minus", "mul": "times", "neg": "minus", "eq": "is", "ne": "is_not", "lt": "below",
    "le": "up_to", "gt": "above", "ge": "from", "shl": "up", "shr": "down", "sshr": "down",
    "all": "all_of", "any": "any_of",
}  # fmt: skip


@dataclass
class _Uses:
    """How often a wire is read: as a whole where an expression may stand, and otherwise."""

    expressions: int = 0
    others: int = 0


class Naming:
    """Names of a netlist's wires, and the text of bits by these names.

    ``called``: wire -> name, for all that are declared; ``cells``: instance -> name; ``aliases``: parts of
    wires that have names of their own, filled as they are used.
    """

    def __init__(self, netlist: Netlist, blocks: Sequence[Block]) -> None:
        self._netlist = netlist
        self._uses = {wire: _Uses() for wire in netlist.wires}
        self._count(blocks)
        self._weights: dict[str, int] = {}
        self._inlines: dict[str, bool] = {}
        self._names = Names()
        self.called: dict[str, str] = {}
        self.cells: dict[str, str] = {}
        self.aliases: dict[Part, str] = {}
        self._signals: dict[Part, str] = {}
        self._vague: set[str] = set()
        self._name_all()

    def take(self, wanted: str) -> str:
        """A name that nothing has yet."""
        return self._names.take(wanted)

    def inlined(self, wire: str) -> bool:
        """Whether the wire's expression stands where it is read."""
        if wire not in self._inlines:
            self._inlines[wire] = self._decide(wire)
        return self._inlines[wire]

    def declared(self) -> list[str]:
        """Driven wires that are declared, each after those that its expression reads, if that can be."""
        found: dict[str, None] = {}
        begun: set[str] = set()

        def visit(wire: str) -> None:
            if wire in begun or wire not in self._netlist.drivers:
                return
            begun.add(wire)
            for inner in self.reads(wire):
                visit(inner)
            if not self.inlined(wire):
                found[wire] = None

        for wire in self._netlist.drivers:
            visit(wire)
        return list(found)

    def reads(self, wire: str) -> list[str]:
        """Wires that the expression of a driven wire reads."""
        driver = self._netlist.drivers[wire]
        found = driver.operands if isinstance(driver, Operation) else reads(driver.body)
        return list(dict.fromkeys(part.wire for bits in found for part in bits if isinstance(part, Part)))

    def leaves(self, wire: str) -> list[str]:
        """The same, down to declared wires."""
        found: dict[str, None] = {}
        for inner in self.reads(wire):
            found |= dict.fromkeys(self.leaves(inner) if self.inlined(inner) else [inner])
        return list(found)

    def text(self, bits: Bits, leaf: Callable[[Part], str] | None = None) -> Text:
        """The bits as an expression; ``leaf`` gives other names for parts of declared wires."""

        def part_text(part: Part) -> Text:
            if self.inlined(part.wire):
                return self.operation(part.wire, leaf)
            return (leaf or self._leaf)(part), "atom"

        return bits_text(bits, part_text)

    def choice(self, bits: Bits) -> Operation | None:
        """The conditional operator that computes these bits, if one does."""
        wire = whole(self._netlist, bits)
        driver = self._netlist.drivers.get(wire) if wire else None
        return driver if isinstance(driver, Operation) and driver.kind == "mux" else None

    def operation(self, wire: str, leaf: Callable[[Part], str] | None = None) -> Text:
        """The expression of a wire that an operation drives."""
        driver = self._netlist.drivers[wire]
        assert isinstance(driver, Operation)
        operands = [self.text(bits, leaf) for bits in driver.operands]
        return operation_text(driver, operands, self._netlist.wires[wire].width)

    def target(self, part: Part) -> str:
        """A part of a wire that is assigned to."""
        return self.called[part.wire] + self.range(part)

    def range(self, part: Part) -> str:
        """The index of a part in its wire."""
        if part.width == self._netlist.wires[part.wire].width:
            return ""
        return f"[{part.low}]" if part.width == 1 else f"[{part.low + part.width - 1}:{part.low}]"

    def _leaf(self, part: Part) -> str:
        if part in self._signals and part not in self.aliases:
            self.aliases[part] = self._names.take(self._signals[part])
        return self.aliases.get(part) or self.target(part)

    # ---- what is inlined

    def _count(self, blocks: Sequence[Block]) -> None:
        for driver in self._netlist.drivers.values():
            if isinstance(driver, Lookup):
                self._read(reads(driver.body))
                continue
            for n, bits in enumerate(driver.operands):
                fixed = driver.kind in {"mul", "sshr"} or (driver.kind, n) == ("pick", 0)
                self._read([bits], expression=not fixed)
        for block in blocks:
            self._read([block.reset, *reads(block.cleared), *reads(block.body)])
        for instance in self._netlist.instances:
            self._read(bits for port, bits in instance.ports.items() if port not in instance.outputs)

    def _read(self, read: Iterator[Bits] | Sequence[Bits], *, expression: bool = True) -> None:
        for bits in read:
            for part in bits:
                if isinstance(part, Part):
                    if expression and part.width == self._netlist.wires[part.wire].width:
                        self._uses[part.wire].expressions += 1
                    else:
                        self._uses[part.wire].others += 1

    def _decide(self, wire: str) -> bool:
        driver = self._netlist.drivers.get(wire)
        uses = self._uses[wire]
        if not isinstance(driver, Operation) or not temporary(wire):
            return False
        if uses.others or driver.kind in _DECLARED:
            return False
        if uses.expressions == 1:
            return self._weight(wire) <= (CHAIN_MAX if self._chain(wire) else WEIGHT_MAX)
        return self._cheap(wire)

    def _chain(self, wire: str) -> bool:
        """Whether the wire's expression is one kind of operator between wires, however many."""
        driver = self._netlist.drivers[wire]
        if not isinstance(driver, Operation) or driver.kind not in CHAINS:
            return False
        for bits in driver.operands:
            inner = whole(self._netlist, bits)
            if inner and self.inlined(inner):
                following = self._netlist.drivers[inner]
                same = isinstance(following, Operation) and following.kind == driver.kind
                if not (self._chain(inner) if same else self._weight(inner) <= 1):
                    return False
        return True

    def _cheap(self, wire: str) -> bool:
        driver = self._netlist.drivers.get(wire)
        if not isinstance(driver, Operation) or driver.kind not in _CHEAP or self._weight(wire) > 1:
            return False
        return all(
            self._cheap(part.wire)
            for bits in driver.operands
            for part in bits
            if isinstance(part, Part) and self.inlined(part.wire)
        )

    def _weight(self, wire: str) -> int:
        """Declared wires in the wire's expression. A chain of choices goes on in the next line: it counts as
        one."""
        if wire not in self._weights:
            driver = self._netlist.drivers[wire]
            assert isinstance(driver, Operation)
            total = 0
            for n, bits in enumerate(driver.operands):
                if (driver.kind, n) == ("mux", 2) and self.choice(bits):
                    total += 1
                    continue
                parts = {part for part in bits if isinstance(part, Part)}
                total += sum(self._weight(part.wire) if self.inlined(part.wire) else 1 for part in parts)
            self._weights[wire] = total
        return self._weights[wire]

    # ---- names

    def _name_all(self) -> None:
        netlist = self._netlist
        for name, wire in netlist.wires.items():
            if wire.direction:
                self.called[name] = self._names.take(name[1:])
        for instance in netlist.instances:
            self.cells[instance.name] = self._names.take(_base(instance.name)[1:])
        outputs = {
            wire: f"{self.cells[instance.name]}_{port}"
            for instance in netlist.instances
            for port, bits in instance.ports.items()
            if port in instance.outputs and (wire := whole(netlist, bits))
        }
        doubles = {_base(name) for name in netlist.wires if not temporary(name) and not plain(name)}
        for name in dict.fromkeys((*netlist.registers, *netlist.drivers, *outputs)):
            if name not in self.called and name in outputs and (temporary(name) or _base(name) in doubles):
                self.called[name] = self._names.take(outputs[name])
            elif name not in self.called and not temporary(name):
                self.called[name] = self._names.take(_base(name)[1:] or "signal")
        for alias, bits in netlist.aliases:
            part = bits[0] if len(bits) == 1 and whole(netlist, bits) is None else None
            if isinstance(part, Part) and plain(alias) and alias not in doubles:
                self._signals.setdefault(part, alias)
        for name in (*netlist.registers, *self.declared()):
            if name not in self.called:
                driver = netlist.drivers.get(name)
                wanted = self._describe(driver) if isinstance(driver, Operation) else "register"
                self.called[name] = self._names.take(wanted)
                if wanted in _VAGUE:
                    self._vague.add(name)

    def _describe(self, operation: Operation) -> str:
        """A name for the result of an operation: what it is, if that is short."""
        generic = _GENERIC.get(operation.kind, "condition" if operation.kind != "xor" else "difference")
        words = [self._word(bits) for bits in operation.operands]
        if operation.kind in {"hold", "pick", "mux"} or not all(words):
            return generic
        between = _WORDS.get(operation.kind, operation.kind)
        name = f"{between}_{words[0]}" if len(words) == 1 else f"_{between}_".join(words)
        return name if len(name) <= NAME_MAX else generic

    def _word(self, bits: Bits) -> str:
        bits = bits[1:] if len(bits) == 2 and known(bits[:1]) == 0 else bits  # without its extension
        value = known(bits)
        if value is not None:
            return str(value) if value < 1000 else ""
        if len(bits) != 1 or not isinstance(bits[0], Part):
            return ""
        part = bits[0]
        if self.inlined(part.wire):
            driver = self._netlist.drivers[part.wire]
            assert isinstance(driver, Operation)
            name = self._describe(driver)
            return "" if name in _VAGUE else name
        if part in self._signals:
            return legal(self._signals[part])
        name = "" if part.wire in self._vague else self.called.get(part.wire, "")
        return name and name + self.range(part).replace("[", "_").replace("]", "").replace(":", "_")


def _base(name: str) -> str:
    return name.partition("$")[0]
