"""Reads from a liberty file what a power estimate needs: functions, capacitances, delays, energies and
leakage.

Tables are read at one input slope (``SLOPE_NS``) and, by interpolation, at the load that a gate really
drives. Units are those of the file; ``load_library`` refuses all but ns, fF, V and nW, so that energies are
in fJ.
"""

import gzip
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kestrel.hw.spec.errors import InputError

SLOPE_NS = 0.0171859
"""The slope of every input: an entry of NanGate45's tables, about that of a gate with a fan-out of 2 or 3."""

_TOKEN = re.compile(r'(\w+)\s*\(([^)]*)\)\s*(\{|;?)|(\w+)\s*:\s*("[^"]*"|[^;]*);|(\})')
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


@dataclass
class Group:
    """A group of the file: ``kind (name) { attributes, groups }``."""

    kind: str
    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    groups: list["Group"] = field(default_factory=list)

    def all(self, *kinds: str) -> Iterator["Group"]:
        return (group for group in self.groups if group.kind in kinds)


@dataclass(frozen=True)
class Library:
    """A library's voltage, and its cells by name."""

    voltage: float
    cells: dict[str, "Cell"]


def parse(text: str) -> Group:
    """The outermost group of the file. Raises InputError unless it is the only one and a library."""
    root = Group("", "")
    stack = [root]
    for match in _TOKEN.finditer(_COMMENT.sub("", text)):
        kind, name, opening, attribute, value, closing = match.groups()
        if closing:
            stack.pop()
            if not stack:
                break
        elif attribute:
            stack[-1].attributes[attribute] = value.strip().strip('"')
        elif opening == "{":
            group = Group(kind, name.strip().strip('"'))
            stack[-1].groups.append(group)
            stack.append(group)
        else:
            stack[-1].attributes[kind] = name
    if len(root.groups) != 1 or root.groups[0].kind != "library":
        raise InputError("liberty: the file does not hold one library")
    return root.groups[0]


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"[-+.\deE]+", text)]


def _between(axis: list[float], values: list[float], x: float) -> float:
    """Linear interpolation; outside the axis, the value at its end."""
    x = min(max(x, axis[0]), axis[-1])
    n = min(bisect_right(axis, x), len(axis) - 1)
    low, high = axis[n - 1], axis[n]
    return values[n - 1] + (values[n] - values[n - 1]) * (x - low) / (high - low)


def look_up(table: Group, load: float) -> float:
    """A table's value at SLOPE_NS and a load in fF; a table may have one axis (slope) or be one number."""
    values = _numbers(table.attributes["values"])
    if len(values) == 1:
        return values[0]
    slopes = _numbers(table.attributes["index_1"])
    if "index_2" in table.attributes:
        loads = _numbers(table.attributes["index_2"])
        rows = [values[n : n + len(loads)] for n in range(0, len(values), len(loads))]
        values = [_between(loads, row, load) for row in rows]
    return _between(slopes, values, SLOPE_NS)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


class Cell:
    """One cell. Members: ``inputs`` (from pin to fF), ``functions`` (from output pin to text),
    ``leakage_nw``, and for a register ``clock`` (pin) and ``next_state`` (text)."""

    def __init__(self, group: Group) -> None:
        self.pins = {pin.name: pin for pin in group.all("pin")}
        self.inputs = {
            name: float(pin.attributes.get("capacitance", 0))
            for name, pin in self.pins.items()
            if pin.attributes["direction"] == "input"
        }
        self.functions = {
            name: pin.attributes["function"]
            for name, pin in self.pins.items()
            if "function" in pin.attributes
        }
        self.leakage_nw = float(group.attributes.get("cell_leakage_power", 0))
        register = next(group.all("ff"), None)
        self.state = register.name.split(",")[0].strip(' "') if register else ""
        self.clock = register.attributes["clocked_on"] if register else ""
        self.next_state = register.attributes["next_state"] if register else ""

    def delay_ns(self, output: str, load: float) -> float:
        """Delay from an input, or the clock, to the output: the mean of all arcs, rising and falling."""
        arcs = [arc for arc in self.pins[output].all("timing") if _leads_to_output(arc)]
        return _mean([look_up(t, load) for arc in arcs for t in arc.all("cell_rise", "cell_fall")])

    def output_fj(self, output: str, load: float) -> float:
        """Internal energy of one change of an output: the mean of all arcs, rising and falling."""
        arcs = self.pins[output].all("internal_power")
        return _mean([look_up(t, load) for arc in arcs for t in arc.all("rise_power", "fall_power")])

    def clock_fj(self, changing: bool) -> float:
        """Internal energy that a register's clock pin takes in a cycle, for both edges. ``changing`` says
        that the input differs from the state; the state's change is the output's energy and not counted
        here."""
        edges = ("fall_power",) if changing else ("rise_power", "fall_power")
        return sum(
            _mean([self._hidden(self.clock, edge, value, value ^ changing, None) for value in (0, 1)])
            for edge in edges
        )

    def data_fj(self, pin: str) -> float:
        """Internal energy of a change of a register's data pin while the clock is high."""
        return _mean([self._hidden(pin, edge, None, state, 1) for edge in ("rise_power", "fall_power")
                      for state in (0, 1)])  # fmt: skip

    def _hidden(self, pin: str, edge: str, data: int | None, state: int, clock: int | None) -> float:
        """The mean of the pin's energies whose condition can hold; None stands for either value."""
        found = []
        for power in self.pins[pin].all("internal_power"):
            when = power.attributes.get("when", "")
            wanted = {self.next_state: data, self.clock: clock}
            for name, output in self.functions.items():
                wanted[name] = state if output == self.state else 1 - state
            literals = {n: int(not sign) for sign, n in re.findall(r"(!?)\s*(\w+)", when)}
            if all(wanted.get(n) in (None, value) for n, value in literals.items()):
                found += [look_up(table, 0.0) for table in power.all(edge)]
        return _mean(found)


def _leads_to_output(arc: Group) -> bool:
    return arc.attributes.get("timing_type", "combinational") in ("combinational", "rising_edge")


def load_library(path: Path) -> Library:
    """Reads a .lib or .lib.gz file. Raises InputError for units other than ns, fF, V and nW."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "replace")
    group = parse(text)
    units = {
        "time_unit": "1ns",
        "voltage_unit": "1V",
        "leakage_power_unit": "1nW",
        "capacitive_load_unit": "1,ff",
    }
    for unit, expected in units.items():
        found = re.sub(r"\s", "", group.attributes.get(unit, "none"))
        if found != expected:
            raise InputError(f"{path}: {unit} is {found}; allowed: {expected}")
    cells = {cell.name: Cell(cell) for cell in group.all("cell")}
    return Library(float(group.attributes["nom_voltage"]), cells)
