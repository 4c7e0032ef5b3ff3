"""The figures of a study's report, as SVG: those of the papers with our measurements."""

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kestrel.sw.study.grid import NO_WHITENING, Grid
from kestrel.sw.study.report.fronts import front
from kestrel.sw.study.rows import DenseRow, Results, Row

SETTINGS: Any = {"font.size": 8, "svg.hashsalt": "kestrel", "svg.fonttype": "none"}
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22",
           "#17becf", "#003f5c", "#7a5195", "#ffa600", "#58508d")
MASK_COLOUR = "#c8553d"
FAMILY_COLOURS = {"float": "0.3", "scalar": "#1f4e79", "vector": "#588157", "pruned": "#d4a017",
                  "masks": MASK_COLOUR}

BELOW, BELOW_SLANTED = -0.16, -0.34
"""Where a legend begins below the axes, in shares of their height: under words along them, and under slanted
names of layers."""

Chosen = Callable[[Row], bool]


def figures(results: Results, grid: Grid) -> dict[str, str]:
    """Every figure that has something to show: its title -> SVG."""
    rows = [row for row in results.rows if row.pooling == next(iter(grid.poolings))]
    drawn: dict[str, str | None] = {
        "Maps against classifiers (figure 3a)": _layers(rows, grid),
        "Scalar against vector quantisation (figure 3b)": _panels(rows, grid, _is_quantised),
        "Fixed against variable length (figure 3c)": _panels(rows, grid, _is_coded),
        "Bits of residual networks (figure 4b)": _bits(rows, grid, lambda row: "resnet" in row.network),
        "Bits of the other networks": _bits(rows, grid, lambda row: "resnet" not in row.network),
        "All networks (figure 5)": _all(rows, grid),
        "Pareto front of bytes against mAP": _fronts(rows, grid),
        "Product quantisation by segment (Gong, figure 1)": _segments(results.dense),
        "Product quantisation by rate (Gong, figure 2)": _dense(results.dense, ("PQ",)),
        "All methods for a dense layer (Gong, figures 3 and 4)": _dense(
            results.dense, ("binary", "KM", "PQ", "RQ", "SVD")),
    }
    return {title: svg for title, svg in drawn.items() if svg is not None}


def _is_quantised(row: Row) -> bool:
    fixed = row.options.get("coding") == "fixed" and row.options.get("batch_norm", 32) == 32
    return fixed and (row.family == "vector" or (
        row.family == "scalar" and row.options["method"] == "lloyd-max" and row.options["bits"] in (3, 4, 5)))


def _is_coded(row: Row) -> bool:
    return (row.family == "scalar" and row.options["method"] == "lloyd-max"
            and row.options["bits"] in (2, 3, 4) and row.options["batch_norm"] == 32)


def _layers(rows: Sequence[Row], grid: Grid) -> str | None:
    shown = [row for row in rows if row.family == "float" and row.trained]
    if not shown:
        return None
    networks = list(dict.fromkeys(row.network for row in shown))
    figure, panels = _figure(len(networks))
    for axes, network in zip(panels, networks, strict=True):
        for number, whitening in enumerate(grid.whitenings):
            mine = [row for row in shown if row.network == network and row.whitening == whitening
                    and row.data == grid.data[0].name]
            axes.plot([row.cut for row in mine], [row.map for row in mine], "o-", color=COLOURS[number],
                      label=_whitening(whitening), markersize=3)
        axes.tick_params(axis="x", rotation=60)
        _finish(axes, network, "")
    return _svg(figure, panels, BELOW_SLANTED)


def _panels(rows: Sequence[Row], grid: Grid, chosen: Chosen) -> str | None:
    """A panel a network, a curve a codec over its cuts, sizes on a logarithmic axis."""
    return _curves([row for row in rows if (chosen(row) or row.family == "float")
                    and row.whitening == grid.whitenings[0]], lambda row: row.codec)


def _curves(rows: Sequence[Row], name: Callable[[Row], str]) -> str | None:
    networks = list(dict.fromkeys(row.network for row in rows if row.family != "float"))
    if not networks:
        return None
    figure, panels = _figure(len(networks))
    for axes, network in zip(panels, networks, strict=True):
        labels = list(dict.fromkeys(name(row) for row in rows if row.network == network))
        for number, label in enumerate(labels):
            mine = [row for row in rows if row.network == network and name(row) == label]
            _curve(axes, mine, COLOURS[number % len(COLOURS)], label)
        axes.set_xscale("log")
        _finish(axes, network, "bytes of the file")
    return _svg(figure, panels)


def _curve(axes: Axes, rows: Sequence[Row], colour: str, label: str) -> None:
    ordered = sorted(rows, key=lambda row: row.file_bytes)
    axes.plot([row.file_bytes for row in ordered], [row.map for row in ordered], "o-", color=colour,
              label=label, markersize=2.5, linewidth=1)


def _bits(rows: Sequence[Row], grid: Grid, chosen: Chosen) -> str | None:
    def is_shown(row: Row) -> bool:
        return chosen(row) and row.whitening == grid.whitenings[0] and row.options.get("coding", "fixed") == (
            "fixed") and row.options.get("batch_norm", 32) == 32 and (
            row.family in ("float", "masks") or row.options.get("method") == "lloyd-max")

    return _curves([row for row in rows if is_shown(row)], lambda row: row.codec)


