"""The plan: where the feature maps lie, and in which order the engine visits layers and rows.

A map is a region of one part of the feature memory: the image lies in part 0, and every layer writes the part
that it does not read, so that in a stack the parts alternate. Its rows are addressed circularly: row r lies
in bank r mod 3, in slot (r // 3) mod slots. A visit is a strip of consecutive rows of one layer.
``sw.planning.visit_order`` decides the order of the visits and the places of the maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kestrel.hw.spec.engine_config import MASK_BITS_MAX, EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.table import KIND_CONV, KIND_INPUT, KIND_OUTPUT
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import IMAGE_CHANNELS, ConvShape, first_size, map_sizes, source_of
from kestrel.sw.planning.geometry import (
    LayerRows,
    PlanLayer,
    Region,
    Visit,
    check_scalar_width,
    tile_kinds,
    tile_words,
)
from kestrel.sw.planning.maps import layer_rows, readings
from kestrel.sw.planning.remedies import larger
from kestrel.sw.planning.visit_order import Schedule, choose_schedule

ROWS_MAX = 65535
"""The most rows of a frame."""


@dataclass(frozen=True)
class Record:
    """A record of a layer; ``kind`` is KIND_INPUT, KIND_CONV or KIND_OUTPUT. ``height`` x ``width`` is the
    size of the map that the layer works on, ``out_height`` x ``out_width`` that of the map it writes, in a
    batch with all images one below the other. ``counted`` relates a layer's rows to theirs. ``weight_base``
    and ``weight_words`` place its tiles in the ROM; a layer that shares another one's weights has no words
    of its own. ``source`` and ``shortcut`` are the numbers of the maps that it reads (map m is the one that
    record m writes), ``read`` and ``shortcut_read`` their places.
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
    source: int | None = None
    shortcut: int | None = None
    shortcut_read: Region | None = None
    counted: LayerRows | None = None

    @property
    def rows(self) -> int:
        """Rows that the record works on: those that a layer computes, without an odd last one that the
        pooling would drop; of the input, those of the map that it writes."""
        return self.out_height if self.counted is None else self.counted.total

    @property
    def written_part(self) -> int | None:
        """The part of the feature memory that it writes, if any."""
        return None if self.write is None else self.write.part

    @property
    def conv_width(self) -> int:
        """Columns that a layer computes of each row."""
        assert self.layer is not None
        return self.layer.shape.conv_size(1, self.width)[1]


@dataclass(frozen=True)
class Plan:
    """Everything that a frame needs, in the order in which it happens. The frame consists of ``images``
    images of ``height`` x ``width`` pixels. ``blocks``: they are stored in 2x2 blocks, with ``block_pads``,
    by colour, outside of them."""

    config: EngineConfig
    activation_bits: int
    height: int
    width: int
    records: tuple[Record, ...]
    visits: tuple[Visit, ...]
    blocks: bool = False
    block_pads: tuple[int, ...] = ()
    images: int = 1

    @property
    def row_groups(self) -> bool:
        """Whether the first layer runs in row groups; the image is then stored accordingly."""
        first = self.records[1].layer
        return first is not None and first.in_row_groups(self.config)

    @property
    def weight_words(self) -> int:
        return sum(record.weight_words for record in self.records)

    @property
    def mask_bits(self) -> int:
        """The mask bits of the layer with the widest masks."""
        return max(record.layer.mask_bits for record in self.records if record.layer is not None)

    @property
    def inner(self) -> tuple[int, ...]:
        """The layers whose maps are output too, before the last one."""
        sources = [r.source for r in self.records if r.kind == KIND_OUTPUT and r.source is not None]
        return tuple(source - 1 for source in sources[:-1])

    @property
    def feature_words(self) -> tuple[int, int]:
        """Words used in a bank of each part of the feature memory."""
        ends = [0, 0]
        for record in self.records:
            if record.write is not None:
                ends[record.write.part] = max(ends[record.write.part], record.write.end)
        return ends[0], ends[1]


def with_schedule(plan: Plan, schedule: Schedule) -> Plan:
    """The same frame in another order and with its maps in other places, whether or not these fit the
    configuration's memory."""
    def place(number: int | None) -> Region | None:
        return None if number is None else schedule.regions[number]

    records = tuple(
        replace(
            record, read=place(record.source), shortcut_read=place(record.shortcut),
            write=place(None if record.kind == KIND_OUTPUT else number),
        )
        for number, record in enumerate(plan.records)
    )  # fmt: skip
    return replace(plan, records=records, visits=schedule.visits)


