"""What goes beside the chip's Verilog: wrapper, FuseSoC core, the script for yosys, names."""

import re
from pathlib import Path

import pytest
import yaml

from kestrel.hw.common.place import PREFIX
from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.packaging.package import package
from kestrel.hw.emit.packaging.ports import wrapper_ports
from kestrel.hw.emit.verilog import CHIP_TOP, MEMORIES
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.errors import InputError
from kestrel.verif.physical.synthesis import run_yosys, yosys_available


@pytest.fixture(scope="module")
def chip(smallest):
    return ChipConfig(smallest, startup_check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, chip):
    path = tmp_path_factory.mktemp("rtl")
    made = package(chip)
    for file in (*made.rtl, *made.others):
        (path / file.name).write_text(file.text)
    return path


def read_core(path: Path) -> dict:
    text = path.read_text()
    assert text.startswith("CAPI=2:\n")
    return yaml.safe_load(text.removeprefix("CAPI=2:\n"))


def ports(path: Path) -> dict[str, str]:
    """Name -> direction of the only module in a file."""
    pattern = r"^ *(input|output) +(?:wire +|reg +)?(?:\[\d+:0\] *)?(\w+)[;,]?$"
    return {name: way for way, name in re.findall(pattern, path.read_text(), re.MULTILINE)}


def test_a_core_without_rom_images_is_for_lint_only(folder):
    core = read_core(folder / "kestrel.core")
    assert set(core["targets"]) == {"default", "lint"}
    rtl = core["filesets"]["rtl"]["files"]
    assert len(rtl) == len(set(rtl))
    assert {path.name for path in folder.glob("*.v")} == set(rtl)
    assert {target["toplevel"] for target in core["targets"].values()} == {"kestrel_axi"}


def test_a_core_with_rom_images_lists_every_file(written, smallest):
    made = written(smallest, 1)
    core = read_core(made.folder / "kestrel.core")
    listed = {
        name: [next(iter(file)) if isinstance(file, dict) else file for file in fileset["files"]]
        for name, fileset in core["filesets"].items()
    }
    assert listed["rtl"] == [path.name for path in made.sources()]
    assert listed["roms"] == ["table.mem", "weights.mem"]
    assert listed["bench_data"] == ["picture.mem", "features.mem"]
    assert all((made.folder / file).is_file() for files in listed.values() for file in files)
    used = {fileset for target in core["targets"].values() for fileset in target["filesets"]}
    assert used == set(core["filesets"])


def test_cores_of_one_name_are_the_same(written, smallest, other):
    first = written(smallest, 1)
    assert re.fullmatch(r"kestrel:chip:kestrel_nano_[0-9a-f]{8}:1\.0\.0", first.core)
    names = [first.core, written(smallest, 2).core, written(other, 2, "right").core]
    assert len(set(names)) == len(names)
    assert names[2].startswith("kestrel:chip:right_other_")


@pytest.mark.parametrize("descriptor", [False, True])
def test_the_wrapper_connects_every_port_of_the_chip(descriptor, smallest, folder):
    if descriptor:
        unit = descriptor_unit(smallest)
        made = package(ChipConfig(smallest, unit))
        texts = {file.name: file.text for file in made.rtl}
    else:
        texts = {path.name: path.read_text() for path in folder.glob("*.v")}
    roms = ["TABLE", "WEIGHTS"] if not descriptor else ["DESCRIPTOR", "TABLE", "WEIGHTS"]
    parameters = [f"{rom}_FILE" for rom in roms]
    declared = r"^    parameter (\w+) = "
    assert re.findall(declared, texts["kestrel_top.v"], re.MULTILINE) == parameters
    assert re.findall(declared, texts["kestrel_axi.v"], re.MULTILINE) == parameters
    connected = re.findall(r"\.(\w+)\(", texts["kestrel_axi.v"])
    port = r"^  (?:input|output) +(?:wire|reg) +(?:\[\d+:0\] )?(\w+),?$"
    top = set(re.findall(port, texts["kestrel_top.v"], re.MULTILINE))
    assert len(top) >= 30
    assert set(connected) == top | set(parameters)


