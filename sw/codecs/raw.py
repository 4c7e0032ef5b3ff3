"""Numbers as they are: float32."""

from math import prod

import numpy as np

from kestrel.sw.codecs.coding.stream import seal, unseal

FAMILY = "raw"


def encode(weights: np.ndarray) -> bytes:
    """The stream of float32 weights of any shape."""
    return seal(FAMILY, weights.shape, np.ascontiguousarray(weights, "<f4").tobytes())


def decode(stream: bytes) -> np.ndarray:
    """The weights that a stream stands for, float32. Raises InputError."""
    shape, reader = unseal(stream, FAMILY)
    found = reader.floats(prod(shape)).reshape(shape)
    reader.end()
    return found
