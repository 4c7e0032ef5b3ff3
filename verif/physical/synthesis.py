"""Synthesis of the engine's blocks with yosys: area and longest path in standard cells, and cells of an ECP5.

A block is flattened, except for the repeated modules in it (``BOXED``), which are synthesised once: their
area counts as often as they occur, and paths end at their registers. Memories are always left out; their
wrappers are black boxes.

For standard cells, the usual script of yosys and abc is run, then abc's buffering and sizing for a clock
period. Paths are those that abc's ``stime`` reports: typical corner, without wires, from a register or port
to a register or port. Inputs of the logic, which are registers and ports, are driven by ``DRIVER``.
``register_ns`` reads from the library what a register adds to a path.
"""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from kestrel.hw.common.place import PREFIX
from kestrel.hw.emit.verilog import MEMORIES, VerilogFile, chip_files, engine_files
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.engine_config import EngineConfig

BOXED: dict[str, tuple[str, ...]] = {
    "output_lane": ("kernel_unit",),
    "array": ("output_lane",),
    "core": ("output_lane",),
    "engine": ("output_lane",),
    "top": ("core", "descriptor_unit"),
}
"""Modules that a block contains many times, or that are large; they are not flattened into it."""

WEIGHT_REGISTERS = ("digits", "alpha")
"""The signals of the kernel unit that its working weight registers drive."""

DRIVER = "BUF_X1"
"""The cell that drives the inputs of the logic; it is as strong as a NanGate45 register."""

HIDE_NAMES = "rename -hide w:*"
"""Run before ``synth_ecp5``, because names such as ``$1`` from Amaranth clash with abc9's own and make an
assertion fail."""

# The script that yosys itself uses, then sizing. ``stime`` before and after gives both results of one run.
ABC_SCRIPT = (
    "strash;&get -n;&fraig -x;&put;scorr;dc2;dretime;strash;&get -n;&dch -f;&nf;&put;"
    "topo;stime;buffer;topo;upsize -D {period};dnsize -D {period};stime -p"
)

_STIME = re.compile(r"Area =\s*([\d.]+).*?Delay =\s*([\d.]+) ps")
_PATH = re.compile(r"Start-point = \w+ \((.*?)\)\.\s+End-point = \w+ \((.*?)\)\.")


class SynthesisError(RuntimeError):
    """yosys stopped; the message is its own."""


@dataclass(frozen=True)
class StandardCells:
    """One module without its boxes. Areas are in um^2 (the library's unit), paths in ns."""

    area: float
    area_before_sizing: float
    flip_flops: int
    path_ns: float
    path_before_sizing_ns: float
    start: str
    end: str
    cells: dict[str, int] = field(repr=False)


@dataclass(frozen=True)
class FpgaCells:
    """One module without its boxes. A ``carry`` cell takes the place of two LUT4 and uses both."""

    lut4: int
    carry: int
    flip_flops: int
    dsp: int
    cells: dict[str, int] = field(repr=False)


def yosys_available() -> bool:
    """Whether the optional dependency is installed (``pip install kestrel-engine[synthesis]``)."""
    return find_spec("pyosys") is not None


def run_yosys(commands: Iterable[str], folder: Path) -> str:
    """Runs the commands in ``folder``, at low priority, and returns what yosys printed. Raises
    SynthesisError."""
    (folder / "run.ys").write_text("\n".join(commands) + "\n", encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-c", "from pyosys import libyosys; libyosys.run_pass('script run.ys')"],
        cwd=folder, capture_output=True, text=True, check=False, preexec_fn=lambda: os.nice(10),
    )  # fmt: skip
    (folder / "run.log").write_text(result.stdout + result.stderr, encoding="utf-8")
    if result.returncode:
        errors = re.findall(r"^ERROR: .*", result.stdout + result.stderr, re.MULTILINE)
        raise SynthesisError(errors[-1] if errors else f"yosys ended with code {result.returncode}")
    return result.stdout


