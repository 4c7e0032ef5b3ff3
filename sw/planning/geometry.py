"""How a network's maps and weights are laid out in an engine: lane groups, tiles, strips and regions."""

from dataclasses import dataclass, replace

from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS, EngineConfig, table_beat_entries
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import PASSES
from kestrel.hw.spec.timing import FILL_CYCLES, layer_fetch, visit_fetch
from kestrel.hw.spec.widths import SCALAR_BITS, diagonal_bits, scalar_table_bits, table_entries, tile_bits
from kestrel.sw.model.network import ConvShape
from kestrel.sw.planning.remedies import larger


@dataclass(frozen=True)
class PlanLayer:
    """What the planner must know about a layer. ``reads_image`` says that it is the network's first, and that
    the image is not stored in blocks.

    ``shortcut_channels`` are those of its shortcut's map, 0 without one, and ``shortcut_shift`` is the shift
    of the shortcut's products.
    """

    shape: ConvShape
    mask_bits: int
    shift: int
    has_pad: bool
    reads_image: bool = False
    shortcut_channels: int = 0
    shortcut_shift: int = 0
    scalar_bits: int = SCALAR_BITS

    @property
    def tables(self) -> int:
        """The number of its tables of scalars: its own, and one of its shortcut."""
        return (1 + (self.shape.shortcut is not None)) * bool(table_entries(self.scalar_bits))

    @property
    def centre(self) -> bool:
        """Whether its own kernels are 1x1: only the centre tap of a window counts."""
        return self.shape.kernel == 1

    def rows(self, height: int) -> int:
        """Rows to compute for an image of ``height`` rows: those of the convolution, without an odd last one
        that the pooling would drop."""
        rows = self.shape.conv_size(height, 1)[0]
        return rows - rows % 2 if self.shape.pool and self.shape.pool_size == 2 else rows

    def pass_columns(self, tile: "Tile", width: int) -> int:
        """Columns that a pass of ``tile`` takes in a row, for a map of ``width`` columns: where only the
        centre tap counts, columns that no window of the layer has are passed over."""
        return self.shape.conv_size(1, width)[1] if tile.shortcut or self.centre else width

    def in_row_groups(self, config: EngineConfig) -> bool:
        """Whether an engine runs the layer in row groups."""
        return self.reads_image and runs_in_row_groups(self.shape, self.mask_bits, self.scalar_bits, config)

    def rows_at_once(self, config: EngineConfig) -> int:
        """Rows of the map that a pass works on at the same time."""
        return ROW_GROUPS if self.in_row_groups(config) else 1


