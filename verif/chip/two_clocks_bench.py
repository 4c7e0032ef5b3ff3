"""Bench of two chips of different clocks in one simulation: ports ``a_*`` and ``b_*`` of the top."""

from collections.abc import Iterable
from typing import Any

import cocotb
from cocotb.clock import Clock

from kestrel.verif.blocks.support.simulator import fail, reset, rng
from kestrel.verif.chip.ports import MODEL, PICTURES, Chip

PERIODS_PS = {"a_": 10_000, "b_": 3_700}
FRAMES = 6


class Instance:
    """The ports of one chip, by the names of kestrel_top."""

    def __init__(self, dut: Any, prefix: str) -> None:
        self._dut = dut
        self._prefix = prefix
        self._name = f"{dut._name}.{prefix.rstrip('_')}"
        self._log = dut._log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dut, self._prefix + name)

    def __dir__(self) -> Iterable[str]:
        return [name.removeprefix(self._prefix) for name in dir(self._dut) if name.startswith(self._prefix)]


async def begin(dut: Any, prefix: str) -> Chip:
    chip = Chip(Instance(dut, prefix))
    Clock(chip.dut.clk, PERIODS_PS[prefix], unit="ps").start()
    await reset(chip.dut)
    return chip


async def frames(chip: Chip, purpose: str, first: int) -> None:
    source = rng(purpose)
    for turn in range(FRAMES):
        chip.pause(source, (0, 0.4)[turn % 2])
        await chip.frame((first + turn) % len(PICTURES))


@cocotb.test()
async def both_at_once(dut):
    """Different pictures at the same time; each chip counts its own."""
    chips = [await begin(dut, prefix) for prefix in PERIODS_PS]
    tasks = [cocotb.start_soon(frames(chip, f"chip {n}", n)) for n, chip in enumerate(chips)]
    for task in tasks:
        await task
    for chip in chips:
        if await chip.read("frames") != FRAMES:
            raise fail("frames were not counted")
    await chips[1].frame(0)
    if [await chip.read("frames") for chip in chips] != [FRAMES, FRAMES + 1]:
        raise fail("one chip has counted the other's frame")


@cocotb.test()
async def a_reset_of_one_is_none_of_the_other(dut):
    chips = [await begin(dut, prefix) for prefix in PERIODS_PS]
    source = rng("reset")
    task = cocotb.start_soon(frames(chips[0], "chip 0", 0))
    resets = 0
    while not task.done():
        await chips[1].idle()
        await chips[1].send(1)
        await chips[1].write("control", start=1)
        await chips[1].cycles(source.randrange(MODEL.total))
        await chips[1].reset(1)
        resets += 1
    await task
    if await chips[0].read("frames") != FRAMES or resets < FRAMES:
        raise fail(f"{resets} resets")
    await chips[1].frame(2)