def plan_layers(network: CompressedNetwork) -> tuple[PlanLayer, ...]:
    """A network's layers as the planner sees them; pad values are stored if any of them is not zero."""
    shapes = [layer.shape for layer in network.layers]
    return tuple(
        PlanLayer(
            layer.shape, layer.mask_bits, layer.shift,
            has_pad=n == 0 and bool(network.pad.any()),
            reads_image=n == 0 and not network.blocks,
            shortcut_channels=shortcut_channels(shapes, layer.shape), shortcut_shift=layer.shortcut_shift,
            scalar_bits=layer.scalar_bits,
        )
        for n, layer in enumerate(network.layers)
    )  # fmt: skip


def shortcut_channels(layers: Sequence[ConvShape], layer: ConvShape) -> int:
    """Channels of the map of the shortcut of ``layer``, 0 without one."""
    return 0 if layer.shortcut is None else layers[layer.shortcut.source].out_channels


def make_plan(
    network: CompressedNetwork, config: EngineConfig, height: int, width: int, images: int = 1, *,
    inner: Sequence[int] = (),
) -> Plan:  # fmt: skip
    """Plans a frame of ``images`` images of ``height`` x ``width`` pixels, a batch if there are several.
    ``inner``: layers, in ascending order, whose maps are output too, each as soon as it is whole; the last
    layer's always is. Raises InputError if the frame does not fit ``config``."""
    if network.activation_bits > config.activation_bits:
        raise InputError(
            f"network {network.name}: {network.activation_bits} activation bits; "
            f"allowed by configuration {config.name!r}: at most {config.activation_bits}; "
            f"{larger(config, activation_bits=network.activation_bits)}"
        )
    layers = plan_layers(network)
    plan = plan_frame(
        network.name, layers, network.activation_bits, config, height, width, blocks=network.blocks,
        images=images, inner=inner,
    )  # fmt: skip
    if not network.blocks:
        return plan
    return replace(plan, block_pads=tuple(int(value) for value in network.pad[:IMAGE_CHANNELS]))


def plan_frame(
    name: str,
    layers: Sequence[PlanLayer],
    activation_bits: int,
    config: EngineConfig,
    height: int,
    width: int,
    *,
    blocks: bool = False,
    images: int = 1,
    inner: Sequence[int] = (),
) -> Plan:
    """Like ``make_plan``, but for layers of which only the shapes are known."""
    if not (1 <= height <= ROWS_MAX and 1 <= width <= config.max_width):
        raise InputError(
            f"image {height} x {width}; allowed by configuration {config.name!r}: height 1..{ROWS_MAX}, "
            f"width 1..{config.max_width}{_wider(config, height, width)}"
        )
    for layer in layers:
        if layer.mask_bits > config.mask_bits_max:
            raise InputError(
                f"network {name}: {layer.shape.name} has {layer.mask_bits} mask bits; "
                f"allowed by configuration {config.name!r}: at most {config.mask_bits_max}; "
                f"{larger(config, mask_bits_max=next(b for b in MASK_BITS_MAX if b >= layer.mask_bits))}"
            )
        check_scalar_width(name, layer.shape.name, layer.scalar_bits, config)
    _check_residual(name, layers, config, blocks)
    first = first_size(height, width, blocks=blocks)
    sizes = _map_sizes(name, layers, *first)
    counted = layer_rows(layers, [rows for rows, _ in sizes], images)
    _check_batch(name, config, height, counted)
    schedule = choose_schedule(name, layers, config, *first, blocks, images, inner)
    regions = schedule.regions
    sizes = [(images * rows, columns) for rows, columns in sizes]
    channels = layers[0].shape.in_channels
    records = [
        Record(KIND_INPUT, "input", None, channels, images * height, width, *sizes[0], None, regions[0])
    ]
    base = 0
    for number, (layer, reading) in enumerate(zip(layers, readings(layers), strict=True)):
        words = sum(n * tile_words(tile, layer, config) for tile, n in tile_kinds(layer, config).items())
        shares = layer.shape.shares
        if shares is not None:
            words = 0
        records.append(
            Record(
                KIND_CONV, layer.shape.name, layer, layer.shape.out_channels, *sizes[reading.source],
                *sizes[number + 1], regions[reading.source], regions[number + 1],
                base if shares is None else records[1 + shares].weight_base, words,
                reading.source, reading.shortcut,
                None if reading.shortcut is None else regions[reading.shortcut], counted[number],
            )
        )  # fmt: skip
        base += words
    for number in (*inner, len(layers) - 1):
        shape, size = layers[number].shape, sizes[number + 1]
        records.append(
            Record(
                KIND_OUTPUT, f"output {shape.name}" if number in inner else "output", None,
                shape.out_channels, *size, *size, regions[number + 1], None, source=number + 1,
            )
        )  # fmt: skip
    if base > config.weight_words:
        raise InputError(
            f"network {name} needs {base} words of weight ROM; "
            f"configuration {config.name!r} has {config.weight_words}; {larger(config, weight_words=base)}"
        )
    return Plan(
        config, activation_bits, height, width, tuple(records), schedule.visits, blocks, images=images
    )


