"""A netlist as the text of a Verilog module."""

from collections.abc import Callable, Sequence
from itertools import groupby

from kestrel.hw.convert.clocked import Block, clocked_blocks
from kestrel.hw.convert.expression import operand
from kestrel.hw.convert.names import legal
from kestrel.hw.convert.naming import Naming
from kestrel.hw.convert.netlist import Instance, Lookup, Netlist, whole
from kestrel.hw.convert.rtlil import Part
from kestrel.hw.convert.statements import block_lines, statement_lines

LINE = 110


def module_text(
    netlist: Netlist, order: Sequence[str] = (), place: Callable[[str], str] | None = None
) -> str:
    """The module, in Verilog-2005.

    ``order``: names of ports in the order that is wanted, after clock and reset. With ``place``, a comment
    says where a declared wire or an instance comes from: what ``place`` makes of its source.
    """
    return _Module(netlist, order, place).text()


class _Module:
    def __init__(self, netlist: Netlist, order: Sequence[str], place: Callable[[str], str] | None) -> None:
        self._netlist = netlist
        self._order = order
        self._place = place
        self._blocks = clocked_blocks(netlist)
        self._naming = Naming(netlist, self._blocks)
        self._functions: dict[str, str] = {}

    def text(self) -> str:
        naming = self._naming
        declared = naming.declared()
        values = {wire: self._value(wire) for wire in declared}
        clocked = [self._always(block) for block in self._blocks]
        instances = [line for instance in self._netlist.instances for line in self._instance(instance)]
        sections = [
            self._header(),
            [*self._registers(), *self._outputs(), *self._parts(set(naming.called) - set(declared))],
            self._assignments(declared, values),
            *clocked,
            instances,
        ]
        text = "\n\n".join("\n".join(section) for section in sections if section)
        return f"{text}\n\nendmodule\n"

    def _header(self) -> list[str]:
        wires = self._netlist.wires
        order = {name: n for n, name in enumerate(("clk", "rst", *self._order))}
        names = sorted(
            (name for name, wire in wires.items() if wire.direction),
            key=lambda name: order.get(name[1:], len(order)),
        )
        lines: list[str] = []
        group = ""
        for name, following in zip(names, _groups(names), strict=True):
            if lines and following != group:
                lines.append("")
            group = following
            kind = "reg " if name in self._netlist.registers else "wire"
            wire, comma = wires[name], "," if name != names[-1] else ""
            called = self._naming.called[name]
            lines.append(f"  {wire.direction:<6} {kind} {_size(wire.width)}{called}{comma}")
        return [f"module {legal(self._netlist.name)} (", *lines, ");"]

    def _declaration(self, wire: str, kind: str, value: str = "") -> list[str]:
        text = f"{kind} {_size(self._netlist.wires[wire].width)}{self._naming.called[wire]}{value};"
        lines = _wrapped(f"  {text}")
        lines[0] += self._comment(self._netlist.wires[wire].source)
        return lines

    def _comment(self, source: str) -> str:
        return f"  // {self._place(source)}" if self._place and source else ""

    def _registers(self) -> list[str]:
        inner = (wire for wire in self._netlist.registers if not self._netlist.wires[wire].direction)
        return [line for wire in inner for line in self._declaration(wire, "reg")]

    def _outputs(self) -> list[str]:
        """Wires that instances drive."""
        lines: list[str] = []
        for instance in self._netlist.instances:
            for port, bits in instance.ports.items():
                wire = whole(self._netlist, bits)
                if port in instance.outputs and wire and not self._netlist.wires[wire].direction:
                    lines += self._declaration(wire, "wire")
        return lines

    def _parts(self, wires: set[str]) -> list[str]:
        """Names for parts of the wires."""
        naming = self._naming
        return [
            f"  wire {_size(part.width)}{name} = {naming.target(part)};"
            for part, name in naming.aliases.items()
            if part.wire in wires
        ]

    def _assignments(self, declared: Sequence[str], values: dict[str, str]) -> list[str]:
        """Driven wires, each declared with its value where those that it reads have been declared before."""
        early = self._read_early(declared)
        lines = [line for wire in early for line in self._declaration(wire, "wire")]
        for wire in declared:
            driver = self._netlist.drivers[wire]
            if isinstance(driver, Lookup):
                lines += self._function(wire, driver)
            if wire in early or self._netlist.wires[wire].direction:
                lines += _wrapped(f"  assign {self._naming.called[wire]} = {values[wire]};")
            else:
                lines += self._declaration(wire, "wire", f" = {values[wire]}")
            lines += self._parts({wire})
        return lines

    def _read_early(self, declared: Sequence[str]) -> list[str]:
        """Wires that are read before, or in, their own assignment: bits of them depend on other bits."""
        place = {wire: n for n, wire in enumerate(declared)}
        found = {
            inner: None
            for wire in declared
            for inner in self._naming.leaves(wire)
            if place.get(inner, -1) >= place[wire] and not self._netlist.wires[inner].direction
        }
        return list(found)

    def _value(self, wire: str) -> str:
        """What is assigned to a wire."""
        driver = self._netlist.drivers[wire]
        if isinstance(driver, Lookup):
            arguments = ", ".join(self._naming.called[inner] for inner in self._naming.leaves(wire))
            self._functions[wire] = self._naming.take(f"{self._naming.called[wire]}_of")
            return f"{self._functions[wire]}({arguments})"
        choices: list[str] = []
        naming, current = self._naming, driver
        while current.kind == "mux":
            condition, yes = (self._naming.text(bits) for bits in current.operands[:2])
            choices.append(f"{condition[0]} ? {operand(yes)}")
            following = naming.choice(current.operands[2])
            if following is None or not naming.inlined(whole(self._netlist, current.operands[2]) or ""):
                choices.append(naming.text(current.operands[2])[0])
                break
            current = following
        if len(choices) > 2:
            return "\n    " + " :\n    ".join(choices)
        return naming.operation(wire)[0]

    def _function(self, wire: str, driver: Lookup) -> list[str]:
        """The function that chooses a wire's value."""
        naming, wires = self._naming, self._netlist.wires
        name = self._functions[wire]
        inner = {leaf: naming.take(f"{naming.called[leaf]}_in") for leaf in naming.leaves(wire)}
        arguments = ", ".join(f"input {_size(wires[leaf].width)}{name}" for leaf, name in inner.items())

        def leaf(part: Part) -> str:
            return inner[part.wire] + naming.range(part)

        def target(part: Part) -> str:
            return name + naming.range(part)

        body = statement_lines(driver.body, target, lambda bits: naming.text(bits, leaf), "=", "      ")
        return [
            *_wrapped(f"  function automatic {_size(wires[wire].width)}{name}({arguments});"),
            "    begin",
            *(line for text in body for line in _wrapped(text)),
            "    end",
            "  endfunction",
        ]

    def _always(self, block: Block) -> list[str]:
        naming = self._naming
        indent = "      " if block.reset else "    "
        body, cleared = (
            statement_lines(statements, naming.target, naming.text, "<=", indent)
            for statements in (block.body, block.cleared)
        )
        lines = body
        if block.reset:
            lines = [f"    if ({naming.text(block.reset)[0]}) begin", *cleared, "    end"]
            if body:
                lines[-1:] = ["    end else begin", *body, "    end"]
        lines = [line for text in lines for line in _wrapped(text)]
        return block_lines(lines, "  ", f"always @(posedge {naming.called[block.clock]})")

    def _instance(self, instance: Instance) -> list[str]:
        naming = self._naming
        parameters = [f".{name}({value})" for name, value in instance.parameters.items()]
        ports = [f"    .{legal(port)}({naming.text(bits)[0]})" for port, bits in instance.ports.items()]
        chosen = f" #({', '.join(parameters)})" if parameters else ""
        first, *rest = _wrapped(f"  {legal(instance.module)}{chosen} {naming.cells[instance.name]} (")
        lines = [line for port in ports for line in _wrapped(f"{port},")]
        lines[-1] = lines[-1].removesuffix(",")
        return [first + self._comment(instance.source), *rest, *lines, "  );"]


