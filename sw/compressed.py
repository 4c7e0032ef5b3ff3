"""The compressed network: every integer the chip knows, and the scales that give them a meaning."""

from dataclasses import dataclass

import numpy as np

from hw.spec import kernel_bits
from sw.network import ConvShape


@dataclass(frozen=True)
class CompressedLayer:
    """Integers of one layer.

    mask: int8 [C_out, C_in, 3, 3], the values (not codes) that ``mask_bits`` allow;
    alpha: uint8 [C_out, C_in]; bias: int16 [C_out], 12-bit range, BIAS_FRACTION fraction bits;
    shift: SHIFT_MIN..SHIFT_MAX; scale: real value of one output unit (S_l).
    """

    shape: ConvShape
    mask_bits: int
    mask: np.ndarray
    alpha: np.ndarray
    bias: np.ndarray
    shift: int
    scale: float
    trained: bool = True

    @property
    def weight_bits(self) -> int:
        """Stored bits of masks and scalars."""
        return self.alpha.size * kernel_bits(self.mask_bits)


@dataclass(frozen=True)
class CompressedNetwork:
    """A stack of compressed layers and what the first of them expects.

    preprocessing: ``caffe``, ``torchvision`` or ``none``; pad: uint8 [C_in of the first layer], the value
    (in units of the first layer's input) that stands outside the image.
    """

    name: str
    activation_bits: int
    preprocessing: str
    pad: np.ndarray
    layers: tuple[CompressedLayer, ...]

    @property
    def weight_bits(self) -> int:
        return sum(layer.weight_bits for layer in self.layers)
