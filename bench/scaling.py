"""How the engine grows: cycles, use of the array, feature memory and weight ROM by lanes, network and image.

    python bench/scaling.py [--quick] [--no-rtl]

Two sweeps of the closed form: VGG-11/13/16/19 on 2x2 to 32x32 lanes at 224x224, and the same networks on
16x16 lanes at 32x32 to 448x448. Every point is planned: of the depth-first schedules that lose at most
LOST_SHARE of the cycles, the one of least feature memory. Beside it stands the memory of whole maps, layer by
layer. Then frames are simulated in Verilator, small ones, on ``nano`` and ``edge``: the counted cycles must
equal the closed form and every element the reference, otherwise the exit code is 1. Areas are taken from
``build/bench/synthesis.json`` where the bench of synthesis has been run. Writes ``build/bench/scaling.json``
and ``build/bench/scaling.svg``.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullLocator, PercentFormatter

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.model.network import parse_network
from kestrel.sw.planning.cycles import frame_cycles, utilisation
from kestrel.sw.planning.geometry import PlanLayer
from kestrel.sw.planning.memory import memory_needs
from kestrel.sw.planning.plan import with_schedule
from kestrel.sw.planning.proof import check_plan
from kestrel.sw.planning.report import plan_named
from kestrel.sw.planning.visit_order import Schedule, depth_first_schedules, layer_by_layer
from kestrel.verif.cases.random_network import random_network
from kestrel.verif.simulate.engine import Simulation

OUTPUT = Path("build/bench/scaling.json")
SYNTHESIS = Path("build/bench/synthesis.json")

NETWORKS = {"vgg11": "3*4,1*4", "vgg13": "3*6,1*4", "vgg16": "3*7,1*6", "vgg19": "3*8,1*8"}
"""Three bits up to conv3, one bit from conv4 on, as in the published VGG-16."""

LANES = (2, 4, 8, 16, 32)
SIDES = (32, 64, 96, 128, 160, 192, 224, 288, 352, 400, 448)
QUICK_SIDES = (32, 64, 224, 448)
SWEEP_LANES = 16
SWEEP_SIDE = 224

LOST_SHARE = 0.005
"""Of the cycles, for drained pipelines and visible weight loads."""

AMPLE = 1 << 23
"""Words of memories that shall not limit a point."""

RTL_FRAMES = (
    ("nano", "vgg11/8", 32), ("nano", "vgg16/8", 32), ("nano", "vgg16/8", 64), ("nano", "vgg19/8", 64),
    ("edge", "vgg11", 32), ("edge", "vgg16/4", 64), ("edge", "vgg16", 32),
)  # fmt: skip
"""Configuration, network, side of the image."""

SEED = 1


@dataclass(frozen=True)
class Point:
    """One planned frame. Cycles of the layers; bytes of both parts of the feature memory, as planned and with
    whole maps; ROM bits in whole words."""

    network: str
    lanes: int
    side: int
    cycles: int
    frame_cycles: int
    utilisation: float
    whole_maps_cycles: int
    feature_bytes: int
    whole_maps_bytes: int
    partial_sum_bytes: int
    rom_bits: int
    exposed_cycles: int


@dataclass(frozen=True)
class Counted:
    """One simulated frame."""

    network: str
    config: str
    lanes: int
    side: int
    cycles: int
    model_cycles: int
    compute_cycles: int
    utilisation: float
    values_compared: int
    mismatches: int
    as_modelled: bool
    build_seconds: float
    sim_seconds: float


def scaled(lanes: int) -> EngineConfig:
    """``edge`` with other lanes, its loader in proportion, and memories that do not limit."""
    return NAMED["edge"].with_options(
        name=f"{lanes}x{lanes}", input_lanes=lanes, output_lanes=lanes, load_kernels=max(1, lanes // 4),
        stream_bytes=min(4, lanes), feature_words=(AMPLE, AMPLE), weight_words=AMPLE,
    )  # fmt: skip


def measure(network: str, lanes: int, side: int) -> Point:
    """Plan a frame and count it."""
    config = scaled(lanes)
    layers, whole = plan_named(network, NETWORKS[network], config, side, side)
    whole_cycles = frame_cycles(whole)
    plan = with_schedule(whole, frugal(network, layers, config, side, whole_cycles.compute))
    check_plan(plan)
    cycles = frame_cycles(plan)
    needs = memory_needs(plan)
    return Point(
        network=network, lanes=lanes, side=side,
        cycles=cycles.compute, frame_cycles=cycles.total,
        utilisation=utilisation(sum(r.macs for r in cycles.layers), cycles.compute, config),
        whole_maps_cycles=whole_cycles.compute,
        feature_bytes=needs.feature_bytes, whole_maps_bytes=memory_needs(whole).feature_bytes,
        partial_sum_bytes=needs.partial_sums.used, rom_bits=needs.weight_bits,
        exposed_cycles=sum(r.exposed for r in cycles.records),
    )  # fmt: skip


def frugal(
    network: str, layers: tuple[PlanLayer, ...], config: EngineConfig, side: int, cycles: int
) -> Schedule:
    """The schedule of least memory among those that cost next to nothing; on small images, where short strips
    show their weight loads, that may be layer by layer."""
    whole = layer_by_layer(network, layers, config, side, side)
    candidates = [whole, *depth_first_schedules(network, layers, config, side, side)]
    allowed = whole.lost + LOST_SHARE * cycles
    return min((s for s in candidates if s.lost <= allowed), key=lambda s: sum(s.feature_words))


def simulate(config: str, network: str, side: int) -> Counted:
    """Simulate a frame of random pixels through a network of random integers."""
    rng = np.random.default_rng(SEED)
    shape = parse_network(network)
    family = network.partition("/")[0]
    integers = random_network(rng, shape.layers, parse_mask_plan(NETWORKS[family], shape), name=network)
    simulation = Simulation(integers, NAMED[config], side, side)
    report = simulation.run(rng.integers(0, 256, size=(3, side, side), dtype=np.uint8), seed=SEED)
    return Counted(
        network=network, config=config, lanes=NAMED[config].input_lanes, side=side,
        cycles=report.cycles, model_cycles=report.model_cycles, compute_cycles=report.compute_cycles,
        utilisation=report.mac_utilisation, values_compared=report.values_compared,
        mismatches=report.mismatches, as_modelled=report.cycles_as_modelled and report.bit_exact,
        build_seconds=simulation.build.seconds, sim_seconds=report.seconds,
    )  # fmt: skip


def areas() -> dict[int, dict[str, float]]:
    """By lanes: area of the engine without its memories and its part in the array, mm^2 of NanGate45. Empty
    where nothing has been synthesised."""
    if not SYNTHESIS.is_file():
        return {}
    report = json.loads(SYNTHESIS.read_text(encoding="utf-8"))
    found: dict[int, dict[str, float]] = {}
    for entry in report.values():
        if not isinstance(entry, dict) or not isinstance(entry.get("nangate45"), dict):
            continue
        rows = {block: row["area"] / 1e6 for block, row in entry["nangate45"].items() if "area" in row}
        if rows:
            found[entry["config"]["input_lanes"]] = {b: rows[b] for b in ("array", "engine") if b in rows}
    return found


# --------------------------------------------------------------------------------------------------------
# Plot
# --------------------------------------------------------------------------------------------------------

SETTINGS: Any = {"font.size": 9, "svg.hashsalt": "kestrel", "svg.fonttype": "none", "axes.axisbelow": True}
COLOURS = {"vgg11": "#4477aa", "vgg13": "#228833", "vgg16": "#cc3311", "vgg19": "#aa3377"}


MEGABYTES = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def plot(by_lanes: list[Point], by_side: list[Point], counted: list[Counted], path: Path) -> None:
    """Six panels: by image and by lanes, cycles, use of the array and memory; and what was counted in RTL."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(13, 8), layout="constrained")
        grid = figure.subplots(2, 3)
        for row, (points, key) in zip(grid, ((by_side, "side"), (by_lanes, "lanes")), strict=True):
            _lines(row[0], points, key, "cycles")
            row[0].set_yscale("log")
            row[0].set_ylabel("cycles of all layers")
            row[0].yaxis.set_major_formatter(EngFormatter(sep=" "))
            _lines(row[1], points, key, "utilisation")
            row[1].set_ylabel("share of the array's peak")
            row[1].yaxis.set_major_formatter(PercentFormatter(1.0))
            row[1].set_ylim(0, 1.02)
            _lines(row[2], points, key, "feature_bytes", 1e6)
            _lines(row[2], points, key, "whole_maps_bytes", 1e6, dashed=True)
            row[2].set_yscale("log")
            row[2].set_yticks(MEGABYTES, [f"{size:g}" for size in MEGABYTES])
            row[2].yaxis.set_minor_locator(NullLocator())
            row[2].set_ylabel("feature memory / MB")
            for axes in row:
                axes.grid(color="0.9")
                axes.set_xlabel("image side / pixels" if key == "side" else "lanes, input x output")
        for axes in grid[0]:
            axes.set_xticks([32, 64, 128, 224, 320, 448])
        for axes in grid[1]:
            axes.set_xscale("log", base=2)
            axes.set_xticks(LANES, [f"{n}x{n}" for n in LANES])
            axes.xaxis.set_minor_locator(NullLocator())
        _counted(grid[0, 1], counted)
        _named(grid[0, 0], by_side, counted)
        _memory_legend(grid[0, 2])
        _area(grid[1, 0])
        for axes in grid[0]:
            axes.set_title(f"{SWEEP_LANES}x{SWEEP_LANES} lanes", loc="left", fontsize=9)
        for axes in grid[1]:
            axes.set_title(f"{SWEEP_SIDE}x{SWEEP_SIDE} pixels", loc="left", fontsize=9)
        exact = sum(frame.as_modelled for frame in counted)
        note = f"; {exact} of {len(counted)} frames counted in RTL equal it" if counted else ""
        figure.suptitle(f"Growth of the engine: closed form{note}")
        figure.savefig(path, metadata={"Date": None})


