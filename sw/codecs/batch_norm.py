"""Batch norm kept apart: its four vectors, each quantised by a codebook of its own, or as float32
(Chandrasekhar et al., table 3, whose authors do not say how they quantised them)."""

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.codecs.coding.codebooks import lloyd_max, nearest
from kestrel.sw.codecs.coding.indices import read_indices, write_indices
from kestrel.sw.codecs.coding.stream import check, seal, unseal

FAMILY = "batch-norm"
FLOAT = 32
BITS = (4, 5, 6, 7, 8, FLOAT)
VECTORS = 4
"""Factor, summand, mean and variance."""


def quantise(vectors: np.ndarray, bits: int) -> np.ndarray:
    """Vectors float32 [4, C] as they are kept with ``bits``, one of BITS. Raises InputError."""
    check_norm_bits(bits)
    if bits == FLOAT:
        return vectors.astype(np.float32)
    found = []
    for values in vectors:
        levels = lloyd_max(values, 1 << bits)
        found.append(levels[nearest(values, levels)])
    return np.stack(found)


def check_norm_bits(bits: int) -> None:
    """Raises InputError."""
    if bits not in BITS:
        raise InputError(f"batch norm bits {bits}; allowed: {', '.join(map(str, BITS))}")


def encode(vectors: np.ndarray, bits: int) -> bytes:
    """The stream of ``quantise``: the bits in a byte; for every vector codewords less one, codebook, indices;
    or the numbers themselves."""
    check_norm_bits(bits)
    body = bytes((bits,))
    if bits == FLOAT:
        return seal(FAMILY, vectors.shape, body + vectors.astype("<f4").tobytes())
    for values in vectors:
        levels = lloyd_max(values, 1 << bits)
        body += bytes((len(levels) - 1,)) + levels.astype("<f4").tobytes()
        body += write_indices(nearest(values, levels), len(levels), "fixed")
    return seal(FAMILY, vectors.shape, body)


def decode(stream: bytes) -> np.ndarray:
    """The vectors that a stream stands for, float32 [4, C]. Raises InputError."""
    shape, reader = unseal(stream, FAMILY)
    bits = reader.number()
    check(len(shape) == 2 and shape[0] == VECTORS and bits in BITS, "no vectors of a batch norm")
    found = np.empty(shape, np.float32)
    for row in found:
        if bits == FLOAT:
            row[:] = reader.floats(len(row))
            continue
        count = reader.number() + 1
        levels = reader.floats(count)
        row[:] = levels[read_indices(reader, len(row), count)]
    reader.end()
    return found
