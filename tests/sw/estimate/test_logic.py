"""The interpolated logic against synthesis: engines that it was not fitted to, and those that it was."""

import re
from pathlib import Path

import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.estimate.logic import LANE, MANY, TERMS, UNIT, WHOLE, block_cells, estimate_logic, fitted
from kestrel.sw.estimate.measured import ADDED, tables
from kestrel.verif.physical.synthesis import ecp5_cells, write_sources, yosys_available

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "estimate.md").read_text(encoding="utf-8")
NANO, EDGE = NAMED["nano"], NAMED["edge"]

HELD_OUT = [engine for engine in tables().engines if engine.held_out]
WHOLE_ONES = [engine for engine in tables().engines if WHOLE in engine.blocks]


def measured(engine, metric):
    """Of the engine: the core in one piece, and its lanes and kernel units."""
    return sum((MANY[name](engine.config) if name in MANY else 1) * getattr(engine.blocks[name], metric)
               for name in (UNIT, LANE, WHOLE))


def error(engine, metric):
    """How much more the estimate says, in percent."""
    return 100 * (getattr(estimate_logic(engine.config).cells, metric) / measured(engine, metric) - 1)


@pytest.mark.parametrize("engine", HELD_OUT, ids=lambda engine: engine.config.name)
def test_the_error_is_the_stated_one(engine):
    """The rows of docs/estimate.md: area, flip-flops and LUT4 of engines that nothing was fitted to."""
    name = engine.config.name.removeprefix("held-")
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    stated = [float(number) for number in re.findall(r"([+-]\d+\.\d)%", row)]
    found = [round(error(engine, metric), 1) for metric in ("area", "flip_flops", "lut4")]
    assert stated == found


@pytest.mark.parametrize("engine", HELD_OUT, ids=lambda engine: engine.config.name)
def test_engines_that_were_not_fitted_are_estimated_well(engine):
    assert abs(error(engine, "area")) < 3
    assert abs(error(engine, "flip_flops")) < 3
    assert abs(error(engine, "lut4")) < 10
    assert abs(error(engine, "dsp")) < 5


@pytest.mark.parametrize("engine", WHOLE_ONES, ids=lambda engine: engine.config.name)
def test_the_path_is_estimated_within_a_fifth(engine):
    longest = max(engine.blocks[name].path_ns for name in (UNIT, LANE, WHOLE))
    assert estimate_logic(engine.config).cells.path_ns == pytest.approx(longest, rel=0.2)


def test_no_coefficient_is_below_zero_and_more_lanes_never_cost_less():
    small = estimate_logic(EDGE.with_options(input_lanes=8, output_lanes=8)).cells
    large = estimate_logic(EDGE).cells
    assert all(getattr(large, metric) > getattr(small, metric) for metric in ADDED)
    for option in ("residual", "row_groups", "batch", "scalar_tables"):
        more = estimate_logic(EDGE.with_options(**{option: True})).cells
        assert more.area >= large.area, option


def test_a_chip_has_more_than_its_engine():
    engine, chip = estimate_logic(EDGE), estimate_logic(EDGE, chip=True)
    assert {part.name for part in chip.parts} - {part.name for part in engine.parts} == {
        "descriptor_unit", "top"}
    assert chip.cells.area > 1.03 * engine.cells.area


def test_every_block_of_a_core_has_terms():
    for engine in fitted():
        assert engine.blocks.keys() <= {UNIT, WHOLE, *TERMS}


def test_a_kernel_unit_is_as_measured_and_between_two_widths_in_between():
    for engine in fitted():
        if engine.config.name.startswith("unit-"):
            found = block_cells(UNIT, engine.config)
            assert found.area == pytest.approx(engine.blocks[UNIT].area)
    six, seven, eight = (block_cells(UNIT, NANO.with_options(activation_bits=n)).area for n in (6, 7, 8))
    assert seven == pytest.approx((six + eight) / 2)


@pytest.mark.skipif(not yosys_available(), reason="yosys is missing: pip install 'kestrel-engine[synthesis]'")
def test_synthesis_of_a_kernel_unit_that_was_not_measured(tmp_path):
    """One of 7-bit activations, which is interpolated."""
    config = NANO.with_options(activation_bits=7, mask_bits_max=2)
    write_sources(config, tmp_path)
    found, expected = ecp5_cells(tmp_path, UNIT), block_cells(UNIT, config)
    assert expected.fpga_flip_flops == pytest.approx(found.flip_flops, rel=0.03)
    assert expected.lut4 + 2 * expected.carry == pytest.approx(found.lut4 + 2 * found.carry, rel=0.15)
    assert expected.dsp == found.dsp
