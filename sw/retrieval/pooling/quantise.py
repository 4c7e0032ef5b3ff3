"""Descriptors in few bits: a byte for each dimension, or as many bits as wanted."""

from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.pooling.bit_rows import bit_values

LEVELS = 256
"""Codes of a byte."""

THRESHOLDS = ("median", "mean")


@dataclass(frozen=True)
class Quantiser:
    """What codes are made with, learned from a training set and the same for every descriptor compared.

    low, high: range of the bytes; thresholds: float32 [B], of the bits; source: what it was learned from;
    vector_dimension: D of the vectors, 0 for as many as there are bits; levels: float32 [2, B], what a bit of
    0 and of 1 stands for beside a query that keeps its floats, the mean of the values on its side of the
    threshold (None: of signs alone); weights: float32 [D] of the dimensions in further bits (None: there are
    none, or all are 1).
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
        """Bits of a descriptor."""
        return self.thresholds.size

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return self.vector_dimension or self.bits


def fit_quantiser(
    vectors: np.ndarray, threshold: str = "median", source: str = "", bits: int | None = None
) -> Quantiser:
    """Learns from float [N, D], N >= 1: the range over all dimensions, and the median or mean of each of the
    ``bits`` values (None: D; kestrel.sw.retrieval.pooling.bit_rows), whose weights are the dimensions'
    variances. Raises InputError."""
    if threshold not in THRESHOLDS:
        raise InputError(f"threshold {threshold!r}; allowed: {', '.join(THRESHOLDS)}")
    if vectors.ndim != 2 or 0 in vectors.shape or not np.isfinite(vectors).all():
        raise InputError(f"descriptors to learn thresholds from: {list(vectors.shape)}; "
                         "allowed: at least one, of finite numbers")
    dimension = vectors.shape[1]
    bits = bits or dimension
    weights = None
    if bits > dimension:
        variances = vectors.astype(np.float64).var(axis=0)
        most = float(variances.max())
        weights = (variances / most if most > 0 else np.ones(dimension)).astype(np.float32)
    exact = bit_values(vectors, bits, weights)
    middle = np.median(exact, axis=0) if threshold == "median" else exact.mean(axis=0)
    low, high = float(vectors.min()), float(vectors.max())
    if low == high:  # one vector of equal values; any range that holds it
        high = low + 1.0
    thresholds = middle.astype(np.float32)
    above = exact > thresholds
    means = [np.where(side.any(axis=0), (exact * side).sum(axis=0) / np.maximum(side.sum(axis=0), 1), middle)
             for side in (~above, above)]
    return Quantiser(low, high, thresholds, source, 0 if thresholds.size == dimension else dimension,
                     np.stack(means).astype(np.float32), weights)


def to_bytes(vectors: np.ndarray, quantiser: Quantiser) -> np.ndarray:
    """float [N, D] -> uint8 [N, D]: which of 256 equal parts of [low, high] a value lies in, saturating."""
    step = (quantiser.high - quantiser.low) / LEVELS
    codes = np.floor((vectors.astype(np.float64) - quantiser.low) / step)
    return np.clip(codes, 0, LEVELS - 1).astype(np.uint8)


def from_bytes(codes: np.ndarray, quantiser: Quantiser) -> np.ndarray:
    """uint8 [N, D] -> float32 [N, D]: the middle of each code's part of the range."""
    step = (quantiser.high - quantiser.low) / LEVELS
    return (quantiser.low + (codes.astype(np.float64) + 0.5) * step).astype(np.float32)


def to_bits(vectors: np.ndarray, quantiser: Quantiser) -> np.ndarray:
    """float [N, D] -> uint8 [N, ceil(B / 8)]: 1 above the value's threshold; the first is the lowest bit of
    the first byte (FAISS' order), missing ones are 0. Raises InputError for another D."""
    if vectors.shape[1] != quantiser.dimension:
        raise InputError(f"descriptors of {vectors.shape[1]} dimensions and thresholds for "
                         f"{quantiser.dimension}; allowed: as many")
    values = bit_values(vectors, quantiser.bits, quantiser.weights)
    return np.packbits(values > quantiser.thresholds, axis=1, bitorder="little")


def check_levels(quantiser: Quantiser) -> None:
    """Raises InputError for levels and weights that are not float32 [2, B] and [D], finite."""
    for what, array, shape in (("levels of the bits", quantiser.levels, (2, quantiser.bits)),
                               ("weights of the dimensions", quantiser.weights, (quantiser.dimension,))):
        if array is not None and (array.dtype != np.float32 or array.shape != shape
                                  or not np.isfinite(array).all()):
            raise InputError(f"{what} are {array.dtype} {list(array.shape)}; "
                             f"allowed: float32 {list(shape)}, finite")


def bit_levels(quantiser: Quantiser) -> np.ndarray:
    """float64 [2, B]: what bits of 0 and 1 stand for."""
    if quantiser.levels is not None:
        return quantiser.levels.astype(np.float64)
    return np.outer([-1.0, 1.0], np.full(quantiser.bits, quantiser.bits**-0.5))


def from_bits(codes: np.ndarray, quantiser: Quantiser) -> np.ndarray:
    """uint8 [N, ceil(B / 8)] -> float64 [N, B]: each bit's level, to be compared with ``bit_values``."""
    below, above = bit_levels(quantiser)
    return np.where(np.unpackbits(codes, axis=1, count=quantiser.bits, bitorder="little"), above, below)
