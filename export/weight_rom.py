"""The weight ROM: a compressed network as the bit stream that the engine consumes, and back.

``kestrel.hw.spec.widths`` defines the order of the bits ("Weight stream"). One rule is chosen here: pad
values are stored (``has_pad``) in the first layer if any of them is not zero, and never in another layer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kestrel.export.formats.words import Words
from kestrel.hw.spec.engine_config import ROW_GROUPS, EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import decode_mask, encode_mask, mask_values
from kestrel.hw.spec.widths import (
    BIAS_BITS,
    PAD_BITS,
    SCALAR_BITS,
    centre_kernel_bits,
    diagonal_bits,
    kernel_bits,
    scalar_table_bits,
    table_entries,
    tile_bits,
)
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork, scalar_table
from kestrel.sw.model.network import ConvShape
from kestrel.sw.model.validation import check_masks, check_scalars
from kestrel.sw.planning.geometry import check_scalar_width, lanes_in_row_groups, runs_in_row_groups
from kestrel.sw.planning.remedies import larger


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
class RomImage:
    """The weight ROM's contents and where each layer begins."""

    words: Words
    layers: tuple[RomLayer, ...]

    @property
    def rom_bits(self) -> int:
        """Bits of the ROM, the filling of the last word of every tile included."""
        return len(self.words) * self.words.word_bits

    @property
    def payload_bits(self) -> int:
        """Bits of kernels, biases and pad values as the stream has them."""
        return sum(layer.payload_bits for layer in self.layers)

    @property
    def network_bits(self) -> int:
        """Bits of the network's masks, scalars, tables and biases, each counted once: what ``overhead``
        refers to."""
        return sum(
            s.out_channels * (s.in_channels * _kernel_width(layer.outline) + BIAS_BITS)
            + _shortcut_kernels(layer.outline) * centre_kernel_bits(layer.outline.scalar_bits)
            + layer.outline.table_bits
            for layer in self.layers
            for s in (layer.outline.shape,)
            if s.shares is None
        )

    @property
    def overhead(self) -> float:
        """Share by which the ROM is larger than ``network_bits``: filling and pad values."""
        return self.rom_bits / self.network_bits - 1


@dataclass(frozen=True)
class LayerWeights:
    """Numbers of a layer, types and shapes as in ``CompressedLayer``; pad: uint8 [C_in]."""

    mask: np.ndarray
    alpha: np.ndarray
    bias: np.ndarray
    pad: np.ndarray
    shortcut_alpha: np.ndarray | None = None
    shortcut_sign: np.ndarray | None = None


