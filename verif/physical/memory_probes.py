"""Counts the accesses of every memory in the Verilog of an engine or a chip, by probes that are bound to the
memories' modules. They count from the first cycle on in which the core is busy: what a power-up state drawn
at random or a self-check reads before is no access of a frame."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kestrel.hw.common.place import PREFIX
from kestrel.hw.emit.verilog import CHIP_TOP, TOP
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.sw.estimate.accesses import Accesses
from kestrel.verif.build.rtl import CHIP_HARNESS, DRIVER, SHARED, chip_sources
from kestrel.verif.build.verilator import Build, build_native

BUSY = {TOP: f"{TOP}.busy", CHIP_TOP: f"{CHIP_TOP}.core.busy"}
"""The signal that says that a frame runs, by top module."""

PLACES = {
    "feature_memory.part_0_": "features, part 0",
    "feature_memory.part_1_": "features, part 1",
    "accumulator.partial_sums": "partial sums",
    "pool.line": "pool line",
    "weights": "weights",
    "table_": "schedule table",
    "counters.records": "cycle records",
    "descriptor_unit.vectors.squares": "descriptor squares",
    "descriptor_unit.vectors.sums": "descriptor sums",
    "descriptor_unit.vectors.best": "descriptor sums",
    "descriptor": "descriptor ROM",
}
"""The name in ``kestrel.sw.estimate.memories`` by how the instance's path begins, below core or top."""

ALWAYS_READ = "cycle records"
"""A memory that is read in every cycle, so that its reads say nothing."""

_LINE = re.compile(r"memory \S*?\.(?P<path>\S+)\.probe (?P<numbers>[0-9 ]+)")


@dataclass(frozen=True)
class MemoryActivity:
    """One memory: the bits of a word, the changes of its ports' bits, the reads, writes and bits written."""

    width: int
    changes: int
    reads: int
    writes: int
    bits_written: int


def report(what: str) -> str:
    """The Verilog by which a probe appends a line to the file of ``+kestrel_activity=`` when the simulation
    ends; ``what`` are the arguments of $fdisplay."""
    return f"""    reg [8*1024-1:0] name;
    integer file;
    final if ($value$plusargs("kestrel_activity=%s", name)) begin
        file = $fopen(name, "a");
        $fdisplay(file, {what});
        $fclose(file);
    end"""


def memory_probes(top: str) -> str:
    """The Verilog of the memories' probes and their bindings, below the module ``top``."""
    return f"""
module {PREFIX}memory_probe #(parameter WIDTH = 1, parameter ADDR_BITS = 1) (
    input clk, input read, input [31:0] written, input [ADDR_BITS-1:0] addr,
    input [WIDTH-1:0] wdata, input [WIDTH-1:0] rdata);
    reg [2*WIDTH+ADDR_BITS-1:0] last = 0;
    reg [63:0] changes = 0, reads = 0, writes = 0, bits_written = 0;
    reg begun = 0;
    wire counts = begun || {BUSY[top]};
    always @(posedge clk) begin
        last <= {{addr, wdata, rdata}};
        changes <= changes + 64'($countones({{addr, wdata, rdata}} ^ last));
        begun <= counts;
        reads <= reads + 64'(counts && read);
        writes <= writes + 64'(counts && written != 0);
        bits_written <= bits_written + (counts ? 64'(written) : 64'd0);
    end
{report('"memory %m %0d %0d %0d %0d %0d", WIDTH, changes, reads, writes, bits_written')}
endmodule
bind {PREFIX}ram_1rw {PREFIX}memory_probe #(.WIDTH(LANES * LANE_BITS), .ADDR_BITS(ADDR_BITS)) probe
    (.clk(clk), .read(en && we == 0), .written(en ? $countones(we) * LANE_BITS : 0), .addr(addr),
     .wdata(wdata), .rdata(rdata));
bind {PREFIX}ram_1r1w {PREFIX}memory_probe #(.WIDTH(WIDTH), .ADDR_BITS(2 * ADDR_BITS)) probe
    (.clk(clk), .read(ren), .written(wen ? WIDTH : 0), .addr({{raddr, waddr}}), .wdata(wdata), .rdata(rdata));
bind {PREFIX}rom {PREFIX}memory_probe #(.WIDTH(WIDTH), .ADDR_BITS(ADDR_BITS)) probe
    (.clk(clk), .read(en), .written(0), .addr(addr), .wdata({{WIDTH{{1'b0}}}}), .rdata(rdata));
"""


def read_memories(lines: Iterable[str]) -> dict[str, MemoryActivity]:
    """What the probes reported, by the instance's path below the core or the top module."""
    found: dict[str, MemoryActivity] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        for top in (TOP, CHIP_TOP):
            if f"{top}." in line:
                path = line.split()[1].partition(f"{top}.")[2].removesuffix(".probe").removeprefix("core.")
                found[path] = MemoryActivity(*map(int, match["numbers"].split()))
    return found


def by_memory(found: Mapping[str, MemoryActivity]) -> dict[str, Accesses]:
    """The accesses of the instances together that ``kestrel.sw.estimate`` counts as one memory. Raises
    ValueError for an instance that it does not know."""
    groups: dict[str, list[Accesses]] = defaultdict(list)
    for path, each in found.items():
        name = next((name for start, name in PLACES.items() if path.startswith(start)), None)
        if name is None:
            raise ValueError(f"memory {path} has no name; known: {', '.join(PLACES)}")
        reads = 0 if name == ALWAYS_READ else each.reads
        groups[name].append(Accesses(each.width, reads, each.writes, each.bits_written))
    return {name: sum(rest, first) for name, (first, *rest) in groups.items()}


def build_probed_chip(chip: ChipConfig, folder: Path) -> Build:
    """The simulation of a chip with probes on its memories, whose Verilog is left in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "probes.sv"
    file.write_text(memory_probes(CHIP_TOP), encoding="utf-8")
    return build_native(
        [*chip_sources(chip), file],
        CHIP_TOP,
        CHIP_HARNESS,
        shared=SHARED,
        drivers=[DRIVER / "kestrel_driver.c"],
    )


def report_argument(file: Path) -> Sequence[str]:
    """The argument with which a build with probes writes their counts to ``file``; what is there is
    removed."""
    file.unlink(missing_ok=True)
    return [f"+kestrel_activity={file.absolute()}"]
