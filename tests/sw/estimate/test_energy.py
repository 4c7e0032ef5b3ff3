"""The energy of a frame: its constants are those of docs/power.md, and so is what follows from them."""

from pathlib import Path

import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.estimate.energy import UNIT_CLOCK_PJ, UNIT_LEAKAGE_UW, UNIT_PJ, bit_picojoules, frame_energy
from kestrel.sw.estimate.logic import estimate_logic
from kestrel.sw.estimate.memories import Memory
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.report import plan_named

POWER = (Path(__file__).resolve().parents[3] / "docs" / "power.md").read_text(encoding="utf-8")
EDGE = NAMED["edge"]


@pytest.fixture(scope="module")
def vgg16():
    return plan_named("vgg16", "3", EDGE, 224, 224)[1]


def energy(plan, clock_mhz=400.0):
    return frame_energy(plan, frame_cycles(plan), estimate_logic(plan.config), clock_mhz)


def test_the_constants_are_those_of_the_measurements():
    for bits, picojoules in UNIT_PJ.items():
        assert f"\n| {bits}: " in POWER
        row = next(line for line in POWER.splitlines() if line.startswith(f"| {bits}: "))
        assert row.split("|")[2].strip() == str(picojoules)
    row = next(line for line in POWER.splitlines() if line.startswith("| kernel unit (2,280"))
    cells = [cell.strip() for cell in row.split("|")]
    assert (cells[5], cells[7]) == (str(UNIT_CLOCK_PJ), f"{UNIT_LEAKAGE_UW:.0f}")


def test_the_kernel_units_of_a_frame_take_what_was_measured(vgg16):
    """4.18 mJ for VGG-16 at 3 bits; 56 thousand of its 6.88 million cycles are input and output."""
    assert "| kernel units | 4.18 mJ |" in POWER
    assert energy(vgg16).parts["kernel units"] == pytest.approx(4.18, rel=0.005)


def test_the_clock_changes_leakage_and_power_alone(vgg16):
    fast, slow = energy(vgg16), energy(vgg16, 40.0)
    same = fast.parts.keys() - {"leakage of logic"}
    assert {name: fast.parts[name] for name in same} == {name: slow.parts[name] for name in same}
    assert slow.parts["leakage of logic"] == pytest.approx(10 * fast.parts["leakage of logic"])
    assert fast.milliwatts > slow.milliwatts
    assert fast.total == pytest.approx(sum(fast.parts.values()))


@pytest.mark.parametrize(("kilobytes", "picojoules"), [(8, 10), (32, 20), (1024, 100)])
def test_a_memory_takes_about_what_was_published(kilobytes, picojoules):
    """For 64 bits; one rule for all three sizes misses the largest by an eighth."""
    memory = Memory("m", 1, kilobytes * 128, 64, "single")
    assert 64 * bit_picojoules(memory) == pytest.approx(picojoules, rel=0.14)


def test_narrower_masks_and_smaller_units_take_less():
    wide = energy(plan_named("vgg16/8", "3", EDGE, 64, 64)[1])
    narrow = energy(plan_named("vgg16/8", "2", EDGE, 64, 64)[1])
    small = energy(plan_named("vgg16/8", "2", EDGE.with_options(mask_bits_max=2), 64, 64)[1])
    assert small.parts["kernel units"] < narrow.parts["kernel units"] < wide.parts["kernel units"]
    assert narrow.parts["memory: weights"] < wide.parts["memory: weights"]
