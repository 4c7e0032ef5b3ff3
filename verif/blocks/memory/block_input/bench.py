"""Bench of the image input in blocks: frames in one or several visits, good ones and ones that end too early
or too late, every word where and when it must be written; of an engine for batches also frames of several
images."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

import cocotb
from amaranth.lib import data

from kestrel.hw.common.handover import layer_layout, visit_layout
from kestrel.hw.memory.feature_memory import feature_write
from kestrel.hw.spec.engine_config import BANKS
from kestrel.hw.spec.status import ERROR_FRAME_LONG, ERROR_FRAME_SHORT
from kestrel.hw.spec.timing import block_input_cycles
from kestrel.hw.spec.widths import PIXEL_BITS
from kestrel.sw.planning.geometry import Region
from kestrel.verif.blocks.memory.image_input.bench import rounded
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.maps import random_visits
from kestrel.verif.blocks.support.script import Step, record, script
from kestrel.verif.blocks.support.simulator import always, fail, pack, pauses, rng

CONFIG = bench_config()
LANES, WIDTH, A_MAX = CONFIG.word_lanes, CONFIG.stream_bytes, CONFIG.activation_bits
BEATS = -(-3 // WIDTH)
CHANNELS = 27
WORDS = -(-CHANNELS // LANES)
PHASES = ((0, 0), (1, 0), (1, 1))
"""Of a set (rows) and of a stream (columns): the pixel's place in its block, and how many blocks before."""
NOTHING: dict[str, Any] = {"en": 0, "part": None, "addr": None, "lanes": None, "data": None}


def split(channel: int) -> tuple[int, int, int]:
    """Set, stream and colour."""
    return channel // 9, channel // 3 % 3, channel % 3


