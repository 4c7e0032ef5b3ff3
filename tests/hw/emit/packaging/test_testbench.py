"""The test bench that goes with a chip, and two chips in one simulation."""

import re
import shutil

import pytest

from kestrel.verif.simulate.icarus import available

pytestmark = pytest.mark.skipif(not available(), reason="Icarus Verilog is not installed")


@pytest.fixture
def icarus(run_tool, tmp_path):
    """Compiles Verilog and runs it in a folder that holds the files of some chips."""

    def run(sources, top, chips, *, without=(), changed=()):
        for chip in chips:
            for data in chip.folder.glob("*.mem"):
                shutil.copy(data, tmp_path)
        for name in without:
            (tmp_path / name).unlink()
        for name, change in changed:
            file = tmp_path / name
            file.write_text(change(file.read_text()))
        done = run_tool("iverilog", "-g2005", "-o", "simulation", "-s", top, *sources)
        assert done.returncode == 0, done.stdout
        assert "error" not in done.stdout
        return run_tool("timeout", 200, "vvp", "-n", "simulation")

    return run


@pytest.mark.parametrize("shape", ["smallest", "other"])
def test_it_passes(shape, request, written, icarus):
    chip = written(request.getfixturevalue(shape), 1)
    sources = [*chip.sources(), chip.folder / "kestrel_tb.v"]
    done = icarus(sources, "kestrel_tb", [chip])
    assert done.returncode == 0, done.stdout
    assert "PASS: 2 packets, 60 bytes compared, 0 faults" in done.stdout


def test_it_passes_with_a_descriptor(written, smallest, icarus):
    chip = written(smallest, 3, descriptor=True)
    done = icarus([*chip.sources(), chip.folder / "kestrel_tb.v"], "kestrel_tb", [chip])
    assert done.returncode == 0, done.stdout
    assert "PASS: 4 packets, 70 bytes compared, 0 faults" in done.stdout


def test_it_passes_with_a_residual_network_and_its_descriptor(written, residual, icarus):
    chip = written(residual, 4, descriptor=True)
    assert chip.folder / "kestrel_block_input.v" in chip.sources()
    done = icarus([*chip.sources(), chip.folder / "kestrel_tb.v"], "kestrel_tb", [chip])
    assert done.returncode == 0, done.stdout
    assert re.search(r"PASS: 4 packets, [1-9]\d* bytes compared, 0 faults", done.stdout), done.stdout


def other_digit(text):
    """The last digit of a file of words changed."""
    head, last = text.rstrip("\n")[:-1], text.rstrip("\n")[-1]
    return f"{head}{'0' if last != '0' else '1'}\n"


def backwards(text):
    return "".join(reversed(text.splitlines(keepends=True)))


@pytest.mark.parametrize(
    ("without", "changed", "says"),
    [
        (["weights.mem"], [], "the ROM image weights.mem is missing"),
        (["table.mem"], [], "the ROM image table.mem is missing"),
        (["features.mem"], [], "a file of the bench is missing"),
        ([], [("features.mem", other_digit)], "byte 29 of packet 0 is"),
        ([], [("picture.mem", backwards)], "FAIL: 2 packets"),
        ([], [("weights.mem", other_digit)], "error is 00080000, not 00000000"),
        ([], [("table.mem", other_digit)], "error is 00100000, not 00000000"),
    ],
)
def test_it_fails_with_an_exit_code(without, changed, says, written, smallest, icarus):
    chip = written(smallest, 1)
    sources = [*chip.sources(), chip.folder / "kestrel_tb.v"]
    done = icarus(sources, "kestrel_tb", [chip], without=without, changed=changed)
    assert done.returncode != 0
    assert says in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (".m_axis_tvalid(valid)", ".m_axis_tvalid()", "nothing has happened"),
        ("parameter FRAMES = 2", "parameter FRAMES = 0", "nothing was compared"),
    ],
    ids=["a chip that sends nothing", "a bench without frames"],
)
def test_silence_is_no_success(old, new, says, written, smallest, icarus, tmp_path):
    chip = written(smallest, 1)
    text = (chip.folder / "kestrel_tb.v").read_text()
    assert old in text
    bench = tmp_path / "kestrel_tb.v"
    bench.write_text(text.replace(old, new))
    done = icarus([*chip.sources(), bench], "kestrel_tb", [chip])
    assert done.returncode != 0
    assert says in done.stdout


def both(instances):
    """Verilog of two benches in one simulation, and of its end."""
    return "\n".join([
        "`timescale 1ns / 1ps", "module both;", *instances,
        "    initial begin", "        wait (left.finished && right.finished);",
        '        $display("both: %0d bytes compared", left.compared + right.compared);', "        $finish;",
        "    end", "endmodule", "",
    ])  # fmt: skip


def test_two_configurations_in_one_simulation(written, smallest, other, icarus, tmp_path):
    """Different networks and clocks."""
    left, right = written(smallest, 1, "left"), written(other, 2, "right")
    (tmp_path / "both.v").write_text(both([
        "    left_tb #(.FINISH(0), .HALF_PERIOD(5)) left ();",
        "    right_tb #(.FINISH(0), .HALF_PERIOD(7)) right ();",
    ]))  # fmt: skip
    benches = [left.folder / "left_tb.v", right.folder / "right_tb.v", tmp_path / "both.v"]
    done = icarus([*left.sources(), *right.sources(), *benches], "both", [left, right])
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASS: 2 packets, 60 bytes compared, 0 faults") == 2
    assert "both: 120 bytes compared" in done.stdout


def test_two_networks_on_one_configuration_in_one_simulation(written, smallest, icarus, tmp_path):
    """The modules are the same; the ROM images are parameters of the instances."""
    left, right = written(smallest, 1), written(smallest, 2)
    assert [path.read_text() for path in left.sources()] == [path.read_text() for path in right.sources()]
    assert left.core != right.core
    crc = (right.folder / "kestrel_tb.v").read_text().partition("NETWORK_CRC = ")[2].partition(",")[0]
    files = {"WEIGHTS": "weights", "TABLE": "table", "PICTURE": "picture", "FEATURES": "features"}
    given = "".join(f', .{name}_FILE("{right.folder}/{file}.mem")' for name, file in files.items())
    (tmp_path / "both.v").write_text(both([
        "    kestrel_tb #(.FINISH(0)) left ();",
        f"    kestrel_tb #(.FINISH(0), .NETWORK_CRC({crc}){given}) right ();",
    ]))  # fmt: skip
    benches = [left.folder / "kestrel_tb.v", tmp_path / "both.v"]
    done = icarus([*left.sources(), *benches], "both", [left])
    assert done.returncode == 0, done.stdout
    assert "both: 120 bytes compared" in done.stdout
