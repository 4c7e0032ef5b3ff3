"""Bench of the raster walk: strips in whole and in circular regions, at any pace, begun anew in any cycle.

What is expected comes from the region alone: row y of a strip lies in bank (first + y) mod 3, and in the slot
after the last one's whenever the banks have gone round. Of strips that no memory holds few words are walked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from random import Random
from typing import Any

import cocotb
from amaranth.hdl import Shape

from kestrel.hw.memory.raster import raster_layout
from kestrel.hw.spec.engine_config import BANKS
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.script import Step, record, script
from kestrel.verif.blocks.support.simulator import rng

CONFIG = bench_config()
LAYOUT = raster_layout(CONFIG)
WORDS = min(CONFIG.feature_words)
ROWS_MAX = (1 << Shape.cast(LAYOUT["rows"].shape).width) - 1
GIVEN = ("width", "words", "base", "end", "stride")
"""Fields that stay while a strip is walked."""


@dataclass(frozen=True)
class Strip:
    """``rows`` rows of ``width`` pixels of ``words`` words, from slot ``first`` and ``bank`` on, in a region
    of ``slots`` slots from ``base`` on."""

    rows: int
    width: int
    words: int
    bank: int
    first: int
    slots: int
    base: int
    ends_image: int

    @property
    def stride(self) -> int:
        return self.width * self.words

    def slot(self, number: int) -> int:
        """The address of a slot, counted from the strip's first one on."""
        return self.base + (self.first + number) % self.slots * self.stride

    def fields(self) -> dict[str, int]:
        return {
            "rows": self.rows, "ends_image": self.ends_image, "width": self.width, "words": self.words,
            "bank": self.bank, "slot": self.slot(0), "base": self.base,
            "end": self.base + self.slots * self.stride, "stride": self.stride,
        }  # fmt: skip

    def walk(self) -> Iterator[dict[str, int | None]]:
        """The outputs for each of the strip's words."""
        for y in range(self.rows):
            turns, bank = divmod(self.bank + y, BANKS)
            for x in range(self.width):
                for word in range(self.words):
                    ends_pixel = word == self.words - 1
                    ends_strip = ends_pixel and (y, x) == (self.rows - 1, self.width - 1)
                    place: dict[str, int | None] = {
                        "bank": bank, "address": self.slot(turns) + word * self.width + x,
                        "ends_pixel": int(ends_pixel), "ends_strip": int(ends_strip),
                        "ends_image": int(ends_strip and self.ends_image),
                    }  # fmt: skip
                    if CONFIG.row_groups:
                        place["next_address"] = self.slot(turns + 1) + x if self.words == 1 else None
                    yield place


def random_strip(source: Random, number: int) -> Strip:
    """The smallest ones first, then any."""
    width = (
        number % 3 + 1
        if number < 9
        else source.choice((CONFIG.max_width, source.randint(1, CONFIG.max_width)))
    )
    words = number // 3 % 3 + 1 if number < 9 else source.choice((1, 1, source.randint(1, 5)))
    slots = source.choice((1, source.randint(1, max(1, min(6, WORDS // (width * words))))))
    if slots * width * words > WORDS:
        words = max(1, WORDS // (slots * width))
    room = WORDS - slots * width * words
    return Strip(
        rows=source.choice((1, source.randint(1, 12))), width=width, words=words,
        bank=source.randrange(BANKS), first=source.randrange(slots), slots=slots,
        # The end may lie directly behind the memory's last word.
        base=source.choice((0, room, source.randint(0, room))),
        ends_image=source.getrandbits(1),
    )  # fmt: skip


@cocotb.test()
async def strips(dut):
    source = rng("strips")

    def steps() -> Iterator[Step]:
        def step(outputs: dict[str, Any], strip: Strip | None, **known: int) -> Step:
            given = {name: value for name, value in strip.fields().items() if name in GIVEN} if strip else {}
            begins = known.get("go") and strip
            anything = record(source, LAYOUT, **(strip.fields() if begins and strip else given))
            return {"strip": anything, "rst": 0, "step": 0, "go": 0} | known, outputs

        yield step({}, None, rst=1)
        for number in range(160):
            strip = random_strip(source, number)
            pace, stop = source.choice((1, 0.5)), source.choice((0, 0, 0.03))
            yield step({}, strip, go=1, step=source.getrandbits(1))
            for place in strip.walk():
                while source.random() >= pace:
                    yield step(place, strip)
                if source.random() < stop:
                    break
                yield step(place, strip, step=1)
            if source.random() < 0.1:
                yield step({}, None, rst=1)

    await script(Block(dut), steps())


@cocotb.test()
async def the_most_rows(dut):
    """As many rows as a visit can name, of one pixel each."""
    source = rng("rows")
    strip = Strip(min(ROWS_MAX, 3000), 1, 1, 2, 1, 3, 7, 1)

    def steps() -> Iterator[Step]:
        row = {"strip": strip.fields(), "rst": 0, "go": 0, "step": 0}
        yield row | {"go": 1, "step": source.getrandbits(1)}, {}
        for place in strip.walk():
            yield row | {"step": 1}, place

    await script(Block(dut), steps())


@cocotb.test()
async def every_bit_of_a_count(dut):
    """Rows, pixels or words round each power of two, of which the first few are walked: a bit that is lost
    makes one of them the last."""
    source = rng("bits")
    most = {name: (1 << Shape.cast(field.shape).width) - 1 for name, field in LAYOUT}

    def steps() -> Iterator[Step]:
        yield {"strip": record(source, LAYOUT), "rst": 1, "go": 0, "step": 0}, {}
        for name in ("rows", "width", "words"):
            for bit, more in product(range(2, most[name].bit_length()), range(-1, 3)):
                counts = {"rows": 1, "width": 1, "words": 1, name: min((1 << bit) + more, most[name])}
                base = source.randrange(WORDS - 8)
                bank = source.randrange(BANKS)
                strip = Strip(**counts, bank=bank, first=0, slots=1, base=base, ends_image=1)
                fields = {field: value & most[field] for field, value in strip.fields().items()}
                row = {"strip": fields, "rst": 0, "go": 0, "step": 0}
                yield row | {"go": 1, "step": source.getrandbits(1)}, {}
                for place in islice(strip.walk(), 6):
                    in_memory = name == "rows"  # also the next slot
                    unknown = dict.fromkeys(place.keys() & {"next_address"} if not in_memory else ())
                    yield row | {"step": 1}, place | unknown

    await script(Block(dut), steps())
