"""Bounds of the accumulators, derived from a network's actual integers: the proof that 32 bits are enough."""

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import ACCUMULATOR_MAX, ACCUMULATOR_MIN, BIAS_FRACTION
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork


def channel_reach(layer: CompressedLayer, activation_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sum that one input channel can add to one output channel.

    Both arrays are int64 [C_out, C_in], with lowest <= 0 <= highest. Activations (and pad values) lie in
    0..2**A - 1, so the lowest sum is reached with the greatest activation under every negative weight and 0
    under all others. The sum over *any* subset of a channel's products also lies between the two bounds.
    """
    greatest = (1 << activation_bits) - 1
    mask = layer.mask.astype(np.int64)
    alpha = layer.alpha.astype(np.int64)
    high = alpha * np.maximum(mask, 0).sum(axis=(2, 3)) * greatest
    low = alpha * np.minimum(mask, 0).sum(axis=(2, 3)) * greatest
    return low, high


def shortcut_reach(layer: CompressedLayer, activation_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sum that one channel of the shortcut's map can add to one output channel: int64
    [C_out, C_shortcut], [C_out, 1] for an identity and [C_out, 0] without a shortcut, lowest <= 0 <=
    highest."""
    if layer.shortcut_alpha is None:
        nothing = np.zeros((layer.shape.out_channels, 0), dtype=np.int64)
        return nothing, nothing
    weight = shortcut_weights(layer).reshape(layer.shape.out_channels, -1)
    greatest = (1 << activation_bits) - 1
    return np.minimum(weight, 0) * greatest, np.maximum(weight, 0) * greatest


def shortcut_weights(layer: CompressedLayer) -> np.ndarray:
    """By what a layer multiplies its shortcut's map, 2^e included: int64 [C_out, C_shortcut] of a projection,
    [C_out] of an identity. The layer must have a shortcut."""
    assert layer.shortcut_alpha is not None
    weight = layer.shortcut_alpha.astype(np.int64) << layer.shortcut_shift
    return weight if layer.shortcut_sign is None else weight * layer.shortcut_sign


def rounding_offset(layer: CompressedLayer) -> np.ndarray:
    """The bias plus one half that requantisation adds to an accumulator before the shift. int64 [C_out]."""
    return (layer.bias.astype(np.int64) << (layer.shift - BIAS_FRACTION)) + (1 << (layer.shift - 1))


def accumulator_range(layer: CompressedLayer, activation_bits: int) -> tuple[int, int]:
    """Lowest and highest value that any accumulator of the layer can take, both before and after the bias and
    the rounding half are added. Some pair of maps, of the layer's input and of its shortcut, reaches each of
    the two (where both are one map, it need not)."""
    low, high = channel_reach(layer, activation_bits)
    shortcut_low, shortcut_high = shortcut_reach(layer, activation_bits)
    offset = rounding_offset(layer)
    lowest = (low.sum(axis=1) + shortcut_low.sum(axis=1) + np.minimum(offset, 0)).min()
    highest = (high.sum(axis=1) + shortcut_high.sum(axis=1) + np.maximum(offset, 0)).max()
    return int(lowest), int(highest)


def check_accumulators(network: CompressedNetwork) -> None:
    """Raise InputError, naming the layer, if an accumulator could leave 32-bit two's complement."""
    for layer in network.layers:
        lowest, highest = accumulator_range(layer, network.activation_bits)
        if lowest < ACCUMULATOR_MIN or highest > ACCUMULATOR_MAX:
            raise InputError(
                f"{network.name}, layer {layer.shape.name}: an accumulator may reach {lowest}..{highest}; "
                f"allowed: {ACCUMULATOR_MIN}..{ACCUMULATOR_MAX}"
            )
