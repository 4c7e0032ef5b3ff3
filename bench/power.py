"""A proxy of the engine's power: changes of registers, accesses of memories, energy of the array's units.

    python bench/power.py [--config edge] [--liberty FILE] [--weights FILE --network vgg16:pool3]
        [--compressed FILE]... [--image FILE|random:SEED] [--size 56x56]

One network for each mask width (compressed here, or given) runs a frame through the probed engine; the
register changes, memory accesses and a sample of what every kernel unit meets come from that run. With a
library (``--liberty`` or KESTREL_LIBERTY, .lib or .lib.gz) the kernel unit and a dot product of nine 8-bit
pairs are mapped to gates and simulated with delays in that sample. docs/power.md tells the method and its
limits: before layout, no wires, no clock tree, no memories. Writes ``build/bench/power.json``.
"""

import argparse
import json
import os
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from kestrel.cli.networks.compress import parse_size
from kestrel.cli.options.config import chosen_config
from kestrel.hw.common.place import PREFIX
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.table import KIND_CONV
from kestrel.hw.spec.widths import TAPS
from kestrel.sw.compress.calibrate import folder_pictures, generated_pictures
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.estimate.accesses import memory_accesses
from kestrel.sw.model.compressed import CompressedNetwork, load_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.storage.load import load_weights
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.images import generate_picture, load_image
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import Plan, make_plan
from kestrel.sw.planning.report import plan_named
from kestrel.verif.physical.activity import Activity, build_probed, run_probed
from kestrel.verif.physical.energy import DOT_PRODUCT, DOT_PRODUCT_VERILOG, KERNEL_UNIT, measure
from kestrel.verif.physical.liberty import Library, load_library
from kestrel.verif.physical.streams import Recording
from kestrel.verif.physical.synthesis import standard_cells, unpack_liberty, write_sources, yosys_available

OUTPUT = Path("build/bench/power.json")
WORK = Path("build/bench/power")
UNITS = (KERNEL_UNIT, DOT_PRODUCT)

FRAME = ("vgg16", "3*7,1*6", 224, 224)
"""Network, mask plan and size of the frame whose array cycles are counted."""


def float_network(arguments: argparse.Namespace) -> FloatNetwork:
    step = min(find_preprocessing(arguments.preprocessing).scale)
    return load_weights(arguments.weights, parse_network(arguments.network), step)


def compressed(arguments: argparse.Namespace, network: FloatNetwork) -> list[CompressedNetwork]:
    """One network a mask width."""
    if arguments.compressed:
        return [load_network(path) for path in arguments.compressed]
    height, width = parse_size(arguments.size)
    pictures = (
        folder_pictures(arguments.calibrate, height, width)
        if arguments.calibrate
        else generated_pictures(height, width)
    )
    layers = len(network.shape.layers)
    return [
        compress(network, [int(bits)] * layers, pictures, preprocessing=arguments.preprocessing)[0]
        for bits in arguments.mask_bits.split(",")
    ]


def picture(arguments: argparse.Namespace, preprocessing: str) -> np.ndarray:
    height, width = parse_size(arguments.size)
    found = find_preprocessing(preprocessing)
    if match := re.fullmatch(r"random:(\d{1,9})", arguments.image):
        return found.pixels(generate_picture(height, width, int(match[1])))
    return found.pixels(load_image(arguments.image, height, width))


def activity_rows(activity: Activity) -> dict[str, Any]:
    """Register changes a cycle by class; accesses and changes of the memories' ports."""
    memories = {
        path: asdict(memory) | {"changes_per_cycle": round(memory.changes / activity.cycles, 2)}
        for path, memory in sorted(activity.memories.items())
    }
    classes = {
        label: {
            "bits": found.bits,
            "changes_per_cycle": round(found.changes / activity.cycles, 2),
            "changes_per_bit_and_cycle": round(found.changes / activity.cycles / found.bits, 4),
        }
        for label, found in sorted(activity.classes.items())
    }
    return {"cycles": activity.cycles, "registers": classes, "memories": memories}


def synthesise(config: EngineConfig, liberty: Path, period_ns: float, units: list[str]) -> dict[str, Any]:
    """Map the units; their area and path."""
    folder = WORK / config.name
    write_sources(config, folder)
    (folder / f"{PREFIX}{DOT_PRODUCT}.v").write_text(DOT_PRODUCT_VERILOG, encoding="utf-8")
    found = {unit: standard_cells(folder, unit, liberty, period_ns) for unit in units}
    return {
        unit: {"area": cells.area, "flip_flops": cells.flip_flops, "path_ns": cells.path_ns}
        for unit, cells in found.items()
    }


