"""Bench of the feature output: maps in one or several visits to a stream that is ready at any time, every
beat and every address in its cycle.

The model is a queue: the words that are still to be read, the word on the memory's output, the beat offered.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import cocotb

from kestrel.hw.common.handover import visit_layout
from kestrel.sw.planning.geometry import BANKS
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.maps import StreamMap, random_stream_map
from kestrel.verif.blocks.support.script import Step, record, script
from kestrel.verif.blocks.support.simulator import always, pack, pauses, rng

CONFIG = bench_config()
LANES, A, BYTE = CONFIG.word_lanes, CONFIG.activation_bits, 8


@dataclass(frozen=True)
class Word:
    """A word of the map, as read and as sent."""

    bank: int
    address: int
    stored: int
    beat: dict[str, int]


def words(source: Random, image: StreamMap, rows: list[int]) -> Iterator[Word]:
    """The words of some rows of a random map; anything in the lanes beyond its channels."""
    for row in rows:
        for column in range(image.width):
            for group, first in enumerate(range(0, image.channels, LANES)):
                count = min(LANES, image.channels - first)
                lanes = [source.getrandbits(A) for _ in range(LANES)]
                last = (row, column, first + count) == (image.height - 1, image.width - 1, image.channels)
                yield Word(
                    bank=row % BANKS,
                    address=image.region.slot(row) + group * image.width + column,
                    stored=pack(lanes, A),
                    beat={
                        "tdata": pack(lanes[:count], BYTE), "tkeep": (1 << count) - 1, "tlast": int(last),
                    },
                )  # fmt: skip


class Driver:
    """Makes the steps of maps, one after the other."""

    def __init__(self, source: Random) -> None:
        self.source = source
        self.ready = always
        self.layer: dict[str, int] = {}
        self.banks: list[int] = []

    def step(self, outputs: dict[str, Any], **known: Any) -> Step:
        source = self.source
        anything = {
            "rst": 0, "go": 0, "visit": record(source, visit_layout(CONFIG)), "layer": self.layer,
            "banks": self.banks, "tready": source.getrandbits(1),
        }  # fmt: skip
        return anything | known, outputs

    def idle(self, cycles: int, **known: Any) -> Iterator[Step]:
        for _ in range(cycles):
            yield self.step({"active": 0, "ending": 0, "read_en": 0, "tvalid": 0}, **known)

    def reset(self, image: StreamMap) -> Iterator[Step]:
        """Two cycles of reset, of which the second already shows what the first did, in this map's layer."""
        self.layer = image.layer(self.source, CONFIG)
        self.read(0)
        yield self.step({}, rst=1)
        yield from self.idle(1, rst=1, go=1)

    def read(self, bank: int, word: int | None = None) -> None:
        """A read: the banks' outputs, of which only one is of interest."""
        self.banks = [self.source.getrandbits(CONFIG.word_bits) for _ in range(BANKS)]
        if word is not None:
            self.banks[bank] = word

    def hand_over(self, image: StreamMap, number: int) -> dict[str, Any]:
        first, rows = image.visits[number]
        visit = record(
            self.source, visit_layout(CONFIG), first_row=first, rows=rows, read_bank=first % BANKS,
            read_slot=image.region.slot(first),
        )  # fmt: skip
        return {"go": 1, "visit": visit}

    def map(self, image: StreamMap, stop: float = 0) -> Iterator[Step]:
        """All visits to a map; with ``stop`` they may be cut off in any cycle."""
        source = self.source
        self.layer = image.layer(source, CONFIG)
        yield from self.idle(1, **self.hand_over(image, 0))
        for n, rows in enumerate(image.rows):
            to_read = deque(words(source, image, rows))
            fetched: Word | None = None
            offered: Word | None = None
            go: dict[str, Any] = {}
            while True:
                ready = self.ready()
                moves = ready or offered is None
                last = not (to_read or fetched or offered)
                if last and n + 1 < len(image.rows) and source.random() < 0.7:
                    go = self.hand_over(image, n + 1)
                outputs = {
                    "active": 1, "ending": int(last), "read_en": int(moves and bool(to_read)),
                    "address": to_read[0].address if moves and to_read else None,
                    "tvalid": int(offered is not None), **(offered.beat if offered else {}),
                }  # fmt: skip
                yield self.step(outputs, tready=int(ready), **go)
                if moves:
                    offered, fetched = fetched, None
                    if to_read:
                        fetched = to_read.popleft()
                        self.read(fetched.bank, fetched.stored)
                if source.random() < stop:
                    return
                if last:
                    break
            if n + 1 < len(image.rows) and not go:
                yield from self.idle(source.randint(0, 3))
                yield from self.idle(1, **self.hand_over(image, n + 1))


@cocotb.test()
async def maps(dut):
    """Always ready: a word every cycle. Then with pauses, short and long."""
    driver = Driver(rng("maps"))

    def steps() -> Iterator[Step]:
        yield from driver.reset(random_stream_map(driver.source, CONFIG, 0))
        for number in range(40):
            share = driver.source.choice((0, 0.2, 0.7))
            driver.ready = pauses(driver.source, share) if share else always
            yield from driver.map(random_stream_map(driver.source, CONFIG, number))
            yield from driver.idle(driver.source.randint(1, 4))

    await script(Block(dut), steps())


@cocotb.test()
async def resets_in_the_middle(dut):
    driver = Driver(rng("resets"))

    def steps() -> Iterator[Step]:
        for number in range(40):
            image = random_stream_map(driver.source, CONFIG, number)
            yield from driver.reset(image)
            driver.ready = pauses(driver.source, 0.3)
            yield from driver.map(image, stop=driver.source.choice((0, 0.05)))

    await script(Block(dut), steps())
