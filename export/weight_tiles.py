"""Where the weights of a network lie in the ROM: layer after layer, tile after tile.

One rule is chosen here: pad values are stored (``has_pad``) in the first layer if any of them is not zero,
and never in another layer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kestrel.hw.spec.engine_config import ROW_GROUPS, EngineConfig
from kestrel.hw.spec.widths import (
    SCALAR_BITS,
    centre_kernel_bits,
    diagonal_bits,
    kernel_bits,
    scalar_table_bits,
    tile_bits,
)
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import ConvShape
from kestrel.sw.planning.geometry import lanes_in_row_groups, runs_in_row_groups


@dataclass(frozen=True)
class Outline:
    """What must be known about a layer to find its numbers in the stream."""

    shape: ConvShape
    mask_bits: int
    has_pad: bool
    reads_image: bool = False
    shortcut_channels: int = 0
    scalar_bits: int = SCALAR_BITS

    @property
    def table_bits(self) -> int:
        """Bits of its tables of scalars."""
        return scalar_table_bits(self.scalar_bits) * (1 + (self.shape.shortcut is not None))


@dataclass(frozen=True)
class RomLayer:
    """Where a layer lies: its first ROM word, its ROM words, and the used bits in them."""

    outline: Outline
    word: int
    words: int
    payload_bits: int


@dataclass(frozen=True)
class Tile:
    """A tile's channels and its place: output channels o0..o1 - 1, input channels i0..i1 - 1, ROM words
    from ``word`` on, relative to its layer, ``bits`` of them used, the first ``table_bits`` by tables.
    ``lanes``: the input channel of each lane that is stored, None for a lane without one; in row groups a
    channel has three lanes. ``shortcut``: its input channels are those of the shortcut's map; ``diagonal``:
    it has a kernel for each of the channels i0..i1 - 1."""

    o0: int
    o1: int
    i0: int
    i1: int
    lanes: tuple[int | None, ...]
    has_bias: bool
    word: int
    bits: int
    shortcut: bool = False
    diagonal: bool = False
    table_bits: int = 0


def outlines(network: CompressedNetwork) -> tuple[Outline, ...]:
    """The outlines of a network's layers."""
    found: list[Outline] = []
    for n, layer in enumerate(network.layers):
        shortcut = layer.shape.shortcut
        channels = 0 if shortcut is None else network.layers[shortcut.source].shape.out_channels
        has_pad = n == 0 and bool(network.pad.any())
        found.append(Outline(layer.shape, layer.mask_bits, has_pad, n == 0 and not network.blocks, channels,
                             layer.scalar_bits))
    return tuple(found)


def place_layers(layers: Sequence[Outline], config: EngineConfig) -> tuple[RomLayer, ...]:
    """Where each layer lies in the ROM: one after the other from word 0, and one that shares another's
    weights in the same place with no words of its own. Needs no weights."""
    placed: list[RomLayer] = []
    word = 0
    for outline in layers:
        if outline.shape.shares is not None:
            placed.append(RomLayer(outline, placed[outline.shape.shares].word, 0, 0))
            continue
        words = payload = 0
        for tile in tiles(outline, config):
            words = tile.word + -(-tile.bits // config.rom_word_bits)
            payload += tile.bits
        placed.append(RomLayer(outline, word, words, payload))
        word += words
    return tuple(placed)


def kernel_width(outline: Outline) -> int:
    """Bits of one of the layer's own kernels."""
    q = outline.scalar_bits
    return centre_kernel_bits(q) if outline.shape.kernel == 1 else kernel_bits(outline.mask_bits, q)


def shortcut_kernels(outline: Outline) -> int:
    """The kernels of its shortcut, 0 without one."""
    shortcut = outline.shape.shortcut
    if shortcut is None:
        return 0
    return outline.shape.out_channels * (outline.shortcut_channels if shortcut.projection else 1)


def tiles(outline: Outline, config: EngineConfig) -> Iterator[Tile]:
    """Tiles of a layer in the stream's order."""
    word, tables = 0, outline.table_bits
    for o0 in range(0, outline.shape.out_channels, config.output_lanes):
        o1 = min(o0 + config.output_lanes, outline.shape.out_channels)
        for tile in (*_shortcut_tiles(outline, o0, o1, config), *_own_tiles(outline, o0, o1, config)):
            bits, first = tile.bits + tables, tables
            yield replace(tile, word=word, bits=bits, table_bits=first)
            word += -(-bits // config.rom_word_bits)
            tables = 0


def _shortcut_tiles(outline: Outline, o0: int, o1: int, config: EngineConfig) -> Iterator[Tile]:
    """The shortcut's tiles of an output group, their places still open."""
    shortcut = outline.shape.shortcut
    if shortcut is None:
        return
    first, end = (0, outline.shortcut_channels) if shortcut.projection else (o0, o1)
    for i0 in range(first, end, config.input_lanes):
        i1 = min(i0 + config.input_lanes, end)
        lanes = tuple(range(i0, i1))
        if shortcut.projection:
            bits = tile_bits(i1 - i0, o1 - o0, 1, has_pad=False, has_bias=False, centre=True,
                             scalar_bits=outline.scalar_bits)
        else:
            bits = diagonal_bits(i1 - i0, outline.scalar_bits)
        yield Tile(o0, o1, i0, i1, lanes, False, 0, bits, True, not shortcut.projection)


def _own_tiles(outline: Outline, o0: int, o1: int, config: EngineConfig) -> Iterator[Tile]:
    """The convolution's tiles of an output group, their places still open."""
    c_in = outline.shape.in_channels
    grouped = outline.reads_image and runs_in_row_groups(
        outline.shape, outline.mask_bits, outline.scalar_bits, config)
    for i0 in range(0, c_in, config.input_lanes):
        i1 = min(i0 + config.input_lanes, c_in)
        last = i1 == c_in
        lanes: tuple[int | None, ...] = tuple(range(i0, i1))
        if grouped:
            group = lanes + (None,) * (config.group_lanes - len(lanes))
            lanes = (group * ROW_GROUPS)[: lanes_in_row_groups(c_in, config)]
        centre = outline.shape.kernel == 1
        bits = tile_bits(len(lanes), o1 - o0, outline.mask_bits, outline.has_pad, last, centre=centre,
                         scalar_bits=outline.scalar_bits)
        yield Tile(o0, o1, i0, i1, lanes, last, 0, bits)
