"""Shares of what was reached, by module, and what was not, with its lines of Verilog and of Python."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kestrel.verif.coverage.counts import MEASURES, Counts, Point
from kestrel.verif.coverage.module import VerilogModule, read_module

_BIT = re.compile(r"^(.+?)((?:\[\d+\])*):([01]->[01])$")


@dataclass(frozen=True, order=True)
class Item:
    """One thing to reach: a line of Verilog, a branch, a term of a condition, or an edge of one bit. Modules
    that are the same but for their first comment share their items. line: from the module's first one on."""

    module: str
    variant: str
    measure: str
    line: int
    column: int
    name: str


@dataclass(frozen=True)
class Figure:
    """waived: not reached, with a reason; share: of what is not waived, 1 where there is nothing to reach."""

    points: int
    covered: int
    waived: int

    @property
    def share(self) -> float:
        return self.covered / (self.points - self.waived) if self.points > self.waived else 1.0

    def __add__(self, other: "Figure") -> "Figure":
        return Figure(self.points + other.points, self.covered + other.covered, self.waived + other.waived)


@dataclass(frozen=True)
class Missed:
    """What was not reached in one place. file, line: of the Verilog, without its folder; text: that line;
    what: the branch, the term, or the signal with its bits; place: the line or file of Python; points: how
    many, over all ``variants`` of the module (an engine's sizes change its text); reason: of the waiver, or
    ""."""

    module: str
    measure: str
    file: str
    line: int
    text: str
    what: str
    place: str
    points: int
    variants: int
    reason: str = ""


@dataclass(frozen=True)
class ModuleCoverage:
    """figures: by measure, over all ``variants`` of the module."""

    name: str
    source: str
    variants: int
    figures: dict[str, Figure]


@dataclass(frozen=True)
class Summary:
    """``missed`` is in the order of modules, lines and measures."""

    modules: tuple[ModuleCoverage, ...]
    missed: tuple[Missed, ...]

    @property
    def totals(self) -> dict[str, Figure]:
        """Over all modules."""
        return {
            measure: sum((module.figures[measure] for module in self.modules), Figure(0, 0, 0))
            for measure in MEASURES.values()
        }


@dataclass(frozen=True)
class _Place:
    verilog: VerilogModule
    file: str
    line: int


def find_missed(counts: Counts) -> tuple[dict[Item, int], tuple[Missed, ...], dict[str, VerilogModule]]:
    """Items with their counts; what was not reached, nothing waived; and a file of each module. Raises
    InputError for Verilog that is gone."""
    files = {file: read_module(Path(file)) for file in {point.file for point in counts}}
    items: Counter[Item] = Counter()
    places: dict[Item, _Place] = {}
    for point, count in counts.items():
        verilog = files[point.file]
        for item, line in _items(point, verilog):
            items[item] += count
            places.setdefault(item, _Place(verilog, Path(point.file).name, line))
    missed = _grouped({item: places[item] for item, count in items.items() if not count})
    return dict(items), missed, {verilog.name: verilog for verilog in files.values()}


def summarise(items: dict[Item, int], missed: Iterable[Missed], modules: dict[str, VerilogModule]) -> Summary:
    """The figures; ``missed`` as ``find_missed`` gives it, perhaps with the reasons of waivers."""
    missed = tuple(missed)
    points: Counter[tuple[str, str]] = Counter()
    covered: Counter[tuple[str, str]] = Counter()
    waived: Counter[tuple[str, str]] = Counter()
    variants: dict[str, set[str]] = defaultdict(set)
    for item, count in items.items():
        points[item.module, item.measure] += 1
        covered[item.module, item.measure] += count > 0
        variants[item.module].add(item.variant)
    for each in missed:
        waived[each.module, each.measure] += each.points if each.reason else 0
    found = tuple(
        ModuleCoverage(name, modules[name].source, len(variants[name]), {
            measure: Figure(points[name, measure], covered[name, measure], waived[name, measure])
            for measure in MEASURES.values()
        })
        for name in sorted(variants)
    )  # fmt: skip
    return Summary(found, missed)


def _items(point: Point, verilog: VerilogModule) -> list[tuple[Item, int]]:
    """The items of a point, with their lines in the file. The lines that a block or a branch runs are items
    of their own."""
    module, variant = verilog.name, verilog.variant

    def item(kind: str, line: int, column: int, name: str) -> tuple[Item, int]:
        return Item(module, variant, MEASURES[kind], line - verilog.first, column, name), line

    found = [item("line", line, 0, "") for line in point.lines]
    if point.kind != "line":
        found.append(item(point.kind, point.line, point.column, point.name))
    return found


def _grouped(missed: dict[Item, _Place]) -> tuple[Missed, ...]:
    """Bits of a signal as one entry, and the same line of several variants as one."""
    groups: dict[tuple[str, str, str, str, str], dict[Item, _Place]] = defaultdict(dict)
    for item, place in sorted(missed.items(), key=lambda pair: pair[0]):
        signal = _signal(item)
        text = "" if item.measure == "toggle" else place.verilog.text(place.line)
        where = (place.verilog.place_of_signal(signal) if item.measure == "toggle"
                 else place.verilog.place(place.line))  # fmt: skip
        groups[item.module, item.measure, signal, text, where][item] = place
    found = []
    for (module, measure, signal, text, where), items in groups.items():
        first = next(iter(items.values()))
        what = f"{signal}{_edges(items)}" if measure == "toggle" else signal
        shown = text or first.verilog.text(first.line)
        found.append(Missed(module, measure, first.file, first.line, shown, what, where, len(items),
                            len({item.variant for item in items})))  # fmt: skip
    order = list(MEASURES.values())
    return tuple(sorted(found, key=lambda m: (m.module, order.index(m.measure), m.line, m.what)))


def _signal(item: Item) -> str:
    """The name of a bit's signal; of other items their own."""
    if item.measure != "toggle":
        return item.name
    match = _BIT.match(item.name)
    return match[1] if match else item.name


def _edges(items: Iterable[Item]) -> str:
    """The bits that did not change, `` [15:8] 0->1``; both edges of all without a word on them."""
    by_edge: dict[str, set[int]] = defaultdict(set)
    for item in items:
        match = _BIT.match(item.name)
        if match:
            by_edge[match[3]].add(int(match[2].rpartition("[")[2].rstrip("]") or -1))
    texts = {edge: _ranges(bits) for edge, bits in sorted(by_edge.items())}
    if len(set(texts.values())) == 1:
        edges = "" if len(texts) == 2 else f" {next(iter(texts))}"
        return next(iter(texts.values())) + edges
    return ", ".join(f"{bits} {edge}" for edge, bits in texts.items())


def _ranges(bits: set[int]) -> str:
    """{0, 1, 2, 7} as ``[7,2:0]``; a signal of one bit, -1, as nothing."""
    runs: list[list[int]] = []
    for bit in sorted(bits - {-1}, reverse=True):
        if runs and runs[-1][-1] == bit + 1:
            runs[-1].append(bit)
        else:
            runs.append([bit])
    if not runs:
        return ""
    return f"[{','.join(str(run[0]) if len(run) == 1 else f'{run[0]}:{run[-1]}' for run in runs)}]"
