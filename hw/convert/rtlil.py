"""Amaranth's intermediate form, as it prints it (RTLIL), read into plain data.

Only what Amaranth 0.5 prints for a block is known: wires, cells, processes of assignments and switches, and
connections. Everything else is refused, so that nothing is lost unseen.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Part:
    """``width`` bits of a wire, from bit ``low`` upwards."""

    wire: str
    low: int
    width: int


@dataclass(frozen=True)
class Const:
    """Constant bits, the most significant first: a text of 0 and 1."""

    bits: str

    @property
    def width(self) -> int:
        return len(self.bits)


Bits = tuple[Part | Const, ...]
"""Bits side by side, the most significant first; no two neighbours that could be one."""


@dataclass(frozen=True)
class Assign:
    target: Part
    value: Bits


@dataclass(frozen=True)
class Case:
    """``patterns``: texts of 0, 1 and -, which stands for any bit; none of them is the default."""

    patterns: tuple[str, ...]
    body: tuple["Statement", ...]


@dataclass(frozen=True)
class Switch:
    """The first case that matches is taken; with none, nothing happens."""

    selector: Bits
    cases: tuple[Case, ...]


Statement = Assign | Switch


def read_by(body: Iterable[Statement]) -> Iterator[Bits]:
    """What statements read."""
    for statement in body:
        if isinstance(statement, Assign):
            yield statement.value
        else:
            yield statement.selector
            for case in statement.cases:
                yield from read_by(case.body)


@dataclass(frozen=True)
class Wire:
    """``direction``: input, output or nothing; ``source``: file and line, if the text says so."""

    width: int
    direction: str = ""
    source: str = ""


@dataclass(frozen=True)
class Cell:
    """An operator, a register or an instance of a module (``kind`` then begins with a backslash).

    ``driven``: ports that drive a wire. The text does not say so of an instance, but Amaranth writes a wire
    that a cell drives without an index, and everything that is read with one.
    """

    kind: str
    name: str
    parameters: dict[str, int | str]
    ports: dict[str, Bits]
    driven: set[str] = field(default_factory=set)
    source: str = ""


@dataclass
class Module:
    """``wires`` are in the order of their declaration; names of the user's begin with a backslash."""

    name: str
    wires: dict[str, Wire] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    processes: list[tuple[Statement, ...]] = field(default_factory=list)
    connections: list[tuple[str, Bits]] = field(default_factory=list)


def width_of(bits: Bits) -> int:
    """How many bits these are."""
    return sum(part.width for part in bits)


def joined(*parts: Part | Const) -> Bits:
    """The parts side by side, the most significant first; neighbours that belong together become one."""
    result: list[Part | Const] = []
    for part in parts:
        last = result[-1] if result else None
        if part.width == 0:
            continue
        if isinstance(part, Const) and isinstance(last, Const):
            result[-1] = Const(last.bits + part.bits)
        elif (
            isinstance(part, Part) and isinstance(last, Part)
            and last.wire == part.wire and last.low == part.low + part.width
        ):  # fmt: skip
            result[-1] = Part(part.wire, part.low, part.width + last.width)
        else:
            result.append(part)
    return tuple(result)


def slice_of(bits: Bits, low: int, width: int) -> Bits:
    """``width`` of the bits, from bit ``low`` upwards. Raises ValueError if there are not so many."""
    if not 0 <= low <= low + width <= width_of(bits):
        raise ValueError(f"{width} bits from bit {low} of {width_of(bits)}")
    found: list[Part | Const] = []
    base = 0
    for part in reversed(bits):
        first, last = max(low, base), min(low + width, base + part.width)
        if first < last:
            if isinstance(part, Const):
                found.append(Const(part.bits[part.width - (last - base) : part.width - (first - base)]))
            else:
                found.append(Part(part.wire, part.low + first - base, last - first))
        base += part.width
    return joined(*reversed(found))


def parse(text: str) -> list[Module]:
    """The modules of a text of Amaranth's. Raises ValueError, with the line, for anything unknown."""
    return _Parser(text).modules()


_TOKEN = re.compile(r"[\\$]\S+|\d+'[01]*|\[[\d:]+\]|[{}]|\S+")
_WIRE = re.compile(r"wire width (\d+) +(?:(input|output) \d+ +)?(?:signed +)?(\S+)$")
_ATTRIBUTE = re.compile(r"attribute \\(\S+) (.*)$")
_PARAMETER = re.compile(r"parameter (signed )?\\(\S+) (.*)$")


