"""Bench of the column reader: passes over strips, back to back or not, in whole and in circular regions."""

from collections import deque
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import cocotb

from kestrel.hw.common.handover import layer_layout, tile_layout, visit_layout
from kestrel.hw.spec.engine_config import ROW_GROUPS
from kestrel.sw.planning.geometry import BANKS, group_count
from kestrel.verif.blocks.support.column_reader import Strip, columns
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.script import Step, record, script
from kestrel.verif.blocks.support.simulator import rng
from kestrel.verif.blocks.support.strips import random_strip

CONFIG = bench_config()
AHEAD = 2
"""Cycles in which the next pass must be known before it begins."""
IDLE = {"active": 0, "ending": 0, "pixel": dict.fromkeys(
    ("first", "last", "row_end", "fresh", "emit", "digit", "last_out")) | {"valid": 0}}  # fmt: skip


def layer_of(source: Random, strip: Strip) -> dict[str, int]:
    region = strip.region
    height = group_count(strip.height, ROW_GROUPS) if strip.grouped else strip.height
    grouped = {"row_groups": strip.last_rows} if CONFIG.row_groups else {}
    return record(
        source, layer_layout(CONFIG), height=height, width=region.width, read_base=region.base,
        read_end=region.end, read_stride=region.stride,
        last_in_lanes=source.randint(1, CONFIG.input_lanes), **grouped,
    )  # fmt: skip


def inputs(source: Random, layer: dict[str, int], **known: Any) -> dict[str, Any]:
    """A cycle's inputs; visit, tile and next layer count only with ``go`` and shortly before."""
    anything = {
        "rst": 0, "go": 0, "layer": layer, "next_layer": record(source, layer_layout(CONFIG)),
        "visit": record(source, visit_layout(CONFIG)),
        "tile": record(source, tile_layout(CONFIG)),
    }  # fmt: skip
    return anything | known


def announced(steps: Iterable[Step]) -> Iterator[Step]:
    """The same steps, with the next pass described from AHEAD cycles before its ``go`` on."""
    waiting: deque[Step] = deque()
    for step in steps:
        waiting.append(step)
        given, _ = step
        if given["go"] and not given["rst"]:
            told = {name: given[name] for name in ("visit", "tile", "next_layer")}
            for n, (row, expected) in enumerate(waiting):
                if not row["go"] or row["rst"]:
                    waiting[n] = {**row, **told}, expected
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def passes(source: Random, strip: Strip, groups: int, count: int, stop: float = 0) -> Iterator[Step]:
    """Passes over one strip, each of a random tile; with ``stop`` they may be cut off in any cycle."""
    layer = layer_of(source, strip)
    idle = record(source, tile_layout(CONFIG), slice=0)
    go: dict[str, Any] | None = None
    tile = idle

    def hand_over() -> dict[str, Any]:
        nonlocal tile
        tile = record(
            source, tile_layout(CONFIG), group_offset=source.randrange(groups) * strip.region.width,
            slice=source.randrange(CONFIG.in_slices),
        )  # fmt: skip
        row = strip.first_row - (0 if strip.grouped else 1)
        visit = record(
            source, visit_layout(CONFIG), rows=strip.steps, read_bank=row % BANKS,
            first_row=strip.first_row // (ROW_GROUPS if strip.grouped else 1),
            read_slot=strip.region.slot(row),
        )  # fmt: skip
        return {"go": 1, "tile": tile, "visit": visit, "next_layer": layer}

    yield inputs(source, layer, **hand_over()), IDLE
    for number in range(count):
        this = tile
        for column in columns(strip, this["group_offset"]):
            at_once = column.last and strip.pixels > AHEAD and number < count - 1 and source.random() < 0.7
            go = hand_over() if at_once else None
            yield (
                inputs(source, layer, **(go or {})),
                {
                    "active": 1,
                    "ending": int(column.last),
                    "addresses": column.addresses,
                    "top_bank": column.top_bank,
                    "edges": column.edges,
                    "slice": this["slice"],
                    "lanes": layer["last_in_lanes"] if this["last_in"] else CONFIG.input_lanes,
                    "pixel": {
                        "valid": 1, "first": int(column.first), "last": int(column.last),
                        "row_end": int(column.row_end), "fresh": this["fresh"], "emit": this["emit"],
                        "digit": this["digit"] if column.rows is None else column.rows,
                        "last_out": this["last_out"],
                    },
                },
            )  # fmt: skip
            if source.random() < stop:
                return
        if go is None and number < count - 1:
            for _ in range(source.randint(max(0, AHEAD - strip.pixels), 3)):
                yield inputs(source, layer), IDLE
            yield inputs(source, layer, **hand_over()), IDLE
    for _ in range(2):
        yield inputs(source, layer), IDLE


def reset(source: Random) -> Iterator[Step]:
    """Two cycles of reset, of which the second already shows what the first did."""
    layer = record(source, layer_layout(CONFIG))
    yield inputs(source, layer, rst=1), {}
    yield inputs(source, layer, rst=1, go=1), IDLE


@cocotb.test()
async def passes_over_strips(dut):
    source = rng("strips")

    def steps() -> Iterator[Step]:
        yield from reset(source)
        for number in range(60):
            groups = source.randint(1, 2)
            grouped = CONFIG.row_groups and source.random() < 0.5
            strip = random_strip(source, CONFIG, groups, number, grouped)
            yield from passes(source, strip, groups, source.randint(1, 4))

    await script(Block(dut), announced(steps()))


@cocotb.test()
async def resets_in_the_middle(dut):
    source = rng("resets")

    def steps() -> Iterator[Step]:
        for number in range(40):
            yield from reset(source)
            strip = random_strip(source, CONFIG, 1, 3 + number)
            yield from passes(source, strip, 1, 3, stop=0.05)

    await script(Block(dut), announced(steps()))