@dataclass(frozen=True)
class _Tile:
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
        for tile in _tiles(outline, config):
            words = tile.word + -(-tile.bits // config.rom_word_bits)
            payload += tile.bits
        placed.append(RomLayer(outline, word, words, payload))
        word += words
    return tuple(placed)


def encode_weights(network: CompressedNetwork, config: EngineConfig) -> RomImage:
    """The ROM of a network for an engine.

    Raises InputError, naming the layer, for a number that has no code, when the ROM of the configuration is
    too small, and for scalars from tables where the configuration has none.
    """
    for layer in network.layers:
        check_scalar_width(network.name, layer.shape.name, layer.scalar_bits, config)
    shapes = outlines(network)
    placed = place_layers(shapes, config)
    needed = sum(layer.words for layer in placed)
    if needed > config.weight_words:
        raise InputError(
            f"{network.name}: the weights need {needed} ROM words of {config.rom_word_bits} bits; "
            f"configuration {config.name!r} has weight_words = {config.weight_words}; "
            f"{larger(config, weight_words=needed)}"
        )
    parts = [
        _encode_layer(layer, network.pad, where, config)
        for layer, where in zip(network.layers, placed, strict=True)
        if where.outline.shape.shares is None
    ]
    return RomImage(Words(config.rom_word_bits, b"".join(parts)), placed)


def decode_weights(words: Words, layers: Sequence[Outline], config: EngineConfig) -> list[LayerWeights]:
    """The numbers of every layer, from the ROM's words; the inverse of ``encode_weights``.

    "Minus zero" decodes to 0. Raises InputError if the number of words is not what the layers take, if a
    filling bit is set, or if a layer's pad values differ between its tiles.
    """
    placed = place_layers(layers, config)
    needed = sum(layer.words for layer in placed)
    if words.word_bits != config.rom_word_bits:
        raise InputError(f"weight ROM has words of {words.word_bits} bits; allowed: {config.rom_word_bits}")
    if len(words) != needed:
        raise InputError(f"weight ROM has {len(words)} words; allowed: {needed}, as the layers take")
    size = words.word_bytes
    decoded: list[LayerWeights] = []
    for place in placed:
        shares = place.outline.shape.shares
        if shares is None:
            data = words.data[place.word * size : (place.word + place.words) * size]
            decoded.append(_decode_layer(data, place, config))
        else:
            decoded.append(decoded[shares])
    return decoded


def _kernel_width(outline: Outline, scalar_bits: int | None = None) -> int:
    """Bits of one of the layer's own kernels, with scalars of its own width or of another."""
    q = outline.scalar_bits if scalar_bits is None else scalar_bits
    return centre_kernel_bits(q) if outline.shape.kernel == 1 else kernel_bits(outline.mask_bits, q)


def _shortcut_kernels(outline: Outline) -> int:
    shortcut = outline.shape.shortcut
    if shortcut is None:
        return 0
    return outline.shape.out_channels * (outline.shortcut_channels if shortcut.projection else 1)


def _tiles(outline: Outline, config: EngineConfig) -> Iterator[_Tile]:
    """Tiles of a layer in the stream's order."""
    word, tables = 0, outline.table_bits
    for o0 in range(0, outline.shape.out_channels, config.output_lanes):
        o1 = min(o0 + config.output_lanes, outline.shape.out_channels)
        for tile in (*_shortcut_tiles(outline, o0, o1, config), *_own_tiles(outline, o0, o1, config)):
            bits, first = tile.bits + tables, tables
            yield replace(tile, word=word, bits=bits, table_bits=first)
            word += -(-bits // config.rom_word_bits)
            tables = 0


def _shortcut_tiles(outline: Outline, o0: int, o1: int, config: EngineConfig) -> Iterator[_Tile]:
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
        yield _Tile(o0, o1, i0, i1, lanes, False, 0, bits, True, not shortcut.projection)


def _own_tiles(outline: Outline, o0: int, o1: int, config: EngineConfig) -> Iterator[_Tile]:
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
        yield _Tile(o0, o1, i0, i1, lanes, last, 0, bits)


def _encode_layer(layer: CompressedLayer, pad: np.ndarray, where: RomLayer, config: EngineConfig) -> bytes:
    kernels = _kernel_bits(layer)
    shortcuts = _shortcut_bits(layer)
    tables = _table_bits(layer)
    q = layer.scalar_bits
    biases = _to_bits(layer.bias.astype(np.int64) & ((1 << BIAS_BITS) - 1), BIAS_BITS)
    pads = _to_bits(pad, PAD_BITS)
    stream = np.zeros(where.words * config.rom_word_bits, dtype=np.uint8)
    for tile in _tiles(where.outline, config):
        if tile.shortcut:
            assert shortcuts is not None
            stored = shortcuts[tile.i0 : tile.i1] if tile.diagonal else shortcuts[
                tile.o0 : tile.o1, tile.i0 : tile.i1
            ]
            if not tile.diagonal:
                stored = _blocked(stored, q, config)
            elif config.scalar_tables:  # each kernel is a block
                stored = np.roll(stored, -q, axis=-1)
            start = tile.word * config.rom_word_bits
            parts = [tables[: tile.table_bits], stored.reshape(-1)]
            stream[start : start + tile.bits] = np.concatenate(parts)
            continue
        # A lane without a channel has zeros.
        lanes = [n for n, channel in enumerate(tile.lanes) if channel is not None]
        channels = [channel for channel in tile.lanes if channel is not None]
        spread = np.zeros((tile.o1 - tile.o0, len(tile.lanes), kernels.shape[-1]), dtype=np.uint8)
        spread[:, lanes] = kernels[tile.o0 : tile.o1, channels]
        parts = [_blocked(spread, q, config)]
        if where.outline.has_pad:
            values = np.zeros((len(tile.lanes), PAD_BITS), dtype=np.uint8)
            values[lanes] = pads[channels]
            parts.insert(0, values.reshape(-1))
        parts.insert(0, tables[: tile.table_bits])
        if tile.has_bias:
            parts.append(biases[tile.o0 : tile.o1].reshape(-1))
        start = tile.word * config.rom_word_bits
        stream[start : start + tile.bits] = np.concatenate(parts)
    return np.packbits(stream, bitorder="little").tobytes()


def _kernel_bits(layer: CompressedLayer) -> np.ndarray:
    """Bits of all kernels, the scalar's before the mask's, uint8 [C_out, C_in, bits]."""
    check_masks(layer)
    check_scalars(layer)
    # Indexed by the value's two's complement byte, so that the look-up needs no offset.
    codes = np.zeros(256, dtype=np.uint8)
    for value in mask_values(layer.mask_bits):
        codes[value & 0xFF] = encode_mask(value, layer.mask_bits)
    taps = codes[layer.mask.view(np.uint8)].reshape(*layer.alpha.shape, -1)
    bits = _to_bits(taps, layer.mask_bits).reshape(*layer.alpha.shape, -1)
    return np.concatenate([_stored_scalars(layer.alpha, layer.scalar_bits), bits], axis=-1)


def _stored_scalars(scalars: np.ndarray, scalar_bits: int) -> np.ndarray:
    """Bits of scalars as they are stored, as a further last axis: their own or those of the entry's
    number."""
    if table_entries(scalar_bits):
        scalars = np.searchsorted(np.unique(scalars), scalars)
    return _to_bits(scalars, scalar_bits)


def _table_bits(layer: CompressedLayer) -> np.ndarray:
    """Bits of the layer's tables, uint8: of its shortcut's, if it has one, and of its own."""
    if not table_entries(layer.scalar_bits):
        return np.zeros(0, dtype=np.uint8)
    scalars = [layer.alpha] if layer.shortcut_alpha is None else [layer.shortcut_alpha, layer.alpha]
    tables = [scalar_table(part, layer.scalar_bits) for part in scalars]
    return _to_bits(np.concatenate(tables), SCALAR_BITS).reshape(-1)


def _blocked(kernels: np.ndarray, scalar_bits: int, config: EngineConfig) -> np.ndarray:
    """The bits of kernels [n_out, n_in, bits] in the order of the stream: as they are, or, for an engine with
    ``scalar_tables``, in blocks of masks and scalars."""
    if not config.scalar_tables:
        return kernels.reshape(-1)
    rows = len(kernels)
    blocks = range(0, kernels.shape[1], config.load_kernels)
    parts = [kernels[:, n : n + config.load_kernels] for n in blocks]
    halves = [half for part in parts for half in (part[..., scalar_bits:], part[..., :scalar_bits])]
    return np.concatenate([half.reshape(rows, -1) for half in halves], axis=1).reshape(-1)


def _unblocked(
    bits: np.ndarray, shape: tuple[int, int, int], scalar_bits: int, config: EngineConfig
) -> np.ndarray:
    """Inverse of ``_blocked``: [n_out, n_in, bits]."""
    if not config.scalar_tables:
        return bits.reshape(shape)
    kernels = np.zeros(shape, dtype=np.uint8)
    places = np.arange(kernels.size).reshape(shape)
    kernels.reshape(-1)[_blocked(places, scalar_bits, config)] = bits
    return kernels


def _shortcut_bits(layer: CompressedLayer) -> np.ndarray | None:
    """Bits of the shortcut's kernels, the sign last, uint8 [C_out, C_shortcut, q + 1] or, of an identity,
    [C_out, q + 1]."""
    if layer.shortcut_alpha is None:
        return None
    sign = np.zeros_like(layer.shortcut_alpha) if layer.shortcut_sign is None else layer.shortcut_sign < 0
    return np.concatenate(
        [_stored_scalars(layer.shortcut_alpha, layer.scalar_bits), sign.astype(np.uint8)[..., None]], axis=-1
    )


def _decode_layer(data: bytes, where: RomLayer, config: EngineConfig) -> LayerWeights:
    outline = where.outline
    c_out, c_in, b = outline.shape.out_channels, outline.shape.in_channels, outline.mask_bits
    q = outline.scalar_bits
    stream = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
    tables = np.zeros((0, table_entries(q)), dtype=np.uint8)
    kernels = np.zeros((c_out, c_in, _kernel_width(outline)), dtype=np.uint8)
    projection = outline.shape.shortcut is not None and outline.shape.shortcut.projection
    size = (c_out, outline.shortcut_channels) if projection else (c_out,)
    shortcuts = np.zeros((*size, centre_kernel_bits(q)), dtype=np.uint8)
    biases = np.zeros((c_out, BIAS_BITS), dtype=np.uint8)
    pads = np.zeros((c_in, PAD_BITS), dtype=np.uint8)
    for tile in _tiles(outline, config):
        n_out, n_in = tile.o1 - tile.o0, len(tile.lanes)
        start = tile.word * config.rom_word_bits
        end = start + -(-tile.bits // config.rom_word_bits) * config.rom_word_bits
        bits, filling = stream[start : start + tile.bits], stream[start + tile.bits : end]
        if filling.any():
            raise InputError(
                f"weight ROM, layer {outline.shape.name}: a filling bit is set after the tile of output "
                f"channel {tile.o0}, input channel {tile.i0}, ROM word {where.word + tile.word}; allowed: 0"
            )
        if tile.table_bits:
            found = _from_bits(bits[: tile.table_bits].reshape(-1, SCALAR_BITS)).astype(np.uint8)
            tables, bits = found.reshape(-1, table_entries(q)), bits[tile.table_bits :]
        if tile.shortcut:
            if tile.diagonal:
                part = bits.reshape(-1, centre_kernel_bits(q))
                part = np.roll(part, q, axis=-1) if config.scalar_tables else part
                if part[:, q].any():
                    raise InputError(
                        f"weight ROM, layer {outline.shape.name}: a scalar of the shortcut of channels "
                        f"{tile.i0} to {tile.i1 - 1} has a sign; allowed: none"
                    )
                shortcuts[tile.i0 : tile.i1] = part
            else:
                part = _unblocked(bits, (n_out, n_in, centre_kernel_bits(q)), q, config)
                shortcuts[tile.o0 : tile.o1, tile.i0 : tile.i1] = part
            continue
        if outline.has_pad:
            found, bits = bits[: n_in * PAD_BITS].reshape(n_in, PAD_BITS), bits[n_in * PAD_BITS :]
            found = _gathered(found, tile, where)
            if tile.o0 == 0:
                pads[tile.i0 : tile.i1] = found
            elif not np.array_equal(pads[tile.i0 : tile.i1], found):
                raise InputError(
                    f"weight ROM, layer {outline.shape.name}: pad values of output channel {tile.o0}'s tile "
                    "are not those of the first; allowed: the same in all"
                )
        count = n_out * n_in * _kernel_width(outline)
        lanes = _unblocked(bits[:count], (n_out, n_in, _kernel_width(outline)), q, config).transpose(1, 0, 2)
        kernels[tile.o0 : tile.o1, tile.i0 : tile.i1] = _gathered(lanes, tile, where).transpose(1, 0, 2)
        if tile.has_bias:
            biases[tile.o0 : tile.o1] = bits[count:].reshape(n_out, BIAS_BITS)
    values = np.array([decode_mask(code, b) for code in range(1 << b)], dtype=np.int8)
    side = outline.shape.kernel
    taps = _from_bits(kernels[..., q:].reshape(c_out, c_in, side * side, b))
    bias = _from_bits(biases)
    alpha, alphas = (_from_bits(part[..., :q]).astype(np.uint8) for part in (kernels, shortcuts))
    if table_entries(q):
        alpha = _from_table(alpha, tables[-1], where)
        alphas = _from_table(alphas, tables[0], where) if outline.shape.shortcut else alphas
    return LayerWeights(
        mask=values[taps].reshape(c_out, c_in, side, side),
        alpha=alpha,
        bias=(bias - ((bias >> (BIAS_BITS - 1)) << BIAS_BITS)).astype(np.int16),
        pad=_from_bits(pads).astype(np.uint8),
        shortcut_alpha=None if outline.shape.shortcut is None else alphas,
        shortcut_sign=(1 - 2 * shortcuts[..., q].astype(np.int8)) if projection else None,
    )


def _from_table(numbers: np.ndarray, table: np.ndarray, where: RomLayer) -> np.ndarray:
    """The scalars with these numbers. Raises InputError unless the table is the one that is written of
    them."""
    scalars = table[numbers]
    expected = scalar_table(scalars, where.outline.scalar_bits)
    if not np.array_equal(table, expected):
        raise InputError(
            f"weight ROM, layer {where.outline.shape.name}: table of scalars {table.tolist()}; allowed: "
            f"{expected.tolist()}, those that occur, ascending, then zeros"
        )
    return scalars


def _gathered(lanes: np.ndarray, tile: _Tile, where: RomLayer) -> np.ndarray:
    """What a tile's lanes hold, by input channel; first axis lanes, then channels. Raises InputError where
    the lanes of a channel differ or a lane without a channel is not zero."""
    first = [tile.lanes.index(channel) for channel in range(tile.i0, tile.i1)]
    found = lanes[first]
    for lane, channel in enumerate(tile.lanes):
        expected = np.zeros_like(lanes[lane]) if channel is None else found[channel - tile.i0]
        if not np.array_equal(lanes[lane], expected):
            raise InputError(
                f"weight ROM, layer {where.outline.shape.name}: the tile of output channel {tile.o0} has "
                f"other numbers in input lane {lane} than in those before; allowed: all groups alike"
            )
    return found


def _to_bits(values: np.ndarray, width: int) -> np.ndarray:
    """Bits of unsigned numbers, least significant first, as a further last axis; uint8."""
    wide = values.astype(np.uint16)
    return ((wide[..., None] >> np.arange(width, dtype=np.uint16)) & 1).astype(np.uint8)


def _from_bits(bits: np.ndarray) -> np.ndarray:
    """Inverse of ``_to_bits``; int32."""
    number = np.zeros(bits.shape[:-1], dtype=np.int32)
    for k in range(bits.shape[-1]):
        number |= bits[..., k].astype(np.int32) << k
    return number
