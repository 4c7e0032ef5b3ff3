"""Bench of the chip's control: frames and self-checks of a core and a checker that behave, and anything."""

import os
from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb

from kestrel.hw.spec.registers import CORE_CAUSES
from kestrel.hw.spec.status import ERROR_BITS
from kestrel.verif.blocks.chip.control.crosses import (
    CAUSES,
    COMMANDS,
    asked,
    cause_moments,
    command_states,
    every_cause,
    every_command,
    look_at_causes,
    look_at_commands,
)
from kestrel.verif.blocks.chip.control.model import GOOD, Control
from kestrel.verif.blocks.support.lockstep import Block, lockstep
from kestrel.verif.blocks.support.observed import Observed
from kestrel.verif.blocks.support.run import BLOCK_VARIABLE
from kestrel.verif.blocks.support.simulator import fail, rng

STARTUP = os.environ[BLOCK_VARIABLE].endswith("_checked")
SIZE_BITS = 16
"""Of a height and of a width in the register."""
SIZES = ((0, 0), (24, 32), (24, 31), (23, 32), (0, 32), (24, 0))


def quiet(source: Random, **known: Any) -> dict[str, Any]:
    """A cycle in which nothing happens; what only counts together with something is anything."""
    height, width = source.choice(SIZES[:2])
    row = {
        "request": dict.fromkeys(COMMANDS, 0), "continuous": 0, "image": {"height": height, "width": width},
        "core_busy": 0, "core_done": 0, "core_error": source.getrandbits(ERROR_BITS), "inconsistent": 0,
        "exceeded": 0, "waiting": source.getrandbits(1), "closing": 0, "check_busy": 0, "check_done": 0,
        "identified": 1, "image_height": 24, "image_width": 32,
        **{name: source.getrandbits(1) for name in GOOD}, "errors": dict.fromkeys(CAUSES, 0),
        "write_refused": 0, "rst": 0,
    }  # fmt: skip
    return row | known


@cocotb.test()
async def any_course(dut):
    """Every input at any time, some for long and some for a cycle."""
    source = rng("any")

    def rows() -> Iterator[dict[str, Any]]:
        levels = dict.fromkeys(
            ("continuous", "core_busy", "closing", "check_busy", "identified", "waiting"), 0
        )
        yield quiet(source, rst=1)
        for _ in range(2500):
            for name in levels:
                if source.random() < (0.3 if levels[name] and name not in {"identified", "waiting"} else 0.1):
                    levels[name] ^= 1
            height, width = source.choice(SIZES)
            rare = {
                name: int(source.random() < 0.05)
                for name in ("core_done", "inconsistent", "exceeded", "check_done", "write_refused")
            }
            commands = [name for name in COMMANDS if source.random() < (0.2 if name == "start" else 0.04)]
            yield quiet(
                source, request=asked(*commands), image={"height": height, "width": width},
                errors=dict.fromkeys(CAUSES, 0) | {source.choice(CAUSES): int(source.random() < 0.1)},
                rst=int(source.random() < 0.004),
                **levels, **rare, **{name: int(source.random() < 0.8) for name in GOOD},
            )  # fmt: skip

    await lockstep(Block(dut), Control(STARTUP), rows())


