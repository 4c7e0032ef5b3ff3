"""Bench of the engine with a schedule table that it must refuse: KESTREL_ERROR is the cause."""

import os

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from kestrel.verif.blocks.support.simulator import fail, start

ERROR = int(os.environ["KESTREL_ERROR"])


@cocotb.test()
async def the_table_is_refused(dut):
    dut.start.value = 0
    dut.s_axis_tvalid.value = 1
    dut.s_axis_tlast.value = 0
    dut.m_axis_tready.value = 1
    await start(dut)
    for _ in range(2):  # a second start is refused again
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        await FallingEdge(dut.clk)
        if not dut.busy.value or dut.error.value:
            raise fail("start was not obeyed, or left an old error")
        for _ in range(20):
            await FallingEdge(dut.clk)
            if dut.s_axis_tready.value or dut.m_axis_tvalid.value or dut.trace_valid.value or dut.done.value:
                raise fail("the engine goes on in spite of its table")
        if dut.busy.value or int(dut.error.value) != ERROR:
            raise fail(f"busy {dut.busy.value}, error {dut.error.value}, not {ERROR}")
        await RisingEdge(dut.clk)
