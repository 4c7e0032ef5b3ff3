"""Product quantisation of a dense layer (Gong et al., section 3.2.3): the matrix is cut into segments of
columns, and in every segment each row becomes an index into the segment's own codebook.

The source's s is ambiguous, segments or their length; here ``segment`` is the length. Along y the rows are
cut in place of the columns.
"""

from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.codecs.coding.codebooks import kmeans, nearest_vectors
from kestrel.sw.codecs.coding.indices import index_bits, pack, unpack
from kestrel.sw.codecs.coding.stream import check, frame_bytes, seal, unseal

FAMILY = "product"
AXES = ("x", "y")
SEGMENT_MAX = 64


@dataclass(frozen=True)
class ProductOptions:
    """codewords: of each segment, a power of two; segment: columns of a segment, the last one has what is
    left; axis: of the cut, x for columns, y for rows. Raises InputError."""

    codewords: int = 8
    segment: int = 2
    axis: str = "x"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.codewords <= 256 or self.codewords & (self.codewords - 1):
            raise InputError(f"codewords {self.codewords}; allowed: powers of two, 2..256")
        if not 1 <= self.segment <= SEGMENT_MAX:
            raise InputError(f"segment {self.segment}; allowed: 1..{SEGMENT_MAX}")
        if self.axis not in AXES:
            raise InputError(f"axis {self.axis!r}; allowed: {', '.join(AXES)}")


@dataclass(frozen=True)
class Segments:
    """Of a matrix [m, n], turned where the axis is y: codebooks, float32 [K, n], the codewords of a segment
    in its columns; indices, int64 [segments, m]."""

    shape: tuple[int, int]
    options: ProductOptions
    codebooks: np.ndarray
    indices: np.ndarray

    def weights(self) -> np.ndarray:
        """float32 [m, n] of the matrix as it was given."""
        step = self.options.segment
        parts = [self.codebooks[:, at * step : (at + 1) * step][row] for at, row in enumerate(self.indices)]
        matrix = np.concatenate(parts, axis=1)
        return np.ascontiguousarray(matrix.T if self.options.axis == "y" else matrix)


def quantise(weights: np.ndarray, options: ProductOptions) -> Segments:
    """The segments of a matrix float32 [m, n]. Raises InputError for another shape, and for fewer rows than
    codewords, of which some would stand for nothing."""
    if weights.ndim != 2 or not weights.size:
        raise InputError(f"product quantisation of shape {weights.shape}; allowed: a matrix")
    matrix = weights.T if options.axis == "y" else weights
    if len(matrix) < options.codewords:
        raise InputError(f"product quantisation of {len(matrix)} rows with {options.codewords} codewords; "
                         "allowed: no more codewords than rows")
    codebooks, indices = [], []
    for at in range(0, matrix.shape[1], options.segment):
        part = np.ascontiguousarray(matrix[:, at : at + options.segment], np.float32)
        codebooks.append(kmeans(part, options.codewords, options.seed))
        indices.append(nearest_vectors(part, codebooks[-1]))
    return Segments((weights.shape[0], weights.shape[1]), options, np.concatenate(codebooks, axis=1),
                    np.stack(indices))


def encode(weights: np.ndarray, options: ProductOptions) -> bytes:
    """The stream of ``quantise``: codewords less one, segment, axis, a byte each; codebooks; indices."""
    found = quantise(weights, options)
    body = bytes((options.codewords - 1, options.segment, AXES.index(options.axis)))
    body += found.codebooks.astype("<f4").tobytes()
    return seal(FAMILY, weights.shape, body + pack(found.indices.ravel(), index_bits(options.codewords)))


def decode(stream: bytes) -> np.ndarray:
    """The weights that a stream stands for, float32 [m, n]. Raises InputError."""
    shape, reader = unseal(stream, FAMILY)
    codewords, segment, axis = reader.number() + 1, reader.number(), reader.number()
    check(len(shape) == 2 and axis < len(AXES) and 1 <= segment <= SEGMENT_MAX, "options that do not exist")
    check(codewords >= 2 and not codewords & (codewords - 1), f"{codewords} codewords")
    m, n = shape[::-1] if AXES[axis] == "y" else shape
    codebooks = reader.floats(codewords * n).reshape(codewords, n)
    count, bits = -(-n // segment) * m, index_bits(codewords)
    indices = unpack(reader.take(-(-count * bits // 8)), count, bits).reshape(-1, m)
    reader.end()
    options = ProductOptions(codewords, segment, AXES[axis])
    return Segments((shape[0], shape[1]), options, codebooks, indices).weights()


HEADER_BYTES = frame_bytes(2) + 3
"""Bytes beside codebooks and indices."""
