"""More bits than dimensions, or fewer: the values whose signs are a descriptor's bits.

One bit for each dimension loses most information after whitening, which gives all dimensions the same
variance. Bits for further directions add information that the first ones lack, so ``count`` rows are taken
from

    [I; R1 W; R2 W; ...]    I the identity, R1, R2, ... fixed rotations, each D x D,
                            W diagonal: a weight for each dimension

and the values are the rows times the vector, normalised to unit length. A rotated row mixes all dimensions.
Dimensions that vary little among descriptors carry little but noise, so each dimension is weighted by its
variance. As the rows only multiply the whitening matrix from the left, a chip computes them like any others.
"""

from functools import lru_cache

import numpy as np

from kestrel.hw.spec.errors import InputError

BITS_MAX = 1 << 14

ROW_FRACTION = 20
VECTOR_FRACTION = 24
"""Rows and vectors are rounded to multiples of 2**-20 and 2**-24. For unit vectors, all products and sums are
then exact in float64 in any order, and a bit does not depend on the library that adds them up."""

_SEED = 0x6B657374


def check_bits(count: int) -> None:
    """Raises InputError unless a descriptor may have this number of bits."""
    if not 1 <= count <= BITS_MAX:
        raise InputError(f"bits {count}; allowed: 1..{BITS_MAX}")


def bit_rows(dimension: int, count: int, weights: np.ndarray | None = None) -> np.ndarray:
    """The rows, float64 [count, dimension]. ``weights`` is float [dimension] in 0..1 (None: all 1). Raises
    InputError."""
    check_bits(count)
    scale = np.ones(dimension) if weights is None else weights.astype(np.float64)
    rotated = [_rotation(dimension, number) * scale for number in range(1, -(-count // dimension))]
    rows = np.concatenate([np.eye(dimension), *rotated])[:count]
    return np.rint(rows * 2**ROW_FRACTION) / 2**ROW_FRACTION


def bit_values(vectors: np.ndarray, count: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Turns float [N, D] of unit length into float64 [N, count] of unit length; zeros stay zeros. If
    ``count`` is D, the values are the vectors themselves. Raises InputError."""
    dimension = vectors.shape[1]
    if count == dimension:
        return vectors.astype(np.float64)
    rounded = np.rint(vectors.astype(np.float64) * 2**VECTOR_FRACTION) / 2**VECTOR_FRACTION
    values = rounded @ bit_rows(dimension, count, weights).T
    norms = np.sqrt((values * values).sum(axis=1, keepdims=True))
    return values / np.where(norms > 0, norms, 1.0)


@lru_cache(maxsize=8)
def _rotation(dimension: int, number: int) -> np.ndarray:
    """A fixed rotation, the same on every machine: its signs come from a generator whose stream is fixed, and
    differences in the last bits after their orthogonalisation are rounded away."""
    generator = np.random.PCG64([_SEED, number])
    words = np.array(generator.random_raw(-(-dimension * dimension // 64)), dtype="<u8")
    signs = np.unpackbits(words.view(np.uint8), count=dimension * dimension) * 2.0 - 1.0
    axes, upper = np.linalg.qr(signs.reshape(dimension, dimension))
    return np.round(axes * np.where(np.diag(upper) < 0, -1.0, 1.0), 9)
