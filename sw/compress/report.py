"""Figures of a compressed network: errors, ranges and sizes."""

from dataclasses import dataclass

from kestrel.hw.spec.widths import BIAS_BITS, SHIFT_BITS, TAPS

SCALE_BITS = 64
"""A scale in the network file: a 64-bit floating-point number. The chip itself does not store it."""

FLOAT_BITS = 32


@dataclass(frozen=True)
class LayerReport:
    """One layer.

    trained: whether its weights were learned, or are random numbers in place of missing ones;
    sqnr_db: of the stored weights against the float ones, None where there is no noise; alpha_max: largest
    scalar; saturated: share of calibration activations above the layer's range; saturated_biases: biases
    cut to 12 bits; bias_min, bias_max: in units of the layer's output; dead_kernels: kernels whose scalar
    rounded to 0; dead_channels: output channels without a single live kernel; range: real activation of the
    greatest integer; raised: factor on the calibrated range that scalars and biases needed;
    accumulator_bits: signed width that the layer's sums can need; scale: real value of one output unit.
    zero_outputs, saturated_outputs: share of the integer network's outputs that are 0, or the greatest
    integer, on the first calibration picture; dead_outputs: output channels that are 0 everywhere on it.
    """

    name: str
    trained: bool
    mask_bits: int
    shift: int
    sqnr_db: float | None
    alpha_max: int
    saturated: float
    saturated_biases: int
    bias_min: float
    bias_max: float
    kernels: int
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
    masks and scalars; ``bias_bits``, ``shift_bits`` and ``scale_bits`` are counted beside them."""

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
    def bits(self) -> int:
        return sum(layer.weight_bits for layer in self.layers)

    @property
    def bytes(self) -> int:
        return -(-self.bits // 8)

    @property
    def weights(self) -> int:
        return TAPS * sum(layer.kernels for layer in self.layers)

    @property
    def ratio(self) -> float:
        return FLOAT_BITS * self.weights / self.bits

    @property
    def bits_per_weight(self) -> float:
        return self.bits / self.weights


def side_bits(channels: int, layers: int) -> tuple[int, int, int]:
    """Bits of all biases, shifts and scales."""
    return channels * BIAS_BITS, layers * SHIFT_BITS, layers * SCALE_BITS
