"""The engine in a second simulator, which has unknown values."""

import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.packaging.wrapper import wrapper
from kestrel.hw.emit.verilog import chip_files
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.registers import IDENTIFICATION
from kestrel.sw.model.network import parse_network
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import make_plan
from kestrel.verif.cases.random_network import random_network, stack
from kestrel.verif.simulate.compare import all_equal, compare_run, reference_maps
from kestrel.verif.simulate.icarus import available, run_icarus

pytestmark = pytest.mark.skipif(
    not available(), reason="Icarus Verilog is not installed; it is an optional second simulator"
)


@pytest.mark.parametrize(
    ("channels", "pools", "mask_bits", "size"),
    [([3, 5, 2], [0], [3, 5], (7, 6)), ([1, 3], [], [1], (1, 1))],
)
def test_icarus_agrees_with_reference_and_model(channels, pools, mask_bits, size, rng, tmp_path):
    """Nothing written depends on what registers and memories hold at power-up."""
    network = random_network(rng, stack(channels, pools), mask_bits)
    plan = make_plan(network, NAMED["nano"], *size)
    pixels = rng.integers(0, 256, size=(channels[0], *size)).astype(np.uint8)
    run = run_icarus(network, plan, pixels, tmp_path)
    results = compare_run(run, network, reference_maps(network, pixels))
    assert all_equal(results), [str(result) for result in results]
    assert run.cycles == frame_cycles(plan).total


def test_icarus_agrees_for_a_residual_network(rng, tmp_path):
    """An image in blocks, a 3x3 pooling, steps of two, both kinds of shortcuts."""
    network = random_network(rng, parse_network("resnet18/32:layer2.0").layers, 3, blocks=True)
    plan = make_plan(network, replace(NAMED["nano"], residual=True), 9, 12)
    pixels = rng.integers(0, 256, size=(3, 9, 12)).astype(np.uint8)
    run = run_icarus(network, plan, pixels, tmp_path)
    results = compare_run(run, network, reference_maps(network, pixels))
    assert all_equal(results), [str(result) for result in results]
    assert run.cycles == frame_cycles(plan).total


@pytest.mark.parametrize("standard", ["2005", "2012"])
@pytest.mark.parametrize("late", [False, True], ids=["where declared", "in a process"])
def test_a_reset_is_enough_whatever_the_bench_is_like(standard, late, rng, tmp_path):
    """Breaks with processes that wait for a change of what has its value from the start."""
    network = random_network(rng, stack([1, 2], []), [2])
    plan = make_plan(network, NAMED["nano"], 3, 3)
    pixels = rng.integers(0, 256, size=(1, 3, 3)).astype(np.uint8)
    run = run_icarus(network, plan, pixels, tmp_path, standard=standard, late=late)
    results = compare_run(run, network, reference_maps(network, pixels))
    assert all_equal(results), [str(result) for result in results]
    assert run.cycles == frame_cycles(plan).total


CHIP_BENCH = """
module bench;
    %s
    wire [31:0] rdata;
    wire [%d:0] tdata;
    wire [%d:0] tkeep;
    wire [1:0] bresp, rresp;
    wire awready, wready, bvalid, arready, rvalid, s_tready, tlast, tvalid, irq;
    kestrel_axi chip (
        .aclk(aclk), .aresetn(aresetn), .s_axi_awaddr(12'h0), .s_axi_awprot(3'h0), .s_axi_awvalid(awvalid),
        .s_axi_awready(awready), .s_axi_wdata(32'h0), .s_axi_wstrb(4'h0), .s_axi_wvalid(wvalid),
        .s_axi_wready(wready), .s_axi_bresp(bresp), .s_axi_bvalid(bvalid), .s_axi_bready(1'b1),
        .s_axi_araddr(12'h0), .s_axi_arprot(3'h0), .s_axi_arvalid(arvalid), .s_axi_arready(arready),
        .s_axi_rdata(rdata), .s_axi_rresp(rresp), .s_axi_rvalid(rvalid), .s_axi_rready(rready),
        .s_axis_tdata(8'h0), .s_axis_tlast(1'b0), .s_axis_tvalid(s_tvalid), .s_axis_tready(s_tready),
        .m_axis_tdata(tdata), .m_axis_tkeep(tkeep), .m_axis_tlast(tlast), .m_axis_tvalid(tvalid),
        .m_axis_tready(1'b1), .irq(irq));
    initial begin
        repeat (5) begin #5 aclk = 1; #5 aclk = 0; end
        aresetn = 1;
        repeat (2) begin #5 aclk = 1; #5 aclk = 0; end
        $display("outputs %%b", {awready, wready, bvalid, arready, rvalid, tvalid, irq});
        arvalid = 1;
        rready = 1;
        repeat (6) begin
            #5 aclk = 1;
            #5 aclk = 0;
            arvalid = 0;
            if (rvalid === 1'b1) $display("outputs %%h", rdata);
        end
    end
endmodule
"""
INPUTS = ("aclk", "aresetn", "awvalid", "wvalid", "arvalid", "rready", "s_tvalid")
EARLY = "reg " + ", ".join(f"{name} = 0" for name in INPUTS) + ";"
LATE = f"reg {', '.join(INPUTS)}; initial begin {' '.join(f'{name} = 0;' for name in INPUTS)} end"


@pytest.fixture(scope="module")
def chip():
    chip = ChipConfig(NAMED["nano"])
    files = chip_files(chip)
    return chip, [*files, wrapper(chip, Names())]


@pytest.mark.parametrize("standard", ["2005", "2012"])
@pytest.mark.parametrize("inputs", [EARLY, LATE], ids=["where declared", "in a process"])
def test_after_a_reset_the_chip_answers_in_any_bench(standard, inputs, chip, tmp_path):
    config, files = chip
    lanes = config.engine.word_lanes
    for file in files:
        (tmp_path / file.name).write_text(file.text)
    (tmp_path / "bench.v").write_text(CHIP_BENCH % (inputs, 8 * lanes - 1, lanes - 1))
    for rom in ("table.mem", "weights.mem"):
        (tmp_path / rom).write_text("0\n" * 16)
    names = [*(file.name for file in files), "bench.v"]
    subprocess.run(["iverilog", f"-g{standard}", "-o", "bench", *names], cwd=tmp_path, check=True)
    printed = subprocess.run(["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True)
    ready, *read = re.findall(r"^outputs (.*)", printed.stdout, re.MULTILINE)
    assert ready == "1101000"  # ready for an address, for data, for a read; nothing valid; no interrupt
    assert [int(word, 16) for word in read] == [IDENTIFICATION]


@pytest.mark.parametrize("height", [1, 5, 6])
def test_rows_of_a_triple_that_do_not_exist_reach_nothing(height, rng, tmp_path):
    """In row groups parts of the image's words are never written, and rows below the map are computed."""
    config = replace(NAMED["nano"], input_lanes=4, output_lanes=4, row_groups=True)
    network = random_network(rng, stack((1, 5, 2)), (3, 2))
    plan = make_plan(network, config, height, 4)
    assert plan.row_groups
    pixels = rng.integers(0, 256, size=(1, height, 4)).astype(np.uint8)
    run = run_icarus(network, plan, pixels, tmp_path)
    results = compare_run(run, network, reference_maps(network, pixels))
    assert all_equal(results), [str(result) for result in results]
    assert run.cycles == frame_cycles(plan).total
