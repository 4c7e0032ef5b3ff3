"""The chip under disturbances: resets, aborts, wrong frame lengths, hammered registers, pauses, power-up
states; after each a correct frame. And chips with a flipped bit in a ROM, which the self-check must find
and after which nothing may leave. Counts go to build/bench/robustness.json."""

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.hw.spec.records import RECORD_WORDS, TABLE_WORD_BITS
from kestrel.sw.common.files import atomic_write
from kestrel.verif.build.verilator import BenchFailed
from kestrel.verif.cases.rom_image import read_rom, write_rom
from kestrel.verif.chip.case import ROM_WORDS, run_chip, write_case
from kestrel.verif.chip.small import SMALL
from kestrel.verif.chip.variables import CAUSE_VARIABLE, COUNTS_FILE, FAULT_VARIABLE, TURNS_VARIABLE

WORK = Path("build/bench/robustness")
CHIPS = {
    "2x2": ChipConfig(SMALL),
    "1x1 checked at start-up": ChipConfig(replace(SMALL, input_lanes=1, output_lanes=1), startup_check=True),
    "4x2 row groups": ChipConfig(
        replace(SMALL, input_lanes=4, load_kernels=2, stream_bytes=3, row_groups=True)
    ),
    "2x2 with descriptors": ChipConfig(SMALL, DescriptorConfig(8, 256)),
}


def flip(chip: ChipConfig, folder: Path, seed: int) -> str:
    """Flips a bit of a ROM image in ``folder``; which ROM's. Of the table's header, the words that say how
    long ROMs are change what is checked; the tests look at these."""
    source = Random(f"flip {seed}")
    widths = {"weights": chip.engine.rom_word_bits, "table": TABLE_WORD_BITS}
    widths |= {"descriptor": chip.descriptor.word_bits} if chip.descriptor else {}
    rom = source.choice(list(widths))
    path = folder / f"{rom}.mem"
    words = read_rom(path, widths[rom])
    word = source.randrange(RECORD_WORDS if rom == "table" else 0, len(words))
    words[word] ^= 1 << source.randrange(widths[rom])
    write_rom(path, widths[rom], words)
    return rom


def measure(seeds: int, turns: int, first: int, output: Path) -> dict[str, object]:
    """Seeds in turn on every chip: each a power-up state, a network, ``turns`` disturbances, and then a
    flipped bit. What is known is written after each."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    start = time.perf_counter()
    report: dict[str, object] = {}
    for done, seed in enumerate(range(first, first + seeds), 1):
        name = list(CHIPS)[seed % len(CHIPS)]
        workdir = WORK / f"{seed}"
        workdir.mkdir(parents=True, exist_ok=True)
        write_case(CHIPS[name], "tiny", seed, workdir)
        try:
            run_chip(
                CHIPS[name], "kestrel.verif.chip.robustness_bench", workdir, "tiny", seed,
                env={TURNS_VARIABLE: str(turns)}, visible=ROM_WORDS,
            )  # fmt: skip
            counts += Counter(json.loads((workdir / COUNTS_FILE).read_text(encoding="ascii")))
            rom = flip(CHIPS[name], workdir, seed)
            counts[f"bits flipped in ROM {rom}"] += 1
            run_chip(
                CHIPS[name], "kestrel.verif.chip.refusal_bench", workdir, "tiny", seed,
                env={FAULT_VARIABLE: "check", CAUSE_VARIABLE: f"{rom}_crc"},
            )  # fmt: skip
            counts["flipped bits found"] += 1
        except BenchFailed as error:
            failures.append(f"seed {seed}, {name}: {str(error).strip()[-800:]}")
        print(f"seed {seed}, {name}: {counts['correct frames']} correct frames so far", file=sys.stderr)
        report = {
            "bench": "robustness",
            "power-up states": done,
            "disturbances": done * turns,
            "counts": dict(counts),
            "failures": failures,
            "seconds": time.perf_counter() - start,
        }
        with atomic_write(output) as path:
            path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="simulations, each with its power-up state")
    parser.add_argument("--turns", type=int, default=20, help="disturbances in each")
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench/robustness.json"))
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    report = measure(arguments.seeds, arguments.turns, arguments.first, arguments.output)
    print(json.dumps(report, indent=2))
    return int(bool(report["failures"]))


if __name__ == "__main__":
    sys.exit(main())