def _lines(axes: Axes, points: list[Point], key: str, value: str, unit: float = 1, *,
           dashed: bool = False) -> None:  # fmt: skip
    for network, colour in COLOURS.items():
        own = sorted((getattr(p, key), getattr(p, value) / unit) for p in points if p.network == network)
        if own:
            axes.plot(*zip(*own, strict=True), color=colour, label=network.upper().replace("VGG", "VGG-"),
                      linestyle=":" if dashed else "-", marker="" if dashed else ".", markersize=4,
                      linewidth=1.3)  # fmt: skip


def _named(axes: Axes, points: list[Point], counted: list[Counted]) -> None:
    """The frames counted of whole networks lie on the lines; the legend names the lines."""
    whole = [c for c in counted if c.network in NETWORKS and c.lanes == SWEEP_LANES]
    if whole:
        axes.scatter([c.side for c in whole], [c.compute_cycles for c in whole], s=26, facecolors="none",
                     edgecolors="black", linewidths=1, zorder=3)  # fmt: skip
    rom = {p.network.upper().replace("VGG", "VGG-"): p.rom_bits / 1e6 for p in points}
    lines, labels = axes.get_legend_handles_labels()
    axes.legend(lines, [f"{label}: {rom[label]:.1f} Mbit of ROM" for label in labels], loc="lower right",
                frameon=False)  # fmt: skip


