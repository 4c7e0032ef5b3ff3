"""Bench of a chip with a faulty ROM. FAULT_VARIABLE says whether the self-check or a frame finds the
fault, and CAUSE_VARIABLE which causes ERROR must show."""

import os

import cocotb
from cocotb.triggers import FallingEdge

from kestrel.verif.blocks.support.simulator import fail
from kestrel.verif.chip.ports import CHIP, MODEL, Chip
from kestrel.verif.chip.variables import CAUSE_VARIABLE, FAULT_VARIABLE

CAUSES = set(os.environ[CAUSE_VARIABLE].split(","))


async def quiet(chip, cycles):
    """Nothing of the picture is taken, and nothing is sent."""
    for _ in range(cycles):
        await FallingEdge(chip.dut.clk)
        if chip.dut.m_axis_tvalid.value:
            raise fail("something comes out")
    if not chip.sink.empty():
        raise fail("something came out")


async def expect_causes(chip, wanted):
    found = await chip.errors()
    if found != wanted:
        raise fail(f"causes {sorted(found)}, not {sorted(wanted)}")


@cocotb.test(skip=os.environ[FAULT_VARIABLE] != "check")
async def the_self_check_finds_it(dut):
    chip = await Chip.begin(dut)
    if CHIP.startup_check:
        await chip.idle()
    else:
        await chip.idle()
        await chip.write("control", check=1)
        await chip.idle()
    if not await chip.field("status", "check_bad"):
        raise fail("the check found nothing")
    await expect_causes(chip, CAUSES)
    await chip.send(0)
    for _ in range(2):
        await chip.write("control", start=1)
        await quiet(chip, MODEL.total // 2)
        await expect_causes(chip, {"not_checked"})
    if await chip.read("frames"):
        raise fail("a frame was counted")


@cocotb.test(skip=os.environ[FAULT_VARIABLE] != "frame")
async def a_frame_finds_it(dut):
    chip = await Chip.begin(dut)
    for _ in range(2):
        await chip.idle()
        await chip.write("irq_enable", error=1)
        await chip.write("control", start=1)
        await chip.interrupt()
        await chip.idle()
        await expect_causes(chip, CAUSES)
    await quiet(chip, 50)
