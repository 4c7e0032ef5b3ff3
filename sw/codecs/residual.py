"""Residual quantisation of a dense layer (Gong et al., section 3.2.4): the rows are clustered, then what the
centres leave over, stage after stage; a row is the sum of a codeword of every stage."""

from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.codecs.coding.codebooks import kmeans, nearest_vectors
from kestrel.sw.codecs.coding.indices import index_bits, pack, unpack
from kestrel.sw.codecs.coding.stream import check, frame_bytes, seal, unseal

FAMILY = "residual"
STAGES_MAX = 8


@dataclass(frozen=True)
class ResidualOptions:
    """codewords: of each stage, a power of two; stages: t. Raises InputError."""

    codewords: int = 256
    stages: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.codewords <= 256 or self.codewords & (self.codewords - 1):
            raise InputError(f"codewords {self.codewords}; allowed: powers of two, 2..256")
        if not 1 <= self.stages <= STAGES_MAX:
            raise InputError(f"stages {self.stages}; allowed: 1..{STAGES_MAX}")


@dataclass(frozen=True)
class Stages:
    """codebooks: float32 [t, K, n]; indices: int64 [t, m]."""

    codebooks: np.ndarray
    indices: np.ndarray

    def weights(self) -> np.ndarray:
        """float32 [m, n]."""
        rows = np.zeros((self.indices.shape[1], self.codebooks.shape[2]), np.float32)
        for codebook, index in zip(self.codebooks, self.indices, strict=True):
            rows += codebook[index]
        return rows


def quantise(weights: np.ndarray, options: ResidualOptions) -> Stages:
    """The stages of a matrix float32 [m, n]. Raises InputError for another shape, and for fewer rows than
    codewords."""
    if weights.ndim != 2 or not weights.size or len(weights) < options.codewords:
        raise InputError(f"residual quantisation of shape {weights.shape} with {options.codewords} "
                         "codewords; allowed: a matrix of at least so many rows")
    left = weights.astype(np.float32)
    codebooks, indices = [], []
    for stage in range(options.stages):
        codebooks.append(kmeans(left, options.codewords, options.seed + stage))
        indices.append(nearest_vectors(left, codebooks[-1]))
        left = left - codebooks[-1][indices[-1]]
    return Stages(np.stack(codebooks), np.stack(indices))


def encode(weights: np.ndarray, options: ResidualOptions) -> bytes:
    """The stream of ``quantise``: codewords less one, stages, a byte each; codebooks; indices."""
    found = quantise(weights, options)
    body = bytes((options.codewords - 1, options.stages)) + found.codebooks.astype("<f4").tobytes()
    return seal(FAMILY, weights.shape, body + pack(found.indices.ravel(), index_bits(options.codewords)))


def decode(stream: bytes) -> np.ndarray:
    """The weights that a stream stands for, float32 [m, n]. Raises InputError."""
    shape, reader = unseal(stream, FAMILY)
    codewords, stages = reader.number() + 1, reader.number()
    check(len(shape) == 2 and 1 <= stages <= STAGES_MAX, "options that do not exist")
    check(codewords >= 2 and not codewords & (codewords - 1), f"{codewords} codewords")
    m, n = shape
    codebooks = reader.floats(stages * codewords * n).reshape(stages, codewords, n)
    bits = index_bits(codewords)
    indices = unpack(reader.take(-(-stages * m * bits // 8)), stages * m, bits).reshape(stages, m)
    reader.end()
    return Stages(codebooks, indices).weights()


HEADER_BYTES = frame_bytes(2) + 2
"""Bytes beside codebooks and indices."""