def _size(width: int) -> str:
    return f"[{width - 1}:0] " if width > 1 else ""


def _groups(names: Sequence[str]) -> list[str]:
    """For each port the interface that it belongs to: at least three in a row that begin alike."""
    begins = []
    for name in names:
        words = name[1:].split("__" if "__" in name else "_")
        begins.append("_".join(words[:2]) if words[0] in {"s", "m"} else words[0])
    runs = [(word, len(list(run))) for word, run in groupby(begins)]
    return [word if count > 2 else "" for word, count in runs for _ in range(count)]


def _wrapped(text: str) -> list[str]:
    """Lines of a text that is too long for one, broken at spaces, where the fewest brackets are open."""
    lines = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        rest = line
        while len(rest) > LINE:
            place = _best_break(rest, len(indent))
            lines.append(rest[:place])
            rest = indent + rest[place + 1 :]
        lines.append(rest.rstrip())
    return lines


def _best_break(line: str, indent: int) -> int:
    """The place of the space at which to break a line, preferably in its second half."""
    depth, found = 0, []
    for place, letter in enumerate(line[:LINE]):
        depth += (letter in "({[") - (letter in ")}]")
        if letter == " " and place > indent:
            found.append((place < LINE // 2, depth, -place))
    return -min(found)[2]
