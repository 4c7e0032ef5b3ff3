"""Lets the clock run with all inputs quiet."""

import cocotb
from cocotb.triggers import ClockCycles

from kestrel.verif.blocks.support.simulator import start


@cocotb.test()
async def ticks(dut):
    for name in ("s_axil_awvalid", "s_axil_wvalid", "s_axil_arvalid", "s_axis_tvalid", "m_axis_tready"):
        getattr(dut, name).value = 0
    dut.s_axil_bready.value = 0
    dut.s_axil_rready.value = 0
    await start(dut)
    await ClockCycles(dut.clk, 30)
