"""Bench of the column reader: passes over strips, back to back or not, in whole and in circular regions; of
an engine for residual networks also passes over a shortcut's map, and passes that leave rows and columns out;
of an engine for batches strips that reach from image to image.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import cocotb

from kestrel.hw.common.handover import layer_layout, tile_layout, visit_layout
from kestrel.hw.common.pixel import pixel_layout
from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS
from kestrel.sw.planning.geometry import group_count
from kestrel.verif.blocks.support.column_reader import Column, Strip, columns
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.script import Step, record, script
from kestrel.verif.blocks.support.simulator import rng
from kestrel.verif.blocks.support.strips import batch_strip, random_strip, shortcut_of_batch, shortcut_strip

CONFIG = bench_config()
AHEAD = 2
"""Cycles in which the next pass must be known before it begins."""
IDLE = {"active": 0, "ending": 0, "pixel": dict.fromkeys(
    name for name, _ in pixel_layout(CONFIG)) | {"valid": 0}}  # fmt: skip


@dataclass(frozen=True)
class Maps:
    """What the passes over a strip read: the layer's own map, of ``groups`` words a pixel, and that of its
    shortcut, of ``shortcut_groups``."""

    strip: Strip
    groups: int
    shortcut: Strip | None = None
    shortcut_groups: int = 1


def random_maps(source: Random, number: int, groups: int) -> Maps:
    """Strips of any kind that the engine has."""
    grouped = CONFIG.row_groups and source.random() < 0.5
    stride, centre, words = 1, False, source.randint(1, 2)
    if CONFIG.residual:
        stride, centre = source.randint(1, 2), source.random() < 0.3
    if grouped:
        return Maps(random_strip(source, CONFIG, groups, number, grouped), groups)
    if CONFIG.batch:
        strip = batch_strip(source, CONFIG, groups, stride, centre)
    else:
        strip = random_strip(source, CONFIG, groups, number, stride=stride, centre=centre)
    if not CONFIG.residual:
        return Maps(strip, groups)
    stride = source.randint(1, 2)
    if CONFIG.batch:
        shortcut = shortcut_of_batch(source, CONFIG, words, strip, stride)
    else:
        shortcut = shortcut_strip(source, CONFIG, words, strip.rows, stride)
    return Maps(strip, groups, shortcut, words)


def layer_of(source: Random, maps: Maps) -> dict[str, int]:
    strip, shortcut = maps.strip, maps.shortcut
    region = strip.region
    height = group_count(strip.height, ROW_GROUPS) if strip.grouped else strip.height
    known = {"row_groups": strip.last_rows} if CONFIG.row_groups else {}
    if CONFIG.residual:
        known |= {
            "stride": strip.stride - 1, "centre": int(strip.centre),
            "last_shortcut_lanes": source.randint(1, CONFIG.input_lanes),
        }  # fmt: skip
    if shortcut is not None:
        where = shortcut.region
        known |= {
            "shortcut_stride": shortcut.stride - 1, "shortcut_base": where.base, "shortcut_end": where.end,
            "shortcut_slots_stride": where.stride, "shortcut_width": where.width,
        }  # fmt: skip
    if CONFIG.batch and strip.image_rows:
        known["read_gap"] = strip.gap
        if shortcut is not None:
            known["shortcut_gap"] = shortcut.gap
    return record(
        source, layer_layout(CONFIG), height=height, width=region.width, read_base=region.base,
        read_end=region.end, read_stride=region.stride,
        last_in_lanes=source.randint(1, CONFIG.input_lanes), **known,
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


def visit_of(source: Random, maps: Maps) -> dict[str, int]:
    """The visit of all passes over a strip."""
    strip, shortcut = maps.strip, maps.shortcut
    first_row = strip.first_row // ROW_GROUPS if strip.grouped else strip.place(strip.first_row)[1]
    known = {}
    if CONFIG.batch:
        # In row groups there is one image, and a strip ends before it does or with it.
        known = {"image_rows": strip.steps, "image_rows_left": strip.steps}
        if strip.image_rows:
            left = strip.image_rows - strip.first_row % strip.image_rows
            known = {"image_rows": strip.image_rows, "image_rows_left": left}
    if shortcut is not None:
        row = shortcut.row_above
        known |= {"shortcut_bank": row % BANKS, "shortcut_slot": shortcut.region.slot(row)}
    row = strip.row_above
    return record(
        source, visit_layout(CONFIG), rows=strip.steps, read_bank=row % BANKS, first_row=first_row,
        read_slot=strip.region.slot(row), **known,
    )  # fmt: skip


def random_tile(source: Random, maps: Maps) -> dict[str, int]:
    """A tile of the layer or of its shortcut."""
    known = {"shortcut": source.randrange(2) if maps.shortcut else 0} if CONFIG.residual else {}
    strip, groups = (
        (maps.shortcut, maps.shortcut_groups) if known.get("shortcut") and maps.shortcut
        else (maps.strip, maps.groups)
    )  # fmt: skip
    offset = source.randrange(groups) * strip.region.width
    return record(
        source, tile_layout(CONFIG), group_offset=offset, slice=source.randrange(CONFIG.in_slices), **known
    )


def presented(column: Column, tile: dict[str, int], layer: dict[str, int], height: int) -> dict[str, Any]:
    """What the reader shows of a column. ``height``: rows of the layer's own map."""
    pixel: dict[str, Any] = {
        "valid": 1, "first": int(column.first), "last": int(column.last),
        "row_end": int(column.row_end), "fresh": tile["fresh"], "emit": tile["emit"],
        "digit": tile["digit"], "last_out": tile["last_out"],
        **({"rows": column.rows} if CONFIG.row_groups else {}),
    }  # fmt: skip
    lanes = layer["last_in_lanes"] if tile["last_in"] else CONFIG.input_lanes
    shown: dict[str, Any] = {
        "active": 1, "ending": int(column.ending), "addresses": column.addresses,
        "top_bank": column.top_bank, "edges": column.edges, "slice": tile["slice"],
    }  # fmt: skip
    if CONFIG.residual:
        # Where the row lies matters to the pooling, which sees the passes of the layer's own map.
        places = {"top": int(column.row == 0), "bottom": int(column.row == height - 1), "odd": column.row % 2}
        shown["part"] = layer["read_part"]
        if tile["shortcut"]:
            places = dict.fromkeys(places)
            shown["part"] = layer["shortcut_part"]
            lanes = layer["last_shortcut_lanes"] if tile["last_map_group"] else CONFIG.input_lanes
        if column.rows is not None:
            places = dict.fromkeys(places)  # a layer in row groups does not pool
        pixel |= places
    if not column.valid:
        pixel = IDLE["pixel"]
    return shown | {"lanes": lanes, "pixel": pixel}


