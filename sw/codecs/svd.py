"""Singular value decomposition of a dense layer to rank k (Gong et al., section 3.1): the leading singular
vectors of both sides and the singular values, float32."""

from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.codecs.coding.stream import check, frame_bytes, seal, unseal

FAMILY = "svd"


@dataclass(frozen=True)
class SvdOptions:
    """rank: k. Raises InputError."""

    rank: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.rank < 1 << 16:
            raise InputError(f"rank {self.rank}; allowed: 1..{(1 << 16) - 1}")


@dataclass(frozen=True)
class Factors:
    """left: float32 [m, k]; values: float32 [k]; right: float32 [k, n]."""

    left: np.ndarray
    values: np.ndarray
    right: np.ndarray

    def weights(self) -> np.ndarray:
        """float32 [m, n], computed in float64 so that it does not depend on the order of the sums' rounding
        more than the last place of float32 shows."""
        return ((self.left.astype(np.float64) * self.values) @ self.right).astype(np.float32)


def quantise(weights: np.ndarray, options: SvdOptions) -> Factors:
    """The factors of a matrix float32 [m, n]. Raises InputError for another shape or a rank beyond it."""
    if weights.ndim != 2 or not weights.size or options.rank > min(weights.shape):
        raise InputError(f"rank {options.rank} of shape {weights.shape}; allowed: 1..the smaller side of a "
                         "matrix")
    left, values, right = np.linalg.svd(weights.astype(np.float64), full_matrices=False)
    k = options.rank
    return Factors(*(part.astype(np.float32) for part in (left[:, :k], values[:k], right[:k])))


def encode(weights: np.ndarray, options: SvdOptions) -> bytes:
    """The stream of ``quantise``: the rank in two bytes, the factors."""
    found = quantise(weights, options)
    parts = (np.ascontiguousarray(part, "<f4").tobytes() for part in (found.left, found.values, found.right))
    return seal(FAMILY, weights.shape, options.rank.to_bytes(2, "little") + b"".join(parts))


def decode(stream: bytes) -> np.ndarray:
    """The weights that a stream stands for, float32 [m, n]. Raises InputError."""
    shape, reader = unseal(stream, FAMILY)
    rank = reader.number(2)
    check(len(shape) == 2 and 1 <= rank <= min(shape), f"rank {rank} of shape {shape}")
    m, n = shape
    left = reader.floats(m * rank).reshape(m, rank)
    values, right = reader.floats(rank), reader.floats(rank * n).reshape(rank, n)
    reader.end()
    return Factors(left, values, right).weights()


HEADER_BYTES = frame_bytes(2) + 2
"""Bytes beside the factors."""
