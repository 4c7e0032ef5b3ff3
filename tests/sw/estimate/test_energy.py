"""The energy of a frame: its constants are those of docs/power.md, and so is what follows from them."""

from pathlib import Path

import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.errors import InputError
from kestrel.sw.estimate.described import estimate_descriptor
from kestrel.sw.estimate.energy import (
    ROM_LOW,
    ROM_PJ_350NM,
    UNIT_CLOCK_PJ,
    UNIT_FLIP_FLOPS,
    UNIT_LEAKAGE_UW,
    UNIT_PJ,
    bit_picojoules,
    frame_energy,
)
from kestrel.sw.estimate.logic import estimate_logic
from kestrel.sw.estimate.memories import Memory, engine_memories
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.report import plan_named

POWER = (Path(__file__).resolve().parents[3] / "docs" / "power.md").read_text(encoding="utf-8")
EDGE = NAMED["edge"]


@pytest.fixture(scope="module")
def vgg16():
    return plan_named("vgg16", "3", EDGE, 224, 224)[1]


def energy(plan, clock_mhz=400.0):
    return frame_energy(plan, frame_cycles(plan), estimate_logic(plan.config), clock_mhz,
                        engine_memories(plan.config))


def test_the_constants_are_those_of_the_measurements():
    for bits, picojoules in UNIT_PJ.items():
        assert f"\n| {bits}: " in POWER
        row = next(line for line in POWER.splitlines() if line.startswith(f"| {bits}: "))
        assert row.split("|")[2].strip() == str(picojoules)
    row = next(line for line in POWER.splitlines() if line.startswith("| kernel unit (2,280"))
    cells = [cell.strip() for cell in row.split("|")]
    assert (cells[5], cells[7]) == (str(UNIT_CLOCK_PJ), f"{UNIT_LEAKAGE_UW:.0f}")
    assert f"{UNIT_FLIP_FLOPS} registers" in cells[1]


def test_the_kernel_units_of_a_frame_take_what_was_measured(vgg16):
    """4.18 mJ for VGG-16 at 3 bits; 56 thousand of its 6.88 million cycles are input and output."""
    assert "| kernel units | 4.18 mJ |" in POWER
    parts = energy(vgg16).parts
    assert parts["kernel units"] + parts["clock: kernel units"] == pytest.approx(4.18, rel=0.005)


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


def test_the_published_rom_is_smaller_than_an_sram():
    """6.60 mW at 100 MHz are 66 pJ an access of 32 bits; at 45 nm a sixth of an SRAM of its size."""
    assert pytest.approx(66) == 32 * ROM_PJ_350NM
    sram = bit_picojoules(Memory("m", 1, 1024, 32, "rom"))
    assert ROM_LOW * sram == pytest.approx(ROM_PJ_350NM * (45 / 350) * (0.9 / 3.3) ** 2)
    assert 0.1 < ROM_LOW < 0.3


def test_shares_are_parts_of_the_total(vgg16):
    found = energy(vgg16)
    memories = {name: value for name, value in found.parts.items() if name.startswith("memory: ")}
    assert found.memories == pytest.approx(sum(memories.values()))
    assert {name.removeprefix("memory: ") for name in memories} == {
        memory.name for memory in engine_memories(EDGE)}
    assert found.rom == memories["memory: weights"] + memories["memory: schedule table"]
    assert found.low_total == pytest.approx(found.total - (1 - ROM_LOW) * found.rom)
    assert (found + found).total == pytest.approx(2 * found.total)
    assert (found + found).milliwatts == pytest.approx(found.milliwatts)


def test_a_register_that_is_clocked_takes_what_the_kernel_units_do(vgg16):
    found, cells = energy(vgg16), estimate_logic(EDGE).cells
    assert found.clock == pytest.approx(
        cells.flip_flops * frame_cycles(vgg16).total * UNIT_CLOCK_PJ / UNIT_FLIP_FLOPS * 1e-9)


def test_a_descriptor_is_the_frames_of_its_crops(vgg16):
    """The unit's own work comes to a few percent of a frame, more with a whitening."""
    logic = estimate_logic(EDGE)
    one, nine, whitened = (estimate_descriptor(vgg16, logic, 400.0, pooling, whitened=dimensions)
                           for pooling, dimensions in (("nip", None), ("rnip9x", None), ("nip", 512)))
    assert (one.frames, nine.frames, nine.crops) == (1, 9, 9)
    assert nine.cycles < 9 * one.cycles  # the last steps come once
    assert 8.9 * one.energy.total < nine.energy.total < 9 * one.energy.total
    assert energy(vgg16).total < one.energy.total < whitened.energy.total < 1.1 * energy(vgg16).total
    assert whitened.unit_cycles > one.unit_cycles
    assert {"memory: descriptor squares", "memory: descriptor sums", "memory: descriptor ROM"} <= set(
        one.energy.parts)


@pytest.mark.parametrize(("pooling", "message"), [
    ("rnip18m", "allowed here: no mosaic"),
    ("none", "crops 'none'"),
])
def test_crops_that_the_chip_cannot_sum_are_refused(vgg16, pooling, message):
    with pytest.raises(InputError, match=message):
        estimate_descriptor(vgg16, estimate_logic(EDGE), 400.0, pooling)


def test_crops_must_fill_the_batches():
    plan = plan_named("vgg11/8:pool2", "2", EDGE.with_options(batch=True), 32, 32, 4)[1]
    with pytest.raises(InputError, match="9 crops of a 4:3 picture in batches of 4; allowed: a divisor of 9"):
        estimate_descriptor(plan, estimate_logic(plan.config), 400.0, "rnip9x")
