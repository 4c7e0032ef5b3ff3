"""What a pass reads: of the layer's own map or, with ``config.residual``, of its shortcut's; and where in the
feature memory it begins."""

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from kestrel.hw.common.handover import advanced
from kestrel.hw.spec.engine_config import EngineConfig


@dataclass(frozen=True)
class Path:
    """What a pass reads of a map, with ``config.residual``. ``double``: every second row; ``skips``: of the
    rows it reads, every second column; ``columns``: how many columns of a row it presents; ``last_pixel``:
    the last of them that is a pixel."""

    double: Value
    skips: Value
    columns: Value
    last_pixel: Value


@dataclass(frozen=True)
class Start:
    """Where a pass begins: the address in the slot of its first column's upper row, the slot behind it with
    the address there, and the slot behind that."""

    first_address: Signal
    second_slot: Signal
    second_address: Signal
    third_slot: Signal


def path_of(tile: data.View, layer: data.View) -> Path:
    """What a pass of ``tile`` reads."""
    width = Mux(tile.shortcut, layer.shortcut_width, layer.width)
    double = Mux(tile.shortcut, layer.shortcut_stride, layer.stride)
    skips = double & (tile.shortcut | layer.centre)
    columns = Mux(skips, (width + 1) >> 1, width)
    return Path(double, skips, columns, Mux(double & ~skips, (width - 1) & ~1, columns - 1))


def slot_after(config: EngineConfig, slot: Value, tile: data.View, layer: data.View) -> Value:
    """The address of the slot after ``slot`` in the circular region that a pass of ``tile`` reads."""
    if not config.residual:
        return advanced(slot, layer, "read")
    following = slot + Mux(tile.shortcut, layer.shortcut_slots_stride, layer.read_stride)
    end = Mux(tile.shortcut, layer.shortcut_end, layer.read_end)
    return Mux(following == end, Mux(tile.shortcut, layer.shortcut_base, layer.read_base), following)


def first_slot(config: EngineConfig, visit: data.View, tile: data.View) -> Value:
    """Where the upper row of a pass's first columns lies."""
    if not config.residual:
        return visit.read_slot
    return Mux(tile.shortcut, visit.shortcut_slot, visit.read_slot)


def look_ahead(m: Module, config: EngineConfig, visit: data.View, tile: data.View, layer: data.View) -> Start:
    """Where the next pass begins, found ahead of its hand-over: an addition a cycle."""
    offset, slot = tile.group_offset, first_slot(config, visit, tile)
    first_address = Signal.like(visit.read_slot, reset_less=True)
    second_slot = Signal.like(visit.read_slot, reset_less=True)
    second_address = Signal.like(visit.read_slot, reset_less=True)
    third_slot = Signal.like(visit.read_slot, reset_less=True)
    m.d.sync += [
        first_address.eq(slot + offset),
        second_slot.eq(slot_after(config, slot, tile, layer)),
        second_address.eq(second_slot + offset),
        third_slot.eq(slot_after(config, second_slot, tile, layer)),
    ]
    return Start(first_address, second_slot, second_address, third_slot)
