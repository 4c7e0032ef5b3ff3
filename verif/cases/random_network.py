"""Compressed networks for tests: random ones whose activations stay varied, and constant extremes."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import log2, sqrt
from typing import Any

import numpy as np

from kestrel.hw.spec.masks import mask_values
from kestrel.hw.spec.widths import (
    BIAS_MAX,
    BIAS_MIN,
    SCALAR_BITS,
    SCALAR_MAX,
    SCALAR_WIDTHS,
    SHIFT_MAX,
    SHIFT_MIN,
    SHORTCUT_SHIFT_MAX,
    table_entries,
)
from kestrel.sw.model.bounds import check_accumulators
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork
from kestrel.sw.model.network import IMAGE_CHANNELS, ConvShape


def stack(channels: Sequence[int], pools: Sequence[int] = ()) -> tuple[ConvShape, ...]:
    """The shapes of a stack with ``channels[0]`` inputs and one layer for each further count. ``pools`` are
    the indices of the layers that pool."""
    return tuple(
        ConvShape(f"conv{n}", c_in, c_out, pool=n in pools)
        for n, (c_in, c_out) in enumerate(pairwise(channels))
    )


def random_network(
    rng: np.random.Generator,
    shapes: Sequence[ConvShape],
    mask_bits: int | Sequence[int],
    *,
    activation_bits: int = 8,
    pad: Sequence[int] | None = None,
    name: str = "random",
    blocks: bool = False,
    shortcut_shift_max: int = SHORTCUT_SHIFT_MAX,
    tables: bool = False,
) -> CompressedNetwork:
    """A network of random integers.

    Masks are uniform over the values that ``mask_bits`` (one number, or one for each layer) allow, scalars
    over 0..255, and biases over the output's range. The shift is chosen such that the outputs spread over
    their whole range, with some of them 0 and some saturated, so that an error anywhere shows at the end of
    the stack. ``pad`` holds the values outside the image; None means random ones, with ``blocks`` one a
    colour.

    Layers of 1x1 kernels have one mask bit whatever ``mask_bits`` says, layers that share integers those of
    their owner. Shortcuts have every shift up to ``shortcut_shift_max``; their scalars are such that what
    they add is as varied as what the convolution does.

    With ``tables`` every layer has any of SCALAR_WIDTHS, and its scalars are those of a random table.
    """
    widths = [mask_bits] * len(shapes) if isinstance(mask_bits, int) else list(mask_bits)
    greatest = (1 << activation_bits) - 1
    layers: list[CompressedLayer] = []
    for shape, width in zip(shapes, widths, strict=True):
        if shape.shares is not None:
            layers.append(replace(layers[shape.shares], shape=shape))
            continue
        c_out, c_in, kernel = shape.out_channels, shape.in_channels, shape.kernel
        bits = width if kernel == 3 else 1
        values = np.array(mask_values(bits), dtype=np.int8)
        mask = rng.choice(values, size=(c_out, c_in, kernel, kernel))
        q = int(rng.choice(SCALAR_WIDTHS)) if tables else SCALAR_BITS
        alpha = _random_scalars(rng, SCALAR_MAX, (c_out, c_in), q)
        # The root mean square of uniform scalars, of the taps and of the activations: 0.58 of each range.
        spread = sqrt(kernel**2 * c_in) * 0.58 * SCALAR_MAX * 0.58 * greatest
        spread *= sqrt(float(np.mean(values.astype(float) ** 2)))
        shortcut: dict[str, Any] = {}
        if shape.shortcut is not None:
            channels = shapes[shape.shortcut.source].out_channels if shape.shortcut.projection else None
            shift = int(rng.integers(0, shortcut_shift_max + 1))
            shortcut = _random_shortcut(rng, c_out, channels, shift, spread / (0.58 * 0.58 * greatest), q)
            spread *= sqrt(2)
        shift = min(max(round(log2(spread / (greatest / 2))), SHIFT_MIN), SHIFT_MAX)
        reach = min(BIAS_MAX, 4 * greatest)
        bias = rng.integers(-reach, reach + 1, size=c_out).astype(np.int16)
        layers.append(_layer(shape, bits, mask, alpha, bias, shift, scalar_bits=q, **shortcut))
    first = shapes[0].in_channels
    if pad is None:
        values = rng.integers(0, greatest + 1, size=IMAGE_CHANNELS if blocks else first)
        values = np.resize(values, first)
    else:
        values = np.asarray(pad)
    return _network(name, activation_bits, values, layers, blocks=blocks)


def _random_scalars(
    rng: np.random.Generator, greatest: int, size: int | tuple[int, ...], scalar_bits: int
) -> np.ndarray:
    """Scalars from 0 to ``greatest``, of few values where their width allows only so many; uint8."""
    if not table_entries(scalar_bits):
        return rng.integers(0, greatest + 1, size=size).astype(np.uint8)
    table = rng.integers(0, greatest + 1, size=table_entries(scalar_bits)).astype(np.uint8)
    return rng.choice(table, size=size)


def _random_shortcut(
    rng: np.random.Generator, c_out: int, channels: int | None, shift: int, reach: float, scalar_bits: int
) -> dict[str, Any]:
    """The shortcut's parts of a layer: a projection from ``channels``, or an identity. ``reach`` is the
    greatest weight that an identity should have, its shift included."""
    largest = reach / (1 << shift) / sqrt(channels or 1)
    size = c_out if channels is None else (c_out, channels)
    alpha = _random_scalars(rng, min(max(round(largest), 1), SCALAR_MAX), size, scalar_bits)
    parts: dict[str, Any] = {"shortcut_alpha": alpha, "shortcut_shift": shift}
    if channels is not None:
        parts["shortcut_sign"] = rng.choice(np.array([-1, 1], dtype=np.int8), size=size)
    return parts


def constant_network(
    shapes: Sequence[ConvShape],
    mask_bits: int,
    *,
    alpha: int = SCALAR_MAX,
    tap: int | None = None,
    bias: int = 0,
    shift: int = SHIFT_MAX,
    activation_bits: int = 8,
    pad: int = 0,
    name: str = "constant",
) -> CompressedNetwork:
    """A network in which every scalar, tap, bias, shift and pad value is the same, for extreme cases.

    ``tap`` defaults to the lowest value that ``mask_bits`` allow.
    """
    tap = mask_values(mask_bits)[0] if tap is None else tap
    assert tap in mask_values(mask_bits)
    assert BIAS_MIN <= bias <= BIAS_MAX
    assert SHIFT_MIN <= shift <= SHIFT_MAX
    layers = [
        _layer(
            s,
            mask_bits,
            np.full((s.out_channels, s.in_channels, 3, 3), tap, dtype=np.int8),
            np.full((s.out_channels, s.in_channels), alpha, dtype=np.uint8),
            np.full(s.out_channels, bias, dtype=np.int16),
            shift,
        )
        for s in shapes
    ]
    return _network(name, activation_bits, np.full(shapes[0].in_channels, pad), layers)


def _layer(
    shape: ConvShape, mask_bits: int, mask: np.ndarray, alpha: np.ndarray, bias: np.ndarray, shift: int,
    **parts: Any,
) -> CompressedLayer:
    return CompressedLayer(
        shape=shape, mask_bits=mask_bits, mask=mask, alpha=alpha, bias=bias, shift=shift, scale=2.0**-shift,
        **parts,
    )  # fmt: skip


def _network(
    name: str,
    activation_bits: int,
    pad: np.ndarray,
    layers: Sequence[CompressedLayer],
    *,
    blocks: bool = False,
) -> CompressedNetwork:
    network = CompressedNetwork(
        name=name,
        activation_bits=activation_bits,
        preprocessing="none",
        pad=pad.astype(np.uint8),
        layers=tuple(layers),
        blocks=blocks,
    )
    check_accumulators(network)
    return network
