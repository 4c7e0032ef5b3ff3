"""The constraints in OpenSTA, on a netlist of a whole chip."""

from dataclasses import replace

import pytest

from kestrel.hw.emit.packaging.constraints import CLOCK_NS
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.verif.cases.tiny_library import tiny_library
from kestrel.verif.physical.synthesis import yosys_available
from kestrel.verif.physical.timing import sta_available, static_timing, write_netlist

pytestmark = [
    pytest.mark.skipif(not yosys_available(), reason="pyosys is missing"),
    pytest.mark.skipif(not sta_available(), reason="OpenSTA is missing (Debian: apt-get install opensta)"),
]

SMALLEST = replace(
    NAMED["nano"], input_lanes=1, output_lanes=1, partial_depth=16, max_width=8, feature_words=(64, 64),
    weight_words=64, table_words=64, activation_bits=4, mask_bits_max=1,
)  # fmt: skip
SDC = "kestrel_axi.sdc"


@pytest.fixture(scope="module")
def netlist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("timing")
    (folder / "tiny.lib").write_text(tiny_library())
    write_netlist(ChipConfig(SMALLEST), folder, (folder / "tiny.lib").resolve(), 2.5)
    return folder


def test_every_end_of_a_path_is_constrained(netlist):
    timing = static_timing(netlist, netlist / "tiny.lib")
    assert timing.faults == ()
    assert timing.endpoints > 1000
    assert 0 < timing.path_ns <= CLOCK_NS - timing.slack_ns


@pytest.mark.parametrize(
    ("command", "fault"), [("set_input_delay", "s_axis_tvalid"), ("set_output_delay", "m_axis_tvalid")]
)
def test_constraints_that_lack_something_are_reported(command, fault, netlist):
    lines = (netlist / SDC).read_text().splitlines(keepends=True)
    fewer = [line for line in lines if not line.startswith(command)]
    assert len(fewer) == len(lines) - 1
    (netlist / "fewer.sdc").write_text("".join(fewer))
    assert fault in static_timing(netlist, netlist / "tiny.lib", "fewer.sdc").faults


def test_a_command_that_opensta_does_not_know_is_reported(netlist):
    text = (netlist / SDC).read_text()
    (netlist / "odd.sdc").write_text(f"{text}remove_from_collection [all_inputs] aclk\n")
    faults = static_timing(netlist, netlist / "tiny.lib", "odd.sdc").faults
    assert any("remove_from_collection" in fault for fault in faults)
