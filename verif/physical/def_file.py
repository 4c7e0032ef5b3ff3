"""What lies where in a placed and routed block: its DEF file, and the sizes of cells in a LEF file
(LEF/DEF 5.6 Language Reference, Cadence). Lengths and coordinates are in um."""

import re
from dataclasses import dataclass

_COMPONENT = re.compile(r"^- \S+ (\w+) \+ PLACED \( (-?\d+) (-?\d+) \)", re.MULTILINE)
_DIE = re.compile(r"^DIEAREA \( (-?\d+) (-?\d+) \) \( (-?\d+) (-?\d+) \)", re.MULTILINE)
_UNITS = re.compile(r"^UNITS DISTANCE MICRONS (\d+)", re.MULTILINE)
_PATH = re.compile(r"\b(?:ROUTED|NEW) (\w+)((?: \( [^()]*\))+)")
_POINT = re.compile(r"\( (\*|-?\d+) (\*|-?\d+)(?: \d+)? \)")
_VIA = re.compile(r"\bM\d_M\d\b")
_SIZE = re.compile(r"^MACRO (\w+)$.*?^\s*SIZE ([\d.]+) BY ([\d.]+)", re.MULTILINE | re.DOTALL)


class LayoutError(RuntimeError):
    """A step of a flow failed, or what it wrote cannot be used; the message names it."""


@dataclass(frozen=True)
class Wire:
    """A path of horizontal and vertical pieces on one layer."""

    layer: str
    points: tuple[tuple[float, float], ...]

    @property
    def length(self) -> float:
        """In um; 0 for a via alone."""
        pairs = zip(self.points, self.points[1:], strict=False)
        return sum(abs(to_x - x) + abs(to_y - y) for (x, y), (to_x, to_y) in pairs)


@dataclass(frozen=True)
class Placed:
    """A cell and its lower left corner."""

    kind: str
    x: float
    y: float

    @property
    def fills(self) -> bool:
        """Whether it only fills a gap."""
        return self.kind.startswith("FILL")


@dataclass(frozen=True)
class DefFile:
    """``die``: left, bottom, right and top; wires and vias are those of signals."""

    die: tuple[float, float, float, float]
    placed: tuple[Placed, ...]
    wires: tuple[Wire, ...]
    vias: int


def read_def(text: str) -> DefFile:
    """Reads a DEF file; special nets, which carry power, are left out. Raises LayoutError."""
    units = _UNITS.search(text)
    die = _DIE.search(text)
    if units is None or die is None:
        raise LayoutError("no DEF file: neither its units nor its die are given")
    micron = int(units[1])
    left, bottom, right, top = (int(value) / micron for value in die.groups())
    placed = (Placed(kind, int(x) / micron, int(y) / micron) for kind, x, y in _COMPONENT.findall(text))
    nets = text[text.index("\nNETS ") : text.index("\nEND NETS")]
    wires = (Wire(layer, _points(path, micron)) for layer, path in _PATH.findall(nets))
    return DefFile((left, bottom, right, top), tuple(placed), tuple(wires), len(_VIA.findall(nets)))


def read_sizes(text: str) -> dict[str, tuple[float, float]]:
    """Width and height of every cell in a LEF file."""
    return {name: (float(width), float(height)) for name, width, height in _SIZE.findall(text)}


def _points(path: str, micron: int) -> tuple[tuple[float, float], ...]:
    """Of a path; ``*`` repeats the coordinate of the point before."""
    points: list[tuple[float, float]] = []
    for x, y in _POINT.findall(path):
        last = points[-1] if points else (0.0, 0.0)
        points.append((last[0] if x == "*" else int(x) / micron, last[1] if y == "*" else int(y) / micron))
    return tuple(points)