def _counted(axes: Axes, counted: list[Counted]) -> None:
    """Use of the array as counted, on its own terms: the networks are slimmer or the images smaller."""
    for config, marker in (("nano", "s"), ("edge", "o")):
        own = [c for c in counted if c.config == config]
        if own:
            axes.scatter([c.side for c in own], [c.utilisation for c in own], marker=marker, s=26,
                         facecolors="none", edgecolors="black", linewidths=1,
                         label=f"counted in RTL, {config}", zorder=3)  # fmt: skip
    if counted:
        axes.legend(loc="lower right", frameon=False)


def _memory_legend(axes: Axes) -> None:
    for style, label in (("-", "depth first"), (":", "layer by layer, whole maps")):
        axes.plot([], [], color="0.3", linestyle=style, label=label)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[-2:], labels[-2:], loc="lower right", frameon=False)


def _area(axes: Axes) -> None:
    """The engine's area, where it is known, on an axis of its own."""
    found = {lanes: row["engine"] for lanes, row in sorted(areas().items()) if "engine" in row}
    if len(found) < 2:  # one point has no growth
        return
    right = axes.twinx()
    right.plot(list(found), list(found.values()), color="0.4", marker="D", linestyle="--", linewidth=1)
    right.set_yscale("log")
    right.set_ylabel("engine without memories / mm$^2$ (NanGate45, grey)", color="0.4")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few sizes and VGG-16 only; nano only in RTL")
    parser.add_argument("--no-rtl", action="store_true", help="closed form only")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, help="JSON; the plot goes beside it")
    arguments = parser.parse_args()
    start = time.perf_counter()
    networks = ("vgg16",) if arguments.quick else tuple(NETWORKS)
    sides = QUICK_SIDES if arguments.quick else SIDES
    by_lanes = [measure(n, lanes, SWEEP_SIDE) for n in networks for lanes in LANES]
    by_side = [measure(n, SWEEP_LANES, side) for n in networks for side in sides]
    points = len(by_lanes) + len(by_side)
    print(f"closed form: {points} points, {time.perf_counter() - start:.0f} s", file=sys.stderr)
    counted: list[Counted] = []
    for config, network, side in () if arguments.no_rtl else RTL_FRAMES:
        if arguments.quick and config != "nano":
            continue
        counted.append(simulate(config, network, side))
        frame = counted[-1]
        print(f"{config} {network} {side}x{side}: {frame.cycles:,} cycles, model {frame.model_cycles:,}, "
              f"{frame.mismatches} mismatches, {frame.sim_seconds:.1f} s", file=sys.stderr)  # fmt: skip
    path = arguments.output.with_suffix(".svg")
    result = {
        "bench": "scaling",
        "mask_bits": NETWORKS,
        "by_lanes": [asdict(point) for point in by_lanes],
        "by_side": [asdict(point) for point in by_side],
        "counted": [asdict(frame) for frame in counted],
        "area_mm2": areas(),
        "plot": str(path),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    plot(by_lanes, by_side, counted, path)
    print(f"{arguments.output} and {path} written, {time.perf_counter() - start:.0f} s")
    return 0 if all(frame.as_modelled for frame in counted) else 1


if __name__ == "__main__":
    sys.exit(main())
