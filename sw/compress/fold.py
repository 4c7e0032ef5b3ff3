"""Folding: from fitted masks and measured ranges to the integers of a layer (docs/arithmetic.md, section 7).

With x the input in integers and X = S_in * (x - z) its real value, a layer computes
    Y = sum w X + b,   y = Y / S_out = sum (w S_in / S_out) x + (b - sum w S_in z) / S_out,
and w S_in / S_out is stored as alpha * M * 2**-shift. S_in may differ by input channel (the first layer's,
where preprocessing has a scale a channel); z is zero but in the first layer, where it is the mean.

A shortcut adds sum v X2 with X2 = S_2 x2, so v S_2 / S_out is stored as beta * 2**(e - shift), with a sign
for each weight of a projection. The layer's one shift must suit both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.widths import (
    BIAS_FRACTION,
    BIAS_MAX,
    BIAS_MIN,
    SCALAR_MAX,
    SHIFT_MAX,
    SHIFT_MIN,
    SHORTCUT_SHIFT_MAX,
)
from kestrel.sw.compress.fit import Fit, signs, sqnr_db
from kestrel.sw.compress.refine import Refine, round_half_up
from kestrel.sw.compress.scalar_tables import in_table
from kestrel.sw.model.blocks import blocks_pad
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork
from kestrel.sw.model.network import ConvShape, NetworkShape
from kestrel.sw.model.preprocessing import Preprocessing, input_step

RAISE_MAX = 4.0
"""How far a layer's range may be raised so that its biases fit 12 bits. Each doubling costs a bit of the
activations' resolution; a bias beyond that is saturated, and counted."""


@dataclass(frozen=True)
class InputScale:
    """Meaning of a layer's integer input x, by channel: real value ``scale * (x - zero)``. float64 [C_in]."""

    scale: np.ndarray
    zero: np.ndarray


@dataclass(frozen=True)
class ShortcutInput:
    """A layer's shortcut: its real weights, float64 [C_out, C_shortcut] of a projection or [C_out] of an
    identity, and the real value of one unit of its map."""

    weight: np.ndarray
    scale: float


@dataclass(frozen=True)
class FoldedLayer:
    """A layer in integers and what was lost on the way.

    sqnr_target_db: of alpha * M, scalars rounded, against the weights that were to be approximated (None: no
    noise);
    saturated_biases, saturated_scalars: values that had to be cut to their range;
    raised: factor by which the calibrated range was raised to fit scalars and biases.
    """

    layer: CompressedLayer
    sqnr_target_db: float | None
    saturated_biases: int
    saturated_scalars: int
    raised: float


def image_scale(preprocessing: Preprocessing, activation_bits: int, *, blocks: bool = False) -> InputScale:
    """The first layer's input: a unit is 2**(8 - A) pixel steps, and the mean pixel is zero. With ``blocks``,
    by channel of the image in blocks.

    The exact mean goes into the bias, not the rounded pad value, so that inside the image mean subtraction
    is exact; the pad value is off by half a unit at most, and only at the border.
    """
    step = input_step(activation_bits)
    scale = np.asarray(preprocessing.scale, dtype=np.float64) * step
    zero = np.asarray(preprocessing.mean, dtype=np.float64) / step
    return InputScale(blocks_pad(scale), blocks_pad(zero)) if blocks else InputScale(scale, zero)


def map_scale(layer: CompressedLayer) -> InputScale:
    """The input of the layer after ``layer``."""
    channels = layer.shape.out_channels
    return InputScale(np.full(channels, layer.scale), np.zeros(channels))


def largest_shift(alpha_max: float) -> int:
    """The largest shift at which a scalar still fits 8 bits when rounded, within the shift's own range."""
    shift = SHIFT_MAX
    while shift > SHIFT_MIN and round_half_up(alpha_max * 2.0**shift) > SCALAR_MAX:
        shift -= 1
    return shift


def compressed_network(shape: NetworkShape, layers: Sequence[CompressedLayer], preprocessing: Preprocessing,
                       activation_bits: int) -> CompressedNetwork:
    """The integer network of ``layers``, the first ones of ``shape``."""
    pad = preprocessing.pad(activation_bits)
    return CompressedNetwork(shape.name, activation_bits, preprocessing.name,
                             blocks_pad(pad) if shape.blocks else pad, tuple(layers), shape.blocks)


def fold_layer(shape: ConvShape, weight: np.ndarray, bias: np.ndarray, fit: Fit, mask_bits: int, cap: float,
               inputs: InputScale, activation_bits: int, refine: Refine,
               shortcut: ShortcutInput | None = None) -> FoldedLayer:
    """Integers of one layer.

    weight: float32 [C_out, C_in, k, k] and bias: float32 [C_out], in real units; fit: of these weights;
    cap: the real activation that becomes 2**A - 1; refine: how scalars become integers, and
    whether masks follow; shortcut: of a layer that has one.

    Where the largest scalar does not fit at the smallest shift, or a bias not its 12 bits, the range is
    raised (see RAISE_MAX; for scalars, without limit). Where an identity has one factor for all channels, the
    range is raised by 1% at most so that its scalar is a whole number: what it adds is then exact.
    """
    raised = 1.0
    full = (1 << activation_bits) - 1
    while True:
        raised *= _identity_raise(shortcut, fit, inputs, cap * raised / full)
        folded = _fold_at(shape, weight, bias, fit, mask_bits, cap * raised / full, inputs, refine, shortcut)
        excess = max(folded.scalar_excess, min(folded.bias_excess, RAISE_MAX / raised))
        if excess <= 1:
            break
        # A little more than needed: rounding differs at the new scale.
        raised *= excess * (1 + 2.0**-10)
    return FoldedLayer(folded.layer, folded.sqnr_target_db, folded.saturated_biases, folded.saturated_scalars,
                       raised)


