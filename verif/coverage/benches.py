"""``python -m kestrel.verif.coverage.benches FOLDER``: what the benches of blocks and chips reach.

Each bench runs with a build that counts lines, branches, terms and toggles, first those of the blocks, in the
configurations in which their mutants are tried, then those of chips, for the modules without a bench of their
own. The benches of the control and of the register file count besides which combinations of commands, states,
causes and accesses come about. The report is of the same form as that of frames.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.verif.blocks.support.observed import FUNCTIONAL_FILE
from kestrel.verif.blocks.support.run import run_block
from kestrel.verif.build.cache import key_of
from kestrel.verif.build.sources import sources_hash
from kestrel.verif.build.verilator import COVERAGE_FILE
from kestrel.verif.coverage.chips import SECONDS, beside, chip_benches
from kestrel.verif.coverage.collect import SUFFIX, Collector, commit, now
from kestrel.verif.coverage.counts import Counts
from kestrel.verif.coverage.crosses import Crosses
from kestrel.verif.coverage.report import Run, percent
from kestrel.verif.mutants.netlists.units import BLOCKS, UNITS, Unit

CHIP = "chips"
"""What stands for the benches of chips among the names of blocks."""

NAMES = (*BLOCKS, CHIP)
WAIVERS = Path(__file__).with_name("waivers.toml")
"""What the benches need not reach."""

PARTS, CROSSES = "parts", ".crosses"

Start = Callable[[Path, int], object]
"""Runs a bench in a folder with a seed, and leaves COVERAGE_FILE there. Raises BenchFailed."""


def benches_of(names: Sequence[str], each: int) -> list[tuple[str, bool, Start]]:
    """The benches of the blocks called so, in their first ``each`` configurations, and of chips: the name of
    each, whether it is one of a chip, and how it is run."""

    def start(unit: Unit, bench: str) -> Start:
        return lambda room, seed: run_block(
            unit.block, unit.config, room, seed, bench=bench, coverage=True, timeout=SECONDS
        )

    found: list[tuple[str, bool, Start]] = []
    for block in BLOCKS:
        units = [unit for unit in UNITS if unit.block == block and block in names][:each]
        found += [
            (f"{block} {unit.label}: {bench}", False, start(unit, bench))
            for unit in units for bench in unit.benches
        ]  # fmt: skip
    if CHIP in names:
        found += [(bench.name, True, bench.run) for bench in chip_benches(each)]
    return found


def _all(found: Counts, _known: Counts) -> Counts:
    return found


def crosses_of(files: Sequence[Path]) -> Crosses:
    """What benches have counted, each bin by the name of its cross."""
    hits: dict[tuple[tuple[str, str], ...], int] = {}
    for file in files:
        for name, bins in json.loads(file.read_text(encoding="utf-8")).items():
            for found, count in bins.items():
                key = tuple(zip(name.split(" x "), found.split(" x "), strict=True))
                hits[key] = hits.get(key, 0) + count
    return Crosses(hits)


def _count(start: Start, seed: int, part: Path) -> None:
    """Runs a bench, and keeps what it counts."""
    with tempfile.TemporaryDirectory() as room:
        start(Path(room), seed)
        crosses = Path(room, FUNCTIONAL_FILE)
        if crosses.exists():
            shutil.copyfile(crosses, part.with_suffix(CROSSES))
        with atomic_write(part) as temporary:
            shutil.copyfile(Path(room, COVERAGE_FILE), temporary)


def run_benches(blocks: Sequence[str], each: int, folder: Path, seed: int, waivers: Path | None) -> int:
    """Runs the benches and writes the report; what each has counted stays in ``folder``, so that a run that
    was stopped goes on. Returns 0. Raises InputError, and BenchFailed for a bench that fails."""
    benches = benches_of(blocks, each)
    parts = folder / PARTS
    parts.mkdir(exist_ok=True)
    sources = sources_hash(without=())
    with Collector(waivers) as collector:
        functional: list[Path] = []
        for number, (name, is_chip, start) in enumerate(benches):
            part = parts / f"{key_of([sources, name, str(seed)])[:16]}{SUFFIX}"
            if not part.exists():
                _count(start, seed, part)
            shutil.copyfile(part, collector.parts / f"{number}{SUFFIX}")
            crosses = part.with_suffix(CROSSES)
            functional += [crosses] if crosses.exists() else []
            collector.take(beside if is_chip else _all)
            print(f"{name}: done", file=sys.stderr, flush=True)
        run = Run(
            tuple(blocks), (seed, seed), "", len(benches), 0, 0, key_of(sorted(blocks))[:12], commit(),
            now(), "benches",
        )  # fmt: skip
        summary, files = collector.write(run, crosses_of(functional), folder)
        collector.check_waivers()
    for measure, figure in summary.totals.items():
        print(f"{measure}: {figure.covered} of {figure.points}, {figure.waived} waived, {percent(figure)}")
    for file in files:
        print(f"written: {file}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for input that cannot be used. A bench that fails raises BenchFailed."""
    parser = argparse.ArgumentParser(prog="python -m kestrel.verif.coverage.benches", description=__doc__)
    parser.add_argument("folder", type=Path, help="for coverage.json and coverage.html")
    parser.add_argument("--blocks", default=",".join(NAMES), help=f"with commas; {CHIP}: benches of chips")
    parser.add_argument("--each", type=int, default=9, help="configurations of a block, at most")
    parser.add_argument("--waivers", type=Path, help="as for kestrel regress --coverage; of all, those kept")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("KESTREL_SEED", "1")))
    options = parser.parse_args(arguments)
    blocks = options.blocks.split(",")
    if options.each < 1:
        print(f"--each {options.each}; allowed: 1 or more", file=sys.stderr)
        return 2
    if unknown := [block for block in blocks if block not in NAMES]:
        print(f"block {unknown[0]!r}; allowed: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        waivers = options.waivers or (WAIVERS if set(blocks) == set(NAMES) else None)
        return run_benches(blocks, options.each, options.folder, options.seed, waivers)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
