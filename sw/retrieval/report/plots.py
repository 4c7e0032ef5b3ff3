"""The plots of a report, as SVGs that follow the reader's light or dark mode, and what they show in words."""

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kestrel.sw.retrieval.benchmark.evaluate import CODES
from kestrel.sw.retrieval.report.rows import Comparison, Report, Row
from kestrel.sw.retrieval.report.tables import CODE_NAMES, POOLING_NAMES, WHITENING_NAMES, describe

INK, SOFT, GRID, PAPER = "#1d2733", "#5d6b7a", "#e1e6ec", "#ffffff"
COLOURS = {"floats": "#1f4e79", "bytes": "#b35900", "bits": "#4d7c0f"}
UNSURE = "#7a8794"
"""Of a difference whose interval contains zero."""

DARK = {INK: "#e6ebf1", SOFT: "#a3b0be", GRID: "#36414d", PAPER: "#1b222b", UNSURE: "#8b97a3",
        COLOURS["floats"]: "#8ec3f0", COLOURS["bytes"]: "#ffb066", COLOURS["bits"]: "#a9d96c"}
"""Colours and what becomes of them in dark mode."""

MARKERS = {"floats": "o", "bytes": "s", "bits": "^"}

SETTINGS: Any = {
    "font.size": 9, "svg.hashsalt": "kestrel", "svg.fonttype": "none", "text.color": INK,
    "axes.labelcolor": INK, "axes.edgecolor": SOFT, "xtick.color": SOFT, "ytick.color": SOFT,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "figure.facecolor": PAPER, "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}  # fmt: skip

WIDE, NARROW = 9.2, 4.1
"""Widths in inches: of a screen, and of a phone, where letters of the same size must be read."""


def plot_map(report: Report, narrow: bool = False) -> str:
    """An SVG of mAP by pooling and codes, as dots with their intervals, one panel for each whitening."""
    panels = len(report.whitenings)
    with mpl.rc_context(SETTINGS):
        size = (NARROW, 0.8 + 2.9 * panels) if narrow else (max(WIDE / 2, WIDE / 2 * panels), 3.8)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(panels if narrow else 1, 1 if narrow else panels, sharey=True, squeeze=False)
        for axes, whitening in zip(grid.ravel(), report.whitenings, strict=True):
            _dots(axes, report, whitening)
        for axes in grid[:, 0]:
            axes.set_ylabel("mean average precision")
        grid[0, 0].set_ylim(max(0.0, min(row.low for row in report.rows) - 0.02),
                            min(1.02, max(row.high for row in report.rows) + 0.02))
        figure.suptitle(f"{report.dataset}: mAP with its 95% interval", fontsize=11)
        handles, labels = grid.ravel()[0].get_legend_handles_labels()
        columns = 1 if len(labels) == len(CODES) else 2
        if narrow and columns == 2:  # the one network in the one column, the other in the other
            handles, labels = handles[::2] + handles[1::2], labels[::2] + labels[1::2]
        figure.legend(handles, labels, loc="outside lower center", ncols=columns if narrow else 3,
                      frameon=False)
        return _svg(figure)


def _dots(axes: Axes, report: Report, whitening: str) -> None:
    """Filled: the integer network; hollow, to the right of it: the float network."""
    places = np.arange(len(report.poolings))
    for number, codes in enumerate(CODES):
        for shift, (arithmetic, face) in enumerate((("integer", COLOURS[codes]), ("float", PAPER))):
            rows = [report.row(arithmetic, report.size, p, whitening, codes) for p in report.poolings]
            known = [(place, row) for place, row in zip(places, rows, strict=True) if row is not None]
            if not known:
                continue
            x = [place + 0.27 * (number - 1) + 0.09 * shift for place, _ in known]
            label = f"{arithmetic}, {CODE_NAMES[codes].format(known[0][1].dimension)}"
            axes.vlines(x, [row.low for _, row in known], [row.high for _, row in known],
                        color=COLOURS[codes], linewidth=1.4, zorder=2)
            axes.plot(x, [row.map for _, row in known], MARKERS[codes], color=COLOURS[codes], markersize=5.5,
                      markerfacecolor=face, zorder=3, label=label)
    axes.set_xticks(places + 0.045, [POOLING_NAMES[pooling] for pooling in report.poolings])
    axes.set_xlim(-0.5, len(places) - 0.4)
    axes.set_title(WHITENING_NAMES[whitening].capitalize(), fontsize=10)
    _plain(axes, "y", "left")


def plot_differences(report: Report, narrow: bool = False) -> str:
    """An SVG of all differences with their intervals, grouped by question. ``narrow``: what is compared
    stands above each interval instead of beside it."""
    groups = _grouped(report)
    step = 1.9 if narrow else 1.0
    lines = step * len(report.comparisons) + 1.4 * len(groups)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(NARROW if narrow else WIDE, 1.1 + 0.2 * lines), layout="constrained")
        axes = figure.subplots()
        y, ticks, labels = 0.0, [], []
        for about, comparisons in groups.items():
            title = about[0].upper() + about[1:]
            axes.text(0.0, y, title, transform=axes.get_yaxis_transform(), fontweight="bold", va="center",
                      fontsize=8.5, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}, zorder=4)
            y += 1.0
            for comparison in comparisons:
                words = describe(comparison.this)
                if narrow:
                    axes.text(0.0, y, words, transform=axes.get_yaxis_transform(), va="center", fontsize=8,
                              color=SOFT, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1}, zorder=4)
                _interval(axes, comparison, y + step - 1.0)
                ticks.append(y)
                labels.append(words)
                y += step
            y += 0.4
        axes.axvline(0, color=SOFT, linewidth=0.9)
        axes.set_yticks([] if narrow else ticks, [] if narrow else labels, fontsize=7.5)
        axes.set_ylim(y, -0.8)
        axes.set_xlabel("difference of mAP, 95% interval (grey: contains zero)", fontsize=8)
        figure.suptitle(f"{report.dataset}: differences of mAP", fontsize=11)
        _plain(axes, "x", "bottom")
        axes.tick_params(axis="y", length=0)
        return _svg(figure)


