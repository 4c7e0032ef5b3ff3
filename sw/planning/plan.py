"""The plan: where the feature maps lie, and in which order the engine visits layers and rows.

A map is a region of one part of the feature memory: the map between layers k and k + 1 lies in part k mod 2,
the image in part 0. Its rows are addressed circularly: row r lies in bank r mod 3, in slot (r // 3) mod
slots. A visit is a strip of consecutive rows of one layer. ``sw.planning.visit_order`` decides the order of
the visits and the places of the maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kestrel.hw.spec.engine_config import MASK_BITS_MAX, EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.table import KIND_CONV, KIND_INPUT, KIND_OUTPUT
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.planning.geometry import PlanLayer, Region, Visit, tile_kinds, tile_words
from kestrel.sw.planning.remedies import larger
from kestrel.sw.planning.visit_order import Schedule, choose_schedule


@dataclass(frozen=True)
class Record:
    """A record of a layer; ``kind`` is KIND_INPUT, KIND_CONV or KIND_OUTPUT. ``height`` x ``width`` is the
    size that the layer works on, ``out_height`` x ``out_width`` that of the map it writes. ``weight_base``
    and ``weight_words`` place its tiles in the ROM.
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

    @property
    def rows(self) -> int:
        """Rows that the record works on: without an odd last one that the pooling would drop."""
        return self.height if self.layer is None else self.layer.rows(self.height)


@dataclass(frozen=True)
class Plan:
    """Everything that a frame needs, in the order in which it happens."""

    config: EngineConfig
    activation_bits: int
    height: int
    width: int
    records: tuple[Record, ...]
    visits: tuple[Visit, ...]

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
    records = tuple(
        replace(record, read=read, write=write)
        for record, read, write in zip(
            plan.records, (None, *schedule.regions), (*schedule.regions, None), strict=True
        )
    )
    return replace(plan, records=records, visits=schedule.visits)


def plan_layers(network: CompressedNetwork) -> tuple[PlanLayer, ...]:
    """A network's layers as the planner sees them; pad values are stored if any of them is not zero."""
    return tuple(
        PlanLayer(
            layer.shape, layer.mask_bits, layer.shift,
            has_pad=n == 0 and bool(network.pad.any()), reads_image=n == 0,
        )
        for n, layer in enumerate(network.layers)
    )  # fmt: skip


def make_plan(network: CompressedNetwork, config: EngineConfig, height: int, width: int) -> Plan:
    """Plans a frame of ``height`` x ``width`` pixels. Raises InputError if it does not fit ``config``."""
    if network.activation_bits > config.activation_bits:
        raise InputError(
            f"network {network.name}: {network.activation_bits} activation bits; "
            f"allowed by configuration {config.name!r}: at most {config.activation_bits}; "
            f"{larger(config, activation_bits=network.activation_bits)}"
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
    """Like ``make_plan``, but for layers of which only the shapes are known."""
    if not (1 <= height <= 65535 and 1 <= width <= config.max_width):
        raise InputError(
            f"image {height} x {width}; allowed by configuration {config.name!r}: height 1..65535, "
            f"width 1..{config.max_width}{_wider(config, height, width)}"
        )
    for layer in layers:
        if layer.mask_bits > config.mask_bits_max:
            raise InputError(
                f"network {name}: {layer.shape.name} has {layer.mask_bits} mask bits; "
                f"allowed by configuration {config.name!r}: at most {config.mask_bits_max}; "
                f"{larger(config, mask_bits_max=next(b for b in MASK_BITS_MAX if b >= layer.mask_bits))}"
            )
    sizes = _map_sizes(name, layers, height, width)
    schedule = choose_schedule(name, layers, config, height, width)
    regions = schedule.regions
    channels = layers[0].shape.in_channels
    records = [Record(KIND_INPUT, "input", None, channels, height, width, height, width, None, regions[0])]
    base = 0
    for number, layer in enumerate(layers):
        words = sum(n * tile_words(tile, layer, config) for tile, n in tile_kinds(layer, config).items())
        channels = layer.shape.out_channels
        records.append(
            Record(
                KIND_CONV, layer.shape.name, layer, channels, *sizes[number], *sizes[number + 1],
                regions[number], regions[number + 1], base, words,
            )
        )  # fmt: skip
        base += words
    records.append(Record(KIND_OUTPUT, "output", None, channels, *sizes[-1], *sizes[-1], regions[-1], None))
    if base > config.weight_words:
        raise InputError(
            f"network {name} needs {base} words of weight ROM; "
            f"configuration {config.name!r} has {config.weight_words}; {larger(config, weight_words=base)}"
        )
    return Plan(config, activation_bits, height, width, tuple(records), schedule.visits)


def _wider(config: EngineConfig, height: int, width: int) -> str:
    """The options that make the configuration wide enough, if the width is all that the image lacks."""
    if not (1 <= height <= 65535 and width > config.max_width):
        return ""
    if width > config.partial_depth:  # the partial sums must hold two rows of a layer that pools
        return f"; {larger(config, max_width=width, partial_depth=2 * width)}"
    return f"; {larger(config, max_width=width)}"


def _map_sizes(name: str, layers: Sequence[PlanLayer], height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of the image and of every layer's output."""
    sizes = [(height, width)]
    for layer in layers:
        if layer.shape.pool:
            if height < 2 or width < 2:
                raise InputError(
                    f"network {name}: {layer.shape.name} would pool a map of {height} x {width} to nothing; "
                    "allowed: an image at least twice as large in that direction for each pooling"
                )
            height, width = height // 2, width // 2
        sizes.append((height, width))
    return sizes