def write_sources(config: EngineConfig, folder: Path) -> list[str]:
    """Writes the chip's and the engine's Verilog, one file for each module, for the functions below.

    Returns the names of the blocks without the prefix; a block comes after everything that is placed in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {file.name: file.text for file in _files(config)}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    for memory in MEMORIES:
        # As a black box a memory has only ports: with a body, yosys would look for the image of a ROM.
        text = (folder / f"{PREFIX}{memory}.v").read_text(encoding="utf-8")
        ports = text[: text.index(");") + 2]
        (folder / f"{PREFIX}{memory}.box.v").write_text(f"{ports}\nendmodule\n", encoding="utf-8")
    modules = (name.removeprefix(PREFIX).removesuffix(".v") for name in files)
    return [name for name in modules if name not in MEMORIES]


def _files(config: EngineConfig) -> tuple[VerilogFile, ...]:
    chip = ChipConfig(config, descriptor_unit(config))
    return (*engine_files(config), *chip_files(chip))


def unpack_liberty(path: Path, folder: Path) -> Path:
    """The library as a plain file, which abc needs; it is unpacked into ``folder`` if necessary."""
    if path.suffix != ".gz":
        return path.resolve()
    plain = folder / path.stem
    folder.mkdir(parents=True, exist_ok=True)
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    return plain.resolve()


def _read(folder: Path, block: str, boxed: Sequence[str]) -> list[str]:
    """Commands that read the block and what is in it, with the boxed modules and the memories as black boxes.

    Nothing more is read, because the number of names that yosys has seen before changes the order in which
    abc visits gates, and thereby the area, by up to two percent.
    """
    boxes = {PREFIX + name for name in (*MEMORIES, *boxed)}
    names, todo = [PREFIX + block], [PREFIX + block]
    while todo:
        name = todo.pop()
        text = (folder / f"{name}.v").read_text(encoding="utf-8") if name not in boxes else ""
        for inner in dict.fromkeys(re.findall(rf"^\s*({PREFIX}\w+) (?:#|\\?\w)", text, re.MULTILINE)):
            if inner not in names:
                names.append(inner)
                todo.append(inner)
    memories = {PREFIX + memory for memory in MEMORIES}
    return [
        *(
            f"read_verilog {'-lib ' if name in boxes else ''}{name}{'.box' if name in memories else ''}.v"
            for name in names
        ),
        f"hierarchy -check -top {PREFIX}{block}",
    ]


def _cut(signals: Sequence[str]) -> list[str]:
    """Commands that turn the signals into ports, so that the registers that drive them are removed."""
    wires = " ".join(f"w:{name}" for name in signals)
    return ["proc", "opt_clean", f"expose -cut {wires}", f"delete -output {wires}", "opt_clean"]


def _cells(folder: Path) -> tuple[dict[str, int], float]:
    """The cells by type and the area, from the file that ``stat`` wrote."""
    design = json.loads((folder / "stat.json").read_text(encoding="utf-8"))["design"]
    cells = {name: n for name, n in design["num_cells_by_type"].items() if not name.startswith("$scopeinfo")}
    return cells, float(design.get("area", 0.0))


def standard_cells(
    folder: Path, block: str, liberty: Path, period_ns: float, cut: Sequence[str] = (), options: str = "",
    boxed: Sequence[str] | None = None,
) -> StandardCells:
    """Synthesises one block with the library. ``cut`` names signals whose drivers are left out; ``options``
    are passed to yosys' ``synth``; ``boxed`` names what is not flattened into it (default: BOXED). The sized
    netlist is left in ``folder``, as yosys' JSON. Raises SynthesisError.
    """
    boxed = BOXED.get(block, ()) if boxed is None else boxed
    script = ABC_SCRIPT.format(period=round(1000 * period_ns)).replace(";", "\n")
    (folder / "abc.constr").write_text(f"set_driving_cell {DRIVER}\n", encoding="utf-8")
    (folder / "abc.script").write_text(f"{script}\n", encoding="utf-8")
    log = run_yosys(
        [
            *_read(folder, block, boxed),
            *(_cut(cut) if cut else ()),
            f"synth {options} -flatten -top {PREFIX}{block}",
            f"dfflibmap -liberty {liberty}",
            f"abc -liberty {liberty} -constr abc.constr -script abc.script",
            f"tee -q -o stat.json stat -json -liberty {liberty}",
            f"write_json {block}.json",
        ],
        folder,
    )
    cells, area = _cells(folder)
    times = _STIME.findall(log)
    path = _PATH.findall(log)
    if len(times) != 2 or len(path) != 1:
        raise SynthesisError(f"{block}: abc printed {len(times)} delays and {len(path)} paths, not 2 and 1")
    (logic_before, before), (logic_after, after) = ((float(a), float(d)) for a, d in times)
    return StandardCells(
        area=round(area, 1),
        area_before_sizing=round(area - logic_after + logic_before, 1),
        flip_flops=sum(n for name, n in cells.items() if "DFF" in name),
        path_ns=round(after / 1000, 3),
        path_before_sizing_ns=round(before / 1000, 3),
        start=path[0][0].replace("\\", ""),
        end=path[0][1].replace("\\", ""),
        cells=cells,
    )


def ecp5_cells(folder: Path, block: str, boxed: Sequence[str] | None = None) -> FpgaCells:
    """Synthesises one block for Lattice's ECP5; ``boxed`` as above. Raises SynthesisError."""
    boxed = BOXED.get(block, ()) if boxed is None else boxed
    run_yosys(
        [
            *_read(folder, block, boxed),
            HIDE_NAMES,
            f"synth_ecp5 -noiopad -top {PREFIX}{block}",
            "tee -q -o stat.json stat -json",
        ],
        folder,
    )
    cells, _ = _cells(folder)
    return FpgaCells(
        lut4=cells.get("LUT4", 0),
        carry=cells.get("CCU2C", 0),
        flip_flops=cells.get("TRELLIS_FF", 0),
        dsp=cells.get("MULT18X18D", 0),
        cells=cells,
    )


