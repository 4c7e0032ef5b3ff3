"""Scalar quantisation: every weight of a layer becomes an index into one codebook of the layer
(Chandrasekhar et al., section 3.1; Gong et al., section 3.2.2, where the method is k-means)."""

from dataclasses import dataclass
from math import prod

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.codecs.coding.codebooks import kmeans, lloyd_max, nearest, uniform
from kestrel.sw.codecs.coding.indices import check_coding, read_indices, write_indices
from kestrel.sw.codecs.coding.stream import check, seal, unseal

FAMILY = "scalar"
METHODS = ("uniform", "lloyd-max", "kmeans")
BITS_MIN, BITS_MAX = 1, 8


@dataclass(frozen=True)
class ScalarOptions:
    """method: one of METHODS; bits: of an index, so that there are up to 2**bits codewords; coding: one of
    ``kestrel.sw.codecs.coding.indices.CODINGS``; seed: of k-means. Raises InputError."""

    method: str = "lloyd-max"
    bits: int = 4
    coding: str = "fixed"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"method {self.method!r}; allowed: {', '.join(METHODS)}")
        check_bits(self.bits)
        check_coding(self.coding)


@dataclass(frozen=True)
class Indexed:
    """Weights as indices, int64 [N], into a codebook, float32 [K]; shape: of the array."""

    shape: tuple[int, ...]
    codebook: np.ndarray
    indices: np.ndarray

    def weights(self) -> np.ndarray:
        """float32 of the shape."""
        return self.codebook[self.indices].reshape(self.shape)


def check_bits(bits: int) -> None:
    """Raises InputError."""
    if not BITS_MIN <= bits <= BITS_MAX:
        raise InputError(f"bits {bits}; allowed: {BITS_MIN}..{BITS_MAX}")


def quantise(weights: np.ndarray, options: ScalarOptions) -> Indexed:
    """The indices and the codebook of float32 weights of any shape."""
    return Indexed(weights.shape, *index(weights.ravel(), options))


def index(values: np.ndarray, options: ScalarOptions) -> tuple[np.ndarray, np.ndarray]:
    """Codebook, ascending, and indices of values [N]."""
    codewords = 1 << options.bits
    if options.method == "kmeans":
        codebook = np.unique(kmeans(values[:, None], codewords, options.seed)) if len(values) else None
        codebook = np.zeros(1, np.float32) if codebook is None else codebook
    else:
        codebook = (uniform if options.method == "uniform" else lloyd_max)(values, codewords)
    return codebook, nearest(values, codebook)


def encode(weights: np.ndarray, options: ScalarOptions) -> bytes:
    """The stream of ``quantise``: codewords less one in a byte, the codebook, the indices."""
    found = quantise(weights, options)
    count = len(found.codebook)
    body = bytes((count - 1,)) + found.codebook.astype("<f4").tobytes()
    return seal(FAMILY, weights.shape, body + write_indices(found.indices, count, options.coding))


def decode(stream: bytes) -> np.ndarray:
    """The weights that a stream stands for, float32. Raises InputError."""
    shape, reader = unseal(stream, FAMILY)
    count = reader.number() + 1
    codebook = reader.floats(count)
    indices = read_indices(reader, prod(shape), count)
    reader.end()
    check(len(indices) == prod(shape), "indices that do not fill the shape")
    return codebook[indices].reshape(shape)