def passes(source: Random, maps: Maps, count: int, stop: float = 0) -> Iterator[Step]:
    """Passes over one strip, each of a random tile; with ``stop`` they may be cut off in any cycle."""
    layer = layer_of(source, maps)
    tile: dict[str, int] = {}
    go: dict[str, Any] | None = None

    def hand_over() -> dict[str, Any]:
        nonlocal tile
        tile = random_tile(source, maps)
        return {"go": 1, "tile": tile, "visit": visit_of(source, maps), "next_layer": layer}

    yield inputs(source, layer, **hand_over()), IDLE
    for number in range(count):
        this = tile
        strip = maps.shortcut if maps.shortcut and this["shortcut"] else maps.strip
        for column in columns(strip, this["group_offset"]):
            at_once = column.ending and strip.cycles > AHEAD and number < count - 1 and source.random() < 0.7
            go = hand_over() if at_once else None
            yield inputs(source, layer, **(go or {})), presented(column, this, layer, maps.strip.height)
            if source.random() < stop:
                return
        if go is None and number < count - 1:
            for _ in range(source.randint(max(0, AHEAD - strip.cycles), 3)):
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
            maps = random_maps(source, number, source.randint(1, 2))
            yield from passes(source, maps, source.randint(1, 4 + 4 * CONFIG.residual))

    await script(Block(dut), announced(steps()))


@cocotb.test()
async def resets_in_the_middle(dut):
    source = rng("resets")

    def steps() -> Iterator[Step]:
        for number in range(40):
            yield from reset(source)
            yield from passes(source, random_maps(source, 3 + number, 1), 3, stop=0.05)

    await script(Block(dut), announced(steps()))