def choose_shifts(scalar: float, shortcut: float | None) -> tuple[int, int]:
    """(s, e): the largest shift at which the scalars of the convolution fit 8 bits, and those of the shortcut
    with its greatest shift; and the smallest shift of the shortcut at which they do.

    ``scalar`` and ``shortcut`` are the largest real scalars of the two, in units of the layer's output for
    each unit of their maps; None without a shortcut.
    """
    shift = largest_shift(scalar)
    if shortcut is None:
        return shift, 0
    shift = min(shift, largest_shift(shortcut * 2.0**-SHORTCUT_SHIFT_MAX))
    lift = 0
    while lift < SHORTCUT_SHIFT_MAX and round_half_up(shortcut * 2.0 ** (shift - lift)) > SCALAR_MAX:
        lift += 1
    return shift, lift


def _shifts(fit: Fit, gain: np.ndarray, shortcut: ShortcutInput | None, scale: float) -> tuple[int, int]:
    """``choose_shifts`` of a layer."""
    largest = None
    if shortcut is not None:
        largest = float(np.abs(shortcut.weight).max(initial=0.0)) * shortcut.scale / scale
    return choose_shifts(float((fit.alpha * gain).max(initial=0.0)), largest)


def _identity_raise(shortcut: ShortcutInput | None, fit: Fit, inputs: InputScale, scale: float) -> float:
    """The factor on a layer's scale that makes the scalar of its identity a whole number; 1 for other
    layers."""
    if shortcut is None or shortcut.weight.ndim > 1 or np.ptp(shortcut.weight) > 0:
        return 1.0
    shift, lift = _shifts(fit, inputs.scale / scale, shortcut, scale)
    scalar = float(shortcut.weight[0]) * shortcut.scale / scale * 2.0 ** (shift - lift)
    nearest = float(np.round(scalar))
    if abs(scalar - nearest) < 1e-9 * scalar or scalar < SCALAR_MAX / 4:
        return 1.0
    return scalar / float(np.floor(scalar))


@dataclass(frozen=True)
class _Attempt:
    """A layer folded at one output scale; the excesses say how much larger the scale should be."""

    layer: CompressedLayer
    sqnr_target_db: float | None
    saturated_biases: int
    saturated_scalars: int
    scalar_excess: float
    bias_excess: float


def _fold_at(shape: ConvShape, weight: np.ndarray, bias: np.ndarray, fit: Fit, mask_bits: int, scale: float,
             inputs: InputScale, refine: Refine, shortcut: ShortcutInput | None) -> _Attempt:
    gain = inputs.scale / scale
    shift, lift = _shifts(fit, gain, shortcut, scale)
    unit = 2.0**-shift / gain  # real weight of mask value 1 at alpha 1, by input channel
    mask, rounded = refine(weight.astype(np.float64), fit, unit, mask_bits)
    alpha = np.clip(rounded, 0, SCALAR_MAX)
    if mask_bits > 1:  # a kernel without scalar does nothing: no tap need switch
        mask = np.where(alpha[:, :, None, None] == 0, 0, mask).astype(np.int8)
    product = alpha[:, :, None, None] * mask

    # The integers' own kernels, not the float ones, see the mean: a grey image gives exactly what it should.
    at_zero = (product.sum(axis=(2, 3)) * inputs.zero).sum(axis=1) * 2.0**-shift
    steps = round_half_up((bias.astype(np.float64) / scale - at_zero) * (1 << BIAS_FRACTION))
    stored = np.clip(steps, BIAS_MIN, BIAS_MAX)

    beta, sign = np.zeros(0), None
    if shortcut is not None:
        beta = np.abs(shortcut.weight) * (shortcut.scale / scale * 2.0 ** (shift - lift))
        beta = round_half_up(in_table(beta, np.ones_like(beta), fit.scalar_bits))
        sign = signs(shortcut.weight) if shortcut.weight.ndim > 1 else None
    layer = CompressedLayer(
        shape, mask_bits, mask, alpha.astype(np.uint8), stored.astype(np.int16), shift, scale,
        shortcut_alpha=None if shortcut is None else np.clip(beta, 0, SCALAR_MAX).astype(np.uint8),
        shortcut_sign=sign, shortcut_shift=lift, scalar_bits=fit.scalar_bits,
    )
    largest = max(float(rounded.max(initial=0.0)), float(beta.max(initial=0.0)))
    return _Attempt(
        layer=layer,
        # Compared in real units: where input scales differ by channel, so do the weights' units.
        sqnr_target_db=sqnr_db(weight, product * unit[:, None, None]),
        saturated_biases=int((stored != steps).sum()),
        saturated_scalars=int((alpha != rounded).sum()),
        scalar_excess=largest / SCALAR_MAX,
        bias_excess=float(np.max(np.where(steps > 0, steps / BIAS_MAX, steps / BIAS_MIN), initial=0.0)),
    )
