"""The plan: where feature maps lie, and in which order the engine visits layers and rows.

A map is a region of one part of the feature memory (the map between layers k and k + 1 in part k mod 2,
the image in part 0), addressed circularly by row: row r lies in bank r mod 3, in slot (r // 3) mod slots.
A visit is a strip of consecutive rows of one layer. This planner keeps whole maps and goes layer after
layer; nothing in the records or in the hardware depends on that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hw.spec import (
    KIND_CONV,
    KIND_INPUT,
    KIND_OUTPUT,
    EngineConfig,
    InputError,
    tile_bits,
)
from sw.compressed import CompressedNetwork
from sw.network import ConvShape

BANKS = 3


@dataclass(frozen=True)
class PlanLayer:
    """What the planner must know of a layer."""

    shape: ConvShape
    mask_bits: int
    shift: int
    has_pad: bool


@dataclass(frozen=True)
class Region:
    """A map's place: ``base`` and ``stride`` in words of a bank; a slot holds one row of each bank.

    A row's words are ordered by channel group, then column: group g, column x lies at g * width + x.
    """

    part: int
    base: int
    slots: int
    stride: int
    width: int

    @property
    def end(self) -> int:
        return self.base + self.slots * self.stride

    def slot(self, row: int) -> int:
        """Address of the slot of ``row``; row -1 is the row before the first."""
        return self.base + (row // BANKS) % self.slots * self.stride


@dataclass(frozen=True)
class Record:
    """A layer record: ``kind`` KIND_INPUT, KIND_CONV or KIND_OUTPUT. ``height`` x ``width`` is the size the
    layer works on, ``out_height`` x ``out_width`` that of the map it writes. ``weight_base`` and
    ``weight_words`` place its tiles in the ROM.
    """

    kind: int
    name: str
    layer: PlanLayer | None
    channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    read: Region | None
    write: Region | None
    weight_base: int = 0
    weight_words: int = 0


@dataclass(frozen=True)
class Visit:
    """Rows first_row .. first_row + rows - 1 of record number ``record``."""

    record: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class Tile:
    """One tile of a layer's weights: channels that exist in its input and output group."""

    n_in: int
    n_out: int
    last_in: bool
    last_out: bool


@dataclass(frozen=True)
class Plan:
    """Everything a frame needs, in the order in which it happens."""

    config: EngineConfig
    activation_bits: int
    height: int
    width: int
    records: tuple[Record, ...]
    visits: tuple[Visit, ...]

    @property
    def weight_words(self) -> int:
        return sum(record.weight_words for record in self.records)

    @property
    def feature_words(self) -> tuple[int, int]:
        """Words used in a bank of each part."""
        ends = [0, 0]
        for record in self.records:
            if record.write is not None:
                ends[record.write.part] = max(ends[record.write.part], record.write.end)
        return ends[0], ends[1]


