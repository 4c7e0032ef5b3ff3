"""Writes a report: HTML (one file that loads nothing from elsewhere), Markdown, JSON and two plots."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kestrel.sw.common.files import atomic_write
from kestrel.sw.retrieval.benchmark.evaluate import CODES
from kestrel.sw.retrieval.report.rows import Report
from kestrel.sw.retrieval.report.tables import (
    CODE_NAMES,
    POOLING_NAMES,
    WHITENING_NAMES,
    as_payload,
    comparison_table,
    describe,
    first_tables,
    megabytes,
    second_table,
)

HTML, MARKDOWN, JSON = "report.html", "report.md", "report.json"
MAP_PLOT, DIFFERENCE_PLOT = "map.svg", "differences.svg"
PAGES = (HTML, MARKDOWN, JSON, MAP_PLOT, DIFFERENCE_PLOT)
"""Files of a report; the last where there is something to compare."""

SETTINGS: Any = {"font.size": 9, "svg.hashsalt": "kestrel", "svg.fonttype": "none"}
COLOURS = {"floats": "#1f4e79", "bytes": "#4f8fc0", "bits": "#b9d3e8"}
ACCENT = "#c8553d"


def write_report(report: Report, output: Path) -> list[Path]:
    """Writes all files into ``output``, which must exist, and returns their paths. Raises InputError."""
    plots = {MAP_PLOT: plot_map(report)}
    if report.comparisons:
        plots[DIFFERENCE_PLOT] = plot_differences(report)
    environment = Environment(loader=PackageLoader("kestrel.sw.retrieval.report"), undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
                              autoescape=select_autoescape(("html.j2",)))
    context = {
        "report": report, "first": first_tables(report), "second": second_table(report),
        "comparisons": comparison_table(report), "float_size": megabytes(report.float_bytes),
        "size": megabytes(report.weight_bytes), "ratio": f"{report.float_bytes / report.weight_bytes:.1f}",
    }  # fmt: skip
    # As separate images, because the identifiers inside two drawings on one page would clash.
    drawings = [f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
                for svg in plots.values()]
    files = {
        HTML: environment.get_template("report.html.j2").render(**context, plots=drawings),
        MARKDOWN: environment.get_template("report.md.j2").render(**context, plots=list(plots)),
        JSON: json.dumps(as_payload(report), indent=2, allow_nan=False) + "\n",
        **plots,
    }  # fmt: skip
    for name, text in files.items():
        with atomic_write(output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [output / name for name in files]


def plot_map(report: Report) -> str:
    """An SVG of mAP by pooling and codes, one panel for each whitening, with the float network's as lines."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(4.6 * len(report.whitenings), 3.4), layout="constrained")
        panels = figure.subplots(1, len(report.whitenings), sharey=True, squeeze=False)[0]
        for axes, whitening in zip(panels, report.whitenings, strict=True):
            _bars(axes, report, whitening)
        values = [row.map for row in report.rows]
        panels[0].set_ylim(max(0.0, min(values) - 0.05), min(1.01, max(values) + 0.03))
        panels[0].set_ylabel("mean average precision")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        return _svg(figure)


def _bars(axes: Axes, report: Report, whitening: str) -> None:
    places = np.arange(len(report.poolings))
    width = 0.8 / len(CODES)
    for number, codes in enumerate(CODES):
        rows = [report.row("integer", report.size, p, whitening, codes) for p in report.poolings]
        dimension = next(row.dimension for row in rows if row is not None)
        heights = [np.nan if row is None else row.map for row in rows]
        x = places + (number - (len(CODES) - 1) / 2) * width
        axes.bar(x, heights, width * 0.92, color=COLOURS[codes], zorder=2,
                 label=f"integer, {CODE_NAMES[codes].format(dimension)}")
        floats = [report.row("float", report.size, p, whitening, codes) for p in report.poolings]
        for place, row in zip(x, floats, strict=True):
            if row is not None:
                axes.hlines(row.map, place - width / 2, place + width / 2, color=ACCENT, zorder=3,
                            label="float network" if number == 0 and place == x[0] else "_nolegend_")
    axes.set_xticks(places, [POOLING_NAMES[pooling] for pooling in report.poolings])
    axes.set_title(WHITENING_NAMES[whitening].capitalize(), fontsize=10)
    axes.grid(axis="y", color="0.9", zorder=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def plot_differences(report: Report) -> str:
    """An SVG of all differences with their intervals, grouped by question."""
    groups = list(dict.fromkeys(comparison.about for comparison in report.comparisons))
    ordered = [c for about in groups for c in report.comparisons if c.about == about]
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(9.2, 0.7 + 0.2 * (len(ordered) + len(groups))), layout="constrained")
        axes = figure.subplots()
        y, ticks, labels = 0.0, [], []
        for about in groups:
            axes.text(0.0, y, about[0].upper() + about[1:], transform=axes.get_yaxis_transform(),
                      fontweight="bold", va="center", fontsize=8)
            y += 1
            for comparison in (c for c in ordered if c.about == about):
                gain = comparison.gain
                sure = gain.low > 0 or gain.high < 0
                colour = COLOURS["floats"] if sure else "0.55"
                axes.hlines(y, gain.low, gain.high, color=colour, linewidth=2)
                axes.plot(gain.difference, y, "o", color=colour, markersize=4)
                ticks.append(y)
                labels.append(describe(comparison.this))
                y += 1
        axes.axvline(0, color="0.3", linewidth=0.8)
        axes.set_yticks(ticks, labels, fontsize=7.5)
        axes.set_ylim(y, -0.8)
        axes.set_xlabel("difference of mAP, with its 95% interval (grey: contains zero)")
        axes.grid(axis="x", color="0.92", zorder=0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="y", length=0)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