@cocotb.test()
async def frames_and_checks(dut):
    """A core that is busy from the cycle after its start on and ends well, gives up with each cause, or is
    ended by each of what may end it, in any cycle; self-checks that find each ROM good or bad."""
    source = rng("frames")
    model = Control(STARTUP)
    ended = dict.fromkeys(("done", "failed", "aborted", "watched", "checked"), 0)

    def check(*, wanted: bool) -> Iterator[dict[str, Any]]:
        if wanted:
            yield quiet(source, request=asked("check"))
        else:
            yield quiet(source)
        for _ in range(source.randint(1, 6)):
            if source.random() < 0.05:
                yield quiet(source, check_busy=1, request=asked("abort"))
                return
            yield quiet(source, check_busy=1, request=asked(*source.sample(("start", "check"), 1)))
        good = source.choice((dict.fromkeys(GOOD, 1), {name: source.getrandbits(1) for name in GOOD}))
        yield quiet(source, check_done=1, **good)
        ended["checked"] += 1

    def frame() -> Iterator[dict[str, Any]]:
        how = source.choice(("start", "continuous"))
        asks = {"request": asked("start")} if how == "start" else {"continuous": 1, "waiting": 1}
        yield quiet(source, **asks)
        if not model.starting:
            return
        yield quiet(source)
        for n in range(source.randint(1, 8)):
            kind = source.random()
            if kind < 0.05:
                ended["aborted"] += 1
                yield quiet(source, core_busy=1, request=asked(source.choice(("abort", "soft_reset"))))
                return
            if kind < 0.1:
                ended["watched"] += 1
                yield quiet(source, core_busy=1, **{source.choice(("inconsistent", "exceeded")): 1})
                return
            yield quiet(source, core_busy=1, request=asked(*source.sample(COMMANDS[3:], n % 2)))
        if source.random() < 0.5:
            ended["failed"] += 1
            yield quiet(source, core_error=source.choice(CORE_CAUSES).bit)
        else:
            ended["done"] += 1
            yield quiet(source, core_done=1)

    def rows() -> Iterator[dict[str, Any]]:
        yield quiet(source, rst=1)
        yield quiet(source, rst=1, identified=0)
        for _ in range(400):
            if model.owed:
                yield from check(wanted=False)
            yield from check(wanted=True) if source.random() < 0.3 else frame()
            for _ in range(source.choice((0, 1, 3))):
                yield quiet(source, closing=source.getrandbits(1))
            if source.random() < 0.05:
                yield quiet(source, rst=1)

    await lockstep(Block(dut), model, rows())
    if min(ended.values()) < 5:
        raise fail(f"frames and checks by their ends: {ended}; at least 5 of each were expected")


@cocotb.test()
async def every_bit_of_a_size_and_every_error(dut):
    """A start with an image that is the ROM's but for one bit, and one that an error keeps from coming."""
    source = rng("bits")
    bits = range(2 * SIZE_BITS)

    def rows() -> Iterator[dict[str, Any]]:
        yield quiet(source, rst=1)
        yield quiet(source)
        yield quiet(source, check_done=1, **dict.fromkeys(GOOD, 1))
        for _ in range(6):
            for changed in (0, *(1 << bit for bit in bits)):
                size = source.getrandbits(len(bits))
                height, width = size % (1 << SIZE_BITS), size >> SIZE_BITS
                image = size ^ changed
                asks = {"height": image % (1 << SIZE_BITS), "width": image >> SIZE_BITS}
                yield quiet(
                    source, request=asked("start"), image=asks, image_height=height, image_width=width
                )
                yield quiet(source, request=asked("abort"))
            for cause in (None, *CAUSES):
                errors = {name: int(name == cause) for name in CAUSES}
                image = {"height": 0, "width": 0}
                yield quiet(source, continuous=1, waiting=1, errors=errors, image=image)
                yield quiet(source, request=asked("abort"))

    await lockstep(Block(dut), Control(STARTUP), rows())


@cocotb.test()
async def every_command_in_every_state(dut):
    source = rng("commands")
    model = Control(STARTUP)
    observed = Observed(
        model, "command x state", command_states(startup=STARTUP), lambda: look_at_commands(model)
    )
    idle = quiet(source, image={"height": 0, "width": 0})
    await lockstep(Block(dut), observed, every_command(idle, startup=STARTUP))
    observed.finish()


@cocotb.test()
async def every_cause_at_every_moment(dut):
    source = rng("causes")
    observed = Observed(Control(STARTUP), "cause x moment", cause_moments(), lambda: look_at_causes)
    idle = quiet(source, image={"height": 0, "width": 0})
    await lockstep(Block(dut), observed, every_cause(idle, startup=STARTUP))
    observed.finish()
