"""The weight ROM: a compressed network as the bit stream that the engine consumes.

``kestrel.hw.spec.widths`` defines the order of the bits ("Weight stream"), ``kestrel.export.weight_tiles``
where each tile lies; ``kestrel.export.weight_decoder`` reads the ROM.
"""

from dataclasses import dataclass

import numpy as np

from kestrel.export.formats.words import Words
from kestrel.export.weight_bits import blocked, to_bits
from kestrel.export.weight_tiles import (
    RomLayer,
    kernel_width,
    outlines,
    place_layers,
    shortcut_kernels,
    tiles,
)
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import encode_mask, mask_values
from kestrel.hw.spec.widths import BIAS_BITS, PAD_BITS, SCALAR_BITS, centre_kernel_bits, table_entries
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork, scalar_table
from kestrel.sw.model.validation import check_masks, check_scalars
from kestrel.sw.planning.geometry import check_scalar_width
from kestrel.sw.planning.remedies import larger


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
            s.out_channels * (s.in_channels * kernel_width(layer.outline) + BIAS_BITS)
            + shortcut_kernels(layer.outline) * centre_kernel_bits(layer.outline.scalar_bits)
            + layer.outline.table_bits
            for layer in self.layers
            for s in (layer.outline.shape,)
            if s.shares is None
        )

    @property
    def overhead(self) -> float:
        """Share by which the ROM is larger than ``network_bits``: filling and pad values."""
        return self.rom_bits / self.network_bits - 1


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


def _encode_layer(layer: CompressedLayer, pad: np.ndarray, where: RomLayer, config: EngineConfig) -> bytes:
    kernels = _kernel_bits(layer)
    shortcuts = _shortcut_bits(layer)
    tables = _table_bits(layer)
    q = layer.scalar_bits
    biases = to_bits(layer.bias.astype(np.int64) & ((1 << BIAS_BITS) - 1), BIAS_BITS)
    pads = to_bits(pad, PAD_BITS)
    stream = np.zeros(where.words * config.rom_word_bits, dtype=np.uint8)
    for tile in tiles(where.outline, config):
        if tile.shortcut:
            assert shortcuts is not None
            stored = shortcuts[tile.i0 : tile.i1] if tile.diagonal else shortcuts[
                tile.o0 : tile.o1, tile.i0 : tile.i1
            ]
            if not tile.diagonal:
                stored = blocked(stored, q, config)
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
        parts = [blocked(spread, q, config)]
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
    bits = to_bits(taps, layer.mask_bits).reshape(*layer.alpha.shape, -1)
    return np.concatenate([_stored_scalars(layer.alpha, layer.scalar_bits), bits], axis=-1)


def _stored_scalars(scalars: np.ndarray, scalar_bits: int) -> np.ndarray:
    """Bits of scalars as they are stored, as a further last axis: their own or those of the entry's
    number."""
    if table_entries(scalar_bits):
        scalars = np.searchsorted(np.unique(scalars), scalars)
    return to_bits(scalars, scalar_bits)


def _table_bits(layer: CompressedLayer) -> np.ndarray:
    """Bits of the layer's tables, uint8: of its shortcut's, if it has one, and of its own."""
    if not table_entries(layer.scalar_bits):
        return np.zeros(0, dtype=np.uint8)
    scalars = [layer.alpha] if layer.shortcut_alpha is None else [layer.shortcut_alpha, layer.alpha]
    tables = [scalar_table(part, layer.scalar_bits) for part in scalars]
    return to_bits(np.concatenate(tables), SCALAR_BITS).reshape(-1)


def _shortcut_bits(layer: CompressedLayer) -> np.ndarray | None:
    """Bits of the shortcut's kernels, the sign last, uint8 [C_out, C_shortcut, q + 1] or, of an identity,
    [C_out, q + 1]."""
    if layer.shortcut_alpha is None:
        return None
    sign = np.zeros_like(layer.shortcut_alpha) if layer.shortcut_sign is None else layer.shortcut_sign < 0
    return np.concatenate(
        [_stored_scalars(layer.shortcut_alpha, layer.scalar_bits), sign.astype(np.uint8)[..., None]], axis=-1
    )
