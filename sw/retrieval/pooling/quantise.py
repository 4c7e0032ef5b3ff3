"""Descriptors in few bits: a byte or one bit for each dimension."""

from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.errors import InputError

LEVELS = 256
"""Codes of a byte."""

THRESHOLDS = ("median", "mean")


@dataclass(frozen=True)
class Quantiser:
    """What codes are made with, learned from a training set and the same for every descriptor compared.

    low, high: range of the bytes; thresholds: float32 [D], of the bits; source: what it was learned from.
    """

    low: float
    high: float
    thresholds: np.ndarray
    source: str


def fit_quantiser(vectors: np.ndarray, threshold: str = "median", source: str = "") -> Quantiser:
    """Learns from float [N, D], N >= 1: the range over all dimensions, and each dimension's median or mean.
    Raises InputError."""
    if threshold not in THRESHOLDS:
        raise InputError(f"threshold {threshold!r}; allowed: {', '.join(THRESHOLDS)}")
    if vectors.ndim != 2 or 0 in vectors.shape or not np.isfinite(vectors).all():
        raise InputError(f"descriptors to learn thresholds from: {list(vectors.shape)}; "
                         "allowed: at least one, of finite numbers")
    exact = vectors.astype(np.float64)
    middle = np.median(exact, axis=0) if threshold == "median" else exact.mean(axis=0)
    low, high = float(vectors.min()), float(vectors.max())
    if low == high:  # one vector of equal values; any range that holds it
        high = low + 1.0
    return Quantiser(low, high, middle.astype(np.float32), source)


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
    """float [N, D] -> uint8 [N, ceil(D / 8)]: 1 above the dimension's threshold; the first dimension is the
    lowest bit of the first byte (FAISS' order), missing ones are 0. Raises InputError for another D."""
    if vectors.shape[1:] != quantiser.thresholds.shape:
        raise InputError(f"descriptors of {vectors.shape[1]} dimensions and thresholds of "
                         f"{quantiser.thresholds.size}; allowed: as many")
    return np.packbits(vectors > quantiser.thresholds, axis=1, bitorder="little")
