"""Memories of a chip with a descriptor unit, as configured and fitted to a network: bits and ECP5 block RAMs.

    python bench/memories.py [--config nano] [--network embedded] [--size 64] [--pooling rnip5x]

The memories are those that the chip's Verilog has. yosys maps each of them on its own to ECP5 cells (wrapper
and parameters as in the chip, ROMs filled at random): DP16KD of 18 kbit, and TRELLIS_DPR16X4 of 16 x 4 bits
for the small ones. Prints a table, writes ``build/bench/memories.json``.
"""

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kestrel.api.chip import fit_config
from kestrel.export.formats.files import write_words
from kestrel.export.formats.words import Words
from kestrel.hw.common.place import PREFIX
from kestrel.hw.emit.verilog import MEMORIES, VerilogFile, chip_files, memory_file
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import load_config
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.sizes import parse_size
from kestrel.verif.physical.synthesis import run_yosys, yosys_available

OUTPUT = Path("build/bench/memories.json")
WORK = Path("build/bench/memories")
LARGEST = 1 << 22
"""Bits of the largest memory that is synthesised: more than all 208 block RAMs of the largest ECP5 hold."""

INSTALL = "pip install 'kestrel-engine[synthesis]'"

_INSTANCE = re.compile(rf"^  {PREFIX}({'|'.join(MEMORIES)}) #\((.*?)\) (\w+) \($", re.MULTILINE | re.DOTALL)
_PARAMETER = re.compile(r"\.(\w+)\((\d+)\)")


@dataclass(frozen=True)
class Memory:
    """An instance of a wrapper: its name in the Verilog, the wrapper's, and its words."""

    name: str
    wrapper: str
    words: int
    word_bits: int
    lanes: int = 1

    @property
    def bits(self) -> int:
        return self.words * self.word_bits

    @property
    def kind(self) -> str:
        """The name without the bank, as all three of a part are alike."""
        return self.name.partition("_bank_")[0]


@dataclass(frozen=True)
class Cells:
    """ECP5 cells that hold words."""

    block: int
    distributed: int


def memories(files: Iterable[VerilogFile]) -> list[Memory]:
    """Every memory in the Verilog of a chip, in which a module that has some is placed once."""
    found: list[Memory] = []
    for file in files:
        for wrapper, parameters, name in _INSTANCE.findall(file.text):
            value = {key: int(number) for key, number in _PARAMETER.findall(parameters)}
            lanes = value.get("LANES", 1)
            bits = value["WIDTH"] if "WIDTH" in value else lanes * value["LANE_BITS"]
            # A name that Verilog reserves, such as table, has an underscore behind it.
            found.append(Memory(name.rstrip("_"), wrapper, value["DEPTH"], bits, lanes))
    return found


def chip_memories(config: EngineConfig) -> list[Memory]:
    """Of a chip with a descriptor unit."""
    return memories(chip_files(ChipConfig(config, descriptor_unit(config))))


def ecp5(memory: Memory, folder: Path) -> Cells:
    """What yosys makes of it. Raises SynthesisError."""
    folder.mkdir(parents=True, exist_ok=True)
    file = memory_file(memory.wrapper)
    (folder / file.name).write_text(file.text, encoding="utf-8")
    address_bits = max(1, (memory.words - 1).bit_length())
    parameters = {"DEPTH": memory.words, "ADDR_BITS": address_bits}
    if memory.wrapper == "ram_1rw":
        parameters |= {"LANES": memory.lanes, "LANE_BITS": memory.word_bits // memory.lanes}
    else:
        parameters["WIDTH"] = memory.word_bits
    if memory.wrapper == "rom":
        source = random.Random(1)
        words = (source.getrandbits(memory.word_bits) for _ in range(memory.words))
        write_words(Words.from_ints(memory.word_bits, words), folder / "rom.mem")
    settings = [f"-set {name} {value}" for name, value in parameters.items()]
    if memory.wrapper == "rom":
        settings.append('-set INIT_FILE "rom.mem"')
    top = PREFIX + memory.wrapper
    run_yosys(
        [
            f"read_verilog {file.name}",
            f"chparam {' '.join(settings)} {top}",
            f"hierarchy -check -top {top}",
            f"synth_ecp5 -noiopad -noabc9 -run begin:map_ffs -top {top}",
            "tee -q -o stat.json stat -json",
        ],
        folder,
    )
    cells = json.loads((folder / "stat.json").read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
    return Cells(cells.get("DP16KD", 0) + cells.get("PDPW16KD", 0), cells.get("TRELLIS_DPR16X4", 0))


def measure(config: EngineConfig, folder: Path, known: dict[Memory, Cells]) -> list[dict[str, object]]:
    """A row for each kind of memory; ``known`` keeps what was synthesised."""
    rows: list[dict[str, object]] = []
    found = chip_memories(config)
    counts = Counter(memory.kind for memory in found)
    for memory in {memory.kind: memory for memory in found}.values():
        if memory not in known and memory.bits <= LARGEST and yosys_available():
            known[memory] = ecp5(memory, folder)
        count, cells = counts[memory.kind], known.get(memory)
        rows.append({
            "memory": memory.kind, "instances": count, "words": memory.words, "word_bits": memory.word_bits,
            "bits": count * memory.bits,
            **({name: count * number for name, number in asdict(cells).items()} if cells else {}),
        })
    return rows


def total(rows: list[dict[str, object]], key: str) -> int:
    return sum(value for row in rows if isinstance(value := row.get(key), int))


Rows = list[dict[str, object]]


def show(console: Console, name: str, before: Rows, after: Rows) -> None:
    table = Table("memory", "each", title=name)
    for column in ("words", "fitted", "kbit", "fitted", "block RAMs", "fitted", "LUT RAMs", "fitted"):
        table.add_column(column, justify="right")
    keys = ("words", "bits", "block", "distributed")
    for old, new in zip(before, after, strict=True):
        cells = [_cell(row, key) for key in keys for row in (old, new)]
        table.add_row(str(old["memory"]), f"{old['instances']} x {old['word_bits']}", *cells)
    sums = [_cell({key: total(rows, key)}, key) for key in keys[1:] for rows in (before, after)]
    table.add_row("all", "", "", "", *sums)
    console.print(table)


def _cell(row: dict[str, object], key: str) -> str:
    """A dash for what was not synthesised."""
    value = row.get(key)
    if not isinstance(value, int):
        return "-"
    return f"{value / 1000:,.1f}" if key == "bits" else f"{value:,}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--config", action="append", help="name or .toml file; may be repeated (default: nano and edge)")
    add("--network", default="embedded", help="compressed network, or embedded")
    add("--size", default="64", help="of the image: N or HEIGHTxWIDTH")
    add("--pooling", default="rnip5x", help="what the descriptor unit computes")
    add("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    if not yosys_available():
        print(f"yosys is not installed: no cells; {INSTALL}", file=sys.stderr)
    report: dict[str, object] = {"bench": "memories", "network": arguments.network, "size": arguments.size,
                                 "pooling": arguments.pooling}
    known: dict[Memory, Cells] = {}
    try:
        for name in arguments.config or ("nano", "edge"):
            config = load_config(name)
            fitted = fit_config(arguments.network, config, parse_size(arguments.size),
                                pooling=arguments.pooling)
            before, after = (measure(c, WORK, known) for c in (config, fitted.config))
            show(Console(width=120), name, before, after)
            report[name] = {"configured": before, "fitted": after, "settings": fitted.settings}
    except InputError as error:
        parser.error(str(error))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{arguments.output} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
