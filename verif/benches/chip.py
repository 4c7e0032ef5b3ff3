"""Bench of the whole chip on its ports: registers, frames, and everything that may go wrong in them."""

import cocotb
from cocotbext.axi import AxiStreamFrame

from verif.chip_bench import CHIP, CONFIG, EXPECTED, IMAGES, MODEL, PICTURES, PLAN, Chip  # noqa: F401
from verif.cocotb_support import fail, rng


@cocotb.test()
async def a_frame(dut):
    chip = await Chip.begin(dut)
    await chip.frame(0)
    if await chip.read("frames") != 1:
        raise fail("frame counter")
    cycles = await chip.read("cycles")
    if cycles != MODEL.total:
        raise fail(f"{cycles} cycles, modelled {MODEL.total}")
