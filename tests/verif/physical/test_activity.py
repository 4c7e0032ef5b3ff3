"""Probes, streams and units against a frame of ``nano``, its plan and, gate by gate, its array's sums."""

import numpy as np
import pytest

from kestrel.hw.common.place import PREFIX
from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.estimate.accesses import memory_accesses
from kestrel.sw.planning.plan import make_plan
from kestrel.verif.cases.random_network import random_network, stack
from kestrel.verif.physical.activity import build_probed, read_activity, run_probed
from kestrel.verif.physical.energy import DOT_PRODUCT, DOT_PRODUCT_VERILOG, KERNEL_UNIT, measure
from kestrel.verif.physical.liberty import load_library
from kestrel.verif.physical.memory_probes import by_memory
from kestrel.verif.physical.streams import WEIGHT_BITS, Recording, quantised
from kestrel.verif.physical.synthesis import standard_cells, write_sources, yosys_available

CONFIG = NAMED["nano"]
SIDE = 8


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    """Plan, float weights and what the probes saw, of one frame of three layers, two of them in tiles."""
    folder = tmp_path_factory.mktemp("probed")
    rng = np.random.default_rng(7)
    network = random_network(rng, stack((3, 4, 6, 4), pools=(1,)), (3, 1, 4))
    weights = [rng.normal(size=(x.shape.out_channels, x.shape.in_channels, 3, 3)) for x in network.layers]
    plan = make_plan(network, CONFIG, SIDE, SIDE)
    pixels = rng.integers(0, 256, (3, SIDE, SIDE)).astype(np.uint8)
    activity = run_probed(build_probed(CONFIG, folder), network, plan, pixels, folder)
    return plan, weights, activity


def test_counted_accesses_are_those_of_the_closed_form(frame):
    """Of every memory, to the last one."""
    plan, _, activity = frame
    found = by_memory(activity.memories)
    assert found == memory_accesses(plan)
    assert all(each.reads + each.writes > 0 for each in found.values())


def test_all_registers_of_the_array_are_counted(frame):
    *_, activity = frame
    assert activity.cycles > 0
    # 108 a kernel unit with digits of 3 bits (docs/area.md), and the two lanes' sums.
    lanes = activity.classes["array: units and trees"]
    assert lanes.bits > 4 * 108
    assert all(found.changes <= found.bits * activity.cycles for found in activity.classes.values())
    assert lanes.changes > 0


def test_the_report_is_read_by_class(tmp_path):
    lines = [
        "registers TOP.kestrel_engine.core.array.lane_0.unit_1.register_probe 108 40 10",
        "registers TOP.kestrel_engine.core.array.lane_1.register_probe 8 2 10",
        "registers TOP.kestrel_engine.core.register_probe 5 1 10",
        "memory TOP.kestrel_engine.weights.probe 64 7 3 0 0",
    ]
    activity = read_activity(lines, tmp_path)
    assert activity.cycles == 10
    assert (activity.classes["array: units and trees"].bits, activity.classes["rest"].changes) == (116, 1)
    assert (activity.memories["weights"].reads, activity.memories["weights"].width) == (3, 64)


def test_pieces_hold_what_the_lanes_summed(frame, seed):
    plan, weights, activity = frame
    recording = Recording(activity.array, plan, weights)
    for record in (1, 2, 3):
        pieces = recording.pieces(record, 3, 4, seed)
        assert pieces.window.shape == (3, 7, CONFIG.input_lanes, 9 * CONFIG.activation_bits)
        # The 8-bit weights of a layer are those of its channels, whichever tile is at work.
        known = {bits.tobytes() for bits in _weight_bits(quantised(weights[record - 1]))}
        for bits in pieces.working_weights.reshape(-1, 9 * WEIGHT_BITS):
            assert bits.tobytes() in known or record == 1  # the image's last lane has no channel
        assert not pieces.swap_alpha[:, 1:].astype(bool)[pieces.swap[:, :-1] == 0].any()


def _weight_bits(weights):
    rows = weights.reshape(-1, 9).view(np.uint8)
    return np.unpackbits(rows[:, :, None], axis=2, bitorder="little").reshape(len(rows), -1)


def test_a_recording_of_another_plan_is_refused(frame):
    _, weights, activity = frame
    other = make_plan(random_network(np.random.default_rng(1), stack((3, 4)), 1), CONFIG, SIDE, SIDE)
    with pytest.raises(ValueError, match="passes recorded"):
        Recording(activity.array, other, weights)


TIMING = """timing () {{ related_pin : "{pin}"; timing_sense : non_unate; {kind}
    cell_rise (scalar) {{ values ("0.02"); }} cell_fall (scalar) {{ values ("0.02"); }}
    rise_transition (scalar) {{ values ("0.01"); }} fall_transition (scalar) {{ values ("0.01"); }} }}
  internal_power () {{ related_pin : "{pin}"; rise_power (scalar) {{ values ("1.0"); }}
    fall_power (scalar) {{ values ("1.0"); }} }}"""


def gate(name, function, pins):
    inputs = "".join(f"pin ({p}) {{ direction : input; capacitance : 1.0; }}" for p in pins)
    arcs = "".join(TIMING.format(pin=p, kind="") for p in pins)
    return (
        f"cell ({name}) {{ area : 1; {inputs} "
        f'pin (Z) {{ direction : output; max_capacitance : 60; function : "{function}"; {arcs} }} }}'
    )


LIBRARY = f"""library (tiny) {{ time_unit : "1ns"; voltage_unit : "1V"; leakage_power_unit : "1nW";
  capacitive_load_unit (1, ff); nom_voltage : 1.0;
  {gate("BUF_X1", "A", "A")} {gate("INV", "!A", "A")} {gate("NAND", "!(A & B)", "AB")}
  {gate("XOR", "(A ^ B)", "AB")}
  cell (DFF) {{ area : 9; ff (IQ, IQN) {{ next_state : "D"; clocked_on : "CK"; }}
    pin (D) {{ direction : input; capacitance : 1.0; }}
    pin (CK) {{ direction : input; clock : true; capacitance : 1.0; }}
    pin (Q) {{ direction : output; max_capacitance : 60; function : "IQ";
      {TIMING.format(pin="CK", kind="timing_type : rising_edge;")} }} }} }}
"""


@pytest.mark.skipif(not yosys_available(), reason="yosys is missing: pip install 'kestrel-engine[synthesis]'")
def test_the_netlists_compute_what_the_engine_does(frame, tmp_path, seed):
    plan, weights, activity = frame
    library = tmp_path / "tiny.lib"
    library.write_text(LIBRARY)
    write_sources(CONFIG, tmp_path)
    (tmp_path / f"{PREFIX}{DOT_PRODUCT}.v").write_text(DOT_PRODUCT_VERILOG)
    pieces = Recording(activity.array, plan, weights).pieces(2, 4, 2, seed)
    for unit in (KERNEL_UNIT, DOT_PRODUCT):
        standard_cells(tmp_path, unit, library, 9.0)
        energy = measure(tmp_path / f"{unit}.json", unit, load_library(library), pieces)  # checks its results
        assert energy.unit_cycles == 2 * 4 * CONFIG.input_lanes * CONFIG.output_lanes
        assert energy.pj > energy.pj_without_glitches > energy.clock > 0
    pieces.sums[0, 0] += 1
    with pytest.raises(ValueError, match="do not add up"):
        measure(tmp_path / f"{KERNEL_UNIT}.json", KERNEL_UNIT, load_library(library), pieces)
