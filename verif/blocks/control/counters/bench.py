"""Bench of the counters: frames of any records and events, read in between; frames broken off by a reset."""

from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb

from kestrel.hw.control.counters import RECORD_BITS
from kestrel.hw.spec.status import COUNTER_ADDRESS_BITS, COUNTER_BASE, COUNTERS
from kestrel.verif.blocks.control.counters.model import Counters
from kestrel.verif.blocks.support.lockstep import Block, lockstep
from kestrel.verif.blocks.support.simulator import rng

EVENTS = COUNTERS[1:-1]
LEAST = 4
"""Cycles that a record streams at least."""


def inputs(source: Random, **known: Any) -> dict[str, Any]:
    """A cycle, of a frame's middle unless told otherwise."""
    happens = source.choice((None, *EVENTS))
    row = {
        "start": 0, "busy": 1, "go": 0, "done": 0, "record": 0, "rst": 0,
        "events": {name: int(name == happens) for name in EVENTS},
        "addr": source.getrandbits(COUNTER_ADDRESS_BITS),
    }  # fmt: skip
    return row | known


def idle(source: Random, **known: Any) -> dict[str, Any]:
    return (
        inputs(source, busy=0, events=dict.fromkeys(EVENTS, 0), record=source.getrandbits(RECORD_BITS))
        | known
    )


def frame(source: Random, records: list[int], stop: float, least: int = LEAST) -> Iterator[dict[str, Any]]:
    """A start, the records, each for ``least`` cycles or more, and the cycle after the last; or a part."""
    yield idle(source, start=1)
    for _ in range(source.randint(0, 9)):
        yield inputs(source, record=source.getrandbits(RECORD_BITS))
    streams: int | None = None
    for record in records:
        # What streamed until now is named until the hand-over.
        before = source.getrandbits(RECORD_BITS) if streams is None else streams
        for _ in range(source.choice((0, 0, 1, 7)) if streams is None else least - 1):
            yield inputs(source, record=before)
        while streams is not None and source.random() < 0.7:
            if source.random() < stop:
                return
            yield inputs(source, record=before)
        yield inputs(source, record=before, go=1)
        streams = record
    for _ in range(source.randint(LEAST, 3 * LEAST)):
        yield inputs(source, record=records[-1])
    yield idle(source, record=records[-1], done=1)


@cocotb.test()
async def frames(dut):
    """Every record at some time; some again and again, in passes that follow each other or not."""
    source = rng("frames")

    def rows() -> Iterator[dict[str, Any]]:
        yield idle(source, rst=1)
        numbers = list(range(1 << RECORD_BITS))
        source.shuffle(numbers)
        for turn in range(24):
            broken = turn % 3 == 2
            # A frame that is broken off may not come to its last records; those of the others are all.
            drawn = source.sample(range(1 << RECORD_BITS), 11) if broken else numbers[:16]
            numbers = numbers if broken else numbers[16:]
            records = [n for n in drawn for _ in range(source.choice((1, 1, 3)))]
            if source.random() < 0.4:
                source.shuffle(records)
            yield from frame(source, records or [0], stop=0.02 if broken else 0)
            if broken:
                yield idle(source, rst=1)
            for addr in [*drawn, *(COUNTER_BASE + n for n in range(len(COUNTERS)))]:
                for _ in range(source.choice((1, 4))):
                    yield idle(source, addr=addr)
            for _ in range(40):
                yield idle(source)
        assert not numbers

    await lockstep(Block(dut), Counters(), rows())


@cocotb.test()
async def records_that_stream_for_long(dut):
    """Again and again, so that large counts are added up."""
    source = rng("long")

    def rows() -> Iterator[dict[str, Any]]:
        yield idle(source, rst=1)
        one, other = source.sample(range(1 << RECORD_BITS), 2)
        yield from frame(source, [one, other, one, other, one], stop=0, least=source.randint(270, 450))
        yield from (idle(source) for _ in range(4))
        yield from (idle(source, addr=addr) for addr in (one, other, one))

    await lockstep(Block(dut), Counters(), rows())


@cocotb.test()
async def every_record(dut):
    """All of them in one frame and read behind it; none of them is left by the next frame, or by a reset."""
    source = rng("records")

    def rows() -> Iterator[dict[str, Any]]:
        numbers = list(range(1 << RECORD_BITS))
        yield idle(source, rst=1)
        for last in ("frame", "reset"):
            source.shuffle(numbers)
            yield from frame(source, numbers, stop=0)
            yield from (idle(source) for _ in range(4))
            yield from (idle(source, addr=addr) for addr in range(1 << RECORD_BITS))
            if last == "reset":
                yield idle(source, rst=1)
            else:
                yield from frame(source, numbers[:1], stop=0)
            yield from (idle(source) for _ in range(4))
            yield from (idle(source, addr=addr) for addr in range(1 << RECORD_BITS))

    await lockstep(Block(dut), Counters(), rows())
