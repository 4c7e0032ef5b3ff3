"""How a network's maps and weights lie in an engine: lane groups, tiles, strips, regions."""

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
    """What must be known of a layer to plan it. ``reads_image``: it is the network's first."""

    shape: ConvShape
    mask_bits: int
    shift: int
    has_pad: bool
    reads_image: bool = False

    def rows(self, height: int) -> int:
        """Rows to be computed of a map of ``height`` rows: the pooling would drop an odd last one."""
        return height - height % 2 if self.shape.pool else height

    def in_row_groups(self, config: EngineConfig) -> bool:
        """Whether an engine runs the layer in row groups."""
        return self.reads_image and runs_in_row_groups(self.shape, self.mask_bits, config)

    def rows_at_once(self, config: EngineConfig) -> int:
        """Rows of the map that a pass works on at the same time."""
        return ROW_GROUPS if self.in_row_groups(config) else 1


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
class Visit:
    """Rows first_row .. first_row + rows - 1 of record number ``record``."""

    record: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class Tile:
    """One tile of a layer's weights: channels that exist in its input and output group. In row groups n_in
    are the lanes that are loaded."""

    n_in: int
    n_out: int
    last_in: bool
    last_out: bool


def group_count(channels: int, lanes: int) -> int:
    return -(-channels // lanes)


def last_lanes(channels: int, lanes: int) -> int:
    """Channels in the last group."""
    return channels - (group_count(channels, lanes) - 1) * lanes


def runs_in_row_groups(shape: ConvShape, mask_bits: int, config: EngineConfig) -> bool:
    """Whether an engine runs a layer that reads the image in row groups: always if it can."""
    fits = shape.in_channels <= config.group_lanes and PASSES[mask_bits] == 1 and not shape.pool
    return config.row_groups and fits


def lanes_in_row_groups(channels: int, config: EngineConfig) -> int:
    """Input lanes that are loaded for a layer in row groups: up to the last group's last channel."""
    return (ROW_GROUPS - 1) * config.group_lanes + channels


def loaded_lanes(layer: PlanLayer, config: EngineConfig) -> int:
    """Input lanes that are loaded for a layer's last input group."""
    if layer.in_row_groups(config):
        return lanes_in_row_groups(layer.shape.in_channels, config)
    return last_lanes(layer.shape.in_channels, config.input_lanes)


def tiles(layer: PlanLayer, config: EngineConfig) -> list[Tile]:
    """A layer's tiles in the order of the weight stream. There are at most four kinds, each one object."""
    inner, end = _tile_row(layer, config, last_out=False), _tile_row(layer, config, last_out=True)
    return inner * (group_count(layer.shape.out_channels, config.output_lanes) - 1) + end


def tile_kinds(layer: PlanLayer, config: EngineConfig) -> dict[Tile, int]:
    """How many of a layer's tiles are of each kind."""
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
    """ROM words of a tile."""
    bits = tile_bits(tile.n_in, tile.n_out, layer.mask_bits, layer.has_pad, tile.last_in)
    return -(-bits // config.rom_word_bits)


def weight_beats(tile: Tile, layer: PlanLayer, config: EngineConfig) -> int:
    """Cycles in which the pad values and kernels of a tile are cut from the stream."""
    return group_count(tile.n_in, config.load_kernels) * (tile.n_out + layer.has_pad)


def bias_beats(tile: Tile, config: EngineConfig) -> int:
    """Cycles in which its biases are."""
    return group_count(tile.n_out, config.load_kernels) if tile.last_in else 0


def tile_count(layer: PlanLayer, config: EngineConfig) -> int:
    shape = layer.shape
    return group_count(shape.in_channels, config.input_lanes) * group_count(
        shape.out_channels, config.output_lanes
    )


def longest_load(layer: PlanLayer, config: EngineConfig) -> int:
    """Cycles in which the layer's slowest tile is loaded: a full one, or one of the last input group, which
    has biases."""
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
    """Rows of a layer's strips: ``at_least``, more where the load of a tile would take longer than the
    strip, and no more than the partial sums hold; even where the layer pools, a multiple of three in row
    groups. Raises InputError if not even the smallest strip fits. ``height`` x ``width`` is the map the layer
    works on."""
    at_once = layer.rows_at_once(config)
    height, at_least = group_count(height, at_once), group_count(at_least, at_once)
    return at_once * _strip_steps(name, layer, height, width, config, at_least)


def _strip_steps(
    name: str, layer: PlanLayer, height: int, width: int, config: EngineConfig, at_least: int
) -> int:
    """The same in rows that a pass streams, each of which is one or three of the map."""
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
        # Where the rows left over for the last strip are too few to hide a load, somewhat longer strips.
        fitting = range(wanted, most + 1, step)
        rest = layer.rows(height)
        return next((r for r in fitting if not 0 < rest % r * width < load), wanted)
    # Strips of like size: a short last one might not hide its weight load.
    even = group_count(height, group_count(height, most))
    return min(most, even + even % step)
