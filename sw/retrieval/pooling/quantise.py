"""Descriptors in few bits: one byte for each dimension, or any number of bits."""

from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.pooling.bit_rows import bit_values

LEVELS = 256
"""The number of codes of a byte."""

THRESHOLDS = ("median", "mean")


@dataclass(frozen=True)
class Quantiser:
    """The constants of the codes, learned from a training set and the same for all descriptors compared.

    ``low`` and ``high`` are the range of the bytes. ``thresholds`` are float32 [B], those of the bits.
    ``source`` says what they were learned from. ``vector_dimension`` is D of the vectors, or 0 if there are
    as many bits as dimensions. ``levels`` are float32 [2, B]: the values that a bit of 0 and a bit of 1 stand
    for when compared with a query that keeps its floats, each the mean of the values on its side of the
    threshold (None: the signs alone). ``weights`` are float32 [D], those of the dimensions in further bits
    (None: there are no further bits, or all weights are 1).
    """

    low: float
    high: float
    thresholds: np.ndarray
    source: str
    vector_dimension: int = 0
    levels: np.ndarray | None = None
    weights: np.ndarray | None = None

    @property
    def bits(self) -> int:
        """The number of bits of a descriptor."""
        return self.thresholds.size

    @property
    def dimension(self) -> int:
        """The dimension of the vectors."""
        return self.vector_dimension or self.bits


def fit_quantiser(
    vectors: np.ndarray, threshold: str = "median", source: str = "", bits: int | None = None
) -> Quantiser:
    """Learns from float [N, D], N >= 1, the range over all dimensions, and the median or mean of each of the
    ``bits`` values (None: D values; see kestrel.sw.retrieval.pooling.bit_rows). The weights of these values
    are the variances of the dimensions. Raises InputError."""
    if threshold not in THRESHOLDS:
        raise InputError(f"threshold {threshold!r}; allowed: {', '.join(THRESHOLDS)}")
    if vectors.ndim != 2 or 0 in vectors.shape or not np.isfinite(vectors).all():
        raise InputError(f"descriptors to learn thresholds from: {list(vectors.shape)}; "
                         "allowed: at least one, of finite numbers")
    dimension = vectors.shape[1]
    count: int = bits or dimension
    weights = None
    if count > dimension:
        variances = vectors.astype(np.float64).var(axis=0)
        most = float(variances.max())
        weights = (variances / most if most > 0 else np.ones(dimension)).astype(np.float32)
    exact = bit_values(vectors, count, weights)
    middle = np.median(exact, axis=0) if threshold == "median" else exact.mean(axis=0)
    low, high = float(vectors.min()), float(vectors.max())
    if low == high:  # one vector of equal values, for which any range that contains the value will do
        high = low + 1.0
    thresholds = middle.astype(np.float32)
    above = exact > thresholds
    means = [np.where(side.any(axis=0), (exact * side).sum(axis=0) / np.maximum(side.sum(axis=0), 1), middle)
             for side in (~above, above)]
    return Quantiser(low, high, thresholds, source, 0 if thresholds.size == dimension else dimension,
                     np.stack(means).astype(np.float32), weights)


def to_bytes(vectors: np.ndarray, quantiser: Quantiser) -> np.ndarray:
    """Turns float [N, D] into uint8 [N, D]: the number of the one of 256 equal intervals of [low, high] in
    which a value lies, saturating."""
    step = (quantiser.high - quantiser.low) / LEVELS
    codes = np.floor((vectors.astype(np.float64) - quantiser.low) / step)
    return np.clip(codes, 0, LEVELS - 1).astype(np.uint8)


def from_bytes(codes: np.ndarray, quantiser: Quantiser) -> np.ndarray:
    """Turns uint8 [N, D] into float32 [N, D]: the middle of each code's interval."""
    step = (quantiser.high - quantiser.low) / LEVELS
    return (quantiser.low + (codes.astype(np.float64) + 0.5) * step).astype(np.float32)


def to_bits(vectors: np.ndarray, quantiser: Quantiser) -> np.ndarray:
    """Turns float [N, D] into uint8 [N, ceil(B / 8)]: a bit is 1 above the value's threshold. The first value
    is the lowest bit of the first byte (FAISS' order); unused bits are 0. Raises InputError for another D."""
    if vectors.shape[1] != quantiser.dimension:
        raise InputError(f"descriptors of {vectors.shape[1]} dimensions and thresholds for "
                         f"{quantiser.dimension}; allowed: as many")
    values = bit_values(vectors, quantiser.bits, quantiser.weights)
    return np.packbits(values > quantiser.thresholds, axis=1, bitorder="little")


def same_codes(a: Quantiser, b: Quantiser) -> bool:
    """Whether two make the same bytes and bits, whatever they learned from."""
    pairs = ((a.thresholds, b.thresholds), (a.levels, b.levels), (a.weights, b.weights))
    return (a.low, a.high) == (b.low, b.high) and all(
        x is y or (x is not None and y is not None and np.array_equal(x, y)) for x, y in pairs)


def check_levels(quantiser: Quantiser) -> None:
    """Raises InputError unless levels and weights are float32 [2, B] and [D], and finite."""
    for what, array, shape in (("levels of the bits", quantiser.levels, (2, quantiser.bits)),
                               ("weights of the dimensions", quantiser.weights, (quantiser.dimension,))):
        if array is not None and (array.dtype != np.float32 or array.shape != shape
                                  or not np.isfinite(array).all()):
            raise InputError(f"{what} are {array.dtype} {list(array.shape)}; "
                             f"allowed: float32 {list(shape)}, finite")


def bit_levels(quantiser: Quantiser) -> np.ndarray:
    """float64 [2, B]: the values that bits of 0 and of 1 stand for."""
    if quantiser.levels is not None:
        return quantiser.levels.astype(np.float64)
    return np.outer([-1.0, 1.0], np.full(quantiser.bits, quantiser.bits**-0.5))


def from_bits(codes: np.ndarray, quantiser: Quantiser) -> np.ndarray:
    """Turns uint8 [N, ceil(B / 8)] into float64 [N, B]: each bit's level, comparable with ``bit_values``."""
    below, above = bit_levels(quantiser)
    return np.where(np.unpackbits(codes, axis=1, count=quantiser.bits, bitorder="little"), above, below)
