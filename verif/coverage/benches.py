"""``python -m kestrel.verif.coverage.benches FOLDER``: what the benches of the chip's blocks reach.

Each bench runs with a build that counts lines, branches, terms and toggles. The benches of the control and
of the register file count besides which combinations of commands, states, causes and accesses come about.
The report is of the same form as that of frames.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.verif.blocks.support.observed import FUNCTIONAL_FILE
from kestrel.verif.blocks.support.run import block_config, run_block
from kestrel.verif.build.cache import key_of
from kestrel.verif.build.verilator import COVERAGE_FILE
from kestrel.verif.coverage.collect import SUFFIX, Collector, commit, now
from kestrel.verif.coverage.crosses import Crosses
from kestrel.verif.coverage.report import Run, percent

_ANY = block_config(1, 1, 4)
_WIDE = block_config(3, 3, 5)

BENCHES: dict[str, tuple[EngineConfig, ...]] = {
    "chip.axi_lite": (_ANY,),
    "chip.register_file": (_ANY,),
    "chip.control": (_ANY,),
    "chip.control_checked": (_ANY,),
    "chip.rom_check": (_ANY, replace(block_config(6, 3, 5, 2), descriptor_words=256)),
    "chip.table_watch": (_ANY, replace(block_config(3, 3, 5, residual=True), feature_words=(64, 300))),
    "chip.stream_input": (_ANY, replace(_WIDE, stream_bytes=3)),
    "chip.stream_output": (_ANY, _WIDE),
    "chip.byte_packer": (_ANY, _WIDE),
    "control.counters": (_ANY,),
    "memory.raster": (block_config(1, 1, 4, max_width=8), block_config(3, 3, 5, row_groups=True)),
}
"""Blocks with the configurations in which they are run."""


def crosses_of(files: Sequence[Path]) -> Crosses:
    """What benches have counted, each bin by the name of its cross."""
    hits: dict[tuple[tuple[str, str], ...], int] = {}
    for file in files:
        for name, bins in json.loads(file.read_text(encoding="utf-8")).items():
            for found, count in bins.items():
                key = tuple(zip(name.split(" x "), found.split(" x "), strict=True))
                hits[key] = hits.get(key, 0) + count
    return Crosses(hits)


def run_benches(blocks: Sequence[str], folder: Path, seed: int, waivers: Path | None) -> int:
    """Runs the benches and writes the report. Returns 1 for one that failed. Raises InputError."""
    with Collector(waivers) as collector, tempfile.TemporaryDirectory() as rooms:
        functional: list[Path] = []
        count = 0
        for block in blocks:
            for config in BENCHES[block]:
                room = Path(rooms, f"{count}")
                run_block(block, config, room, seed, coverage=True)
                shutil.copyfile(room / COVERAGE_FILE, collector.parts / f"{count}{SUFFIX}")
                functional += [room / FUNCTIONAL_FILE] if (room / FUNCTIONAL_FILE).exists() else []
                collector.take()
                count += 1
                print(f"{block}: done", file=sys.stderr, flush=True)
        run = Run(
            tuple(blocks), (seed, seed), "", count, 0, 0, key_of(sorted(blocks))[:12], commit(), now(),
            "benches of blocks",
        )  # fmt: skip
        summary, files = collector.write(run, crosses_of(functional), folder)
        collector.check_waivers()
    for measure, figure in summary.totals.items():
        print(f"{measure}: {figure.covered} of {figure.points}, {percent(figure)}")
    for file in files:
        print(f"written: {file}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for input that cannot be used. A bench that fails raises BenchFailed."""
    parser = argparse.ArgumentParser(prog="python -m kestrel.verif.coverage.benches", description=__doc__)
    parser.add_argument("folder", type=Path, help="for coverage.json and coverage.html")
    parser.add_argument("--blocks", default=",".join(BENCHES), help="with commas")
    parser.add_argument("--waivers", type=Path, help="as for kestrel regress --coverage")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("KESTREL_SEED", "1")))
    options = parser.parse_args(arguments)
    blocks = options.blocks.split(",")
    if unknown := [block for block in blocks if block not in BENCHES]:
        print(f"block {unknown[0]!r}; allowed: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        return run_benches(blocks, options.folder, options.seed, options.waivers)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
