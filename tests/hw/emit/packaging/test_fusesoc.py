"""The FuseSoC core, by FuseSoC: every target, with the tool that it names."""

import json
import re
import shutil

import pytest

from kestrel.verif.simulate.icarus import available as icarus_available

pytest.importorskip("fusesoc", reason="FuseSoC is missing: pip install fusesoc")
needs_icarus = pytest.mark.skipif(not icarus_available(), reason="Icarus Verilog is not installed")
needs_yosys = pytest.mark.skipif(
    shutil.which("yosys") is None,
    reason="yosys is not on the path, with Tcl, as FuseSoC needs it (Debian: apt-get install yosys)",
)


@pytest.fixture
def chip(written, smallest):
    return written(smallest, 1)


@pytest.fixture
def fusesoc(run_tool):
    def run(*arguments, roots):
        where = [word for root in roots for word in ("--cores-root", root)]
        return run_tool("fusesoc", *where, "run", *arguments)

    return run


def work_root(folder, core, target):
    return folder / "build" / core.replace(":", "_") / target


@pytest.mark.parametrize("target", ["lint", pytest.param("sim", marks=needs_icarus), "sim_verilator"])
def test_lint_and_simulation(target, chip, fusesoc):
    done = fusesoc("--target", target, chip.core, roots=[chip.folder])
    assert done.returncode == 0, done.stdout
    assert ("PASS: 2 packets, 60 bytes compared, 0 faults" in done.stdout) == (target != "lint"), done.stdout


def test_lint_of_a_residual_chip(written, residual, fusesoc):
    chip = written(residual, 4, descriptor=True)
    done = fusesoc("--target", "lint", chip.core, roots=[chip.folder])
    assert done.returncode == 0, done.stdout


@needs_icarus
def test_another_network_is_a_parameter(written, smallest, chip, fusesoc, tmp_path):
    """Its ROM images take the place of those of the core; the bench sees that they are others."""
    foreign = written(smallest, 2).folder
    shutil.copytree(foreign, tmp_path / "foreign")
    arguments = [f"--{rom.upper()}_FILE={tmp_path}/foreign/{rom}.mem" for rom in ("table", "weights")]
    done = fusesoc("--target", "sim", chip.core, *arguments, roots=[chip.folder])
    assert done.returncode != 0
    assert "network_crc is" in done.stdout, done.stdout
    assert "FAIL: 2 packets, 60 bytes compared" in done.stdout, done.stdout


@needs_yosys
def test_synthesis_with_generic_gates(chip, fusesoc, tmp_path):
    done = fusesoc("--target", "synth", chip.core, roots=[chip.folder])
    assert done.returncode == 0, done.stdout[-3000:]
    netlist = (work_root(tmp_path, chip.core, "synth") / f"{chip.core.replace(':', '_')}.v").read_text()
    placed = re.findall(r"^  (kestrel_\w+) ", netlist, re.MULTILINE)
    assert {name: placed.count(name) for name in placed} == {
        "kestrel_ram_1r1w": 3, "kestrel_ram_1rw": 6, "kestrel_rom": 2,
    }  # fmt: skip
    assert re.findall(r'\.INIT_FILE\("(.*)"\)', netlist) == ["table.mem", "weights.mem"]
    assert "LATCH" not in netlist


@needs_yosys
def test_synthesis_for_ecp5(chip, fusesoc, tmp_path):
    """Memories and ROM images included: nothing is left that is no cell of the ECP5."""
    done = fusesoc("--target", "synth_ecp5", chip.core, roots=[chip.folder])
    assert done.returncode == 0, done.stdout[-3000:]
    stem = chip.core.replace(":", "_")
    design = json.loads((work_root(tmp_path, chip.core, "synth_ecp5") / f"{stem}.json").read_text())
    cells = [cell["type"] for cell in design["modules"]["kestrel_axi"]["cells"].values()]
    assert cells.count("TRELLIS_FF") > 1000
    assert not any(cell.startswith(("kestrel", "$")) for cell in cells)


def test_the_project_for_vivado(chip, fusesoc, tmp_path):
    """Vivado itself is not asked: only what FuseSoC prepares for it."""
    done = fusesoc("--target", "synth_vivado", "--setup", chip.core, roots=[chip.folder])
    assert done.returncode == 0, done.stdout
    stem = chip.core.replace(":", "_")
    folder = work_root(tmp_path, chip.core, "synth_vivado")
    script = (folder / f"{stem}.tcl").read_text()
    read = re.findall(r"^(read_\w+) \{(.*)\}$", script, re.MULTILINE)
    assert all((folder / file).is_file() for _, file in read)
    assert [file for command, file in read if command == "read_mem"] == ["table.mem", "weights.mem"]
    assert [file for command, file in read if command == "read_xdc"] == [f"src/{stem}/kestrel_axi.sdc"]
    assert len([file for command, file in read if command == "read_verilog"]) == len(chip.sources())
    assert "set_property top kestrel_axi" in script
    assert "TABLE_FILE=table.mem WEIGHTS_FILE=weights.mem" in script


def test_a_core_without_its_rom_images_is_refused(chip, fusesoc, tmp_path):
    folder = shutil.copytree(chip.folder, tmp_path / "copy")
    (folder / "weights.mem").unlink()
    done = fusesoc("--target", "synth", chip.core, roots=[folder])
    assert done.returncode != 0
    assert "weights.mem" in done.stdout


def test_two_chips_in_one_system(written, smallest, other, fusesoc, tmp_path):
    """Of different configurations and networks, each with its prefix."""
    chips = [written(smallest, 1, "left"), written(other, 2, "right")]
    (tmp_path / "both.v").write_text(
        "`timescale 1ns / 1ps\n"
        "module both (input wire clk, input wire rst_n, output wire left_irq, output wire right_irq);\n"
        + "".join(
            f"    {side}_axi {side} (.aclk(clk), .aresetn(rst_n), .irq({side}_irq));\n"
            for side in ("left", "right")
        )
        + "endmodule\n"
    )
    core = {
        "name": "me:test:both:1.0.0",
        "filesets": {"rtl": {
            "files": ["both.v"], "file_type": "verilogSource", "depend": [one.core for one in chips],
        }},
        "targets": {"lint": {
            "filesets": ["rtl"], "toplevel": "both", "flow": "lint",
            "flow_options": {"tool": "verilator", "verilator_options": [
                "-Wno-WIDTH", "-Wno-CASEINCOMPLETE", "-Wno-PINMISSING",
            ]},
        }},
    }  # fmt: skip
    (tmp_path / "both.core").write_text(f"CAPI=2:\n{json.dumps(core)}\n")
    roots = [tmp_path, *(one.folder for one in chips)]
    done = fusesoc("--target", "lint", "me:test:both", roots=roots)
    assert done.returncode == 0, done.stdout
    root = work_root(tmp_path, "me:test:both:1.0.0", "lint")
    images = {path.name for path in root.glob("*.mem")}
    assert images == {f"{side}_{rom}.mem" for side in ("left", "right") for rom in ("table", "weights")}
