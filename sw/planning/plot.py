"""The plot of a plan: which layer runs when, and how full both parts of the feature memory are."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter

from kestrel.hw.spec.table import KIND_CONV
from kestrel.sw.common.kinds import plot_metadata
from kestrel.sw.planning.cycles import FrameCycles
from kestrel.sw.planning.memory import MapUse, memory_needs, memory_use
from kestrel.sw.planning.plan import Plan, Record

PLOT_SUFFIXES = (".svg", ".png")

KILO = 1000
DPI = 150
SETTINGS: Any = {"font.size": 9, "svg.hashsalt": "kestrel", "svg.fonttype": "none"}


def plot_plan(plan: Plan, cycles: FrameCycles, name: str, path: Path) -> None:
    """Writes the plot to ``path``, whose suffix (one of PLOT_SUFFIXES) gives the format. The same plan always
    gives the same file."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(10, 8), layout="constrained")
        order, *parts = figure.subplots(3, 1, sharex=True, height_ratios=(1.25, 1, 1))
        colours = _colours(plan)
        _draw_order(order, plan, cycles, colours)
        # All records but the last, the output, write a map.
        coloured = list(zip(memory_use(plan, cycles.visit_starts, cycles.total), colours[:-1], strict=True))
        sizes = memory_needs(plan).features
        for part, axes in enumerate(parts):
            _draw_part(axes, part, [(use, colour) for use, colour in coloured if use.part == part])
            for size, style, label in (
                (sizes[part].used, "--", "addresses used"),
                (sizes[part].configured, "-", "configured"),
            ):
                axes.axhline(
                    size / KILO, color="0.25", linestyle=style, linewidth=1,
                    label=f"{label}: {size / KILO:,.0f} kB",
                )  # fmt: skip
            axes.set_ylim(0, sizes[part].configured / KILO * 1.12)
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7.5, frameon=False)
        parts[-1].set_xlabel(f"time / clock cycles (frame: {cycles.total:,})")
        parts[-1].xaxis.set_major_formatter(EngFormatter())
        parts[-1].set_xlim(0, cycles.total)
        config = plan.config
        figure.suptitle(
            f"{name} on {config.name} ({config.input_lanes} x {config.output_lanes} lanes), "
            f"{plan.height} x {plan.width} pixels, {len(plan.visits)} visits"
        )
        figure.savefig(path, dpi=DPI, metadata=plot_metadata("plan", path.suffix))


Colour = tuple[float, float, float, float]


def _colours(plan: Plan) -> list[Colour]:
    """One colour for each record, from dark to light in the order of the network."""
    shades = mpl.colormaps["turbo"](np.linspace(0.05, 0.95, len(plan.records)))
    return [(float(r), float(g), float(b), float(a)) for r, g, b, a in shades]


def _draw_order(axes: Axes, plan: Plan, cycles: FrameCycles, colours: list[Colour]) -> None:
    """Draws one bar for each visit, in one row for each record."""
    ends = (*cycles.visit_starts[1:], cycles.total)
    for number, colour in enumerate(colours):
        spans = [
            (start, stop - start)
            for visit, start, stop in zip(plan.visits, cycles.visit_starts, ends, strict=True)
            if visit.record == number
        ]
        axes.broken_barh(spans, (number - 0.4, 0.8), facecolors=[colour], edgecolor=colour, linewidth=0.4)
    axes.set_yticks(range(len(plan.records)), [_label(plan, record) for record in plan.records])
    axes.set_ylim(len(plan.records) - 0.4, -0.6)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_ylabel("visits")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    layers = sum(record.kind == KIND_CONV for record in plan.records)
    axes.set_title(f"order of the visits, {layers} layers", loc="left", fontsize=9)


def _label(plan: Plan, record: Record) -> str:
    """A record's name, and that of the layer whose output it adds."""
    return record.name if record.shortcut is None else f"{record.name} + {plan.records[record.shortcut].name}"


def _draw_part(axes: Axes, part: int, uses: list[tuple[MapUse, Colour]]) -> None:
    """Draws the maps of one part of the feature memory, stacked."""
    times = np.unique(np.concatenate([use.cycles for use, _ in uses]))
    heights = []
    for use, _ in uses:
        # The last change at or before each time.
        last = np.searchsorted(use.cycles, times, side="right") - 1
        heights.append(use.bytes[last] / KILO)
    axes.stackplot(
        times, heights, step="post", linewidth=0,
        colors=[colour for _, colour in uses], labels=[use.name for use, _ in uses],
    )  # fmt: skip
    axes.set_ylabel("in use / kB")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.set_title(f"feature memory, part {part}: rows still to be read, by the layer that writes them",
                   loc="left", fontsize=9)  # fmt: skip
