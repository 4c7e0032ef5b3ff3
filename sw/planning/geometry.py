"""How a network's maps and weights are laid out in an engine: lane groups, tiles, strips and regions."""

from dataclasses import dataclass

from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS, EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import PASSES
from kestrel.hw.spec.timing import FILL_CYCLES, layer_fetch, visit_fetch
from kestrel.hw.spec.widths import tile_bits
from kestrel.sw.model.network import ConvShape
from kestrel.sw.planning.remedies import larger


@dataclass(frozen=True)
class PlanLayer:
    """What the planner must know about a layer. ``reads_image`` says that it is the network's first."""

    shape: ConvShape
    mask_bits: int
    shift: int
    has_pad: bool
    reads_image: bool = False

    def rows(self, height: int) -> int:
        """Rows to compute of ``height`` rows: without an odd last one, which the pooling would drop."""
        return height - height % 2 if self.shape.pool else height

    def in_row_groups(self, config: EngineConfig) -> bool:
        """Whether an engine runs the layer in row groups."""
        return self.reads_image and runs_in_row_groups(self.shape, self.mask_bits, config)

    def rows_at_once(self, config: EngineConfig) -> int:
        """Rows of the map that a pass works on at the same time."""
        return ROW_GROUPS if self.in_row_groups(config) else 1


@dataclass(frozen=True)
class Region:
    """The place of a map. ``base`` and ``stride`` are in words of a bank; a slot holds one row of each bank.

    The words of a row are ordered by channel group, then by column: group g, column x is at g * width + x.
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
        """The address of the slot of ``row``; row -1 is the row before the first."""
        return self.base + (row // BANKS) % self.slots * self.stride


@dataclass(frozen=True)
class Visit:
    """Rows first_row .. first_row + rows - 1 of the record with the number ``record``."""

    record: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class Tile:
    """One tile of a layer's weights: the number of channels in its input group and in its output group. In
    row groups, ``n_in`` is the number of lanes that are loaded."""

    n_in: int
    n_out: int
    last_in: bool
    last_out: bool


def group_count(channels: int, lanes: int) -> int:
    return -(-channels // lanes)


def last_lanes(channels: int, lanes: int) -> int:
    """The number of channels in the last group."""
    return channels - (group_count(channels, lanes) - 1) * lanes


def runs_in_row_groups(shape: ConvShape, mask_bits: int, config: EngineConfig) -> bool:
    """Whether an engine runs a layer that reads the image in row groups, which it does whenever it can."""
    fits = shape.in_channels <= config.group_lanes and PASSES[mask_bits] == 1 and not shape.pool
    return config.row_groups and fits


def lanes_in_row_groups(channels: int, config: EngineConfig) -> int:
    """Input lanes that are loaded for a layer in row groups: all up to the last group's last channel."""
    return (ROW_GROUPS - 1) * config.group_lanes + channels


def loaded_lanes(layer: PlanLayer, config: EngineConfig) -> int:
    """Input lanes that are loaded for a layer's last input group."""
    if layer.in_row_groups(config):
        return lanes_in_row_groups(layer.shape.in_channels, config)
    return last_lanes(layer.shape.in_channels, config.input_lanes)


def tiles(layer: PlanLayer, config: EngineConfig) -> list[Tile]:
    """A layer's tiles in the order of the weight stream. At most four kinds exist, each as one object."""
    inner, end = _tile_row(layer, config, last_out=False), _tile_row(layer, config, last_out=True)
    return inner * (group_count(layer.shape.out_channels, config.output_lanes) - 1) + end


def tile_kinds(layer: PlanLayer, config: EngineConfig) -> dict[Tile, int]:
    """The number of a layer's tiles of each kind."""
    out_groups = group_count(layer.shape.out_channels, config.output_lanes)
    kinds: dict[Tile, int] = {}
    for last_out, rows in ((False, out_groups - 1), (True, 1)):
        row = _tile_row(layer, config, last_out)
        for tile, count in ((row[0], len(row) - 1), (row[-1], 1)):
            if rows * count:
                kinds[tile] = rows * count
    return kinds