def measure_layers(
    recording: Recording, library: Library, arguments: argparse.Namespace, console: Console
) -> dict[str, dict[str, Any]]:
    """The units' energies by layer, and their means weighted by the layers' cycles."""
    plan = recording.plan
    cycles = {record.name: record.cycles for record in frame_cycles(plan).layers}
    rows: dict[str, dict[str, Any]] = {}
    for number, record in enumerate(plan.records):
        if record.kind != KIND_CONV:
            continue
        start = time.perf_counter()
        pieces = recording.pieces(number, arguments.pieces, arguments.cycles, arguments.seed)
        folder = WORK / plan.config.name
        row: dict[str, Any] = {}
        for unit in arguments.units:
            row[unit] = asdict(measure(folder / f"{unit}.json", unit, library, pieces))
        rows[record.name] = row | _ratios(row)
        told = ", ".join(f"{unit} {row[unit]['pj']:.3f} pJ" for unit in arguments.units)
        console.print(f"{record.name}: {told} ({time.perf_counter() - start:.0f} s)")
    total = sum(cycles[name] for name in rows)
    keys = ("pj", "switching", "internal", "registers", "clock", "pj_without_glitches", "leakage_uw")
    mean: dict[str, Any] = {
        unit: {key: sum(row[unit][key] * cycles[name] for name, row in rows.items()) / total for key in keys}
        for unit in arguments.units
    }
    return {"layers": rows, "mean": mean | _ratios(mean)}


def _ratios(row: dict[str, Any]) -> dict[str, float]:
    """Dot product to kernel unit, if both are there."""
    if not row.keys() >= set(UNITS):
        return {}
    keys = {"ratio": "pj", "ratio_without_glitches": "pj_without_glitches"}
    return {name: round(row[DOT_PRODUCT][key] / row[KERNEL_UNIT][key], 3) for name, key in keys.items()}


def frame_plan(config: EngineConfig) -> Plan | None:
    """FRAME's plan, if it fits the configuration."""
    network, masks, height, width = FRAME
    try:
        return plan_named(network, masks, config, height, width)[1]
    except InputError as error:
        print(f"no figures of a frame: {error}", file=sys.stderr)
        return None


def frame_figures(plan: Plan, mean: dict[str, Any], period_ns: float) -> dict[str, Any]:
    """Of a frame and of the clock: all units at the mean energy in every cycle of the layers."""
    config = plan.config
    cycles = frame_cycles(plan).compute
    units = config.input_lanes * config.output_lanes
    figures: dict[str, Any] = {"array_cycles": cycles, "units": units}
    for unit in (unit for unit in UNITS if unit in mean):
        pj = mean[unit]["pj"]
        figures[unit] = {
            "pj_per_mac": pj / TAPS,
            "mj_per_frame": pj * units * cycles * 1e-9,
            "mw_at_period": pj * units / period_ns,
            "leakage_mw": mean[unit]["leakage_uw"] * units * 1e-3,
        }
    return figures


def show(console: Console, report: dict[str, Any]) -> None:
    registers = Table(title="register changes a cycle")
    energies = Table(title="pJ a unit and cycle, mean over the layers")
    for table, columns in (
        (registers, ("mask bits", "class", "bits", "changes a cycle", "a bit")),
        (energies, ("mask bits", "unit", "total", "no glitches", "pJ a MAC", "mJ a frame", "mW", "ratio")),
    ):
        for column in columns:
            table.add_column(column, justify="right" if column not in ("class", "unit") else "left")
    for bits, entry in report["networks"].items():
        for label, row in entry["activity"]["registers"].items():
            registers.add_row(
                bits, label, f"{row['bits']:,}", f"{row['changes_per_cycle']:,}",
                str(row["changes_per_bit_and_cycle"]),
            )  # fmt: skip
        if "energy" in entry:
            mean, frame = entry["energy"]["mean"], entry.get("frame", {})
            for unit in (unit for unit in UNITS if unit in mean):
                of_frame = [
                    f"{frame[unit][key]:.{digits}f}" if frame else "-"
                    for key, digits in (("mj_per_frame", 2), ("mw_at_period", 0))
                ]
                energies.add_row(
                    bits, unit, f"{mean[unit]['pj']:.3f}", f"{mean[unit]['pj_without_glitches']:.3f}",
                    f"{mean[unit]['pj'] / TAPS:.3f}", *of_frame,
                    f"{mean['ratio']:.2f}" if "ratio" in mean else "",
                )  # fmt: skip
    console.print(registers)
    if energies.row_count:
        console.print(energies)


