"""Bench of skid.v, run by test_verilator.py. KESTREL_BREAK makes it go wrong in a chosen way."""

import os

import cocotb

from kestrel.verif.blocks.support.simulator import (
    Scoreboard,
    StreamDriver,
    StreamMonitor,
    StreamPort,
    pauses,
    rng,
    start,
)

BREAK = os.environ.get("KESTREL_BREAK", "")


@cocotb.test()
async def items_pass_in_order(dut):
    await start(dut)
    items = [rng("items").randrange(256) for _ in range(200)]
    with Scoreboard[int]("o") as board:
        StreamMonitor(StreamPort(dut, "o"), board.receive, pauses(rng("monitor"), 0.5))
        driver = StreamDriver(StreamPort(dut, "i"), pauses(rng("driver"), 0.3))
        if BREAK == "silent":
            return
        board.expect([*items[:-1], items[-1] ^ 1] if BREAK == "wrong" else items)
        await driver.send(items[:-1] if BREAK == "lost" else items)
        await board.drained(dut.clk, 100)