def test_vivado_learns_what_each_port_is(folder, chip):
    text = (folder / "kestrel_axi.v").read_text()
    info = r'\(\* X_INTERFACE_INFO = "([\w.:]+) (\w+) (\w+)" \*\)\n'
    pattern = rf"{info}(?:.*X_INTERFACE_PARAMETER.*\n)?.* (\w+),?\n"
    found = {port: (kind, bus, logical) for kind, bus, logical, port in re.findall(pattern, text)}
    assert list(found) == [port.name for port in wrapper_ports(chip)]
    assert found["aclk"] == ("xilinx.com:signal:clock:1.0", "aclk", "CLK")
    for port, (kind, bus, logical) in found.items():
        if "interface" in kind:
            assert port == f"{bus}_{logical.lower()}"
            assert kind == f"xilinx.com:interface:{'aximm' if bus == 's_axi' else 'axis'}:1.0"
    parameters = re.findall(r'X_INTERFACE_PARAMETER = "(.*)"', text)
    assert "ASSOCIATED_BUSIF s_axi:s_axis:m_axis, ASSOCIATED_RESET aresetn" in parameters
    assert "POLARITY ACTIVE_LOW" in parameters


def test_every_file_has_a_time_scale(folder):
    assert all(path.read_text().startswith("`timescale 1ns / 1ps\n") for path in folder.glob("*.v"))


def test_a_prefix_is_in_every_name(written, smallest):
    made = written(smallest, 1, "left")
    texts = {path.name: path.read_text() for path in made.folder.iterdir() if path.suffix != ".mem"}
    assert not [name for name, text in texts.items() if re.search(r"\bkestrel_(?!chip_left)", text)]
    modules = re.findall(r"^module (\w+)", "".join(texts.values()), re.MULTILINE)
    assert len(modules) == len(set(modules)) > 30
    assert all(module.startswith("left_") for module in modules)
    data = sorted(path.name for path in made.folder.glob("*.mem"))
    assert data == [f"left_{name}.mem" for name in ("features", "picture", "table", "weights")]
    read = re.findall(r'"(\w+\.mem)"', texts["left_axi.v"] + texts["left_top.v"] + texts["left_tb.v"])
    assert {*data, "left_descriptor.mem", "left_description.mem"} >= set(read) >= set(data)


@pytest.mark.parametrize("prefix", ["", "1st", "a-b", "a b", "_a", "module.x", "a" * 41, "ä"])
def test_a_prefix_that_begins_no_name_is_refused(prefix):
    with pytest.raises(InputError, match=r"prefix .*; allowed: a letter"):
        Names(prefix)


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


def synthesisers_view(text):
    """What is left for a tool that leaves out the regions between translate_off and translate_on, and
    defines nothing."""
    text = re.sub(r"// synthesis translate_off.*?// synthesis translate_on", "", text, flags=re.DOTALL)
    text = re.sub(r"`ifdef KESTREL_PLUSARGS.*?`else(.*?)`endif", r"\1", text, flags=re.DOTALL)
    return re.sub(r"//.*|\\\S+", "", text)


def test_no_synthesiser_sees_tasks_of_a_simulator(folder):
    for path in folder.glob("*.v"):
        tasks = set(re.findall(r"\$[a-z]\w+", synthesisers_view(path.read_text())))
        expected = {"$readmemh"} if path.name == "kestrel_rom.v" else set()
        assert {task for task in tasks if not task.startswith("$signed")} <= expected, path.name


@pytest.mark.skipif(not yosys_available(), reason="yosys is missing: pip install 'kestrel-engine[synthesis]'")
@pytest.mark.parametrize("options", ["", "-formal"], ids=["SYNTHESIS defined", "SYNTHESIS not defined"])
def test_yosys_loads_a_rom_with_and_without_the_macro(options, folder, tmp_path):
    (tmp_path / "kestrel_rom.v").write_text((folder / "kestrel_rom.v").read_text())
    (tmp_path / "x.mem").write_text("12345678\n9abcdef0\n")
    (tmp_path / "top.v").write_text(
        "module top (input clk, input addr, output [31:0] rdata);\n"
        '    kestrel_rom #(.INIT_FILE("x.mem")) rom (.clk(clk), .en(1\'b1), .addr(addr), .rdata(rdata));\n'
        "endmodule\n"
    )
    run_yosys([
        f"read_verilog {options} kestrel_rom.v top.v", "hierarchy -top top", "proc", "memory_collect",
        "write_rtlil rom.il",
    ], tmp_path)  # fmt: skip
    image = f"{0x9ABCDEF0:032b}{0x12345678:032b}"
    assert re.search(rf"parameter \\INIT 64'{image}", (tmp_path / "rom.il").read_text())