def run(arguments: argparse.Namespace, config: EngineConfig, liberty: Path | None) -> dict[str, Any]:
    console = Console(stderr=True, width=150)
    floats = float_network(arguments)
    networks = compressed(arguments, floats)
    report: dict[str, Any] = {
        "bench": "power", "config": config.name, "network": floats.shape.name, "image_size": arguments.size,
        "untrained": sorted(floats.untrained), "period_ns": arguments.period, "networks": {},
        "generated_image": arguments.image.startswith("random:"),
    }  # fmt: skip
    library = None
    if liberty:
        library = load_library(liberty)
        report |= {"library": liberty.stem, "voltage": library.voltage}
        report["synthesis"] = synthesise(config, liberty, arguments.period, arguments.units)
    frame = frame_plan(config)
    if frame:
        report["memory_accesses_of_a_frame"] = {
            name: asdict(accesses) | {"bits_read": accesses.bits_read}
            for name, accesses in memory_accesses(frame).items()
        }
    build = build_probed(config, WORK / "probed")
    for network in networks:
        bits = ",".join(str(b) for b in sorted({layer.mask_bits for layer in network.layers}))
        plan = make_plan(network, config, *parse_size(arguments.size))
        activity = run_probed(build, network, plan, picture(arguments, network.preprocessing), WORK / bits)
        entry: dict[str, Any] = {"activity": activity_rows(activity)}
        if library:
            console.print(f"mask bits {bits}")
            recording = Recording(activity.array, plan, floats.weights)
            entry["energy"] = measure_layers(recording, library, arguments, console)
            if frame:
                entry["frame"] = frame_figures(frame, entry["energy"]["mean"], arguments.period)
        activity.array.unlink()
        report["networks"][bits] = entry
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--config", default="edge", help="name or .toml file")
    add("--set", action="append", metavar="NAME=VALUE", help="change one field of the configuration")
    add("--liberty", type=Path, default=os.environ.get("KESTREL_LIBERTY"), help="library, .lib or .lib.gz")
    add("--weights", default="random:1", help="float weights, a file or random:SEED")
    add("--network", default="vgg16/4:pool3", help="network that the weights are of")
    add("--preprocessing", default="torchvision", help="what the weights expect")
    add("--mask-bits", default="1,2,3", help="mask widths, a network for each")
    add("--calibrate", type=Path, help="folder of photographs for activation ranges")
    add("--compressed", action="append", type=Path, help="compressed network, instead; may be repeated")
    add("--image", default="random:1", help="photograph, or random:SEED")
    add("--size", default="56x56", help="HEIGHTxWIDTH of the frame that is simulated")
    add("--units", default=",".join(UNITS), help=f"of {', '.join(UNITS)}; the dot product takes the time")
    add("--period", type=float, default=2.5, help="clock period in ns that gates are sized for")
    add("--pieces", type=int, default=4, help="pieces of each layer; every unit of the array runs in each")
    add("--cycles", type=int, default=12, help="cycles counted in a piece")
    add("--seed", type=int, default=1, help="seed of the choice of pieces")
    add("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    arguments.units = arguments.units.split(",")
    if not set(arguments.units) <= set(UNITS):
        parser.error(f"--units {','.join(arguments.units)}: allowed: {', '.join(UNITS)}")
    liberty = None
    if not arguments.liberty:
        print("no library given (--liberty or KESTREL_LIBERTY): no energies", file=sys.stderr)
    elif not yosys_available():
        print("yosys is not installed: no energies; pip install 'kestrel-engine[synthesis]'", file=sys.stderr)
    elif not Path(arguments.liberty).is_file():
        parser.error(f"--liberty {arguments.liberty}: no such file")
    else:
        liberty = unpack_liberty(Path(arguments.liberty), WORK)
    try:
        report = run(arguments, chosen_config(arguments.config, arguments.set), liberty)
    except InputError as error:
        parser.error(str(error))
    show(Console(width=150), report)
    print(f"{arguments.output} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
