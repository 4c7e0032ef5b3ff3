"""A network's numbers from the words of its weight ROM: the inverse of ``kestrel.export.weight_rom``."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kestrel.export.formats.words import Words
from kestrel.export.weight_bits import from_bits, unblocked
from kestrel.export.weight_tiles import Outline, RomLayer, Tile, kernel_width, place_layers, tiles
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import decode_mask
from kestrel.hw.spec.widths import BIAS_BITS, PAD_BITS, SCALAR_BITS, centre_kernel_bits, table_entries
from kestrel.sw.model.compressed import scalar_table


@dataclass(frozen=True)
class LayerWeights:
    """Numbers of a layer, types and shapes as in ``CompressedLayer``; pad: uint8 [C_in]."""

    mask: np.ndarray
    alpha: np.ndarray
    bias: np.ndarray
    pad: np.ndarray
    shortcut_alpha: np.ndarray | None = None
    shortcut_sign: np.ndarray | None = None


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


def _decode_layer(data: bytes, where: RomLayer, config: EngineConfig) -> LayerWeights:
    outline = where.outline
    c_out, c_in, b = outline.shape.out_channels, outline.shape.in_channels, outline.mask_bits
    q = outline.scalar_bits
    stream = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
    tables = np.zeros((0, table_entries(q)), dtype=np.uint8)
    kernels = np.zeros((c_out, c_in, kernel_width(outline)), dtype=np.uint8)
    projection = outline.shape.shortcut is not None and outline.shape.shortcut.projection
    size = (c_out, outline.shortcut_channels) if projection else (c_out,)
    shortcuts = np.zeros((*size, centre_kernel_bits(q)), dtype=np.uint8)
    biases = np.zeros((c_out, BIAS_BITS), dtype=np.uint8)
    pads = np.zeros((c_in, PAD_BITS), dtype=np.uint8)
    for tile in tiles(outline, config):
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
            found = from_bits(bits[: tile.table_bits].reshape(-1, SCALAR_BITS)).astype(np.uint8)
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
                part = unblocked(bits, (n_out, n_in, centre_kernel_bits(q)), q, config)
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
        count = n_out * n_in * kernel_width(outline)
        lanes = unblocked(bits[:count], (n_out, n_in, kernel_width(outline)), q, config).transpose(1, 0, 2)
        kernels[tile.o0 : tile.o1, tile.i0 : tile.i1] = _gathered(lanes, tile, where).transpose(1, 0, 2)
        if tile.has_bias:
            biases[tile.o0 : tile.o1] = bits[count:].reshape(n_out, BIAS_BITS)
    values = np.array([decode_mask(code, b) for code in range(1 << b)], dtype=np.int8)
    side = outline.shape.kernel
    taps = from_bits(kernels[..., q:].reshape(c_out, c_in, side * side, b))
    bias = from_bits(biases)
    alpha, alphas = (from_bits(part[..., :q]).astype(np.uint8) for part in (kernels, shortcuts))
    if table_entries(q):
        alpha = _from_table(alpha, tables[-1], where)
        alphas = _from_table(alphas, tables[0], where) if outline.shape.shortcut else alphas
    return LayerWeights(
        mask=values[taps].reshape(c_out, c_in, side, side),
        alpha=alpha,
        bias=(bias - ((bias >> (BIAS_BITS - 1)) << BIAS_BITS)).astype(np.int16),
        pad=from_bits(pads).astype(np.uint8),
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


def _gathered(lanes: np.ndarray, tile: Tile, where: RomLayer) -> np.ndarray:
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
