"""Placement and routing of a block in standard cells with qflow (yosys, graywolf, qrouter, magic, netgen),
and what its layout says. Debian has the tools and the cells (``apt-get install qflow qflow-tech-osu035
graywolf qrouter magic netgen-lvs``); nothing of them comes along.

The technology osu035 is one of 0.35 um with four layers of metal: ratios with and without wires are what can
be taken from it, not areas of a present process.
"""

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kestrel.verif.physical.def_file import DefFile, LayoutError, read_def

TECHNOLOGY = "osu035"
STEPS = ("synthesize", "place", "sta", "route", "backanno", "migrate", "drc", "lvs")
TOOLS = ("qflow", "graywolf", "qrouter", "magic", "netgen-lvs")
TECHNOLOGIES = Path("/usr/share/qflow/tech")

_AREA = re.compile(r"cell \((\w+)\).*?area : ([\d.]+)", re.DOTALL)
_MHZ = re.compile(r"Computed maximum clock frequency \(zero margin\) = ([\d.]+) MHz")


@dataclass(frozen=True)
class Wiring:
    """What a routed DEF file holds: cells without fillers by type, the die in um, um of wires of signals, and
    vias."""

    cells: dict[str, int]
    width: float
    height: float
    wire_length: float
    vias: int

    @property
    def area(self) -> float:
        """um^2 of the die."""
        return self.width * self.height


@dataclass(frozen=True)
class Layout:
    """A routed block: its wiring; um^2 of its cells; the clock rate before and after wires are known, MHz;
    errors of magic's design rules; and whether netgen found the layout's extracted netlist to be the
    synthesised one."""

    wiring: Wiring
    cell_area: float
    mhz_without_wires: float
    mhz: float
    drc_errors: int
    lvs_matches: bool

    @property
    def density(self) -> float:
        """Share of the die that cells take."""
        return self.cell_area / self.wiring.area


def qflow_available() -> bool:
    """Whether the tools and the technology are installed."""
    return all(shutil.which(tool) for tool in TOOLS) and (TECHNOLOGIES / TECHNOLOGY).is_dir()


def lay_out(source: Path, folder: Path, density: float, timeout: float = 7200) -> Layout:
    """Takes the module in ``source``, of the same name, from Verilog to a checked layout in ``folder``, at
    most ``timeout`` seconds a step. ``density``: share of the rows' area that cells take at first. Raises
    LayoutError."""
    for name in ("source", "synthesis", "layout", "log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(source, folder / "source")
    top = source.stem
    for step in STEPS:
        if step == "place":
            with (folder / "project_vars.sh").open("a", encoding="utf-8") as variables:
                variables.write(f"set initial_density = {density}\n")
        try:
            done = subprocess.run(
                ["qflow", step, "-T", TECHNOLOGY, top],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise LayoutError(f"qflow {step}: not done after {timeout:g} s; see {folder / 'log'}") from None
        if done.returncode:
            raise LayoutError(f"qflow {step}: ended with code {done.returncode}; see {folder / 'log'}")
    return read_layout(folder, top)


def read_layout(folder: Path, top: str) -> Layout:
    """What is in the folder of a flow that is done. Raises LayoutError for nets that were not routed."""

    def text(path: str) -> str:
        return (folder / path).read_text(encoding="utf-8", errors="replace")

    if "Final: No failed routes!" not in text("log/route.log"):
        raise LayoutError(f"{top}: not all nets were routed; see {folder / 'log/route.log'}")
    wiring = wiring_of(read_def(text(f"layout/{top}.def")))
    library = (TECHNOLOGIES / TECHNOLOGY / f"{TECHNOLOGY}_stdcells.lib").read_text(encoding="utf-8")
    areas = {name: float(area) for name, area in _AREA.findall(library)}
    without, with_wires = (_MHZ.findall(text(f"log/{name}.log"))[-1] for name in ("sta", "post_sta"))
    errors = re.findall(r"^drc = (\d+)$", text("log/drc.log"), re.MULTILINE)
    if not errors:
        raise LayoutError(f"{top}: magic counted no errors; see {folder / 'log/drc.log'}")
    return Layout(
        wiring, sum(areas[name] * count for name, count in wiring.cells.items()), float(without),
        float(with_wires), int(errors[-1]), "Result: Circuits match uniquely." in text("log/lvs.log"),
    )  # fmt: skip


def wiring_of(layout: DefFile) -> Wiring:
    """The figures of a layout."""
    left, bottom, right, top = layout.die
    cells = Counter(cell.kind for cell in layout.placed if not cell.fills)
    length = sum(wire.length for wire in layout.wires)
    return Wiring(dict(cells), right - left, top - bottom, length, layout.vias)
