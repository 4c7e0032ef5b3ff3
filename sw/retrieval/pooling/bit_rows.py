"""More bits than dimensions, or fewer: the values of which a descriptor's bits are the signs.

One bit a dimension loses most where whitening has made all dimensions alike. Bits of further directions
tell what the first ones leave open, so ``count`` rows are taken from

    [I; R1 W; R2 W; ...]    I the identity, R1, R2, ... fixed rotations, each D x D,
                            W diagonal: a weight for each dimension

and the values are the rows times the vector, brought to unit length. A rotated row mixes all dimensions;
those that vary little among descriptors carry little but noise and are given little weight, their variance.
As the rows only multiply the whitening's matrix from the left, a chip computes them like any others.
"""

from functools import lru_cache

import numpy as np

from kestrel.hw.spec.errors import InputError

BITS_MAX = 1 << 14

ROW_FRACTION = 20
VECTOR_FRACTION = 24
"""Rows and vectors are rounded to multiples of 2**-20 and 2**-24. Of unit vectors all products and sums are
then exact in float64, whatever the order, and a bit does not depend on the library that adds them up."""

_SEED = 0x6B657374


def check_bits(count: int) -> None:
    """Raises InputError."""
    if not 1 <= count <= BITS_MAX:
        raise InputError(f"bits {count}; allowed: 1..{BITS_MAX}")


def bit_rows(dimension: int, count: int, weights: np.ndarray | None = None) -> np.ndarray:
    """float64 [count, dimension]. weights: float [dimension], 0..1 (None: all 1). Raises InputError."""
    check_bits(count)
    scale = np.ones(dimension) if weights is None else weights.astype(np.float64)
    rotated = [_rotation(dimension, number) * scale for number in range(1, -(-count // dimension))]
    rows = np.concatenate([np.eye(dimension), *rotated])[:count]
    return np.rint(rows * 2**ROW_FRACTION) / 2**ROW_FRACTION


def bit_values(vectors: np.ndarray, count: int, weights: np.ndarray | None = None) -> np.ndarray:
    """float [N, D] of unit length -> float64 [N, count] of unit length, zeros stay. ``count`` D: the vectors
    themselves. Raises InputError."""
    dimension = vectors.shape[1]
    if count == dimension:
        return vectors.astype(np.float64)
    rounded = np.rint(vectors.astype(np.float64) * 2**VECTOR_FRACTION) / 2**VECTOR_FRACTION
    values = rounded @ bit_rows(dimension, count, weights).T
    norms = np.sqrt((values * values).sum(axis=1, keepdims=True))
    return values / np.where(norms > 0, norms, 1.0)


@lru_cache(maxsize=8)
def _rotation(dimension: int, number: int) -> np.ndarray:
    """The same everywhere: the signs that it is made of come from a generator whose stream is fixed, and what
    their orthogonalisation leaves open in the last bits is rounded away."""
    generator = np.random.PCG64([_SEED, number])
    words = np.array(generator.random_raw(-(-dimension * dimension // 64)), dtype="<u8")
    signs = np.unpackbits(words.view(np.uint8), count=dimension * dimension) * 2.0 - 1.0
    axes, upper = np.linalg.qr(signs.reshape(dimension, dimension))
    return np.round(axes * np.where(np.diag(upper) < 0, -1.0, 1.0), 9)
