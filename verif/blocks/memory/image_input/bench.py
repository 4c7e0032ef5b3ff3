"""Bench of the image input: frames in one or several visits, good ones and ones that end too early or too
late, every word where and when it must be written."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any

import cocotb

from kestrel.hw.common.handover import layer_layout, visit_layout
from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS
from kestrel.hw.spec.status import ERROR_FRAME_LONG, ERROR_FRAME_SHORT
from kestrel.hw.spec.widths import PIXEL_BITS
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.maps import StreamMap, random_stream_map
from kestrel.verif.blocks.support.script import Step, record, script
from kestrel.verif.blocks.support.simulator import always, pack, pauses, rng
from kestrel.verif.blocks.support.writes import BankWrite, expected_write, no_write

CONFIG = bench_config()
LANES, WIDTH, A_MAX = CONFIG.word_lanes, CONFIG.stream_bytes, CONFIG.activation_bits
Inputs = dict[str, Any]
NOTHING = no_write(CONFIG)


def rounded(pixel: int, bits: int) -> int:
    """The nearest of the values of ``bits`` bits, halves up, saturated."""
    return min(int(pixel / 2 ** (PIXEL_BITS - bits) + 0.5), 2**bits - 1)


@dataclass(frozen=True)
class Beat:
    """A beat of the stream, and the write that it completes."""

    data: int
    write: dict[str, Any] | None


def beats(source: Random, image: StreamMap, rows: list[int], bits: int) -> list[Beat]:
    """Beats of some rows of a random picture; anything in the bytes that carry no channel."""
    found: list[Beat] = []
    region = image.region
    for row in rows:
        for column in range(image.width):
            for word, first in enumerate(range(0, image.channels, LANES)):
                channels = [source.getrandbits(PIXEL_BITS) for _ in range(min(LANES, image.channels - first))]
                values = [rounded(channel, bits) for channel in channels]
                if image.grouped:
                    banks = virtual_rows(image, row, column, values)
                else:
                    address = region.slot(row) + word * image.width + column
                    banks = {row % BANKS: (address, (1 << LANES) - 1, pack(values, A_MAX))}
                write = expected_write(CONFIG, 0, banks)
                for start in range(0, len(channels), WIDTH):
                    carried = channels[start : start + WIDTH]
                    carried += [source.getrandbits(PIXEL_BITS) for _ in range(WIDTH - len(carried))]
                    completes = start + WIDTH >= len(channels)
                    found.append(Beat(pack(carried, PIXEL_BITS), write if completes else None))
    return found


def virtual_rows(image: StreamMap, row: int, column: int, values: list[int]) -> dict[int, BankWrite]:
    """The three words that hold a pixel for row groups: in group g of the virtual row row + 1 - g."""
    size = CONFIG.group_lanes
    group = values + [0] * (size - len(values))
    word = pack(group * ROW_GROUPS + [0] * (LANES - ROW_GROUPS * size), A_MAX)
    found = {}
    for g in range(ROW_GROUPS):
        virtual = row + 1 - g
        found[virtual % BANKS] = image.region.slot(virtual) + column, ((1 << size) - 1) << g * size, word
    return found


class Driver:
    """Makes the steps of frames, one after the other."""

    def __init__(self, source: Random) -> None:
        self.source = source
        self.offers = always
        self.flushing = False
        self.write: dict[str, Any] = NOTHING  # of the beat taken in the last cycle
        self.layer: dict[str, int] = {}
        self.bits = A_MAX

    def step(self, beat: Beat | None, active: bool, taken: bool, *, error: int = 0, ending: bool = False,
             closing: bool = False, **known: Any) -> Step:  # fmt: skip
        """A cycle in which ``beat`` is offered and perhaps ``taken`` by the visit at work; ``closing``: the
        one after the visit's last beat."""
        source = self.source
        inputs = {
            "rst": 0, "go": 0, "visit": record(source, visit_layout(CONFIG)), "layer": self.layer,
            "activation_bits": self.bits, "tvalid": int(beat is not None), "tlast": source.getrandbits(1),
            "tdata": source.getrandbits(PIXEL_BITS * WIDTH) if beat is None else beat.data,
        }  # fmt: skip
        outputs = {
            "active": int(active), "ending": int(ending), "error": error,
            "tready": int((active and not closing) or self.flushing), "write": self.write,
        }  # fmt: skip
        self.write = beat.write if beat is not None and taken and beat.write is not None else NOTHING
        return inputs | known, outputs

    def reset(self) -> Iterator[Step]:
        """Two cycles of reset, of which the second already shows what the first did."""
        self.layer = record(self.source, layer_layout(CONFIG))
        yield self.step(None, False, False, rst=1)[0], {}
        self.flushing = False
        yield self.step(None, False, False, rst=1, go=1)

    def idle(self, cycles: int) -> Iterator[Step]:
        """Cycles between visits; whatever is offered waits."""
        for _ in range(cycles):
            yield self.step(self.offered(), False, False)

    def offered(self) -> Beat | None:
        """A beat is offered or not, while no visit takes it."""
        beat = Beat(self.source.getrandbits(PIXEL_BITS * WIDTH), None)
        return None if self.flushing else self.source.choice((None, beat))

    def flush(self, active: bool, most: int) -> Iterator[Step]:
        """The rest of a frame that was too long, up to its TLAST."""
        for left in reversed(range(self.source.randint(1, most))):
            while not self.offers():
                yield self.step(None, active, False)
            junk = Beat(self.source.getrandbits(PIXEL_BITS * WIDTH), None)
            yield self.step(junk, active, False, tlast=int(left == 0))
        self.flushing = False

    def hand_over(self, image: StreamMap, number: int) -> Inputs:
        first, rows = image.visits[number]
        above = first - image.grouped
        visit = record(
            self.source, visit_layout(CONFIG), first_row=first, rows=rows, write_bank=above % BANKS,
            write_slot=image.region.slot(above),
        )  # fmt: skip
        return {"go": 1, "visit": visit}

    def frame(self, image: StreamMap, fault: int = 0, stop: float = 0) -> Iterator[Step]:
        """A frame, with an error cause as ``fault``; with ``stop`` it may be cut off in any cycle."""
        source = self.source
        bits = source.randint(4, A_MAX)
        picture = [beats(source, image, rows, bits) for rows in image.rows]
        count = sum(map(len, picture))
        ends = list(accumulate(map(len, picture)))  # beats up to the end of each visit
        early = source.choice((0, count - 2, source.randrange(count), source.choice(ends) - 1, ends[0] - 1))
        number = 0
        if CONFIG.row_groups:  # a layer stays until its last word is written
            yield from self.idle(1)
        if self.flushing and source.random() < 0.5:
            yield from self.flush(False, 3)
        self.bits, self.layer = bits, image.layer(source, CONFIG)
        yield self.step(None, False, False, **self.hand_over(image, 0))
        if self.flushing:
            yield from self.flush(True, 5)
        for n, visit in enumerate(picture):
            go: Inputs = {}
            for beat in visit:
                while not self.offers():
                    yield self.step(None, True, False)
                visit_end, image_end = beat is visit[-1], number == count - 1
                short = fault == ERROR_FRAME_SHORT and number == early and not image_end
                long = fault == ERROR_FRAME_LONG and image_end
                yield self.step(beat, True, True, tlast=int(short or (image_end and not long)))
                self.flushing = long
                if visit_end or short:
                    if not image_end and not short and source.random() < 0.7:
                        go = self.hand_over(image, n + 1)
                    error = ERROR_FRAME_SHORT * short + ERROR_FRAME_LONG * long
                    yield self.step(
                        self.offered(), True, False, error=error, ending=not error, closing=True, **go
                    )
                if short or source.random() < stop:
                    return
                number += 1
            if n + 1 < len(picture) and not go:
                yield from self.idle(source.randint(0, 3))
                yield self.step(None, False, False, **self.hand_over(image, n + 1))