def register_ns(liberty: Path, cell: str) -> float:
    """The time that a register adds to a path: from the clock to its output, plus its setup time.

    It uses the entries in the middle of the library's tables, and the slower of rising and falling. This
    means a clock edge and a load in the middle of what was characterised, which is more than most registers
    drive.
    """
    text = liberty.read_text(encoding="utf-8", errors="replace")
    start = re.search(rf"\bcell\s*\(\s*\"?{re.escape(cell)}\"?\s*\)", text)
    if not start:
        raise SynthesisError(f"{liberty.name}: no cell {cell}")
    following = re.search(r"\bcell\s*\(", text[start.end() :])
    body = text[start.end() : start.end() + following.start()] if following else text[start.end() :]

    def middle(kind: str, tables: str) -> float:
        values = []
        for timing in re.split(r"\btiming\s*\(", body)[1:]:
            if re.search(rf"timing_type\s*:\s*\"?{kind}\"?", timing):
                for table in re.findall(rf"\b(?:{tables})\s*\([^)]*\)\s*{{(.*?)}}", timing, re.DOTALL):
                    rows = re.findall(r'"([^"]*)"', table[table.index("values") :])
                    numbers = [[float(v) for v in row.split(",")] for row in rows]
                    values.append(numbers[len(numbers) // 2][len(numbers[0]) // 2])
        if not values:
            raise SynthesisError(f"{liberty.name}: cell {cell} has no {kind} table")
        return max(values)

    to_output = middle("rising_edge", "cell_rise|cell_fall")
    setup = middle("setup_rising", "rise_constraint|fall_constraint")
    return round(to_output + setup, 3)