def group_count(channels: int, lanes: int) -> int:
    return -(-channels // lanes)


def last_lanes(channels: int, lanes: int) -> int:
    """Channels in the last group."""
    return channels - (group_count(channels, lanes) - 1) * lanes


def tiles(layer: PlanLayer, config: EngineConfig) -> list[Tile]:
    """A layer's tiles in the order of the weight stream."""
    shape = layer.shape
    in_groups = group_count(shape.in_channels, config.input_lanes)
    out_groups = group_count(shape.out_channels, config.output_lanes)
    return [
        Tile(
            n_in=last_lanes(shape.in_channels, config.input_lanes)
            if i == in_groups - 1
            else config.input_lanes,
            n_out=last_lanes(shape.out_channels, config.output_lanes)
            if o == out_groups - 1
            else config.output_lanes,
            last_in=i == in_groups - 1,
            last_out=o == out_groups - 1,
        )
        for o in range(out_groups)
        for i in range(in_groups)
    ]


def tile_words(tile: Tile, layer: PlanLayer, config: EngineConfig) -> int:
    """ROM words of a tile."""
    bits = tile_bits(tile.n_in, tile.n_out, layer.mask_bits, layer.has_pad, tile.last_in)
    return -(-bits // config.rom_word_bits)


def plan_layers(network: CompressedNetwork) -> tuple[PlanLayer, ...]:
    """A network's layers as the planner sees them; pad values are stored where any is not zero."""
    return tuple(
        PlanLayer(layer.shape, layer.mask_bits, layer.shift, has_pad=n == 0 and bool(network.pad.any()))
        for n, layer in enumerate(network.layers)
    )


def make_plan(network: CompressedNetwork, config: EngineConfig, height: int, width: int) -> Plan:
    """Plan a frame of ``height`` x ``width`` pixels. Raises InputError where it does not fit ``config``."""
    if network.activation_bits > config.activation_bits:
        raise InputError(
            f"network {network.name}: {network.activation_bits} activation bits; "
            f"allowed by configuration {config.name!r}: at most {config.activation_bits}"
        )
    return plan_frame(network.name, plan_layers(network), network.activation_bits, config, height, width)


def plan_frame(
    name: str,
    layers: Sequence[PlanLayer],
    activation_bits: int,
    config: EngineConfig,
    height: int,
    width: int,
) -> Plan:
    """Like ``make_plan``, for layers of which only the shapes are known."""
    if not (1 <= height <= 65535 and 1 <= width <= config.max_width):
        raise InputError(
            f"image {height} x {width}; allowed by configuration {config.name!r}: height 1..65535, "
            f"width 1..{config.max_width}"
        )
    records: list[Record] = []
    visits: list[Visit] = []
    channels = layers[0].shape.in_channels
    region = _region(0, channels, height, width, config)
    records.append(Record(KIND_INPUT, "input", None, channels, height, width, height, width, None, region))
    visits.append(Visit(0, 0, height))
    weight_base = 0
    for number, layer in enumerate(layers):
        shape = layer.shape
        divisor = 2 if shape.pool else 1
        out_height, out_width = height // divisor, width // divisor
        if not (out_height and out_width):
            raise InputError(
                f"network {name}: {shape.name} would pool a map of {height} x {width} to nothing; "
                "allowed: an image at least twice as large in that direction for each pooling"
            )
        source, region = region, _region((number + 1) % 2, shape.out_channels, out_height, out_width, config)
        words = sum(tile_words(tile, layer, config) for tile in tiles(layer, config))
        records.append(
            Record(
                KIND_CONV, shape.name, layer, shape.out_channels, height, width, out_height, out_width,
                source, region, weight_base, words,
            )
        )  # fmt: skip
        weight_base += words
        visits.extend(
            Visit(len(records) - 1, row, rows) for row, rows in _strips(name, layer, height, width, config)
        )
        height, width, channels = out_height, out_width, shape.out_channels
    records.append(Record(KIND_OUTPUT, "output", None, channels, height, width, height, width, region, None))
    visits.append(Visit(len(records) - 1, 0, height))
    plan = Plan(config, activation_bits, records[0].height, records[0].width, tuple(records), tuple(visits))
    _check_memories(name, plan)
    return plan


def _region(part: int, channels: int, height: int, width: int, config: EngineConfig) -> Region:
    """A region that keeps the whole map."""
    stride = group_count(channels, config.word_lanes) * width
    return Region(part, 0, group_count(height, BANKS), stride, width)


def _strips(
    name: str, layer: PlanLayer, height: int, width: int, config: EngineConfig
) -> list[tuple[int, int]]:
    """(first row, rows) of strips that fit the partial sums; even ones where the layer pools."""
    rows = config.partial_depth // width
    if layer.shape.pool and rows < height:
        rows -= rows % 2
    if rows == 0:
        raise InputError(
            f"network {name}: {layer.shape.name} needs {2 * width} partial sums for two rows of {width}; "
            f"configuration {config.name!r} has {config.partial_depth}"
        )
    count = group_count(height, rows)
    even = group_count(height, count)  # strips of like size: a short last one might expose a weight load
    even += layer.shape.pool and even % 2
    return [(row, min(even, height - row)) for row in range(0, height, even)]


def _check_memories(name: str, plan: Plan) -> None:
    config = plan.config
    for part, words in enumerate(plan.feature_words):
        if words > config.feature_words[part]:
            raise InputError(
                f"network {name} at {plan.height} x {plan.width} needs {words} words a bank in feature part "
                f"{part}; configuration {config.name!r} has {config.feature_words[part]}"
            )
    if plan.weight_words > config.weight_words:
        raise InputError(
            f"network {name} needs {plan.weight_words} words of weight ROM; "
            f"configuration {config.name!r} has {config.weight_words}"
        )