def _interval(axes: Axes, comparison: Comparison, y: float) -> None:
    gain = comparison.gain
    colour = COLOURS["floats"] if _is_sure(comparison) else UNSURE
    axes.hlines(y, gain.low, gain.high, color=colour, linewidth=2, zorder=2)
    axes.plot(gain.difference, y, "o", color=colour, markersize=4, zorder=3)


def _is_sure(comparison: Comparison) -> bool:
    return comparison.gain.low > 0 or comparison.gain.high < 0


def _grouped(report: Report) -> dict[str, list[Comparison]]:
    abouts = dict.fromkeys(comparison.about for comparison in report.comparisons)
    return {about: [c for c in report.comparisons if c.about == about] for about in abouts}


def map_words(report: Report) -> str:
    """What ``plot_map`` shows."""
    ranked = sorted(report.rows, key=lambda row: row.map)
    return (f"Dots with 95% intervals: mean average precision on {report.dataset} by pooling "
            f"({', '.join(POOLING_NAMES[pooling] for pooling in report.poolings)}) and descriptor. "
            f"Highest: {_value(ranked[-1])}. Lowest: {_value(ranked[0])}. The values stand in table 1.")


def _value(row: Row) -> str:
    return f"{describe(row)}, {row.map:.4f}"


def difference_words(report: Report) -> str:
    """What ``plot_differences`` shows."""
    parts = [f"{about}: {sum(map(_is_sure, found))} of {len(found)}"
             for about, found in _grouped(report).items()]
    return (f"Dots with 95% intervals: {len(report.comparisons)} differences of mean average precision on "
            f"{report.dataset}. Intervals that do not contain zero: {'; '.join(parts)}. "
            "The values stand in the table of differences.")


def _plain(axes: Axes, along: str, kept: str) -> None:
    axes.grid(axis="y" if along == "y" else "x", color=GRID, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == kept)


def _svg(figure: Figure) -> str:
    """The drawing, with a style sheet that exchanges its colours in dark mode."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    rules = "".join(f'[style*="{what}: {light}"]{{{what}:{dark}!important}}'
                    for light, dark in DARK.items() for what in ("fill", "stroke"))
    sheet = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    head, end, rest = buffer.getvalue().partition("</metadata>")
    assert end, "matplotlib describes its drawings"
    return f"{head}{end}{sheet}{rest}"