def _all(rows: Sequence[Row], grid: Grid) -> str | None:
    shown = [row for row in rows if row.family in ("float", "masks") or (
        row.family == "scalar" and row.options["method"] == "lloyd-max" and row.options["batch_norm"] == 32
        and row.options["bits"] in (3, 4, 5))]
    shown = [row for row in shown if row.options.get("coding", "fixed") == "fixed"]
    if not any(row.family != "float" for row in shown):
        return None
    figure, panels = _figure(len(grid.whitenings))
    for axes, whitening in zip(panels, grid.whitenings, strict=True):
        mine = [row for row in shown if row.whitening == whitening]
        labels = list(dict.fromkeys((row.network, row.codec) for row in mine))
        for number, (network, codec) in enumerate(labels):
            _curve(axes, [row for row in mine if (row.network, row.codec) == (network, codec)],
                   COLOURS[number % len(COLOURS)], f"{network} {codec}")
        axes.set_xscale("log")
        _finish(axes, _whitening(whitening), "bytes of the file")
    return _svg(figure, panels)


def _fronts(rows: Sequence[Row], grid: Grid) -> str | None:
    networks = list(dict.fromkeys(row.network for row in rows))
    if not networks:
        return None
    figure, panels = _figure(len(networks) * len(grid.whitenings), columns=len(networks))
    places = [(network, whitening) for whitening in grid.whitenings for network in networks]
    for axes, (network, whitening) in zip(panels, places, strict=True):
        mine = [row for row in rows if (row.network, row.whitening) == (network, whitening)]
        for family, colour in FAMILY_COLOURS.items():
            part = [row for row in mine if row.family == family]
            axes.plot([row.file_bytes for row in part], [row.map for row in part],
                      "s" if family == "masks" else "o", color=colour, label=family, markersize=2.5)
        best = front(mine)
        axes.step([row.file_bytes for row in best], [row.map for row in best], where="post", color="0.2",
                  linewidth=0.8, label="front")
        axes.set_xscale("log")
        _finish(axes, f"{network}, {_whitening(whitening)}", "bytes of the file")
    return _svg(figure, panels)


def _segments(rows: Sequence[DenseRow]) -> str | None:
    networks = list(dict.fromkeys(row.network for row in rows))
    if not networks:
        return None
    figure, panels = _figure(len(networks))
    for axes, network in zip(panels, networks, strict=True):
        shown = [row for row in rows if row.network == network and row.method == "PQ"]
        labels = dict.fromkeys((row.options["codewords"], row.options["axis"]) for row in shown)
        for number, (codewords, axis) in enumerate(labels):
            mine = sorted((row for row in shown if row.options["codewords"] == codewords
                           and row.options["axis"] == axis), key=lambda row: row.options["segment"])
            axes.plot([row.options["segment"] for row in mine], [1 - row.at_1 for row in mine], "o-",
                      color=COLOURS[number % len(COLOURS)], label=f"{codewords} codewords, {axis}",
                      markersize=3)
        _finish(axes, network, "length of a segment", "error@1")
    return _svg(figure, panels)


def _dense(rows: Sequence[DenseRow], methods: Iterable[str]) -> str | None:
    networks = list(dict.fromkeys(row.network for row in rows))
    if not networks:
        return None
    figure, panels = _figure(2 * len(networks))
    places = [(network, at) for network in networks for at in ("at_1", "at_5")]
    for axes, (network, at) in zip(panels, places, strict=True):
        mine = [row for row in rows if row.network == network]
        for number, (method, detail) in enumerate(dict.fromkeys(
                (row.method, _detail(row)) for row in mine if row.method in methods)):
            part = sorted((row for row in mine if (row.method, _detail(row)) == (method, detail)),
                          key=lambda row: row.rate)
            axes.plot([row.rate for row in part], [1 - getattr(row, at) for row in part], "o-", markersize=3,
                      color=COLOURS[number % len(COLOURS)], label=f"{method}{detail}")
        floats = [row for row in mine if row.method == "float"]
        for row in floats:
            axes.axhline(1 - getattr(row, at), color="0.3", linewidth=0.8, label="float")
        _finish(axes, network, "compression rate of the stream", f"error@{at[-1]}")
    return _svg(figure, panels)


def _detail(row: DenseRow) -> str:
    return f", {row.options['codewords']} codewords, {row.options['axis']}" if row.method == "PQ" else ""


def _whitening(name: str) -> str:
    return "not whitened" if name == NO_WHITENING else "whitened"


def _figure(count: int, columns: int | None = None) -> tuple[Figure, list[Axes]]:
    columns = columns or min(count, 3)
    lines = -(-count // columns)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(3.6 * columns, 3.4 * lines), layout="constrained")
        panels = list(figure.subplots(lines, columns, squeeze=False).ravel())
    for spare in panels[count:]:
        spare.set_visible(False)
    return figure, panels[:count]


def _finish(axes: Axes, title: str, across: str, up: str = "mAP") -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(color="0.92")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _svg(figure: Figure, panels: Sequence[Axes], below: float = BELOW) -> str:
    for axes in panels:
        axes.legend(fontsize=6, frameon=False, loc="upper center", bbox_to_anchor=(0.5, below), ncols=2)
    buffer = io.StringIO()
    with mpl.rc_context(SETTINGS):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