@dataclass(frozen=True)
class LayerRows:
    """How the rows that a layer computes relate to those of the maps that it reads and writes.

    A map holds ``images`` images, one below the other, and so do the rows that are computed; rows are counted
    through all of them. ``height`` is that of an image in the map that the layer reads, ``shortcut_height``
    in its shortcut's map, 0 without one.
    """

    layer: PlanLayer
    height: int
    shortcut_height: int = 0
    images: int = 1

    @property
    def of_image(self) -> int:
        """Rows that are computed of each image."""
        return self.layer.rows(self.height)

    @property
    def total(self) -> int:
        """Rows that are computed."""
        return self.images * self.of_image

    def place(self, row: int) -> tuple[int, int]:
        """The image of a computed row, and its number within the image. The row after the last one counts as
        one more row of the last image."""
        image = min(row // self.of_image, self.images - 1)
        return image, row - image * self.of_image

    def written(self, done: int) -> int:
        """Rows of the output that are complete once ``done`` rows are computed."""
        image, within = self.place(done)
        shape = self.layer.shape
        return image * shape.out_size(self.height, 1)[0] + self._written_of_image(within)

    def _written_of_image(self, done: int) -> int:
        shape = self.layer.shape
        if not shape.pool:
            return done
        if shape.pool_size == 3 and done == self.of_image:
            return (done + 1) // 2
        return done // 2

    def centre(self, row: int) -> int:
        """The row of its map in the middle of the window for row ``row``."""
        image, within = self.place(row)
        return image * self.height + within * self.layer.shape.stride

    def window(self, row: int) -> range:
        """The rows of its map that it reads for row ``row``."""
        image, _ = self.place(row)
        middle, reach = self.centre(row), int(not self.layer.centre)
        return range(
            max(image * self.height, middle - reach), min((image + 1) * self.height, middle + reach + 1)
        )

    def shortcut_row(self, row: int) -> int:
        """The row of its shortcut's map that it reads for row ``row``."""
        assert self.layer.shape.shortcut is not None
        image, within = self.place(row)
        return image * self.shortcut_height + within * self.layer.shape.shortcut.stride

    @property
    def gap(self) -> int:
        """Rows of its map between the last row that is the middle of a window and the next image."""
        return self.height - 1 - (self.of_image - 1) * self.layer.shape.stride

    @property
    def shortcut_gap(self) -> int:
        """Rows of its shortcut's map between the last row that it reads of an image and the next image."""
        return self.shortcut_height - 1 - self.shortcut_row(self.of_image - 1)


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
    """Rows first_row .. first_row + rows - 1 of the record with the number ``record``: rows that a layer
    computes (before its pooling), rows of the map of image and output."""

    record: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class Tile:
    """One tile of a layer's weights: the number of channels in its input group and in its output group. In
    row groups, ``n_in`` is the number of lanes that are loaded. ``begins``: it is the layer's first, which
    has its tables. ``shortcut``: its input group is one of the
    shortcut's map, its kernels are 1x1. ``diagonal``: it has ``n_in`` kernels, each for an output channel of
    its own."""

    n_in: int
    n_out: int
    last_in: bool
    last_out: bool
    shortcut: bool = False
    diagonal: bool = False
    begins: bool = False


def check_scalar_width(network: str, layer: str, scalar_bits: int, config: EngineConfig) -> None:
    """Raises InputError if the scalars of a layer come from a table, and the engine has none."""
    if table_entries(scalar_bits) and not config.scalar_tables:
        raise InputError(
            f"network {network}: {layer} has {scalar_bits} scalar bits; configuration {config.name!r} takes "
            f"{SCALAR_BITS}; {larger(config, scalar_tables=True)}"
        )


def group_count(channels: int, lanes: int) -> int:
    return -(-channels // lanes)


def last_lanes(channels: int, lanes: int) -> int:
    """The number of channels in the last group."""
    return channels - (group_count(channels, lanes) - 1) * lanes


def runs_in_row_groups(shape: ConvShape, mask_bits: int, scalar_bits: int, config: EngineConfig) -> bool:
    """Whether an engine runs a layer that reads the image in row groups, which it does whenever it can. The
    kernels of the lanes between must be zero, which with one mask bit and a table of scalars they need not
    be."""
    fits = shape.in_channels <= config.group_lanes and PASSES[mask_bits] == 1
    fits &= mask_bits > 1 or scalar_bits == SCALAR_BITS
    return config.row_groups and fits and not shape.pool and shape.stride == 1 and shape.kernel == 3


def lanes_in_row_groups(channels: int, config: EngineConfig) -> int:
    """Input lanes that are loaded for a layer in row groups: all up to the last group's last channel."""
    return (ROW_GROUPS - 1) * config.group_lanes + channels


def loaded_lanes(layer: PlanLayer, config: EngineConfig) -> int:
    """Input lanes that are loaded for a layer's last input group."""
    if layer.in_row_groups(config):
        return lanes_in_row_groups(layer.shape.in_channels, config)
    return last_lanes(layer.shape.in_channels, config.input_lanes)


def tiles(layer: PlanLayer, config: EngineConfig) -> list[Tile]:
    """A layer's tiles in the order of the weight stream. The kinds are few."""
    inner = output_group_tiles(layer, config, last_out=False)
    end = output_group_tiles(layer, config, last_out=True)
    found = inner * (group_count(layer.shape.out_channels, config.output_lanes) - 1) + end
    if layer.tables:
        found[0] = replace(found[0], begins=True)
    return found


def tile_kinds(layer: PlanLayer, config: EngineConfig) -> dict[Tile, int]:
    """The number of a layer's tiles of each kind."""
    out_groups = group_count(layer.shape.out_channels, config.output_lanes)
    kinds: dict[Tile, int] = {}
    for last_out, rows in ((False, out_groups - 1), (True, 1)):
        for tile in output_group_tiles(layer, config, last_out) if rows else ():
            kinds[tile] = kinds.get(tile, 0) + rows
    if layer.tables:
        first = next(iter(kinds))
        kinds[first] -= 1
        kinds = {replace(first, begins=True): 1} | {tile: count for tile, count in kinds.items() if count}
    return kinds


def output_group_tiles(layer: PlanLayer, config: EngineConfig, last_out: bool = True) -> list[Tile]:
    """The tiles of one output group, of the last one or of another."""
    shape = layer.shape
    in_groups = group_count(shape.in_channels, config.input_lanes)
    n_out = last_lanes(shape.out_channels, config.output_lanes) if last_out else config.output_lanes
    full = Tile(config.input_lanes, n_out, last_in=False, last_out=last_out)
    last = Tile(loaded_lanes(layer, config), n_out, last_in=True, last_out=last_out)
    return _shortcut_tiles(layer, config, n_out, last_out) + [full] * (in_groups - 1) + [last]


def _shortcut_tiles(layer: PlanLayer, config: EngineConfig, n_out: int, last_out: bool) -> list[Tile]:
    """The shortcut's tiles of an output group of ``n_out`` channels."""
    shortcut, lanes = layer.shape.shortcut, config.input_lanes
    if shortcut is None:
        return []
    channels = layer.shortcut_channels if shortcut.projection else n_out
    groups = group_count(channels, lanes)
    return [
        Tile(
            lanes if n < groups - 1 else last_lanes(channels, lanes), n_out, last_in=False,
            last_out=last_out, shortcut=True, diagonal=not shortcut.projection,
        )
        for n in range(groups)
    ]  # fmt: skip


def tile_words(tile: Tile, layer: PlanLayer, config: EngineConfig) -> int:
    """The number of ROM words that a tile takes."""
    return -(-tile_stream_bits(tile, layer) // config.rom_word_bits)


def tile_stream_bits(tile: Tile, layer: PlanLayer) -> int:
    """Bits of a tile, the layer's tables of scalars included if it begins with them, before it is filled up
    to a whole ROM word."""
    if tile.diagonal:
        bits = diagonal_bits(tile.n_in, layer.scalar_bits)
    else:
        has_pad, centre = layer.has_pad and not tile.shortcut, layer.centre or tile.shortcut
        bits = tile_bits(
            tile.n_in, tile.n_out, layer.mask_bits, has_pad, tile.last_in, centre=centre,
            scalar_bits=layer.scalar_bits,
        )  # fmt: skip
    return bits + layer.tables * scalar_table_bits(layer.scalar_bits) * tile.begins


def tile_passes(tile: Tile, layer: PlanLayer) -> int:
    """The number of passes that use a tile, one for each digit of its masks."""
    return 1 if tile.shortcut else PASSES[layer.mask_bits]


def weight_beats(tile: Tile, layer: PlanLayer, config: EngineConfig) -> int:
    """Cycles in which the tables, pad values and kernels of a tile are cut from the stream. Before the
    kernels of a diagonal tile, one cycle clears the kernels."""
    tables = 0
    if tile.begins:
        tables = layer.tables * group_count(table_entries(layer.scalar_bits), table_beat_entries(config))
    if tile.diagonal:
        return tables + 1 + tile.n_in
    pads = layer.has_pad and not tile.shortcut
    return tables + group_count(tile.n_in, config.load_kernels) * (tile.n_out + pads)


def bias_beats(tile: Tile, config: EngineConfig) -> int:
    """Cycles in which the biases of a tile are cut from the stream."""
    return group_count(tile.n_out, config.load_kernels) if tile.last_in else 0


def tile_count(layer: PlanLayer, config: EngineConfig) -> int:
    """The number of a layer's tiles."""
    return sum(tile_kinds(layer, config).values())


def pass_count(layer: PlanLayer, config: EngineConfig) -> int:
    """The passes over each strip of a layer."""
    return sum(n * tile_passes(tile, layer) for tile, n in tile_kinds(layer, config).items())


def longest_load(layer: PlanLayer, config: EngineConfig) -> int:
    """Cycles that the load of the layer's slowest tile takes. This is either a full tile or one of the last
    input group, which has biases."""
    beats = (
        weight_beats(tile, layer, config) + bias_beats(tile, config) for tile in tile_kinds(layer, config)
    )
    return FILL_CYCLES + max(beats)


def pool_line_words(config: EngineConfig) -> int:
    """Words of the line memory of the pooling."""
    return max(2, config.max_width // 2)


def line_words(shape: ConvShape, columns: int, config: EngineConfig) -> int:
    """Words of the line memory of the pooling that a layer takes for an output of ``columns``: a 3x3 pooling
    keeps a row of every output group."""
    if not shape.pool:
        return 0
    return columns * (group_count(shape.out_channels, config.output_lanes) if shape.pool_size == 3 else 1)


def strip_rows(
    name: str, layer: PlanLayer, height: int, width: int, config: EngineConfig, at_least: int
) -> int:
    """Rows of a layer's strips: ``at_least``, more if the load of a tile would take longer than the strip,
    and no more than the partial sums can hold. The number is even if the layer pools 2x2, and a multiple of
    three in row groups. ``height`` x ``width`` are the rows and columns that the layer computes. Raises
    InputError if not even the smallest strip fits."""
    _check_pool_line(name, layer, width, config)
    at_once = layer.rows_at_once(config)
    height, at_least = group_count(height, at_once), group_count(at_least, at_once)
    return at_once * _strip_steps(name, layer, height, width, config, at_least)


def _check_pool_line(name: str, layer: PlanLayer, width: int, config: EngineConfig) -> None:
    """Raises InputError if the line memory cannot hold a 3x3 pooling's row in all output groups."""
    if not layer.shape.pool or layer.shape.pool_size != 3:
        return
    words = line_words(layer.shape, group_count(width, 2), config)
    if words > pool_line_words(config):
        raise InputError(
            f"network {name}: {layer.shape.name} needs {words} words in the line memory of the pooling; "
            f"configuration {config.name!r} has {pool_line_words(config)}, half of max_width; "
            f"{larger(config, max_width=2 * words, partial_depth=max(config.partial_depth, 2 * words))}"
        )


def _strip_steps(
    name: str, layer: PlanLayer, height: int, width: int, config: EngineConfig, at_least: int
) -> int:
    """The same in rows that a pass streams, each of which is one or three rows of the map."""
    step = 2 if layer.shape.pool and layer.shape.pool_size == 2 else 1
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
        rest = height - height % step
        return next((r for r in fitting if not 0 < rest % r * width < load), wanted)
    # Strips of similar length: a short last strip might not hide its weight load.
    even = group_count(height, group_count(height, most))
    return min(most, even + even % step)