@dataclass(frozen=True)
class Picture:
    """A picture as the stream carries it (by row, column and colour), and where its map in blocks goes. It
    consists of ``images`` images, one below the other. visits: first row of blocks and rows of each."""

    pixels: list[list[list[int]]]
    bits: int
    pad: list[int]
    region: Region
    visits: tuple[tuple[int, int], ...]
    images: int = 1

    @property
    def height(self) -> int:
        """Rows of an image."""
        return len(self.pixels) // self.images

    @property
    def width(self) -> int:
        return len(self.pixels[0])

    @cached_property
    def block_rows(self) -> int:
        """Rows of blocks of an image."""
        return -(-self.height // 2)

    def image_rows(self, visit: tuple[int, int]) -> list[int]:
        """The rows of the picture that a visit takes."""
        first, rows = visit
        places = [divmod(y, self.block_rows) for y in range(first, first + rows)]
        return [
            image * self.height + row
            for image, y in places
            for row in (2 * y, 2 * y + 1)
            if row < self.height
        ]

    def value(self, channel: int, y: int, x: int) -> int:
        """A channel of a pixel of the map."""
        which, stream, colour = split(channel)
        (p, dy), (q, dx) = PHASES[which], PHASES[stream]
        image, y = divmod(y, self.block_rows)
        row, column = 2 * (y - dy) + p, 2 * (x - dx) + q
        if 0 <= row < self.height and 0 <= column < self.width:
            return rounded(self.pixels[image * self.height + row][column][colour], self.bits)
        return self.pad[colour]

    def places(self, row: int) -> list[tuple[int, int]]:
        """Rows of the map and channels of them that a pair of pixels of a row of the picture decides upon."""
        image, row = divmod(row, self.height)
        first = image * self.block_rows  # of the image's rows of blocks
        y, found = row // 2, []
        for channel in range(CHANNELS):
            p, dy = PHASES[split(channel)[0]]
            own = 2 * (y - dy) + p
            if own == row or (row == 0 and own < 0) or (row == self.height - 1 and own >= self.height):
                found.append((first + y, channel))
            if 2 * (y + 1 - dy) + p == row and y + 1 < self.block_rows:
                found.append((first + y + 1, channel))
        return found

    def writes(self, row: int, x: int) -> list[dict[str, Any]]:
        """The writes of a pair, a word of the map's pixel after the other."""
        places = self.places(row)
        words = [channel // LANES for _, channel in places]
        found = []
        for word in range(min(words), max(words) + 1):
            banks: dict[int, dict[int, int]] = {}
            for y, channel in places:
                if channel // LANES == word:
                    banks.setdefault(y, {})[channel % LANES] = self.value(channel, y, x)
            found.append(self.write(banks, word * self.region.width + x) if banks else NOTHING)
        return found

    def write(self, rows: dict[int, dict[int, int]], offset: int) -> dict[str, Any]:
        """Lanes of a word in some rows of the map."""
        write: dict[str, Any] = {"en": 0, "part": 0}
        write |= {name: [None] * BANKS for name in ("addr", "lanes", "data")}
        for y, lanes in rows.items():
            bank = y % BANKS
            write["en"] |= 1 << bank
            write["addr"][bank] = self.region.slot(y) + offset
            write["lanes"][bank] = sum(1 << lane for lane in lanes)
            write["data"][bank] = [lanes.get(lane) for lane in range(LANES)]
        return write

    def check_complete(self) -> None:
        """Raises AssertionError unless the pairs of all rows decide upon the whole map, once each."""
        decided = sorted(place for row in range(len(self.pixels)) for place in self.places(row))
        rows = self.images * self.block_rows
        if decided != [(y, channel) for y in range(rows) for channel in range(CHANNELS)]:
            raise fail(f"a map of {rows} rows is not covered")

    def beats(self, source: Random, row: int) -> list["Beat"]:
        """A row of the picture; anything in the bytes that carry no colour."""
        found = []
        for column, colours in enumerate(self.pixels[row]):
            ends = column % 2 == 1 or column == self.width - 1
            for start in range(0, 3, WIDTH):
                carried = colours[start : start + WIDTH]
                carried = carried + [source.getrandbits(PIXEL_BITS) for _ in range(WIDTH - len(carried))]
                completes = ends and start + WIDTH >= 3
                writes = self.writes(row, column // 2) if completes else []
                found.append(Beat(pack(carried, PIXEL_BITS), writes))
        return found

    def layer(self, source: Random) -> dict[str, int]:
        region = self.region
        return record(
            source, layer_layout(CONFIG), height=self.height, width=self.width, out_width=region.width,
            write_base=region.base, write_end=region.end, write_stride=region.stride,
            **{f"block_pad_{n}": value for n, value in enumerate(self.pad)},
        )  # fmt: skip


@dataclass(frozen=True)
class Beat:
    """A beat of the stream, and the writes of the pair that it completes."""

    data: int
    writes: list[dict[str, Any]]


def random_picture(source: Random, number: int) -> Picture:
    """Sizes that differ in kind first, then any; one visit or several."""
    kinds = (
        (1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (4, CONFIG.max_width), (5, CONFIG.max_width - 1),
        (source.randint(64, 130), source.randint(1, 2)),
    )  # fmt: skip
    any_size = source.randint(1, 9), source.randint(1, CONFIG.max_width)
    height, width = kinds[number] if number < len(kinds) else any_size
    images = source.randint(1, 3) if CONFIG.batch else 1
    pixels = [
        [[source.getrandbits(PIXEL_BITS) for _ in range(3)] for _ in range(width)]
        for _ in range(images * height)
    ]
    bits = source.randint(4, A_MAX)
    block_rows, block_width = images * -(-height // 2), -(-width // 2)
    visits = random_visits(source, block_rows)
    stride = WORDS * block_width
    slots = source.randint(1, -(-block_rows // BANKS))
    base = source.choice((0, source.randint(0, CONFIG.feature_words[0] - slots * stride)))
    pad = [source.getrandbits(bits) for _ in range(3)]
    picture = Picture(pixels, bits, pad, Region(0, base, slots, stride, block_width), visits, images)
    picture.check_complete()
    return picture


class Driver:
    """Makes the steps of frames, one after the other."""

    def __init__(self, source: Random) -> None:
        self.source = source
        self.offers = always
        self.flushing = False
        self.pending: deque[dict[str, Any]] = deque()  # from this cycle on
        self.layer: dict[str, int] = {}
        self.bits = A_MAX

    def step(self, beat: Beat | None = None, *, next_beat: Beat | None = None, active: bool = False,
             ending: bool = False, error: int = 0, **known: Any) -> Step:  # fmt: skip
        """A cycle in which ``beat`` is offered. ``next_beat``: the one for which the visit at work waits."""
        source = self.source
        inputs = {
            "rst": 0, "go": 0, "visit": record(source, visit_layout(CONFIG)), "layer": self.layer,
            "activation_bits": self.bits, "tvalid": int(beat is not None), "tlast": source.getrandbits(1),
            "tdata": source.getrandbits(PIXEL_BITS * WIDTH) if beat is None else beat.data,
        }  # fmt: skip
        outputs = {
            "active": int(active), "ending": int(ending), "error": error,
            "tready": int((next_beat is not None and not self.waits(next_beat)) or self.flushing),
            "write": self.pending.popleft() if self.pending else NOTHING,
        }  # fmt: skip
        return inputs | known, outputs

    def waits(self, beat: Beat) -> bool:
        """A pair's last beat waits for the last word of the pair before."""
        return bool(beat.writes) and len(self.pending) > 1

    def reset(self) -> Iterator[Step]:
        """Two cycles of reset, of which the second already shows what the first did."""
        self.layer = record(self.source, layer_layout(CONFIG))
        yield self.step(rst=1)[0], {}
        self.flushing = False
        self.pending.clear()
        yield self.step(rst=1, go=1)

    def idle(self, cycles: int) -> Iterator[Step]:
        """Cycles between visits; whatever is offered waits."""
        for _ in range(cycles):
            junk = Beat(self.source.getrandbits(PIXEL_BITS * WIDTH), [])
            yield self.step(None if self.flushing else self.source.choice((None, junk)))

    def flush(self, first: Beat | None, most: int) -> Iterator[Step]:
        """The rest of a frame that was too long, up to its TLAST; ``first``: that of the visit at work."""
        for left in reversed(range(self.source.randint(1, most))):
            while not self.offers():
                yield self.step(next_beat=first, active=first is not None)
            junk = Beat(self.source.getrandbits(PIXEL_BITS * WIDTH), [])
            yield self.step(junk, next_beat=first, active=first is not None, tlast=int(left == 0))
        self.flushing = False

    def hand_over(self, picture: Picture, number: int) -> dict[str, Any]:
        first, rows = picture.visits[number]
        known = {}
        if CONFIG.batch:
            known["ends_frame"] = int(number == len(picture.visits) - 1)
        visit = record(
            self.source, visit_layout(CONFIG), first_row=first % picture.block_rows, rows=rows,
            write_bank=first % BANKS, write_slot=picture.region.slot(first), **known,
        )  # fmt: skip
        return {"go": 1, "visit": visit}

    def frame(self, picture: Picture, fault: int = 0, stop: float = 0) -> Iterator[Step]:
        """A frame, with an error cause as ``fault``; with ``stop`` it may be cut off in any cycle."""
        source = self.source
        streams = [
            [beat for row in picture.image_rows(visit) for beat in picture.beats(source, row)]
            for visit in picture.visits
        ]
        count = sum(map(len, streams))
        early = source.choice((0, count - 2, source.randrange(count), len(streams[0]) - 1))
        yield from self.idle(max(1, len(self.pending)))  # a layer stays until its last word is written
        if self.flushing and source.random() < 0.5:
            yield from self.flush(None, 3)
        self.bits, self.layer = picture.bits, picture.layer(source)
        yield self.step(**self.hand_over(picture, 0))
        number = 0
        for n, (visit, stream) in enumerate(zip(picture.visits, streams, strict=True)):
            cycles = 0
            if self.flushing:
                yield from self.flush(stream[0], 5)
            for beat in stream:
                while not self.offers():
                    cycles += 1
                    yield self.step(next_beat=beat, active=True)
                while self.waits(beat):
                    cycles += 1
                    yield self.step(beat, next_beat=beat, active=True)
                image_end = number == count - 1
                short = fault == ERROR_FRAME_SHORT and number == early and not image_end
                long = fault == ERROR_FRAME_LONG and image_end
                cycles += 1
                yield self.step(
                    beat, next_beat=beat, active=True, tlast=int(short or (image_end and not long))
                )
                self.flushing = long
                self.pending.extend(beat.writes)
                if short or long:
                    error = ERROR_FRAME_SHORT if short else ERROR_FRAME_LONG
                    yield self.step(None, active=True, error=error)
                    return
                if source.random() < stop:
                    return
                number += 1
            while len(self.pending) > 1:
                cycles += 1
                yield self.step(active=True)
            at_once = n + 1 < len(streams) and source.random() < 0.7
            yield self.step(active=True, ending=True, **(self.hand_over(picture, n + 1) if at_once else {}))
            self._check_cycles(picture, visit, cycles + 1)
            if n + 1 < len(streams) and not at_once:
                yield from self.idle(source.randint(0, 3))
                yield self.step(**self.hand_over(picture, n + 1))

    def _check_cycles(self, picture: Picture, visit: tuple[int, int], cycles: int) -> None:
        """The closed form against the cycles that were just played."""
        if self.offers is not always:
            return
        first, rows = visit
        expected = block_input_cycles(CONFIG, picture.height, picture.width, first % picture.block_rows, rows)
        if cycles != expected:
            raise fail(
                f"visit {visit} of {picture.height}x{picture.width} takes {cycles} cycles, not {expected}"
            )


def block(dut: Any) -> Block:
    fields = {name: field.shape for name, field in feature_write(CONFIG)}
    lanes = data.ArrayLayout(data.ArrayLayout(A_MAX, LANES), BANKS)
    return Block(dut, write=data.StructLayout(fields | {"data": lanes}))


def some_pauses(source: Random) -> Any:
    probability = source.choice((0, 0, 0.2, 0.6))
    return pauses(source, probability) if probability else always


@cocotb.test()
async def good_frames(dut):
    """Without pauses, and with them."""
    driver = Driver(rng("frames"))

    def steps() -> Iterator[Step]:
        yield from driver.reset()
        for number in range(30):
            driver.offers = some_pauses(driver.source)
            yield from driver.frame(random_picture(driver.source, number % 15))
            yield from driver.idle(driver.source.randint(1, 4))

    await script(block(dut), steps())


@cocotb.test()
async def frames_that_end_too_early_or_too_late(dut):
    """After each a frame of any kind; the next one may be handed over while the last one's rest comes."""
    driver = Driver(rng("faults"))

    def steps() -> Iterator[Step]:
        yield from driver.reset()
        for number in range(50):
            driver.offers = some_pauses(driver.source)
            fault = driver.source.choice((0, ERROR_FRAME_SHORT, ERROR_FRAME_LONG))
            yield from driver.frame(random_picture(driver.source, number), fault)

    await script(block(dut), steps())


@cocotb.test()
async def resets_in_the_middle(dut):
    driver = Driver(rng("resets"))

    def steps() -> Iterator[Step]:
        for number in range(20):
            yield from driver.reset()
            fault = driver.source.choice((0, ERROR_FRAME_LONG))
            picture = random_picture(driver.source, number)
            yield from driver.frame(picture, fault, stop=driver.source.choice((0, 0.02)))

    await script(block(dut), steps())