class _Parser:
    def __init__(self, text: str) -> None:
        self._lines = [line.strip() for line in text.splitlines() if line.strip()]
        self._next = 0
        self._widths: dict[str, int] = {}

    def modules(self) -> list[Module]:
        found = []
        while self._next < len(self._lines):
            line = self._take()
            if line.startswith("module "):
                found.append(self._module(line.split()[1].removeprefix("\\")))
            elif not _ATTRIBUTE.match(line):
                raise self._unknown()
        return found

    def _take(self) -> str:
        self._next += 1
        return self._lines[self._next - 1]

    def _unknown(self) -> ValueError:
        return ValueError(f"RTLIL that the converter does not know: {self._lines[self._next - 1]!r}")

    def _module(self, name: str) -> Module:
        module = Module(name)
        self._widths = {}
        source = ""
        while (line := self._take()) != "end":
            word = line.partition(" ")[0]
            if word == "attribute":
                match = _ATTRIBUTE.match(line)
                if match and match[1] == "src":
                    source = match[2].strip('"')
                continue
            if word == "wire" and (match := _WIRE.match(line)):
                module.wires[match[3]] = Wire(int(match[1]), match[2] or "", source)
                self._widths[match[3]] = int(match[1])
            elif word == "cell":
                module.cells.append(self._cell(line.split()[1], line.split()[2], source))
            elif word == "process":
                module.processes.append(self._body("end"))
                self._take()
            elif word == "connect":
                target, value = self._two(line)
                if len(target) != 1 or not isinstance(target[0], Part):
                    raise self._unknown()
                module.connections.append((target[0].wire, value))
            else:
                raise self._unknown()
            source = ""
        return module

    def _cell(self, kind: str, name: str, source: str) -> Cell:
        cell = Cell(kind, name, {}, {}, source=source)
        while (line := self._take()) != "end":
            if match := _PARAMETER.match(line):
                cell.parameters[match[2]] = _value(match[3], signed=bool(match[1]))
            elif match := re.match(r"connect \\(\S+) (.*)$", line):
                cell.ports[match[1]] = self._bits(match[2])
                if match[2] in self._widths:
                    cell.driven.add(match[1])
            else:
                raise self._unknown()
        return cell

    def _body(self, *ends: str) -> tuple[Statement, ...]:
        """Statements up to a line that begins with one of ``ends``, which is not taken."""
        found: list[Statement] = []
        while self._lines[self._next].partition(" ")[0] not in ends:
            line = self._take()
            if line.startswith("assign "):
                targets, value = self._two(line)
                low = width_of(value)
                for target in targets:  # the most significant first
                    if isinstance(target, Const):
                        raise self._unknown()
                    low -= target.width
                    found.append(Assign(target, slice_of(value, low, target.width)))
            elif line.startswith("switch "):
                found += self._switch(self._bits(line.partition(" ")[2]))
            elif not line.startswith("attribute "):
                raise self._unknown()
        return tuple(found)

    def _switch(self, selector: Bits) -> list[Statement]:
        cases = []
        while (line := self._take()) != "end":
            if line.startswith("attribute "):
                continue
            if line.partition(" ")[0] != "case":
                raise self._unknown()
            patterns = tuple(pattern.partition("'")[2] for pattern in line[4:].replace(",", " ").split())
            cases.append(Case(patterns, self._body("case", "end", "attribute")))
        if not selector and len(cases) == 1 and not cases[0].patterns:
            return list(cases[0].body)  # how assignments after a switch are written
        return [Switch(selector, tuple(cases))]

    def _two(self, line: str) -> tuple[Bits, Bits]:
        """The two operands of an assign or connect line."""
        tokens = _TOKEN.findall(line)[1:]
        left = self._one(tokens)
        right = self._one(tokens)
        if tokens:
            raise self._unknown()
        return left, right

    def _bits(self, text: str) -> Bits:
        tokens = _TOKEN.findall(text)
        bits = self._one(tokens)
        if tokens:
            raise self._unknown()
        return bits

    def _one(self, tokens: list[str]) -> Bits:
        """The operand at the beginning of ``tokens``, which is taken away."""
        word = tokens.pop(0)
        if word == "{":
            parts: list[Part | Const] = []
            while tokens[0] != "}":
                parts += self._one(tokens)
            tokens.pop(0)
            return joined(*parts)
        if word[0] in "\\$":
            width = self._widths.get(word)
            if width is None:
                raise self._unknown()
            if tokens and tokens[0].startswith("["):
                high, _, low = tokens.pop(0)[1:-1].partition(":")
                return (Part(word, int(low or high), int(high) - int(low or high) + 1),)
            return joined(Part(word, 0, width))
        if match := re.fullmatch(r"\d+'([01]*)", word):
            return joined(Const(match[1]))
        raise self._unknown()


def _value(text: str, *, signed: bool) -> int | str:
    """A parameter: a number, or a text with its quotes."""
    if text.startswith('"'):
        return text
    _, quote, bits = text.partition("'")
    if not quote:
        return int(text)
    return int(bits or "0", 2) - (1 << len(bits) if signed and bits.startswith("1") else 0)
