"""Figures of a compressed network: errors, ranges and sizes."""

from dataclasses import dataclass

from kestrel.hw.spec.widths import BIAS_BITS, SHIFT_BITS
from kestrel.sw.model.compressed import CompressedLayer

SCALE_BITS = 64
"""A scale in the network file: a 64-bit floating-point number. The chip itself does not store it."""

FLOAT_BITS = 32

DEAD_SHARE = 0.1
"""Share of a layer's kernels that may add nothing without a warning."""


@dataclass(frozen=True)
class LayerReport:
    """One layer.

    trained: whether its weights were learned, or are random numbers in place of missing ones;
    sqnr_float_db: signal to noise of the stored weights against the float ones, None where there is no noise;
    sqnr_target_db: against those that they were fitted to, which differ with the rule ``sequential``, where a
    layer makes up for the ones before; alpha_max: largest scalar; saturated: share of calibration activations
    above the layer's range; saturated_biases: biases cut to 12 bits; bias_min, bias_max: in units of the
    layer's output; weights: of the float layer, its shortcut's included, 0 for a layer that shares another's;
    dead_kernels: kernels that add nothing, whether their weights were 0 or their scalar
    rounded to it; dead_channels: output channels without a single live kernel; range: real activation of the
    greatest integer; raised: factor on the calibrated range that scalars and biases needed;
    accumulator_bits: signed width that the layer's sums can need; scale: real value of one output unit.
    zero_outputs, saturated_outputs: share of the integer network's outputs that are 0, or the greatest
    integer, on the first calibration picture; dead_outputs: output channels that are 0 everywhere on it.
    """

    name: str
    trained: bool
    mask_bits: int
    scalar_bits: int
    shift: int
    sqnr_float_db: float | None
    sqnr_target_db: float | None
    alpha_max: int
    saturated: float
    saturated_biases: int
    bias_min: float
    bias_max: float
    kernels: int
    weights: int
    dead_kernels: int
    dead_channels: int
    weight_bits: int
    scale: float
    range: float
    raised: float
    accumulator_bits: int
    zero_outputs: float
    saturated_outputs: float
    dead_outputs: int


@dataclass(frozen=True)
class CompressionReport:
    """The whole network. ``bits``, ``bytes``, ``ratio`` (to float32 weights) and ``bits_per_weight`` count
    masks, scalars and their tables; ``bias_bits``, ``shift_bits`` and ``scale_bits`` are counted beside
    them."""

    network: str
    fit: str
    activation_bits: int
    preprocessing: str
    calibration: str
    calibration_pictures: int
    calibration_size: tuple[int, int]
    percentile: float
    layers: tuple[LayerReport, ...]
    bias_bits: int
    shift_bits: int
    scale_bits: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is probably not wanted, a line each."""
        return tuple(
            f"layer {layer.name}: {layer.dead_kernels:,} of {layer.kernels:,} kernels add nothing (their "
            "weights are 0, or too small beside the layer's largest)"
            + (f"; {layer.dead_channels} output channels are constant" if layer.dead_channels else "")
            for layer in self.layers
            if layer.dead_channels or layer.dead_kernels > DEAD_SHARE * layer.kernels
        )

    @property
    def bits(self) -> int:
        return sum(layer.weight_bits for layer in self.layers)

    @property
    def bytes(self) -> int:
        return -(-self.bits // 8)

    @property
    def weights(self) -> int:
        return sum(layer.weights for layer in self.layers)

    @property
    def ratio(self) -> float:
        return FLOAT_BITS * self.weights / self.bits

    @property
    def bits_per_weight(self) -> float:
        return self.bits / self.weights


def weight_count(layer: CompressedLayer) -> int:
    """``LayerReport.weights`` of a layer. An identity has none."""
    if layer.shape.shares is not None:
        return 0
    projection = 0 if layer.shortcut_sign is None else layer.shortcut_sign.size
    return layer.mask.size + projection


def side_bits(channels: int, layers: int) -> tuple[int, int, int]:
    """Bits of all biases, shifts and scales."""
    return channels * BIAS_BITS, layers * SHIFT_BITS, layers * SCALE_BITS