GAP_MAX = 1
"""The most rows of a map that a pass passes over between two images of a batch."""


def _check_batch(name: str, config: EngineConfig, height: int, counted: Sequence[LayerRows]) -> None:
    """Raises InputError for a batch that the engine cannot run."""
    images = counted[0].images
    if images == 1:
        return
    where = f"network {name}, a batch of {images}"
    if not config.batch:
        raise InputError(
            f"{where}: configuration {config.name!r} takes one image at a time; {larger(config, batch=True)}"
        )
    if images < 1 or images * height > ROWS_MAX:
        raise InputError(f"{where}: images of {height} rows; allowed: 1 to {ROWS_MAX // height} of them")
    if counted[0].layer.in_row_groups(config):
        raise InputError(
            f"{where}: {counted[0].layer.shape.name} would run in row groups, which take one image at a "
            f"time; {larger(config, row_groups=False)}"
        )
    for of_layer in counted:
        if max(of_layer.gap, of_layer.shortcut_height and of_layer.shortcut_gap) > GAP_MAX:
            raise InputError(
                f"{where}: {of_layer.layer.shape.name} pools a map of odd height and reads every second row "
                "of its shortcut's; allowed: a height that the poolings halve without rest"
            )


def _check_residual(name: str, layers: Sequence[PlanLayer], config: EngineConfig, blocks: bool) -> None:
    """Raises InputError for what the engine leaves out."""
    if not config.residual:
        special = next((layer.shape.name for layer in layers if not layer.shape.is_plain), None)
        if blocks or special:
            what = f"{special} is no plain 3x3 layer" if special else "the image is read in 2x2 blocks"
            raise InputError(
                f"network {name}: {what}; configuration {config.name!r} runs stacks of plain 3x3 layers; "
                f"{larger(config, residual=True)}"
            )
    for layer in layers:
        if layer.shortcut_shift > config.shortcut_shift_max:
            raise InputError(
                f"network {name}: {layer.shape.name} shifts its shortcut by {layer.shortcut_shift}; allowed "
                f"by configuration {config.name!r}: at most {config.shortcut_shift_max}; "
                f"{larger(config, mask_bits_max=max(MASK_BITS_MAX))}"
            )


def _wider(config: EngineConfig, height: int, width: int) -> str:
    """The options that make the configuration wide enough, if the width is all that the image lacks."""
    if not (1 <= height <= ROWS_MAX and width > config.max_width):
        return ""
    if width > config.partial_depth:  # the partial sums must hold two rows of a layer that pools
        return f"; {larger(config, max_width=width, partial_depth=2 * width)}"
    return f"; {larger(config, max_width=width)}"


def _map_sizes(name: str, layers: Sequence[PlanLayer], height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of the first map and of every layer's output."""
    shapes = [layer.shape for layer in layers]
    sizes = map_sizes(shapes, height, width)
    for number, (rows, columns) in enumerate(sizes):
        if not rows or not columns:
            before = sizes[source_of(shapes, number)] if source_of(shapes, number) >= 0 else (height, width)
            raise InputError(
                f"network {name}: {shapes[number].name} would pool a map of {before[0]} x {before[1]} to "
                "nothing; allowed: an image at least twice as large in that direction for each pooling"
            )
    return [(height, width), *sizes]
