import gzip
import json

import pytest

from kestrel.hw.common.place import PREFIX
from kestrel.hw.emit.verilog import MEMORIES
from kestrel.verif.cases.tiny_library import tiny_library
from kestrel.verif.physical.synthesis import (
    SynthesisError,
    ecp5_cells,
    register_ns,
    run_yosys,
    standard_cells,
    unpack_liberty,
    yosys_available,
)

needs_yosys = pytest.mark.skipif(
    not yosys_available(), reason="yosys is missing: pip install 'kestrel-engine[synthesis]'"
)

TOP = f"""
module {PREFIX}array(input clk, input a, input b, output reg q, output r, output s);
  wire d;
  {PREFIX}output_lane lane_0 (.clk(clk), .a(a), .z(d));
  {PREFIX}output_lane lane_1 (.clk(clk), .a(b), .z(r));
  {PREFIX}rom #(.WIDTH(4)) rom (.clk(clk), .en(1'b1), .addr(1'b0), .rdata());
  always @(posedge clk) q <= d & b;
  assign s = q & a;
endmodule
"""
LANE = f"module {PREFIX}output_lane(input clk, input a, output z); assign z = ~a; endmodule\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / f"{PREFIX}array.v").write_text(TOP)
    (tmp_path / f"{PREFIX}output_lane.v").write_text(LANE)
    for memory in MEMORIES:
        ports = "input clk, input en, input addr, output [WIDTH-1:0] rdata"
        text = f"module {PREFIX}{memory} #(parameter WIDTH = 1) ({ports});\nendmodule\n"
        (tmp_path / f"{PREFIX}{memory}.box.v").write_text(text)
    (tmp_path / "tiny.lib").write_text(tiny_library())
    return tmp_path


@needs_yosys
def test_a_block_is_measured_without_its_boxes(folder):
    result = standard_cells(folder, "array", folder / "tiny.lib", 2.5)
    assert result.flip_flops == 1
    assert result.cells[f"{PREFIX}output_lane"] == 2  # from which the hierarchy's sum is formed
    # Twice NAND and inverter, a register; the buffers are those that abc adds.
    assert result.area_before_sizing == 2 * (3 + 1) + 10
    assert result.area == result.area_before_sizing + 2 * result.cells.get("BUF_X1", 0)
    assert 0 < result.path_before_sizing_ns < 1
    assert result.start
    assert result.end


@needs_yosys
def test_cutting_a_signal_leaves_out_the_register_that_drives_it(folder):
    result = standard_cells(folder, "array", folder / "tiny.lib", 2.5, cut=("q",))
    assert result.flip_flops == 0
    assert result.area_before_sizing == 3 + 1  # and what fed the register


@needs_yosys
def test_ecp5_cells(folder):
    result = ecp5_cells(folder, "array")
    assert (result.lut4, result.flip_flops, result.dsp, result.carry) == (2, 1, 0, 0)
    assert json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]["LUT4"] == 2


@needs_yosys
def test_yosys_errors_are_passed_on(tmp_path):
    with pytest.raises(SynthesisError, match=r"nothing\.v"):
        run_yosys(["read_verilog nothing.v"], tmp_path)


def test_register_time_is_the_slower_edge_of_output_and_setup(folder):
    assert register_ns(folder / "tiny.lib", "DFF") == pytest.approx(0.14)


def test_a_register_that_the_library_lacks_is_named(folder):
    with pytest.raises(SynthesisError, match=r"tiny\.lib: no cell LATCH"):
        register_ns(folder / "tiny.lib", "LATCH")


def test_a_packed_library_is_unpacked(tmp_path):
    (tmp_path / "x.lib.gz").write_bytes(gzip.compress(b"library (x) {}"))
    plain = unpack_liberty(tmp_path / "x.lib.gz", tmp_path / "work")
    assert plain.name == "x.lib"
    assert plain.read_text() == "library (x) {}"
    assert unpack_liberty(plain, tmp_path) == plain
