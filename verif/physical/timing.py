"""Static timing of a chip with OpenSTA: netlist, libraries and the constraints that go with the Verilog.

The memory wrappers are cells of a library that is made here, one for each size, with the same times for all:
macros' times are not known, and they matter less than that their pins are the ends of constrained paths.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kestrel.hw.emit.packaging.constraints import CLOCK_NS
from kestrel.hw.emit.packaging.package import package
from kestrel.hw.emit.packaging.wrapper import WRAPPER
from kestrel.hw.emit.verilog import MEMORIES, PREFIX
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.verif.physical.synthesis import SynthesisError, run_yosys

PROGRAM = "sta"
MEMORY_LIBRARY = "memories.lib"
MEMORY_NS = 0.25
"""Of a memory's clock to its output, and of its setup."""

_CHECKS = (
    "no_clock", "unconstrained_endpoints", "no_input_delay", "no_output_delay", "multiple_clock", "loops",
)  # fmt: skip
_CLOCK_PIN = "clk"
THRESHOLDS = " ".join(
    f"{place}_pct_{edge} : {percent};" for edge in ("rise", "fall") for place, percent in (
        ("input_threshold", 50), ("output_threshold", 50), ("slew_lower_threshold", 30),
        ("slew_upper_threshold", 70),
    )
)  # fmt: skip
"""Attributes of a library that say where times are taken, in percent of the supply: those of NanGate45."""


@dataclass(frozen=True)
class Timing:
    """``faults``: what OpenSTA finds missing in the constraints, nothing if all is well; ``slack_ns``: of the
    slowest path; ``path_ns``: the longest between registers and memories, a register's own time and the
    setup included; ``start``, ``end``: its ends; ``endpoints``: how many ends of paths are constrained."""

    faults: tuple[str, ...]
    slack_ns: float
    path_ns: float
    start: str
    end: str
    endpoints: int


def sta_available() -> bool:
    """Whether OpenSTA is installed."""
    return shutil.which(PROGRAM) is not None


def write_netlist(chip: ChipConfig, folder: Path, liberty: Path, period_ns: float) -> None:
    """Leaves in ``folder`` netlist.v, that of the wrapper in the library's cells, sized for the period; the
    library of its memories; and the files of the package. Raises SynthesisError."""
    made = package(chip)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*made.rtl, *made.others):
        # Without the images of the ROMs, which become boxes here.
        text = re.sub(r'"\w+\.mem"', '""', file.text)
        (folder / file.name).write_text(text, encoding="utf-8")
    top = PREFIX + WRAPPER
    script = "strash;ifraig;scorr;dc2;dch -f;map -B 0.9;topo;buffer;topo;upsize {D};dnsize {D}"
    (folder / "abc.script").write_text(
        script.replace("{D}", f"-D {round(1000 * period_ns)}").replace(";", "\n") + "\n", encoding="utf-8"
    )
    run_yosys(
        [
            *(f"read_verilog {file.name}" for file in made.rtl),
            f"hierarchy -check -top {top}",
            *(f"blackbox */{PREFIX}{memory} $paramod*{PREFIX}{memory}*" for memory in MEMORIES),
            f"synth -flatten -noabc -top {top}",
            f"dfflibmap -liberty {liberty}",
            f"abc -liberty {liberty} -script abc.script",
            "setundef -zero",
            "splitnets",
            "opt_clean -purge",
            "write_json modules.json",
            f"select {top}",
            "write_verilog -noattr -noexpr -nohex -simple-lhs -selected netlist.v",
        ],
        folder,
    )
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))["modules"]
    netlist = (folder / "netlist.v").read_text(encoding="utf-8")
    cells: dict[str, Mapping[str, tuple[str, int]]] = {}
    for number, name in enumerate(name for name in modules if name != top and "paramod" in name):
        ports = modules[name]["ports"]
        cells[f"memory_{number}"] = {p: (port["direction"], len(port["bits"])) for p, port in ports.items()}
        netlist = netlist.replace(f"\\{name} ", f"memory_{number} ")
    if f"{PREFIX}rom" in netlist or not cells:
        raise SynthesisError(f"{top}: memories that are no cells of the netlist")
    (folder / "netlist.v").write_text(netlist, encoding="utf-8")
    (folder / MEMORY_LIBRARY).write_text(memory_library(cells), encoding="utf-8")


