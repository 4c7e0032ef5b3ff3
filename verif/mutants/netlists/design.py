"""Mutants of a block's netlist, by yosys' ``mutate``: all that can be made, and a netlist that holds many.

The netlist is that of the cells before any optimisation that moves logic: an operator of the Verilog is a
cell, an ``if`` a multiplexer, a register a flip-flop. Of a cell one bit of a port changes: it is inverted
(inv), always 0 or 1 (const0, const1), or inverted where another bit of the port is 0 or 1 (cnot0, cnot1).
Clock pins stay. A netlist with mutants has an input more, ``mutsel``: the number of the mutant that is
there, 0 for none.
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kestrel.verif.build.cache import cached
from kestrel.verif.mutants.netlists.signals import NETLIST, Signals
from kestrel.verif.physical.netlist import memories_of, read_design
from kestrel.verif.physical.synthesis import run_yosys

SELECT, SELECT_BITS = "mutsel", 16
_BASE, _COUNTS, _LIST, _SOURCES = "base.il", "stat.json", "list.txt", "sources.txt"
_LOWERED = ("proc -norom", "opt_expr", "opt_clean")
_OPTION = re.compile(r"-(\w+) (\S+)")
_FILE = re.compile(r"// Generated from (\S+);")
_PLACE = re.compile(r"// (hw/\S+:\d+)")


@dataclass(frozen=True)
class NetlistMutant:
    """Bit ``bit`` of ``port`` of ``cell`` in ``module`` changes as ``kind`` says; ``control``: the other bit
    of the port, -1 without one; ``line``: of the module's Verilog file, from 1."""

    module: str
    cell: str
    port: str
    bit: int
    kind: str
    control: int
    line: int

    @property
    def options(self) -> str:
        """Of ``mutate``."""
        control = f" -ctrlbit {self.control}" if self.control >= 0 else ""
        return (
            f"-mode {self.kind} -module {self.module} -cell {self.cell} -port {self.port} "
            f"-portbit {self.bit}{control}"
        )


@dataclass(frozen=True)
class Base:
    """The netlist of a block without a change. sources: the Verilog, the block last; folder: an entry of the
    build cache; modules: those that are mutated; cells: how many are in them, each module counted once."""

    sources: tuple[Path, ...]
    folder: Path
    modules: tuple[str, ...]
    cells: int

    @property
    def top(self) -> str:
        return self.sources[-1].stem

    @property
    def read(self) -> str:
        """The command that reads it."""
        return f"read_rtlil {self.folder / _BASE}"

    @cached_property
    def texts(self) -> dict[str, list[str]]:
        """The lines of each module's Verilog."""
        return {path.stem: path.read_text(encoding="utf-8").splitlines() for path in self.sources}

    def text(self, mutant: NetlistMutant) -> str:
        """The line of the Verilog, without what it says about its place."""
        return self.texts[mutant.module][mutant.line - 1].partition("//")[0].strip()

    @cached_property
    def signals(self) -> dict[str, Signals]:
        """By mutated module."""
        return {module: Signals(self.folder, module) for module in self.modules}

    def has(self, mutant: NetlistMutant) -> bool:
        """Whether the netlist has the cell that the mutant changes."""
        return mutant.module in self.modules and self.signals[mutant.module].has(mutant.cell)

    def signal(self, mutant: NetlistMutant) -> str:
        """The named signal that the mutant changes, or the next one behind: ``base[2]``."""
        return self.signals[mutant.module].behind(mutant.cell, mutant.port, mutant.bit)

    def place(self, mutant: NetlistMutant) -> str:
        """The line of Python, ``hw/compute/pool.py:12``, that declares the signal, or that the mutant's own
        line of Verilog comes from; if neither is known, the file."""
        lines, (name, *_) = self.texts[mutant.module], self.signal(mutant).split("[")
        declared = (line for line in lines if re.search(rf"\b(reg|wire) .*\b{name}\b *(;|=|,|$)", line))
        for line in (*declared, lines[mutant.line - 1]):
            if found := _PLACE.search(line):
                return found[1]
        return next((found[1] for line in lines if (found := _FILE.search(line))), "")


def base_of(sources: Sequence[Path], others: frozenset[str]) -> Base:
    """The netlist of the block that ``sources`` end with; modules named in ``others`` are not mutated. Raises
    SynthesisError."""
    texts = [source.read_text(encoding="utf-8") for source in sources]
    top = sources[-1].stem

    def build(folder: Path) -> None:
        copies = [Path(shutil.copy(source, folder)) for source in sources]
        run_yosys(
            [*read_design(copies, folder), *_LOWERED, f"tee -q -o {_COUNTS} stat -json",
             f"write_rtlil {_BASE}", f"write_json {NETLIST}"],
            folder,
        )  # fmt: skip

    folder = cached("netlist", [*texts, *_LOWERED, NETLIST], build).path
    counts = json.loads((folder / _COUNTS).read_text(encoding="utf-8"))["modules"]
    cells = {name.removeprefix("\\"): count["num_cells"] for name, count in counts.items()}
    modules = tuple(
        source.stem for source in sources
        if source.stem == top or (source not in memories_of(sources) and source.stem not in others)
    )  # fmt: skip
    return Base(tuple(sources), folder, modules, sum(cells[module] for module in modules))


def list_mutants(base: Base, count: int, seed: int, folder: Path) -> list[NetlistMutant]:
    """The first ``count`` mutants of the netlist, or all if there are fewer, in yosys' order for ``seed``,
    which spreads them over cells, lines and kinds. Raises SynthesisError."""
    # More than are wanted, since those of clock pins fall out.
    command = f"mutate -list {2 * count + 64} -seed {seed} -o {_LIST} {' '.join(base.modules)}"
    run_yosys([base.read, command], folder)
    found = map(_parse, (folder / _LIST).read_text(encoding="utf-8").splitlines())
    return [mutant for mutant in found if mutant.port != "CLK"][:count]


def _parse(line: str) -> NetlistMutant:
    options = dict(_OPTION.findall(line))
    # The last of the sources is that of the cell; those before it are of the wire.
    place = re.search(r":(\d+)\.", options.get("src", "").rpartition("|")[2])
    return NetlistMutant(
        options["module"].removeprefix("\\"), options["cell"], options["port"].removeprefix("\\"),
        int(options["portbit"]), options["mode"], int(options.get("ctrlbit", -1)),
        int(place[1]) if place else 1,
    )  # fmt: skip


def with_mutants(base: Base, mutants: Sequence[NetlistMutant], folder: Path) -> list[Path]:
    """Verilog files of the block with ``mutants``, numbered from 1 in their order, for a simulation. Raises
    SynthesisError."""
    if len(mutants) >= 1 << SELECT_BITS:
        raise ValueError(f"{len(mutants)} mutants; allowed: below {1 << SELECT_BITS}")
    folder.mkdir(parents=True, exist_ok=True)
    run_yosys(
        [
            base.read,
            *(
                f"mutate -ctrl {SELECT} {SELECT_BITS} {number} {mutant.options}"
                for number, mutant in enumerate(mutants, 1)
            ),
            f"hierarchy -check -top {base.top}",
            f"write_verilog -noattr {base.top}.v",
        ],
        folder,
    )
    file = folder / f"{base.top}.v"
    # Where one bit of a bus decides about another, Verilator takes the bus for a loop, and says so.
    file.write_text(
        f"/* verilator lint_off UNOPTFLAT */\n{file.read_text(encoding='utf-8')}", encoding="utf-8"
    )
    return [*memories_of(base.sources), file]
