"""Binarisation: a bit a weight, its sign (Gong et al., section 3.2.1), and one size for all of a layer.

The source's weights are +1 and -1. The size, the mean of the absolute weights, is ours: without it the layer
would not fit its bias. It counts as part of the header.
"""

from math import prod

import numpy as np

from kestrel.sw.codecs.coding.indices import pack, unpack
from kestrel.sw.codecs.coding.stream import frame_bytes, seal, unseal

FAMILY = "binary"


def quantise(weights: np.ndarray) -> np.ndarray:
    """The binarised weights, float32; a weight of 0 counts as positive."""
    size = np.float32(np.abs(weights).mean(dtype=np.float64)) if weights.size else np.float32(0)
    return np.where(weights < 0, -size, size).astype(np.float32)


def encode(weights: np.ndarray) -> bytes:
    """The stream of ``quantise``: the size, the signs."""
    found = quantise(weights)
    size = np.abs(found.ravel()[:1]).astype("<f4").tobytes() or bytes(4)
    return seal(FAMILY, weights.shape, size + pack(weights.ravel() < 0, 1))


def decode(stream: bytes) -> np.ndarray:
    """The weights that a stream stands for, float32. Raises InputError."""
    shape, reader = unseal(stream, FAMILY)
    size = reader.floats(1)[0]
    negative = unpack(reader.take(-(-prod(shape) // 8)), prod(shape), 1)
    reader.end()
    return np.where(negative, -size, size).astype(np.float32).reshape(shape)


def header_bytes(dimensions: int) -> int:
    """Bytes beside the bit of every weight."""
    return frame_bytes(dimensions) + 4