def memory_library(cells: Mapping[str, Mapping[str, tuple[str, int]]]) -> str:
    """A library of clocked cells. ``cells``: of each the ports, with direction and width; ``clk`` is the
    clock."""
    widths = sorted({bits for ports in cells.values() for _, bits in ports.values() if bits > 1})
    lines = [
        "library (memories) {", '  time_unit : "1ns";', "  capacitive_load_unit (1, ff);",
        '  delay_model : "table_lookup";',
        f"  {THRESHOLDS}",
    ]  # fmt: skip
    lines += [
        f"  type (word{bits}) {{ base_type : array; data_type : bit; bit_width : {bits}; "
        f"bit_from : {bits - 1}; bit_to : 0; downto : true; }}"
        for bits in widths
    ]
    for cell, ports in cells.items():
        lines.append(f"  cell ({cell}) {{ area : 0; interface_timing : true;")
        lines += [_pin(port, way, bits) for port, (way, bits) in ports.items()]
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def _pin(port: str, way: str, bits: int) -> str:
    group = f"bus ({port}) {{ bus_type : word{bits};" if bits > 1 else f"pin ({port}) {{"
    if port == _CLOCK_PIN:
        return f"    {group} direction : input; clock : true; capacitance : 1; }}"
    related = f'related_pin : "{_CLOCK_PIN}";'
    if way == "input":
        tables = "".join(_scalar(kind) for kind in ("rise_constraint", "fall_constraint"))
        timing = f"timing () {{ {related} timing_type : setup_rising; {tables} }}"
        return f"    {group} direction : input; capacitance : 1; {timing} }}"
    tables = "".join(_scalar(kind) for kind in ("cell_rise", "cell_fall"))
    edges = "".join(_scalar(kind, 0.02) for kind in ("rise_transition", "fall_transition"))
    timing = f"timing () {{ {related} timing_type : rising_edge; {tables} {edges} }}"
    return f"    {group} direction : output; {timing} }}"


def _scalar(kind: str, value: float = MEMORY_NS) -> str:
    return f'{kind} (scalar) {{ values ("{value}"); }} '


def static_timing(folder: Path, liberty: Path, constraints: str = f"{PREFIX}{WRAPPER}.sdc") -> Timing:
    """Of what ``write_netlist`` has left in ``folder``, with the file of constraints there. Raises
    SynthesisError when OpenSTA ends with an error, a command that it does not know included."""
    checks = "\n".join(f'puts "CHECK {name}"\ncheck_setup -verbose -{name}' for name in _CHECKS)
    (folder / "sta.tcl").write_text(
        f"""read_liberty {liberty}
read_liberty {MEMORY_LIBRARY}
read_verilog netlist.v
link_design {PREFIX}{WRAPPER}
source {constraints}
{checks}
puts "PATH"
report_checks -path_delay max -format full -from [all_registers -clock_pins] -to [all_registers -data_pins]
puts "SLACKS"
report_checks -path_delay max -format end -group_count 100000
puts "END"
exit
""",
        encoding="utf-8",
    )
    done = subprocess.run(
        [PROGRAM, "-no_splash", "-exit", "sta.tcl"], cwd=folder, text=True, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=lambda: os.nice(10),
    )  # fmt: skip
    text = done.stdout
    (folder / "sta.log").write_text(text, encoding="utf-8")
    if done.returncode or "END" not in text.splitlines():
        raise SynthesisError(f"OpenSTA: {text.strip()[-300:]}")
    return _read(text, _constants(folder))


def _read(text: str, constants: set[str]) -> Timing:
    head, _, rest = text.partition("PATH\n")
    path, _, report = rest.partition("SLACKS\n")
    said = [line for line in head.splitlines() if line.strip() and not line.startswith("CHECK ")]
    # Names are indented under a line that counts them.
    faults = [line.strip() for line in said if not re.match(r"Warning: There (is|are) \d+ .*[.:]$", line)]
    ends = dict(re.findall(r"^(Startpoint|Endpoint): (\S+)", path, re.MULTILINE))
    slacks = [float(slack) for slack in re.findall(r"(-?[\d.]+) \((?:MET|VIOLATED)\)$", report, re.MULTILINE)]
    slack = re.search(r"^\s*(-?[\d.]+)\s+slack", path, re.MULTILINE)
    if slack is None or not slacks:
        raise SynthesisError(f"OpenSTA reports no path: {path.strip()[:300]}")
    return Timing(
        tuple(fault for fault in faults if fault not in constants), min(slacks),
        round(CLOCK_NS - float(slack[1]), 3), ends["Startpoint"], ends["Endpoint"], len(slacks),
    )  # fmt: skip


def _constants(folder: Path) -> set[str]:
    """Outputs and memory pins that are tied to a constant, where no path ends, as OpenSTA names them."""
    top = json.loads((folder / "modules.json").read_text(encoding="utf-8"))["modules"][PREFIX + WRAPPER]
    places = [("", "", {name: port["bits"] for name, port in top["ports"].items()})]
    places += [
        (name, "/", cell["connections"]) for name, cell in top["cells"].items() if "paramod" in cell["type"]
    ]
    return {
        f"{place}{separator}{pin}{f'[{bit}]' if len(bits) > 1 else ''}"
        for place, separator, pins in places for pin, bits in pins.items()
        for bit, driver in enumerate(bits) if isinstance(driver, str)
    }  # fmt: skip
