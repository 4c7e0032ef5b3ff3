"""Netlists of blocks in Verilog, with simulation models of their cells, so that a bench or a frame can run on
what synthesis, or placement and routing, made of a block.

A netlist is one flat module with the block's name and ports. Memories stay what they are in the design:
modules that a chip replaces by macros of the same timing. The models of ECP5's cells come with yosys, but
for those in ``verif/harness/ecp5_cells.v``; those of standard cells are what yosys reads from the functions
in the library.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from kestrel.hw.common.place import PREFIX
from kestrel.hw.emit.verilog import MEMORIES
from kestrel.verif.physical.routing import CALL, DEVICE
from kestrel.verif.physical.synthesis import HIDE_NAMES, SynthesisError, run_yosys

ECP5_MODELS = Path(__file__).parents[1] / "harness" / "ecp5_cells.v"
UNWIRED = {
    "TRELLIS_COMB": (tuple("ABCD"), ("M", "FCI", "F1", "FXA", "FXB", "WD", "WAD0", "WAD1", "WAD2", "WAD3",
                                     "WRE", "WCK")),
    "TRELLIS_FF": (("CE",), ("LSR", "DI", "M")),
}
"""Inputs of a routed cell that are 1 and 0 if nothing is wired to them."""

PACKAGE, SPEED = "CABGA756", 6


@dataclass(frozen=True)
class Netlist:
    """``files``: models of cells, memories, and last the netlist, as ``run_block`` and the builds of
    Verilator take them; ``cells``: how many of each type there are."""

    files: tuple[Path, ...]
    cells: Mapping[str, int] = field(repr=False)

    @property
    def cell_count(self) -> int:
        return sum(self.cells.values())


def generic_netlist(sources: Sequence[Path], folder: Path) -> Netlist:
    """The block, which is the last of ``sources``, in gates of two inputs, multiplexers and registers, with
    the models of yosys. Raises SynthesisError."""
    top = sources[-1].stem
    models = _share("simcells.v")
    return _make(sources, folder, [f"synth -flatten -top {top}", "clean -purge"], (models,), "-noexpr")


def ecp5_netlist(sources: Sequence[Path], folder: Path) -> Netlist:
    """The block in cells of an ECP5. A netlist for ``route_netlist`` is left in ``folder``. Raises
    SynthesisError."""
    top = sources[-1].stem
    folder.mkdir(parents=True, exist_ok=True)
    commands = [HIDE_NAMES, f"synth_ecp5 -noiopad -top {top}", "write_json mapped.json"]
    return _make(sources, folder, commands, (_lattice_models(folder), ECP5_MODELS))


def standard_netlist(sources: Sequence[Path], folder: Path, liberty: Path) -> Netlist:
    """The block in the cells of a library, unpacked, without buffers and sizing. Raises SynthesisError."""
    top = sources[-1].stem
    folder.mkdir(parents=True, exist_ok=True)
    library = liberty.resolve()
    run_yosys([f"read_liberty -ignore_miss_func {library}", "proc", "write_verilog -noattr cells.v"], folder)
    commands = [f"synth -flatten -top {top}", f"dfflibmap -liberty {library}", f"abc -liberty {library}",
                "clean -purge"]
    return _make(sources, folder, commands, (folder / "cells.v",))


def route_netlist(mapped: Netlist, folder: Path, seed: int = 1) -> Netlist:
    """The block after placement and routing on an LFE5U-85F, ports without pads; ``mapped`` is that of
    ``ecp5_netlist`` in the same folder. What nextpnr changed shows: look-up tables and halves of carry stages
    are cells of slices, and clocks pass a buffer. Raises SynthesisError."""
    top, routed = mapped.files[-1].stem, folder / "routed"
    routed.mkdir(exist_ok=True)
    result = subprocess.run(
        [sys.executable, "-c", CALL, DEVICE, "--package", PACKAGE, "--speed", str(SPEED),
         "--json", "mapped.json", "--write", "routed/routed.json", "--out-of-context", "--seed", str(seed),
         "--timing-allow-fail", "--quiet"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode:
        errors = re.findall(r"^ERROR: .*", result.stdout + result.stderr, re.MULTILINE)
        raise SynthesisError(errors[-1] if errors else f"nextpnr ended with code {result.returncode}")
    _complete(routed / "routed.json", top)
    run_yosys(["read_json routed.json", f"hierarchy -top {top}", *_written(top)], routed)
    models = routed / "models.v"
    text = ECP5_MODELS.read_text(encoding="utf-8")
    models.write_text(f"`define ROUTED\n{text}", encoding="utf-8")
    return Netlist((models, *memories_of(mapped.files), routed / f"{top}.v"), _cells(routed / "stat.json"))


def read_design(sources: Sequence[Path], folder: Path) -> list[str]:
    """Commands of yosys, to be run in ``folder``, that read a block, the last of ``sources``, with its
    memories as black boxes, of which files are left there."""
    memories = memories_of(sources)
    boxes: list[str] = []
    for memory in memories:
        # As a black box a memory has only ports: with a body, yosys would look for the image of a ROM.
        text = memory.read_text(encoding="utf-8")
        box = folder / f"{memory.stem}.box.v"
        box.write_text(f"{text[: text.index(');') + 2]}\nendmodule\n", encoding="utf-8")
        boxes.append(f"read_verilog -lib {box.name}")
    rest = [source for source in sources if source not in memories]
    # Names of cells contain that of the file: within the folder, its place on the machine is none of theirs.
    names = [s.relative_to(folder) if s.is_relative_to(folder) else s.absolute() for s in rest]
    read = [f"read_verilog {name}" for name in names]
    return [*boxes, *read, f"hierarchy -check -top {sources[-1].stem}"]


def memories_of(files: Sequence[Path]) -> list[Path]:
    """Those of the files that are memories."""
    return [file for file in files if file.stem.removeprefix(PREFIX) in MEMORIES]


def _make(sources: Sequence[Path], folder: Path, commands: Sequence[str], models: Sequence[Path],
          options: str = "") -> Netlist:
    """Runs ``commands`` on ``sources``, of which memories are black boxes, and writes the netlist."""
    folder.mkdir(parents=True, exist_ok=True)
    top = sources[-1].stem
    run_yosys([*read_design(sources, folder), *commands, *_written(top, options)], folder)
    return Netlist((*models, *memories_of(sources), folder / f"{top}.v"), _cells(folder / "stat.json"))


def _complete(file: Path, top: str) -> None:
    """Puts into what nextpnr wrote what it leaves to the device: an input without a wire is 1 at a look-up
    table, 0 elsewhere, and inputs of the multiplier are 0 by a parameter. The second level of multiplexers is
    told from the first by what is wired to it, and the module gets the name of the block."""
    content = json.loads(file.read_text(encoding="utf-8"))
    (module,) = content["modules"].values()
    for cell in module["cells"].values():
        wires, parameters = cell["connections"], cell["parameters"]
        second = bool(wires.get("FXA"))
        ones, zeros = UNWIRED.get(cell["type"], ((), ()))
        for pin in (*ones, *zeros):
            if not wires.get(pin):
                wires[pin], cell["port_directions"][pin] = ["1" if pin in ones else "0"], "input"
        if cell["type"] == "TRELLIS_COMB":
            parameters["IS_Z1"] = str(int(second))
        if cell["type"] == "MULT18X18D":
            fixed = {name: value for name, value in parameters.items() if name.endswith("MUX")}
            wires |= {name.removesuffix("MUX"): [value.strip()] for name, value in fixed.items()}
            cell["parameters"] = {name: parameters[name] for name in parameters.keys() - fixed.keys()}
    content["modules"] = {top: module}
    file.write_text(json.dumps(content), encoding="utf-8")


def _written(top: str, options: str = "") -> list[str]:
    """Commands that write the netlist and the counts of its cells. A wire has one bit, so that no simulator
    takes a bus for a loop of which one bit depends on another."""
    return ["splitnets", f"write_verilog -noattr {options} {top}.v", "tee -q -o stat.json stat -json"]


def _cells(stat: Path) -> dict[str, int]:
    found = json.loads(stat.read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
    return {name: count for name, count in found.items() if not name.startswith("$scopeinfo")}


def _lattice_models(folder: Path) -> Path:
    """yosys' models of ECP5's cells, without delays, of which Verilator knows nothing, and without the files
    that they include, whose cells yosys does not make."""
    models = folder / "lattice.v"
    text = "\n".join(_share(f"lattice/{name}").read_text(encoding="utf-8")
                     for name in ("common_sim.vh", "ccu2c_sim.vh"))  # fmt: skip
    text = re.sub(r"\bspecify\b.*?\bendspecify\b|^`include .*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    models.write_text(text, encoding="utf-8")
    return models


def _share(name: str) -> Path:
    """A file that comes with yosys."""
    spec = find_spec("pyosys")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "share" / name