def random_image(source: Random, number: int) -> StreamMap:
    grouped = CONFIG.row_groups and source.random() < 0.5
    return random_stream_map(source, CONFIG, number, grouped)


@cocotb.test()
async def good_frames(dut):
    """Without pauses, then with them."""
    driver = Driver(rng("frames"))

    def steps() -> Iterator[Step]:
        yield from driver.reset()
        for number in range(30):
            driver.offers = pauses(driver.source, driver.source.choice((0, 0.2, 0.6)))
            yield from driver.frame(random_image(driver.source, number))
            yield from driver.idle(driver.source.randint(1, 4))

    await script(Block(dut), steps())


@cocotb.test()
async def frames_that_end_too_early_or_too_late(dut):
    """After each a frame of any kind; the next one may be handed over while the last one's rest comes."""
    driver = Driver(rng("faults"))

    def steps() -> Iterator[Step]:
        yield from driver.reset()
        for number in range(60):
            driver.offers = pauses(driver.source, driver.source.choice((0, 0.3)))
            fault = driver.source.choice((0, ERROR_FRAME_SHORT, ERROR_FRAME_LONG))
            yield from driver.frame(random_image(driver.source, number), fault)
            if not driver.flushing or driver.source.random() < 0.5:
                yield from driver.idle(driver.source.randint(1, 4))

    await script(Block(dut), steps())


@cocotb.test()
async def resets_in_the_middle(dut):
    driver = Driver(rng("resets"))

    def steps() -> Iterator[Step]:
        for number in range(30):
            yield from driver.reset()
            fault = driver.source.choice((0, ERROR_FRAME_LONG))
            image = random_image(driver.source, number)
            yield from driver.frame(image, fault, stop=driver.source.choice((0, 0.02)))

    await script(Block(dut), steps())
