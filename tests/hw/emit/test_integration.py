"""What goes beside the chip's Verilog: FuseSoC core, clock constraints, the script for yosys."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from kestrel.hw.common.place import PREFIX
from kestrel.hw.emit.integration import CLOCK_NS, WRAPPER, integration_files
from kestrel.hw.emit.verilog import CHIP_TOP, MEMORIES, chip_files
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.verif.physical.synthesis import run_yosys, yosys_available

SMALLEST = replace(
    NAMED["nano"], input_lanes=1, output_lanes=1, partial_depth=64, max_width=16, feature_words=(64, 64),
    weight_words=64, table_words=64, activation_bits=4, mask_bits_max=1,
)  # fmt: skip
CHIP = ChipConfig(SMALLEST, startup_check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("rtl")
    files = chip_files(CHIP)
    for file in (*files, *integration_files(CHIP, files)):
        (path / file.name).write_text(file.text)
    return path


def ports(path: Path) -> dict[str, str]:
    """Name -> direction of the only module in a file."""
    pattern = r"^ *(input|output) +(?:wire +|reg +)?(?:\[\d+:0\] *)?(\w+)[;,]?$"
    return {name: way for way, name in re.findall(pattern, path.read_text(), re.MULTILINE)}


def test_the_core_file_lists_every_file_once(folder):
    text = (folder / "kestrel.core").read_text()
    assert text.startswith("CAPI=2:\n")
    core = yaml.safe_load(text.removeprefix("CAPI=2:\n"))
    rtl = core["filesets"]["rtl"]["files"]
    assert len(rtl) == len(set(rtl))
    assert {path.name for path in folder.glob("*.v")} == set(rtl)
    named = [next(iter(file)) for file in core["filesets"]["constraints"]["files"]]
    assert named == ["kestrel.sdc"]
    for name in (*rtl, *named):
        assert (folder / name).is_file(), name
    tops = {target["toplevel"] for target in core["targets"].values()}
    assert tops == {WRAPPER}
    assert f"module {WRAPPER} " in (folder / f"{WRAPPER}.v").read_text()
    assert core["targets"]["lint"]["tools"]["verilator"]["mode"] == "lint-only"
    used = {fileset for target in core["targets"].values() for fileset in target["filesets"]}
    assert used == set(core["filesets"])


def test_the_constraints_are_for_the_clocks_that_there_are(folder):
    text = (folder / "kestrel.sdc").read_text()
    choice = re.search(r'get_ports -quiet (\w+)\]\] \? "(\w+)" : "(\w+)"', text)
    assert choice is not None
    wanted, first, second = choice.groups()
    assert wanted == first
    wrapper, top = ports(folder / f"{WRAPPER}.v"), ports(folder / f"{CHIP_TOP}.v")
    assert wrapper[first] == "input"
    assert second not in wrapper
    assert top[second] == "input"
    assert first not in top
    assert text.count("create_clock") == 1
    assert f"set period {CLOCK_NS}" in text


def test_the_wrapper_connects_every_port_of_the_chip(folder):
    text = (folder / f"{WRAPPER}.v").read_text()
    connected = re.findall(r"\.(\w+)\(", text)
    assert len(connected) > 30
    assert set(connected) == set(ports(folder / f"{CHIP_TOP}.v"))


@pytest.mark.skipif(not yosys_available(), reason="yosys is missing: pip install 'kestrel-engine[synthesis]'")
def test_yosys_runs_the_script(folder):
    """Flattened, with nothing left of the chip but gates, registers and the memories' wrappers; no latch."""
    script = (folder / "synth.ys").read_text().splitlines()
    log = run_yosys([line for line in script if not line.startswith("#")], folder)
    assert "Latch inferred" not in log
    assert "no driver" not in log
    netlist = (folder / f"{CHIP_TOP}_netlist.v").read_text()
    placed = re.findall(rf"^  ({PREFIX}\w+) ", netlist, re.MULTILINE)
    assert {name.removeprefix(PREFIX) for name in placed} == set(MEMORIES)
    assert placed.count(f"{PREFIX}rom") == 2
    assert not re.search(r"^  \\?\$_?DLATCH", netlist, re.MULTILINE)
