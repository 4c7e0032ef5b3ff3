"""Activity in the engine's Verilog during a frame: changes of registers, accesses of memories, and the
streams at the array's ports.

Probes are bound into the modules, so the engine and its harness are the same as in every simulation.
Registers are the signals that the Verilog assigns at the clock edge. Each of their bits counts once, whatever
it drives, so the count does not take load into account. A memory's bits are those of its ports.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kestrel.hw.common.place import PREFIX
from kestrel.hw.emit.verilog import TOP, engine_files
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.planning.plan import Plan
from kestrel.verif.build.rtl import HARNESS, SHARED, engine_sources
from kestrel.verif.build.verilator import Build, build_native
from kestrel.verif.physical.memory_probes import (
    MemoryActivity,
    memory_probes,
    read_memories,
    report,
    report_argument,
)
from kestrel.verif.simulate.frame import run_files, write_files

CLASSES: dict[str, str] = {
    "array.lane": "array: units and trees",
    "array": "array: control",
    "window": "window",
    "accumulator": "accumulator",
    "requantise": "requantise",
    "weight_loader": "weight loader",
}
"""The class by instance of the core, or by the start of its path; all others are "rest"."""

_DECLARED = re.compile(r"^ *(?:output )?reg +(?:\[(\d+):0\] )?(\w+)[,;]?$", re.MULTILINE)
"""A register: what the converter declares so is assigned at the clock edge."""


_PROBES = f"""
module {PREFIX}register_probe #(parameter WIDTH = 1) (input clk, input [WIDTH-1:0] bits);
    reg [WIDTH-1:0] last = 0;
    reg [63:0] changes = 0, cycles = 0;
    always @(posedge clk) begin
        last <= bits;
        changes <= changes + 64'($countones(bits ^ last));
        cycles <= cycles + 1;
    end
{report('"registers %m %0d %0d %0d", WIDTH, changes, cycles')}
endmodule
module {PREFIX}array_probe
    #(parameter AHEAD = 1, parameter LOAD = 1, parameter WINDOW = 1, parameter SUMS = 1)
    (input clk, input [AHEAD-1:0] ahead, input [LOAD-1:0] load, input [WINDOW-1:0] window,
     input [SUMS-1:0] sums);
    reg [8*1024-1:0] name;
    integer file = 0;
    initial if ($value$plusargs("kestrel_array=%s", name)) file = $fopen(name, "w");
    always @(posedge clk) if (file != 0) $fdisplay(file, "%h %h %h %h", ahead, load, sums, window);
endmodule
"""


@dataclass
class ClassActivity:
    """The registers of a class: the number of their bits, and how often these changed."""

    bits: int = 0
    changes: int = 0


@dataclass(frozen=True)
class Activity:
    """A run. ``cycles`` is the number simulated. ``memories`` are keyed by instance path below the core or
    the engine. ``array`` is the file of the array's streams, with one line for each cycle: ahead, load, sums
    and window, in hexadecimal.
    """

    cycles: int
    classes: dict[str, ClassActivity] = field(repr=False)
    memories: dict[str, MemoryActivity] = field(repr=False)
    array: Path


def probes(config: EngineConfig) -> str:
    """The Verilog of the probes and their bindings."""
    array_ports = ""
    binds = []
    for file in engine_files(config):
        module = file.name.removesuffix(".v")
        widths = {name: int(high or 0) + 1 for high, name in _DECLARED.findall(file.text)}
        if module in (PREFIX + "ram_1rw", PREFIX + "ram_1r1w", PREFIX + "rom") or not widths:
            continue
        width = sum(widths.values())
        binds.append(
            f"bind {module} {PREFIX}register_probe #(.WIDTH({width})) register_probe "
            f"(.clk(clk), .bits({{{', '.join(widths)}}}));"
        )
        if module == PREFIX + "array":
            bits = [re.search(rf"^ *(?:input|output) +\w+ +\[(\d+):0\] {port},?$", file.text, re.MULTILINE)
                    for port in ("ahead", "load", "window", "sums")]  # fmt: skip
            sizes = ", ".join(str(int(match[1]) + 1) for match in bits if match)
            array_ports = (
                f"bind {module} {PREFIX}array_probe #({sizes}) array_probe (.clk(clk), .ahead(ahead), "
                ".load(load), .window(window), .sums(sums));"
            )
    return "\n".join((_PROBES, memory_probes(TOP), *binds, array_ports))


def build_probed(config: EngineConfig, folder: Path) -> Build:
    """Builds the engine's simulation with probes, whose Verilog is left in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "probes.sv"
    file.write_text(probes(config), encoding="utf-8")
    return build_native([*engine_sources(config), file], TOP, HARNESS, shared=SHARED)


def run_probed(
    build: Build, network: CompressedNetwork, plan: Plan, pixels: np.ndarray, folder: Path
) -> Activity:
    """Runs one frame with probes; files are left in ``folder``. Raises SimulationError."""
    write_files(network, plan, pixels, folder)
    counts, array = folder / "activity.txt", folder.absolute() / "array.txt"
    run_files(build, plan, folder, arguments=[*report_argument(counts), f"+kestrel_array={array}"])
    return read_activity(counts.read_text(encoding="ascii").splitlines(), array)


def read_activity(lines: Sequence[str], array: Path) -> Activity:
    """Reads the report of the probes."""
    classes: dict[str, ClassActivity] = {}
    cycles = 0
    for line in lines:
        kind, path, *numbers = line.split()
        if kind != "registers":
            continue
        inner = path[path.index(TOP) + len(TOP) + 1 :].rpartition(".")[0].removeprefix("core.")
        values = [int(number) for number in numbers]
        label = next((label for start, label in CLASSES.items() if inner.startswith(start)), "rest")
        found = classes.setdefault(label, ClassActivity())
        found.bits += values[0]
        found.changes += values[1]
        cycles = max(cycles, values[2])
    return Activity(cycles, classes, read_memories(lines), array)
