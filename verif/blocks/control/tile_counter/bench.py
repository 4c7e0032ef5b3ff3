"""Bench of the counter of tiles: visits to layers of any numbers of channels, with and without shortcuts, at
any pace, broken off and begun anew in any cycle."""

from collections.abc import Iterator, Mapping
from itertools import chain, islice, product
from random import Random
from typing import Any

import cocotb

from kestrel.hw.common.handover import layer_layout
from kestrel.hw.spec.masks import PASSES
from kestrel.hw.spec.table import SHORTCUT_IDENTITY, SHORTCUT_NONE, SHORTCUT_PROJECTION
from kestrel.sw.planning.geometry import group_count
from kestrel.verif.blocks.control.tiles import LayerTile, LayerWork, ShortcutWork, layer_tiles
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.script import record
from kestrel.verif.blocks.support.simulator import rng

CONFIG = bench_config()
LANES = CONFIG.word_lanes
WHOLE, LONGEST, FIRST = 40, 300, 6
"""Groups of a layer up to which all its tiles are counted, of the longest layer of which they all are, and
how many are of others."""


def random_work(source: Random) -> LayerWork:
    """Channels around one group and several."""

    def channels() -> int:
        return source.choice((1, LANES, 2 * LANES, source.randint(1, 4 * LANES + 1)))

    def width() -> int:
        return source.randint(1, CONFIG.max_width)

    passes = PASSES[source.choice(CONFIG.mask_widths)]
    work = LayerWork(channels(), channels(), passes, width())
    if not CONFIG.residual or source.random() < 0.2:
        return work
    projection = source.random() < 0.5
    others = channels() if projection else work.out_channels
    shortcut = ShortcutWork(projection, others, width(), source.randrange(CONFIG.passes_max))
    return LayerWork(work.in_channels, work.out_channels, passes, work.width, shortcut)


def long_works(source: Random) -> Iterator[LayerWork]:
    """Layers of one pass of which either number of groups is large: ``LONGEST``, and round each power of two
    that a record holds."""
    counts = [(1 << bit) + more for bit, more in product(range(3, 16), range(-1, 3))]
    for groups, of_input in product([LONGEST, *counts], (True, False)):
        in_groups, out_groups = (groups, 1) if of_input else (1, groups)
        width = source.randint(1, max(1, min(CONFIG.max_width, min(CONFIG.feature_words) // groups)))
        yield LayerWork(in_groups * CONFIG.input_lanes, out_groups * CONFIG.output_lanes, 1, width)


def layer_of(source: Random, work: LayerWork) -> dict[str, int]:
    """The layer's record; fields that the counter does not need have any value."""
    known = {
        "in_groups": group_count(work.in_channels, CONFIG.input_lanes),
        "out_groups": group_count(work.out_channels, CONFIG.output_lanes),
        "passes": work.passes, "width": work.width,
    }  # fmt: skip
    shortcut = work.shortcut
    if CONFIG.residual:
        known["shortcut"] = SHORTCUT_NONE
    if shortcut is not None:
        known |= {
            "shortcut": SHORTCUT_PROJECTION if shortcut.projection else SHORTCUT_IDENTITY,
            "shortcut_groups": group_count(shortcut.channels, CONFIG.input_lanes),
            "shortcut_width": shortcut.width, "shortcut_digit": shortcut.digit,
        }  # fmt: skip
    return record(source, layer_layout(CONFIG), **known)


class Surroundings:
    """Makes the inputs of each cycle, and what must be shown: the tile that has been come to."""

    def __init__(self, source: Random) -> None:
        self.source = source
        self.tiles: list[LayerTile] = []
        self.work: LayerWork | None = None
        self.layer: dict[str, int] = {}
        self.number: int | None = None  # of the tile; None where there is none

    def rows(self) -> Iterator[dict[str, Any]]:
        source = self.source
        for work in chain((random_work(source) for _ in range(120)), long_works(source)):
            self.work, self.layer = work, layer_of(source, work)
            groups = max(self.layer["in_groups"], self.layer["out_groups"])
            whole = groups <= WHOLE or groups == LONGEST
            self.tiles = list(islice(layer_tiles(work, CONFIG), None if whole else FIRST))
            self.number = None
            for _ in range(source.choice((1, 1, 2))):  # visits
                stop = source.choice((0, 0, 0, 0.05))
                pace = source.choice((1, 0.3))
                yield self.row(first=1)
                while self.number is not None and self.number < len(self.tiles) - 1:
                    if source.random() < stop:
                        break
                    yield self.row(next=int(source.random() < pace))
                yield self.row()
            if source.random() < 0.1:
                yield self.row(rst=1, next=source.getrandbits(1))

    def row(self, **known: int) -> dict[str, Any]:
        return {"rst": 0, "first": 0, "next": 0, "layer": self.layer} | known

    def step(self, *, rst: int, first: int, next: int, layer: dict[str, int]) -> Mapping[str, Any]:
        del layer
        shown = self.shown() if self.number is not None else {}
        if rst:
            self.number = None
        elif first:
            self.number = 0
        elif next and self.number is not None:
            self.number += 1
        return shown

    def shown(self) -> dict[str, Any]:
        assert self.number is not None
        assert self.work is not None
        tile = self.tiles[self.number].fields
        shortcut = tile.get("shortcut")
        shown = {
            "tile": tile, "first_of_visit": int(self.number == 0), "last_out": tile["last_out"],
            "last_in": None if shortcut else tile["last_in"],
            "last_digit": None if shortcut else int(tile["digit"] == self.work.passes - 1),
        }  # fmt: skip
        return shown | ({"shortcut": shortcut} if CONFIG.residual else {})


@cocotb.test()
async def visits_at_any_pace(dut):
    bench = Surroundings(rng("visits"))
    await lockstep(Block(dut), bench, bench.rows())
