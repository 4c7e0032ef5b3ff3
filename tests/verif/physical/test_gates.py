import json
from itertools import pairwise

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.verif.physical.gates import INPUT_DELAY_PS, GateSimulation, Netlist
from kestrel.verif.physical.liberty import SLOPE_NS, load_library, look_up, parse

# Loads 0 and 10 fF, one slope axis around SLOPE_NS: tables give round numbers there.
TIMING = """timing () {{ related_pin : "A"; {type}
    cell_rise (t) {{ index_1 ("0.0, 1.0"); index_2 ("0, 10"); values ("{low}, {high}", "{low}, {high}"); }}
    cell_fall (t) {{ index_1 ("0.0, 1.0"); index_2 ("0, 10"); values ("{low}, {high}", "{low}, {high}"); }} }}
  internal_power () {{ related_pin : "A"; rise_power (t) {{ values ("3.0"); }}
    fall_power (t) {{ values ("1.0"); }} }}"""
CLOCK = """internal_power () {{ when : "{when}"; rise_power (t) {{ values ("{rise}"); }}
    fall_power (t) {{ values ("{fall}"); }} }}"""


def gate(name, function, pins, low, high):
    inputs = "".join(f"pin ({p}) {{ direction : input; capacitance : 2.0; }}" for p in pins)
    output = (
        f'pin (Z) {{ direction : output; function : "{function}"; '
        f"{TIMING.format(type='', low=low, high=high)} }}"
    )
    return f"cell ({name}) {{ cell_leakage_power : 5.0; {inputs} {output} }}"


LIBRARY = f"""/* a comment {{ */
library (tiny) {{ time_unit : "1ns"; voltage_unit : "1V"; leakage_power_unit : "1nW";
  capacitive_load_unit (1, ff); nom_voltage : 2.0;
  {gate("INV", "!A", "A", 0.03, 0.13)} {gate("XOR", "(A ^ B)", "AB", 0.05, 0.05)}
  cell (DFF) {{ cell_leakage_power : 7.0; ff ("IQ", "IQN") {{ next_state : "D"; clocked_on : "CK"; }}
    pin (D) {{ direction : input; capacitance : 1.0;
      {CLOCK.format(when="CK & !Q & QN", rise=0.2, fall=0.4)}
      {CLOCK.format(when="!CK & !Q & QN", rise=9, fall=9)} }}
    pin (CK) {{ direction : input; capacitance : 3.0;
      {CLOCK.format(when="!D & !Q & QN", rise=2, fall=4)} {CLOCK.format(when="D & Q & !QN", rise=2, fall=4)}
      {CLOCK.format(when="D & !Q & QN", rise=0, fall=7)}
      {CLOCK.format(when="!D & Q & !QN", rise=0, fall=7)} }}
    pin (Q) {{ direction : output; function : "IQ";
      {TIMING.format(type="timing_type : rising_edge;", low=0.1, high=0.1)} }} }} }}
"""


@pytest.fixture
def library(tmp_path):
    (tmp_path / "tiny.lib").write_text(LIBRARY)
    return load_library(tmp_path / "tiny.lib")


def cell(kind, **pins):
    return {"type": kind, "connections": {pin: [net] for pin, net in pins.items()}}


def netlist(tmp_path, library, cells):
    """Ports clk (0), a (1), b (2); signal q of the register's output."""
    ports = {name: {"direction": "input", "bits": [n]} for n, name in enumerate(("clk", "a", "b"))}
    names = {"q": {"bits": [9]}, "z": {"bits": [8]}}
    design = {"modules": {"m": {"ports": ports, "cells": dict(enumerate(cells)), "netnames": names}}}
    (tmp_path / "m.json").write_text(json.dumps(design))
    return Netlist(tmp_path / "m.json", "m", library)


def glitching(tmp_path, library, inverters):
    """z = a ^ (a through inverters), then a register: a pulse on z as long as the inverters take."""
    nets = [1, *range(20, 20 + inverters)]
    chain = [cell("INV", A=a, Z=z) for a, z in pairwise(nets)]
    return netlist(
        tmp_path, library, [*chain, cell("XOR", A=1, B=nets[-1], Z=8), cell("DFF", D=8, CK=0, Q=9)]
    )


def test_the_library_gives_functions_and_interpolated_tables(library):
    assert library.voltage == 2.0
    inverter, register = library.cells["INV"], library.cells["DFF"]
    assert inverter.delay_ns("Z", 5.0) == pytest.approx(0.08)
    assert inverter.delay_ns("Z", 99.0) == pytest.approx(0.13)
    assert inverter.output_fj("Z", 0.0) == 2.0
    assert (register.clock, register.next_state, register.state) == ("CK", "D", "IQ")
    assert (register.clock_fj(False), register.clock_fj(True)) == (6.0, 7.0)
    assert register.data_fj("D") == pytest.approx(0.3 / 2 + 0.0)  # the conditions with Q = 1 are missing: 0


