"""The page of a design, or of two side by side: one HTML file that loads nothing from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from kestrel.sw.common.files import atomic_write
from kestrel.sw.design.architecture import drawing
from kestrel.sw.design.design import Design
from kestrel.sw.design.memory_chart import MemoryChart, memory_charts
from kestrel.sw.estimate.estimate import Estimate
from kestrel.sw.estimate.speed import digits
from kestrel.sw.planning.report import PlannedLayer


@dataclass(frozen=True)
class Bar:
    """A row of a list of bars: ``share`` of the longest, 0 to 1."""

    name: str
    share: float
    text: str


@dataclass(frozen=True)
class LayerRow:
    """A layer in the table. shares: of the frame's cycles, and of the array's work that is lost in all
    layers."""

    layer: PlannedLayer
    cycles_share: float
    lost_share: float
    weight_kbit: float


@dataclass(frozen=True)
class Figure:
    """A figure of one design, and with two of the second and how much that is more."""

    name: str
    values: tuple[str, ...]
    change: str


@dataclass(frozen=True)
class Panel:
    """A design as the page shows it."""

    design: Design
    wide: str
    tall: str
    charts: tuple[MemoryChart, ...]
    layers: tuple[LayerRow, ...]
    area: tuple[Bar, ...]
    energy: tuple[Bar, ...]
    findings: tuple[str, ...]
    sensitivity_bits: tuple[int, ...]
    most_distorted: float


def write_page(path: Path, designs: Sequence[Design]) -> None:
    """Writes the page of one design, or of two."""
    environment = Environment(
        loader=PackageLoader("kestrel.sw.design"), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, autoescape=select_autoescape(("html.j2",)),
    )  # fmt: skip
    environment.filters["digits"] = digits
    text = environment.get_template("design.html.j2").render(
        panels=[panel(design) for design in designs], figures=figures([d.estimate for d in designs]),
    )  # fmt: skip
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def panel(design: Design) -> Panel:
    """All that is drawn of a design."""
    found = design.estimate
    layers = _layer_rows(found)
    bits = sorted({bits for each in design.sensitivities for bits in each.distortion})
    distortions = [value for each in design.sensitivities for value in each.distortion.values()]
    return Panel(
        design, drawing(found), drawing(found, tall=True), memory_charts(found), layers,
        _area_bars(found), _energy_bars(found), findings(design, layers), tuple(bits),
        max(distortions, default=0.0),
    )  # fmt: skip


def _layer_rows(found: Estimate) -> tuple[LayerRow, ...]:
    layers, config = found.report.layers, found.plan.config
    lost = [layer.cycles * (1 - layer.utilisation) for layer in layers]
    return tuple(
        LayerRow(layer, layer.cycles / found.speed.cycles, wasted / max(sum(lost), 1e-9),
                 layer.weight_words * config.rom_word_bits / 1000)
        for layer, wasted in zip(layers, lost, strict=True)
    )


def findings(design: Design, layers: Sequence[LayerRow]) -> tuple[str, ...]:
    """Which layers cost most, in sentences."""
    slow, lost, large = (max(layers, key=key) for key in (
        lambda row: row.cycles_share, lambda row: row.lost_share, lambda row: row.weight_kbit))
    weights = sum(row.weight_kbit for row in layers)
    said = [
        f"{slow.layer.name} takes most cycles: {slow.cycles_share:.0%} of the frame.",
        f"{lost.layer.name} leaves most of the array unused: {lost.lost_share:.0%} of all that the layers "
        f"lose, at {lost.layer.utilisation:.0%} of the peak.",
        f"{large.layer.name} has the most weights: {large.weight_kbit / weights:.0%} of the bits.",
    ]  # fmt: skip
    if found := design.sensitivities:
        worst = max(found, key=lambda each: each.distortion.get(each.chosen, 0.0))
        said.append(f"{worst.layer} distorts the descriptor most at its {worst.chosen} "
                    f"bit{'s' * (worst.chosen > 1)}: {worst.distortion.get(worst.chosen, 0.0):.2e} "
                    "(1 - cosine, alone).")
    return tuple(said)


def _area_bars(found: Estimate) -> tuple[Bar, ...]:
    parts = sorted(found.logic.parts, key=lambda part: -part.count * part.cells.area)
    largest = parts[0].count * parts[0].cells.area
    return tuple(
        Bar(part.name.replace("_", " ") + (f" x {part.count}" if part.count > 1 else ""),
            part.count * part.cells.area / largest,
            f"{part.count * part.cells.area:,.0f} um2, {part.count * part.cells.lut4:,.0f} LUT4")
        for part in parts
    )  # fmt: skip


def _energy_bars(found: Estimate) -> tuple[Bar, ...]:
    parts = sorted(found.energy.parts.items(), key=lambda part: -part[1])
    return tuple(Bar(name, value / parts[0][1], f"{digits(value)} mJ, {value / found.energy.total:.0%}")
                 for name, value in parts)


def figures(found: Sequence[Estimate]) -> tuple[Figure, ...]:
    """The main figures, of each design."""
    rows = (
        ("time of a frame, ms", lambda e: e.speed.milliseconds, "{:,.3f}"),
        ("pictures a second", lambda e: e.speed.pictures_per_second, "{:,.1f}"),
        ("cycles of a frame", lambda e: e.speed.cycles, "{:,}"),
        ("use of the array in the layers, %", lambda e: 100 * e.report.mac_utilisation, "{:.1f}"),
        ("feature memory in use, kB", lambda e: e.report.memory.feature_bytes / 1000, "{:,.1f}"),
        ("weights in the ROM, kB", lambda e: e.report.memory.weights.used / 1000, "{:,.1f}"),
        ("all memories as configured, kbit", lambda e: e.memory_bits / 1000, "{:,.1f}"),
        ("area of the logic, mm2", lambda e: e.logic.cells.area / 1e6, "{:.4f}"),
        ("clock before layout, at most, MHz", lambda e: e.logic.clock_mhz, "{:,.0f}"),
        ("LUT4 of an ECP5", lambda e: e.logic.cells.lut4, "{:,.0f}"),
        ("multipliers of an ECP5", lambda e: e.logic.cells.dsp, "{:,.0f}"),
        ("energy of a frame, mJ", lambda e: e.energy.total, ""),
        ("of that in memories, %", lambda e: 100 * e.energy.memories / e.energy.total, "{:.1f}"),
        ("of that in ROMs, %", lambda e: 100 * e.energy.rom / e.energy.total, "{:.1f}"),
        ("of that in clock pins, %", lambda e: 100 * e.energy.clock / e.energy.total, "{:.1f}"),
        ("power, frames without a pause, mW", lambda e: e.energy.milliwatts, ""),
    )  # fmt: skip
    if all(each.described for each in found):
        rows += (("energy of a descriptor, mJ", lambda e: e.described.energy.total, ""),)
    made = []
    for name, value, form in rows:
        values = [float(value(each)) for each in found]
        texts = tuple(form.format(value(each)) if form else digits(value(each)) for each in found)
        change = f"{values[1] / values[0] - 1:+.1%}" if len(values) > 1 and values[0] else ""
        made.append(Figure(name, texts, "" if texts[0] == texts[-1] else change))
    return tuple(made)
