"""Gates of the engine: area and longest path in standard cells, cells and clock rate of an ECP5.

    python bench/synthesis.py [--config nano] [--set NAME=VALUE] [--liberty FILE] [--blocks A,B]

yosys synthesises each block (``verif.physical.synthesis`` says how). The library is given by ``--liberty`` or
the environment variable KESTREL_LIBERTY, a .lib or .lib.gz; without it that part is skipped, and said so.
nextpnr places and routes ``nano`` on an LFE5U-85F with its memories cut to small depths (``SMALL_MEMORIES``),
because the real ones do not fit; the ports are left without pads. Figures of a block that holds others many
times are sums over its hierarchy. Prints a table, writes ``build/bench/synthesis.json``.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kestrel.cli.options.config import chosen_config
from kestrel.hw.common.place import PREFIX
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import TAPS
from kestrel.verif.physical.routing import SPEEDS, nextpnr_available, route, synthesise
from kestrel.verif.physical.synthesis import (
    BOXED,
    WEIGHT_REGISTERS,
    FpgaCells,
    StandardCells,
    ecp5_cells,
    register_ns,
    standard_cells,
    unpack_liberty,
    write_sources,
    yosys_available,
)

OUTPUT = Path("build/bench/synthesis.json")
WORK = Path("build/bench/synthesis")

INSTALL = "pip install 'kestrel-engine[synthesis]'"

UNIT = "kernel_unit"
UNIT_BARE = "kernel_unit without weight registers"

SMALL_MEMORIES: dict[str, object] = {
    "feature_words": (2048, 2048),
    "weight_words": 2048,
    "table_words": 512,
    "max_width": 128,
}
"""What nextpnr gets instead of the configuration's memories."""


def number(row: dict[str, object], key: str) -> float:
    value = row[key]
    assert isinstance(value, int | float)
    return value


def boxes_in(cells: dict[str, int], block: str) -> dict[str, int]:
    return {name: cells[PREFIX + name] for name in BOXED.get(block, ())}


class Asic:
    """Standard cells of blocks, summed over the hierarchy."""

    def __init__(self, folder: Path, liberty: Path, period_ns: float) -> None:
        self.folder, self.liberty, self.period_ns = folder, liberty, period_ns
        self.register_ns = register_ns(liberty, "DFF_X1")
        self.own: dict[str, StandardCells] = {}
        self.rows: dict[str, dict[str, object]] = {}

    def measure(self, block: str) -> dict[str, object]:
        """The block's row; what it holds is measured first."""
        if block in self.rows:
            return self.rows[block]
        bare = block == UNIT_BARE
        name = UNIT if bare else block
        inner = {} if bare else {box: self.measure(box) for box in BOXED.get(block, ())}
        own = standard_cells(
            self.folder, name, self.liberty, self.period_ns, cut=WEIGHT_REGISTERS if bare else ()
        )
        counts = boxes_in(own.cells, name)
        # Between boxes there are registers: the longest path of the whole is that of one of its parts.
        path_ns, path = own.path_ns, f"{name}: {own.start} to {own.end}"
        for row in inner.values():
            if number(row, "path_ns") > path_ns:
                path_ns, path = number(row, "path_ns"), str(row["path"])

        def total(key: str) -> float:
            return getattr(own, key) + sum(n * number(inner[box], key) for box, n in counts.items())

        self.rows[block] = {
            "area": round(total("area"), 1),
            "area_before_sizing": round(total("area_before_sizing"), 1),
            "flip_flops": int(total("flip_flops")),
            "path_ns": path_ns,
            "path": path,
            "mhz": round(1000 / (path_ns + self.register_ns)),
            "own": {key: value for key, value in asdict(own).items() if key != "cells"},
            "boxed": counts,
        }
        return self.rows[block]


class Fpga:
    """ECP5 cells of blocks, summed over the hierarchy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, dict[str, object]] = {}

    def measure(self, block: str) -> dict[str, object]:
        """The block's row; what it holds is measured first."""
        if block in self.rows:
            return self.rows[block]
        inner = {box: self.measure(box) for box in BOXED.get(block, ())}
        own: FpgaCells = ecp5_cells(self.folder, block)
        counts = boxes_in(own.cells, block)
        self.rows[block] = {
            key: getattr(own, key) + sum(n * int(number(inner[box], key)) for box, n in counts.items())
            for key in ("lut4", "carry", "flip_flops", "dsp")
        }
        return self.rows[block]


def per_mac(rows: dict[str, dict[str, object]], config: EngineConfig, key: str) -> dict[str, float]:
    """Areas a MAC, of the sums that the targets speak of."""
    sums = (
        ((UNIT_BARE,), TAPS),
        ((UNIT,), TAPS),
        (("array",), config.macs_per_cycle),
        (("array", "window", "accumulator"), config.macs_per_cycle),
        (("engine",), config.macs_per_cycle),
    )
    return {
        ", ".join(blocks): round(sum(number(rows[block], key) for block in blocks) / macs, 1)
        for blocks, macs in sums
        if rows.keys() >= set(blocks)
    }