def test_a_table_is_read_at_the_slope():
    table = next(parse("library (x) { t (y) { index_1 (\"0.0, 1.0\"); values (\"0.0, 1.0\"); } }").all("t"))
    assert look_up(table, 3.0) == pytest.approx(SLOPE_NS)


def test_other_units_are_refused(tmp_path):
    (tmp_path / "x.lib").write_text(LIBRARY.replace("(1, ff)", "(1, pf)"))
    with pytest.raises(InputError, match=r"capacitive_load_unit is 1,pf; allowed: 1,ff"):
        load_library(tmp_path / "x.lib")


def test_glitches_are_counted_and_those_shorter_than_a_delay_are_not(tmp_path, library):
    # INV drives 2 fF: 50 ps; the XOR takes 50 ps too.
    for inverters, changes in ((4, 2), (2, 2)):
        simulation = GateSimulation(glitching(tmp_path, library, inverters), 1)
        simulation.counting = True
        simulation.cycle({"a": [1], "b": [0]})
        assert simulation.toggles[8] == changes
        assert simulation.settled[8] == 0
        assert simulation.latest_ps == INPUT_DELAY_PS + 50 * inverters + 50
    slow = LIBRARY.replace('"0.05, 0.05"', '"0.3, 0.3"').replace("0.05, 0.05", "0.3, 0.3")
    (tmp_path / "slow.lib").write_text(slow)
    simulation = GateSimulation(glitching(tmp_path, load_library(tmp_path / "slow.lib"), 4), 1)
    simulation.counting = True
    simulation.cycle({"a": [1], "b": [0]})
    assert simulation.toggles[8] == 0  # a pulse of 200 ps does not pass a gate of 300 ps


def test_energy_of_a_small_circuit(tmp_path, library):
    # q <= !a, q drives nothing: one input change, one output change, one register change.
    cells = [cell("INV", A=1, Z=8), cell("DFF", D=8, CK=0, Q=9)]
    simulation = GateSimulation(netlist(tmp_path, library, cells), 1)
    simulation.cycle({"a": [0]})  # z is 1 from the start: q rises
    simulation.counting = True
    simulation.cycle({"a": [1]})  # z falls
    simulation.cycle({"a": [1]})  # q falls
    energy = simulation.energy()
    half = 0.5 * 2.0**2
    assert energy.switching == half * (2.0 + 1.0)  # a drives INV, z the register
    assert energy.internal == 2.0
    assert energy.registers == pytest.approx(2.0 + 0.15)  # q once, its input once
    assert energy.clock == pytest.approx(2 * 2 * half * 3.0 + 6.0 + 7.0)  # held once, changing once
    assert energy.without_glitches == pytest.approx(energy.total)
    assert energy.leakage_nw == 12.0


def test_copies_do_not_meet(tmp_path, library, rng):
    copies, cycles = 67, 9
    cells = [cell("XOR", A=1, B=9, Z=8), cell("DFF", D=8, CK=0, Q=9)]  # q <= a ^ q
    together = GateSimulation(netlist(tmp_path, library, cells), copies)
    together.counting = True
    stimuli = rng.integers(0, 2, (cycles, copies))
    for row in stimuli:
        together.cycle({"a": [sum(int(bit) << k for k, bit in enumerate(row))]})
    changes = 0
    for copy in range(copies):
        alone = GateSimulation(netlist(tmp_path, library, cells), 1)
        alone.counting = True
        for bit in stimuli[:, copy]:
            alone.cycle({"a": [int(bit)]})
        changes += sum(alone.toggles.values())
        expected = int(np.bitwise_xor.reduce(stimuli[:-1, copy]))
        assert alone.read("q") == [expected] == [together.read("q")[0] >> copy & 1]
    assert sum(together.toggles.values()) == changes


def test_a_preset_register_starts_there(tmp_path, library):
    cells = [cell("XOR", A=1, B=9, Z=8), cell("DFF", D=8, CK=0, Q=9)]
    simulation = GateSimulation(netlist(tmp_path, library, cells), 3)
    simulation.preset("q", [0b101])
    assert simulation.read("z") == [0b101]
    simulation.cycle({"a": [0b001]})
    assert simulation.read("q") == [0b101]
    assert simulation.read("z") == [0b100]


def test_a_loop_of_gates_is_refused(tmp_path, library):
    with pytest.raises(ValueError, match="loop"):
        GateSimulation(netlist(tmp_path, library, [cell("INV", A=8, Z=8)]), 1)
