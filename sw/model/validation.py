"""What a compressed network must fulfil: every number within the format, and layers that fit each other."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS, mask_values
from kestrel.hw.spec.table import LAYERS_MAX
from kestrel.hw.spec.widths import (
    ACTIVATION_BITS_MAX,
    ACTIVATION_BITS_MIN,
    BIAS_MAX,
    BIAS_MIN,
    SCALAR_WIDTHS,
    SHIFT_MAX,
    SHIFT_MIN,
    SHORTCUT_SHIFT_MAX,
    table_entries,
)
from kestrel.sw.model.graph import check_graph
from kestrel.sw.model.network import IMAGE_CHANNELS, ConvShape
from kestrel.sw.model.preprocessing import PREPROCESSINGS

if TYPE_CHECKING:
    from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.:/ -]{0,79}"
_LAYER_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,39}"


def validate(network: "CompressedNetwork") -> None:
    """Raises InputError, naming layer, value and range, unless the format can hold every number and the
    layers fit each other. The accumulators are checked in ``kestrel.sw.model.bounds``."""
    check("name", network.name, re.fullmatch(_NAME, network.name) is not None,
           "letters, digits and _.:/- (at most 80)")
    check("activation_bits", network.activation_bits,
           ACTIVATION_BITS_MIN <= network.activation_bits <= ACTIVATION_BITS_MAX,
           f"{ACTIVATION_BITS_MIN}..{ACTIVATION_BITS_MAX}")
    check("preprocessing", network.preprocessing, network.preprocessing in PREPROCESSINGS,
           ", ".join(PREPROCESSINGS))
    check("number of layers", len(network.layers), 1 <= len(network.layers) <= LAYERS_MAX,
           f"1..{LAYERS_MAX}")
    names = [layer.shape.name for layer in network.layers]
    check("layer names", ", ".join(names), len(set(names)) == len(names), "each name once")
    shapes = [layer.shape for layer in network.layers]
    for layer in network.layers:
        _validate_shape(layer.shape)
    check_graph(shapes, blocks=network.blocks)
    channels = shapes[0].in_channels
    _check_array("pad", network.pad, "uint8", (channels,), 0, (1 << network.activation_bits) - 1)
    if network.blocks:
        colours = np.resize(network.pad[:IMAGE_CHANNELS], channels)
        check("pad", network.pad.tolist(), np.array_equal(network.pad, colours),
               "in blocks, one value a colour: channel n has that of colour n modulo 3")
    for layer in network.layers:
        _validate_layer(layer, shapes)
        if layer.shape.shares is not None:
            _validate_shared(layer, network.layers[layer.shape.shares])


def _validate_shape(shape: ConvShape) -> None:
    check("layer name", shape.name, re.fullmatch(_LAYER_NAME, shape.name) is not None,
           "letters, digits and _ (at most 40)")
    for what, count in (("in_channels", shape.in_channels), ("out_channels", shape.out_channels)):
        check(f"layer {shape.name}: {what}", count, 1 <= count <= 1 << 16, f"1..{1 << 16}")


def _validate_layer(layer: "CompressedLayer", shapes: Sequence[ConvShape]) -> None:
    shape = layer.shape
    where = f"layer {shape.name}: "
    _check_mask_bits(layer)
    check(f"{where}mask_bits", layer.mask_bits, shape.kernel == 3 or layer.mask_bits == 1,
           "1 for a kernel of 1x1")
    check(f"{where}shift", layer.shift, SHIFT_MIN <= layer.shift <= SHIFT_MAX, f"{SHIFT_MIN}..{SHIFT_MAX}")
    check(f"{where}scale", layer.scale, math.isfinite(layer.scale) and layer.scale > 0, "finite and above 0")
    kernels = (shape.out_channels, shape.in_channels)
    values = mask_values(layer.mask_bits)
    _check_array(f"{where}mask", layer.mask, "int8", (*kernels, shape.kernel, shape.kernel), values[0],
                 values[-1])
    check_masks(layer)
    _check_array(f"{where}alpha", layer.alpha, "uint8", kernels, 0, 255)
    check_scalars(layer)
    _check_array(f"{where}bias", layer.bias, "int16", kernels[:1], BIAS_MIN, BIAS_MAX)
    _validate_shortcut(layer, shapes)


def _validate_shortcut(layer: "CompressedLayer", shapes: Sequence[ConvShape]) -> None:
    shortcut, where = layer.shape.shortcut, f"layer {layer.shape.name}: "
    kind = "no shortcut" if shortcut is None else "a projection" if shortcut.projection else "an identity"
    for part, array, there in (
        ("shortcut_alpha", layer.shortcut_alpha, shortcut is not None),
        ("shortcut_sign", layer.shortcut_sign, shortcut is not None and shortcut.projection),
    ):
        check(f"{where}{part}", "none" if array is None else "an array", (array is not None) == there,
               f"{'an array' if there else 'none'} for {kind}")
    top = 0 if shortcut is None else SHORTCUT_SHIFT_MAX
    check(f"{where}shortcut_shift", layer.shortcut_shift, 0 <= layer.shortcut_shift <= top,
           f"0..{top}" if top else f"0 for {kind}")
    if shortcut is None or layer.shortcut_alpha is None:
        return
    channels: tuple[int, ...] = (layer.shape.out_channels,)
    if shortcut.projection:
        channels += (shapes[shortcut.source].out_channels,)
    _check_array(f"{where}shortcut_alpha", layer.shortcut_alpha, "uint8", channels, 0, 255)
    if layer.shortcut_sign is not None:
        _check_array(f"{where}shortcut_sign", layer.shortcut_sign, "int8", channels, -1, 1)
        check(f"{where}shortcut_sign", 0, bool(layer.shortcut_sign.all()), "-1, 1")


def _validate_shared(layer: "CompressedLayer", owner: "CompressedLayer") -> None:
    """Raises InputError unless the layer has the integers and the scale of ``owner``, which it shares."""
    equal = equal_arrays(layer.arrays(), owner.arrays()) and all(
        getattr(layer, part) == getattr(owner, part)
        for part in ("mask_bits", "scalar_bits", "shift", "scale", "shortcut_shift", "trained")
    )
    check(f"layer {layer.shape.name}: shares", layer.shape.shares, equal,
           f"with the integers and the scale of {owner.shape.name}, which differ")


def check_masks(layer: "CompressedLayer") -> None:
    """Raises InputError, naming the layer, unless its mask width exists and can code every mask value."""
    _check_mask_bits(layer)
    values = mask_values(layer.mask_bits)
    odd = layer.mask[~np.isin(layer.mask, values)]
    if odd.size:
        raise InputError(f"layer {layer.shape.name}: mask contains {odd[0]}; "
                         f"allowed with {layer.mask_bits} bits: {values}")


def check_scalars(layer: "CompressedLayer") -> None:
    """Raises InputError, naming the layer, unless the width of its scalars exists and has a number for each
    of their values."""
    where, bits = f"layer {layer.shape.name}: ", layer.scalar_bits
    check(f"{where}scalar_bits", bits, bits in SCALAR_WIDTHS, ", ".join(map(str, SCALAR_WIDTHS)))
    for part, scalars in (("alpha", layer.alpha), ("shortcut_alpha", layer.shortcut_alpha)):
        if table_entries(bits) and scalars is not None:
            count = len(np.unique(scalars))
            check(f"{where}values of {part}", count, count <= table_entries(bits),
                   f"{table_entries(bits)} at most with {bits} scalar bits")


def _check_mask_bits(layer: "CompressedLayer") -> None:
    check(f"layer {layer.shape.name}: mask_bits", layer.mask_bits, layer.mask_bits in MASK_BITS,
           f"{MASK_BITS[0]}..{MASK_BITS[-1]}")


def check(what: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise InputError(f"{what} = {value!r:.60}; allowed: {allowed}")


def _check_array(what: str, array: np.ndarray, dtype: str, shape: tuple[int, ...], low: int,
                 high: int) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise InputError(f"{what} is {array.dtype} {list(array.shape)}; allowed: {dtype} {list(shape)}")
    if array.size and not low <= int(array.min()) <= int(array.max()) <= high:
        raise InputError(f"{what} reaches {array.min()}..{array.max()}; allowed: {low}..{high}")


def equal_arrays(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    """Whether both have equal arrays of equal types under equal names."""
    return a.keys() == b.keys() and all(
        a[part].dtype == b[part].dtype and np.array_equal(a[part], b[part]) for part in a
    )