def show(console: Console, config: EngineConfig, result: dict[str, dict[str, dict[str, object]]]) -> None:
    lanes = f"{config.input_lanes} x {config.output_lanes} lanes"
    table = Table(title=f"{config.name}: {lanes}, memories left out")
    columns = {
        "nangate45": ("area", "area_before_sizing", "flip_flops", "path_ns", "mhz"),
        "ecp5": ("lut4", "carry", "flip_flops", "dsp"),
    }
    table.add_column("block")
    for part, keys in columns.items():
        for key in keys:
            table.add_column(f"{part}\n{key.replace('_', ' ')}", justify="right")
    for block in dict.fromkeys((*result.get("nangate45", {}), *result.get("ecp5", {}))):
        cells = []
        for part, keys in columns.items():
            row = result.get(part, {}).get(block, {})
            cells += [f"{row[key]:,}" if key in row else "-" for key in keys]
        table.add_row(block, *cells)
    console.print(table)


def run(
    config: EngineConfig, arguments: argparse.Namespace, liberty: Path | None
) -> dict[str, object]:
    """Everything asked for of one configuration. Raises InputError for a block that it does not have."""
    console = Console(stderr=True, width=150)
    folder = WORK / config.name
    known = write_sources(config, folder)
    blocks = arguments.blocks.split(",") if arguments.blocks else known
    for block in blocks:
        if block not in known:
            raise InputError(f"--blocks {block}: allowed: {', '.join(known)}")
    report: dict[str, object] = {"config": asdict(config)}
    tables: dict[str, dict[str, dict[str, object]]] = {}
    if liberty:
        asic = Asic(folder, liberty, arguments.period)
        for block in [*([UNIT_BARE] if UNIT in blocks else []), *blocks]:
            start = time.perf_counter()
            row = asic.measure(block)
            console.print(f"{config.name} {block}: {row['area']} um^2, {row['path_ns']} ns "
                          f"({time.perf_counter() - start:.0f} s)")  # fmt: skip
        tables["nangate45"] = asic.rows
        report["register_ns"] = asic.register_ns
        report["um2_per_mac"] = per_mac(asic.rows, config, "area")
        report["um2_per_mac_before_sizing"] = per_mac(asic.rows, config, "area_before_sizing")
    if not arguments.no_ecp5:
        fpga = Fpga(folder)
        for block in blocks:
            start = time.perf_counter()
            cells = fpga.measure(block)
            console.print(f"{config.name} {block}: {cells} ({time.perf_counter() - start:.0f} s)")
        tables["ecp5"] = fpga.rows
    report |= tables
    show(Console(width=150), config, tables)
    if config.name == "nano" and not arguments.no_route:
        if nextpnr_available():
            small = config.with_options(**SMALL_MEMORIES)
            synthesise(small, WORK / "route")
            results = [route(WORK / "route", speed) for speed in SPEEDS]
            for routed in results:
                print(f"nano routed on {routed.device}: {routed.mhz} MHz, {routed.utilisation}")
            report["ecp5_routed"] = [asdict(routed) for routed in results]
            report["ecp5_routed_memories"] = SMALL_MEMORIES
        else:
            print(f"nextpnr-ecp5 is not installed: no clock rate; {INSTALL}", file=sys.stderr)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--config", action="append", help="name or .toml file; may be repeated (default: nano and edge)")
    add("--set", action="append", metavar="NAME=VALUE", help="change one field of the configuration")
    add("--liberty", type=Path, default=os.environ.get("KESTREL_LIBERTY"), help="library, .lib or .lib.gz")
    add("--blocks", metavar="A,B", help="names of Verilog modules without the prefix (default: all)")
    add("--period", type=float, default=2.5, help="clock period in ns that gates are sized for")
    add("--no-ecp5", action="store_true", help="leave out yosys' ECP5 cells")
    add("--no-route", action="store_true", help="leave out nextpnr")
    add("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    if not yosys_available():
        print(f"yosys is not installed: nothing measured; {INSTALL}", file=sys.stderr)
        return 0
    liberty = None
    if arguments.liberty:
        if not Path(arguments.liberty).is_file():
            parser.error(f"--liberty {arguments.liberty}: no such file")
        liberty = unpack_liberty(Path(arguments.liberty), WORK)
    else:
        print("no library given (--liberty or KESTREL_LIBERTY): no standard cells", file=sys.stderr)
    try:
        configs = [chosen_config(name, arguments.set) for name in arguments.config or ("nano", "edge")]
    except InputError as error:
        parser.error(str(error))
    report: dict[str, object] = {"bench": "synthesis", "period_ns": arguments.period}
    if liberty:
        report["library"] = liberty.stem
    for config in configs:
        try:
            report[config.name] = run(config, arguments, liberty)
        except InputError as error:
            parser.error(str(error))
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{arguments.output} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
