"""Kestrel's masks as a codec of one layer: each 3x3 kernel is nine mask codes and an 8-bit scalar, each 1x1
kernel a sign and a scalar, and the layer has one real unit of the scalars.

Fitted by least squares of the weights alone, so that any layer of such kernels can be coded; the rules that
measure pictures work on whole networks, whose file is ``kestrel.sw.codecs.engine``'s.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS, decode_mask, encode_mask, mask_values
from kestrel.hw.spec.widths import SCALAR_MAX
from kestrel.sw.codecs.coding.indices import check_coding, read_indices, write_indices
from kestrel.sw.codecs.coding.stream import check, seal, unseal
from kestrel.sw.compress.fit import Fit, fit_masks
from kestrel.sw.compress.refine import Refine, keep_masks, nearest_masks, round_half_up

FAMILY = "masks"
KERNELS = (1, 3)

SMALLEST_UNIT = float(np.finfo(np.float32).tiny)
"""Of the scalars: below it float32 has fewer digits, and at last none."""


@dataclass(frozen=True)
class MaskOptions:
    """bits: of a mask code, 1 for 1x1 kernels whatever is given; coding: of the codes. Raises InputError."""

    bits: int = 3
    coding: str = "fixed"

    def __post_init__(self) -> None:
        if self.bits not in MASK_BITS:
            raise InputError(f"mask bits {self.bits}; allowed: {MASK_BITS[0]}..{MASK_BITS[-1]}")
        check_coding(self.coding)


@dataclass(frozen=True)
class Kernels:
    """mask: int8 [C_out, C_in, k, k]; alpha: uint8 [C_out, C_in]; unit: the real value of a scalar of 1,
    float32; bits: of a mask code."""

    mask: np.ndarray
    alpha: np.ndarray
    unit: np.float32
    bits: int

    def weights(self) -> np.ndarray:
        """float32 [C_out, C_in, k, k]."""
        return (self.mask * self.alpha[:, :, None, None].astype(np.float32) * self.unit).astype(np.float32)


def can_code(shape: tuple[int, ...]) -> bool:
    """Whether an array of ``shape`` has kernels that masks stand for."""
    return len(shape) == 4 and shape[2] == shape[3] and shape[2] in KERNELS and prod(shape) > 0


def quantise(weights: np.ndarray, options: MaskOptions) -> Kernels:
    """Masks and scalars of least squared error of float32 weights [C_out, C_in, k, k], k 1 or 3. Raises
    InputError for other shapes."""
    if not can_code(weights.shape):
        raise InputError(f"masks of shape {weights.shape}; allowed: kernels of 1x1 and 3x3")
    bits = options.bits if weights.shape[2] == 3 else 1
    return rounded(weights, fit_masks(weights, bits), bits)


def rounded(weights: np.ndarray, fit: Fit, bits: int, refine: Refine | None = None) -> Kernels:
    """A fit of ``weights`` with its scalars rounded to 8 bits, the largest to the largest; refine: how, by
    default to the least error of the weights."""
    largest = float(fit.alpha.max(initial=0.0)) or 1.0
    unit = np.float32(max(largest / SCALAR_MAX, SMALLEST_UNIT))
    units = np.full(weights.shape[1], float(unit))
    refine = refine or (nearest_masks if weights.shape[2] == 3 else keep_masks)
    mask, alpha = refine(weights.astype(np.float64), fit, units, bits)
    return Kernels(mask.astype(np.int8), np.clip(round_half_up(alpha), 0, SCALAR_MAX).astype(np.uint8), unit,
                   bits)


def encode(weights: np.ndarray, options: MaskOptions) -> bytes:
    """The stream of ``quantise``."""
    return write(quantise(weights, options), options.coding)


def write(kernels: Kernels, coding: str) -> bytes:
    """The stream of kernels: the bits in a byte, the unit, the scalars, the codes."""
    body = bytes((kernels.bits,)) + np.array([kernels.unit], "<f4").tobytes() + kernels.alpha.tobytes()
    codes = mask_codes(kernels.mask, kernels.bits)
    return seal(FAMILY, kernels.mask.shape, body + write_indices(codes, 1 << kernels.bits, coding))


def decode(stream: bytes) -> np.ndarray:
    """The weights that a stream stands for, float32. Raises InputError."""
    shape, reader = unseal(stream, FAMILY)
    bits = reader.number()
    check(can_code(shape) and bits in MASK_BITS, f"masks of {bits} bits for shape {shape}")
    unit = reader.floats(1)[0]
    alpha = reader.array("<u1", shape[0] * shape[1]).reshape(shape[:2])
    codes = read_indices(reader, prod(shape), 1 << bits)
    reader.end()
    return Kernels(mask_of_codes(codes, bits).reshape(shape), alpha, unit, bits).weights()


def mask_codes(mask: np.ndarray, bits: int) -> np.ndarray:
    """The code of every mask value, int64 [N]."""
    values = mask_values(bits)
    table = np.zeros(values[-1] - values[0] + 1, np.int64)
    for value in values:
        table[value - values[0]] = encode_mask(value, bits)
    return table[mask.ravel().astype(np.int64) - values[0]]


def mask_of_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """The mask value of every code, int8 [N]."""
    return np.array([decode_mask(code, bits) for code in range(1 << bits)], np.int8)[codes]
