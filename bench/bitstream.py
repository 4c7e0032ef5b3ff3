"""A board's bitstream: clock rate for several seeds of placement, cells beside the estimate's, and times.

    python bench/bitstream.py [FOLDER] [--seeds 1,2,3] [--router router1]

FOLDER is one of ``kestrel board build`` (default build/ulx3s, which is written if it is missing). It is
synthesised once, and placed and routed for each seed, with the tools that ``make bitstream`` takes there.
Times are of the processor, as the machine may have other work. Prints a table, and writes
``build/bench/bitstream.json`` after each seed.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kestrel.api.boards import build_board

OUTPUT = Path("build/bench/bitstream.json")
FOLDER = Path("build/ulx3s")

CELLS = {"LUT4": "TRELLIS_COMB", "flip-flops": "TRELLIS_FF", "multipliers": "MULT18X18D",
         "block RAMs of 18 kbit": "DP16KD"}  # fmt: skip
"""Resources of the estimate, and nextpnr's names of the cells."""


@dataclass(frozen=True)
class Seed:
    """``mhz``: what the design's clock reaches in the board's speed grade; ``path``: the first and the last
    cell of its longest path; ``seconds``: of the processor, for placing and routing."""

    seed: int
    mhz: float
    wanted_mhz: float
    path: str
    seconds: float

    @property
    def met(self) -> bool:
        return self.mhz >= self.wanted_mhz


def made(folder: Path, target: str, *settings: str) -> float:
    """Runs ``make target`` in the folder; returns the processor's seconds."""
    before = os.times()
    call = ["make", "-s", "-C", str(folder), target, f"PYTHON={sys.executable}", *settings]
    subprocess.run(call, check=True)
    after = os.times()
    return (after.children_user - before.children_user) + (after.children_system - before.children_system)


def routed(folder: Path, top: str, seed: int, router: str) -> tuple[Seed, dict[str, int]]:
    """Places and routes with a seed and one of nextpnr's routers; also the cells that are used."""
    (folder / f"{top}.config").unlink(missing_ok=True)
    seconds = made(folder, f"{top}.config", f"SEED={seed}", f"ROUTER={router}")
    report = json.loads((folder / "timing.json").read_text(encoding="utf-8"))
    # The design's own clock; the crystal's drives the PLL alone.
    clock = min(report["fmax"].values(), key=lambda found: found["achieved"] / found["constraint"])
    paths = [found["path"] for found in report["critical_paths"]]
    path = max(paths, key=lambda parts: sum(part["delay"] for part in parts))
    ends = f"{path[0]['from']['cell']} to {path[-1]['to']['cell']}"
    used = {name: cells["used"] for name, cells in report["utilization"].items()}
    reached, wanted = round(clock["achieved"], 2), round(clock["constraint"], 2)
    return Seed(seed, reached, wanted, ends, round(seconds, 1)), used


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--seeds", default="1,2,3,4,5,6,7,8,9,10")
    parser.add_argument("--router", choices=("router1", "router2"), default="router2")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    if not (folder / "Makefile").is_file():
        build_board("embedded", folder)
    top = next(folder.glob("*.lpf")).stem
    synthesis = made(folder, f"{top}.json")
    estimate = json.loads((folder / "estimate.json").read_text(encoding="utf-8"))
    seeds: list[Seed] = []
    used: dict[str, int] = {}
    for seed in map(int, arguments.seeds.split(",")):
        found, used = routed(folder, top, seed, arguments.router)
        seeds.append(found)
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        report = {
            "folder": str(folder), "router": arguments.router, "synthesis_seconds": round(synthesis, 1),
            "met": sum(each.met for each in seeds), "seeds": [asdict(each) for each in seeds],
            "cells": {name: {"used": used.get(cell, 0), "estimated": estimate[name]["used"],
                             "available": estimate[name]["available"]} for name, cell in CELLS.items()},
        }  # fmt: skip
        arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    table = Table("seed", "MHz", "wanted", "seconds", "longest path")
    for each in seeds:
        table.add_row(str(each.seed), f"{each.mhz:g}", f"{each.wanted_mhz:g}", f"{each.seconds:g}", each.path)
    Console().print(table)
    for name, cell in CELLS.items():
        print(f"{name}: {used.get(cell, 0):,}, estimated {estimate[name]['used']:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