def _tile_row(layer: PlanLayer, config: EngineConfig, last_out: bool) -> list[Tile]:
    """The tiles of one output group."""
    shape = layer.shape
    in_groups = group_count(shape.in_channels, config.input_lanes)
    n_out = last_lanes(shape.out_channels, config.output_lanes) if last_out else config.output_lanes
    full = Tile(config.input_lanes, n_out, last_in=False, last_out=last_out)
    last = Tile(loaded_lanes(layer, config), n_out, last_in=True, last_out=last_out)
    return [full] * (in_groups - 1) + [last]


def tile_words(tile: Tile, layer: PlanLayer, config: EngineConfig) -> int:
    """The number of ROM words that a tile takes."""
    bits = tile_bits(tile.n_in, tile.n_out, layer.mask_bits, layer.has_pad, tile.last_in)
    return -(-bits // config.rom_word_bits)


def weight_beats(tile: Tile, layer: PlanLayer, config: EngineConfig) -> int:
    """Cycles in which the pad values and kernels of a tile are cut from the stream."""
    return group_count(tile.n_in, config.load_kernels) * (tile.n_out + layer.has_pad)


def bias_beats(tile: Tile, config: EngineConfig) -> int:
    """Cycles in which the biases of a tile are cut from the stream."""
    return group_count(tile.n_out, config.load_kernels) if tile.last_in else 0


def tile_count(layer: PlanLayer, config: EngineConfig) -> int:
    shape = layer.shape
    return group_count(shape.in_channels, config.input_lanes) * group_count(
        shape.out_channels, config.output_lanes
    )


def longest_load(layer: PlanLayer, config: EngineConfig) -> int:
    """Cycles that the load of the layer's slowest tile takes. This is either a full tile or one of the last
    input group, which has biases."""
    shape = layer.shape
    n_out = min(shape.out_channels, config.output_lanes)
    last = Tile(loaded_lanes(layer, config), n_out, last_in=True, last_out=False)
    beats = weight_beats(last, layer, config) + bias_beats(last, config)
    if shape.in_channels > config.input_lanes:
        full = Tile(config.input_lanes, n_out, last_in=False, last_out=False)
        beats = max(beats, weight_beats(full, layer, config))
    return FILL_CYCLES + beats


def strip_rows(
    name: str, layer: PlanLayer, height: int, width: int, config: EngineConfig, at_least: int
) -> int:
    """Rows of a layer's strips: ``at_least``, more if the load of a tile would take longer than the strip,
    and no more than the partial sums can hold. The number is even if the layer pools, and a multiple of three
    in row groups. Raises InputError if not even the smallest strip fits. ``height`` x ``width`` is the map
    that the layer works on."""
    at_once = layer.rows_at_once(config)
    height, at_least = group_count(height, at_once), group_count(at_least, at_once)
    return at_once * _strip_steps(name, layer, height, width, config, at_least)


def _strip_steps(
    name: str, layer: PlanLayer, height: int, width: int, config: EngineConfig, at_least: int
) -> int:
    """The same in rows that a pass streams, each of which is one or three rows of the map."""
    step = 2 if layer.shape.pool else 1
    most = config.partial_depth // width
    if most >= height:
        most = height
    elif most < step:
        raise InputError(
            f"network {name}: {layer.shape.name} needs {step * width} partial sums for {step} rows of "
            f"{width}; configuration {config.name!r} has {config.partial_depth}; "
            f"{larger(config, partial_depth=step * width)}"
        )
    else:
        most -= most % step
    load = visit_fetch(config) + layer_fetch(config) + longest_load(layer, config)
    wanted = max(at_least, group_count(load, width))
    wanted += wanted % step
    if wanted < most:
        # If the rows left over for the last strip are too few to hide a load, use somewhat longer strips.
        fitting = range(wanted, most + 1, step)
        rest = layer.rows(height)
        return next((r for r in fitting if not 0 < rest % r * width < load), wanted)
    # Strips of similar length: a short last strip might not hide its weight load.
    even = group_count(height, group_count(height, most))
    return min(most, even + even % step)
