"""Paths without a register, and the CRC step, read from the netlist."""

import re
from dataclasses import replace

import pytest

from kestrel.hw.chip.axi_lite import AxiLite
from kestrel.hw.chip.rom_check import PIECE_BITS
from kestrel.hw.chip.stream_input import StreamInput
from kestrel.hw.chip.stream_output import StreamOutput
from kestrel.hw.common.place import module_name
from kestrel.hw.compute.pool import PoolLane
from kestrel.hw.emit.verilog import chip_files, verilog_files
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.verif.physical.synthesis import yosys_available
from kestrel.verif.proofs.structure import CrcStep, depends_on, divided, netlist, parities

pytestmark = pytest.mark.skipif(
    not yosys_available(), reason="yosys is missing: pip install 'kestrel-engine[proofs]'"
)

NANO = NAMED["nano"]


def changed(block, pattern, replacement):
    """The netlist of the block after one change of its own Verilog."""
    top = module_name(block)
    *others, own = verilog_files(block)
    text, found = re.subn(pattern, replacement, own.text)
    assert found == 1
    return netlist([*others, replace(own, text=text)], top)


@pytest.mark.parametrize(
    ("make", "port"),
    [(AxiLite, "s_axil_"), (lambda: StreamInput(NANO), "s_axis_"), (lambda: StreamOutput(NANO), "m_axis_")],
    ids=["axi-lite", "stream-input", "stream-output"],
)
def test_no_output_of_a_port_depends_on_an_input_in_the_same_cycle(make, port):
    block = make()
    net = netlist(verilog_files(block), module_name(block))
    outputs = [name for name in net.ports if name.startswith(port) and net.directions[name] == "output"]
    assert len(outputs) >= 1
    assert {name: depends_on(net, name) for name in outputs} == {name: set() for name in outputs}


@pytest.mark.regress
def test_no_output_of_a_chip_depends_on_an_input_in_the_same_cycle():
    chip = ChipConfig(NANO, DescriptorConfig(8, 256), startup_check=True)
    net = netlist(chip_files(chip), "kestrel_top")
    outputs = [name for name in net.ports if net.directions[name] == "output"]
    assert {"m_axis_tvalid", "s_axis_tready", "s_axil_rvalid", "s_axil_bvalid"} <= set(outputs)
    assert {name: depends_on(net, name) for name in outputs} == {name: set() for name in outputs}


def test_a_path_from_ready_to_valid_is_seen():
    net = changed(AxiLite(), r"assign s_axil_awready = ", "assign s_axil_awready = s_axil_bready & ")
    assert depends_on(net, "s_axil_awready") == {"s_axil_bready"}


def test_a_path_is_named_by_where_it_begins():
    net = netlist(verilog_files(PoolLane(4)), "kestrel_pool_lane")
    assert depends_on(net, "across") == {"y"}
    assert depends_on(net, "pooled") == {"y", "above", "lower"}


@pytest.mark.parametrize("bits", [1, 8, PIECE_BITS])
def test_the_crc_of_several_bits_is_the_division_bit_by_bit(bits):
    net = netlist(verilog_files(CrcStep(bits)), "kestrel_crc_step")
    assert parities(net, "out") == divided(bits)


def test_a_wrong_crc_is_seen():
    net = changed(CrcStep(8), r"(?s)(assign out = \{)state\[1\]", r"\1state[2]")
    wrong = [n for n, (a, b) in enumerate(zip(parities(net, "out"), divided(8), strict=True)) if a != b]
    assert wrong == [31]


def test_a_crc_with_another_cell_is_not_read():
    net = changed(CrcStep(8), r"(?s)(assign out = \{)state\[1\] \^", r"\1state[1] |")
    with pytest.raises(ValueError, match=r"out: a cell \$or; allowed: exclusive ors"):
        parities(net, "out")
