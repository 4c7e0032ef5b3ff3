"""A whole compressed network of Kestrel as a stream: what a network file holds, every number in as many bits
as the chip stores. Decoding gives the same network, integer by integer.

    length of the description, 4 bytes | the description, JSON, deflated | by layer with integers of its own:
    scalars | codes of the masks | biases, 12 bits | of a shortcut: scalars | signs, 1 bit

Scalars are of 8 bits each, or of fewer bits, which count in a table of 8-bit scalars that stands before them.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS
from kestrel.hw.spec.widths import BIAS_BITS, BIAS_MIN, SCALAR_BITS, SCALAR_WIDTHS, table_entries
from kestrel.sw.codecs.coding.indices import pack, read_indices, unpack, write_indices
from kestrel.sw.codecs.coding.stream import Reader, check, seal, unseal
from kestrel.sw.codecs.masks import mask_codes, mask_of_codes
from kestrel.sw.model.compressed import CompressedNetwork, build_network, describe_network, scalar_table
from kestrel.sw.model.validation import validate

FAMILY = "engine"
PAD = "pad"
DESCRIPTION_MAX = 1 << 22
"""Bytes of a description that are taken for one."""


def description_bytes(stream: bytes) -> int:
    """How many bytes of a whole stream are its description."""
    _, reader = unseal(stream, FAMILY)
    return reader.number(4)


def prefix(network: CompressedNetwork, layers: int) -> CompressedNetwork:
    """The first layers of a network, which need nothing of those behind them."""
    return replace(network, layers=network.layers[:layers])


def encode(network: CompressedNetwork, coding: str = "fixed") -> bytes:
    """The stream of a network; coding: of the mask codes, as of any indices. Raises InputError."""
    about = {**describe_network(network), PAD: network.pad.tolist()}
    described = zlib.compress(json.dumps(about, separators=(",", ":")).encode(), 9)
    parts = [len(described).to_bytes(4, "little"), described]
    for layer in network.layers:
        if layer.shape.shares is not None:
            continue
        parts.append(_scalars(layer.alpha, layer.scalar_bits))
        parts.append(write_indices(mask_codes(layer.mask, layer.mask_bits), 1 << layer.mask_bits, coding))
        parts.append(pack(layer.bias.astype(np.int64) - BIAS_MIN, BIAS_BITS))
        if layer.shortcut_alpha is not None:
            parts.append(_scalars(layer.shortcut_alpha, layer.scalar_bits))
        if layer.shortcut_sign is not None:
            parts.append(pack(layer.shortcut_sign.ravel() < 0, 1))
    return seal(FAMILY, (), b"".join(parts))


def _scalars(scalars: np.ndarray, bits: int) -> bytes:
    if bits == SCALAR_BITS:
        return scalars.tobytes()
    table = scalar_table(scalars, bits)
    return table.tobytes() + pack(np.searchsorted(np.unique(scalars), scalars).ravel(), bits)


def _read_scalars(reader: Reader, count: int, bits: int) -> np.ndarray:
    if bits == SCALAR_BITS:
        return reader.array("<u1", count)
    table = reader.array("<u1", table_entries(bits))
    return table[unpack(reader.take(-(-count * bits // 8)), count, bits)]


def decode(stream: bytes) -> CompressedNetwork:
    """The network that a stream stands for. Raises InputError."""
    _, reader = unseal(stream, FAMILY)
    described = reader.take(reader.number(4))
    try:
        inflater = zlib.decompressobj()
        about = json.loads(inflater.decompress(described, DESCRIPTION_MAX))
        entries: Sequence[Mapping[str, Any]] = about["layers"]
        pad = np.array(about.pop(PAD), np.uint8)
        tensors = {PAD: pad}
        for number, entry in enumerate(entries):
            if entry.get("shares") is None:
                tensors |= {f"{number}.{part}": array
                            for part, array in _arrays(reader, entry, entries).items()}
        reader.end()
        network = build_network(about, tensors)
    except InputError:
        raise
    except (zlib.error, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise InputError(f"coded network: its description is none ({type(error).__name__}); "
                         "allowed: a whole stream that an encoder wrote") from error
    validate(network)
    return network


def _arrays(reader: Reader, entry: Mapping[str, Any],
            entries: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """The arrays of one layer, in the order in which they are stored."""
    outputs, inputs, bits = int(entry["out_channels"]), int(entry["in_channels"]), int(entry["mask_bits"])
    kernel = int(entry.get("kernel", 3))
    check(bits in MASK_BITS and kernel in (1, 3), f"masks of {bits} bits for kernels of {kernel}x{kernel}")
    width = int(entry.get("scalar_bits", SCALAR_BITS))
    check(width in SCALAR_WIDTHS, f"scalars of {width} bits")
    alpha = _read_scalars(reader, outputs * inputs, width).reshape(outputs, inputs)
    codes = read_indices(reader, outputs * inputs * kernel**2, 1 << bits)
    bias = unpack(reader.take(-(-outputs * BIAS_BITS // 8)), outputs, BIAS_BITS) + BIAS_MIN
    found = {"mask": mask_of_codes(codes, bits).reshape(outputs, inputs, kernel, kernel), "alpha": alpha,
             "bias": bias.astype(np.int16)}
    if entry.get("shortcut") is None:
        return found
    if not entry["shortcut"]["projection"]:
        return found | {"shortcut_alpha": _read_scalars(reader, outputs, width)}
    given = int(entries[entry["shortcut"]["source"]]["out_channels"])
    scalars = _read_scalars(reader, outputs * given, width).reshape(outputs, given)
    negative = unpack(reader.take(-(-outputs * given // 8)), outputs * given, 1)
    signs = np.where(negative, -1, 1).astype(np.int8).reshape(outputs, given)
    return found | {"shortcut_alpha": scalars, "shortcut_sign": signs}
