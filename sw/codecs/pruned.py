"""Pruning by threshold: what is left of a layer as values of a shared codebook, each with the distance to the
one before (Han et al. 2016, whose gap coding this is; the poster on place recognition prunes the same way).

A gap counts the zeros in front of a value and has few bits. Where more zeros follow each other than it can
count, a filler is stored: a value that is zero. The codebook's entry 0 is therefore exactly 0.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.codecs.coding.codebooks import lloyd_max, nearest
from kestrel.sw.codecs.coding.indices import check_coding, read_indices, write_indices
from kestrel.sw.codecs.coding.stream import check, seal, unseal
from kestrel.sw.codecs.scalar import check_bits

FAMILY = "pruned"
GAP_BITS_MIN, GAP_BITS_MAX = 1, 8


@dataclass(frozen=True)
class PrunedOptions:
    """threshold: weights below it, in standard deviations of the layer's weights, become 0; bits: of an index
    into the codebook, whose first entry is 0; gap_bits: of a gap; coding: of both. Raises InputError."""

    threshold: float = 0.5
    bits: int = 8
    gap_bits: int = 4
    coding: str = "fixed"

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 100:
            raise InputError(f"threshold {self.threshold}; allowed: 0..100 standard deviations")
        check_bits(self.bits)
        if not GAP_BITS_MIN <= self.gap_bits <= GAP_BITS_MAX:
            raise InputError(f"gap bits {self.gap_bits}; allowed: {GAP_BITS_MIN}..{GAP_BITS_MAX}")
        check_coding(self.coding)


@dataclass(frozen=True)
class Sparse:
    """Entries in their order: gaps and indices, int64 [E] each; codebook: float32 [K], the first is 0."""

    shape: tuple[int, ...]
    codebook: np.ndarray
    gaps: np.ndarray
    indices: np.ndarray

    def weights(self) -> np.ndarray:
        """float32 of the shape. Raises InputError where entries reach beyond it."""
        values = np.zeros(prod(self.shape), np.float32)
        places = np.cumsum(self.gaps + 1) - 1
        check(not len(places) or int(places[-1]) < len(values), "entries beyond the last weight")
        values[places] = self.codebook[self.indices]
        return values.reshape(self.shape)


def keep(weights: np.ndarray, threshold: float) -> np.ndarray:
    """Which weights are left, bool of their shape."""
    return (np.abs(weights) >= threshold * float(weights.std(dtype=np.float64))) & (weights != 0)


def quantise(weights: np.ndarray, options: PrunedOptions) -> Sparse:
    """The entries of float32 weights of any shape."""
    values = weights.ravel()
    kept = np.flatnonzero(keep(values, options.threshold)) if len(values) else np.zeros(0, np.int64)
    centres = lloyd_max(values[kept], (1 << options.bits) - 1)
    codebook = np.concatenate([np.zeros(1, np.float32), centres])
    index = nearest(values[kept], centres) + 1
    zeros = np.diff(kept, prepend=-1) - 1
    # A filler stands for as many zeros as a gap can count and one more, itself.
    span = 1 << options.gap_bits
    fillers = zeros // span
    ends = np.cumsum(fillers + 1) - 1
    gaps = np.full(int(ends[-1]) + 1 if len(ends) else 0, span - 1)
    indices = np.zeros(len(gaps), np.int64)
    gaps[ends], indices[ends] = zeros % span, index
    return Sparse(weights.shape, codebook, gaps, indices)


def encode(weights: np.ndarray, options: PrunedOptions) -> bytes:
    """The stream of ``quantise``: bits of a gap in a byte, codewords less one in a byte, entries in four, the
    codebook without its zero, gaps, indices."""
    found = quantise(weights, options)
    count = len(found.codebook)
    body = bytes((options.gap_bits, count - 1)) + len(found.gaps).to_bytes(4, "little")
    body += found.codebook[1:].astype("<f4").tobytes()
    body += write_indices(found.gaps, 1 << options.gap_bits, options.coding)
    return seal(FAMILY, weights.shape, body + write_indices(found.indices, count, options.coding))


def decode(stream: bytes) -> np.ndarray:
    """The weights that a stream stands for, float32. Raises InputError."""
    shape, reader = unseal(stream, FAMILY)
    gap_bits, count, entries = reader.number(), reader.number() + 1, reader.number(4)
    check(GAP_BITS_MIN <= gap_bits <= GAP_BITS_MAX, f"gaps of {gap_bits} bits")
    check(entries <= prod(shape), f"{entries} entries for shape {shape}")
    codebook = np.concatenate([np.zeros(1, np.float32), reader.floats(count - 1)])
    gaps = read_indices(reader, entries, 1 << gap_bits)
    indices = read_indices(reader, entries, count)
    reader.end()
    return Sparse(shape, codebook, gaps, indices).weights()
