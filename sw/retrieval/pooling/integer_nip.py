"""The chip's descriptor in integers: exactly what the descriptor unit computes, to the last bit.

Inside a region, the root mean square of each channel and the L2 normalisation are computed in one step. The
number of pixels cancels, and element c is sqrt(SS[c] / T), where SS are the sums of squares and T is their
total. The number of regions cancels in the last L2 normalisation. Section 10 of docs/arithmetic.md is the
definition, with a bound of the error; the names are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_CHANNELS_MAX,
    DESCRIPTOR_FRACTION,
    DESCRIPTOR_GAIN_SHIFT,
    DESCRIPTOR_MEAN_FRACTION,
    DESCRIPTOR_OUTPUT_BITS,
    DESCRIPTOR_OUTPUT_BYTES,
    DESCRIPTOR_OUTPUT_SUMS,
    DESCRIPTOR_PIXELS_MAX,
    DESCRIPTOR_REGIONS_MAX,
    DESCRIPTOR_ROW_SHIFT,
    DESCRIPTOR_SCALE_BITS,
    DESCRIPTOR_SQUARES_BITS,
    DESCRIPTOR_SUMMED_MAX,
)
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import BYTE, bits_for
from kestrel.sw.retrieval.pooling.grid import GridRegion

ORIGIN = DESCRIPTOR_SQUARES_BITS - 1
SUMMED_BITS = bits_for(DESCRIPTOR_SUMMED_MAX)


@dataclass(frozen=True)
class IntegerWhitening:
    """``matrix`` is int8 [R, C]. ``offsets`` are int64 [R], in units of 2**-19 and less than 2**31 in size.
    ``scales`` are int64 [R], 16 bits. R = D, or 2D with ``pairs``: rows 2d and 2d + 1 are then added to give
    dimension d."""

    matrix: np.ndarray
    offsets: np.ndarray
    scales: np.ndarray
    pairs: bool = False

    @property
    def rows_each(self) -> int:
        """The number of rows for each dimension."""
        return 2 if self.pairs else 1


@dataclass(frozen=True)
class DescriptorConstants:
    """The contents of the descriptor ROM. ``regions`` are those of a map of ``channels`` x height x width.
    ``low`` is in units of 2**-16. ``gain`` is 2**16 / (high - low). ``thresholds`` are int64 [D], in units of
    2**-16. ``following``: the constants of the frame's next map, if a descriptor is made of several; bits
    then need a map's dimensions to fill whole bytes. Raises InputError for anything that the format cannot
    hold.
    """

    channels: int
    height: int
    width: int
    regions: tuple[GridRegion, ...]
    low: int
    gain: int
    thresholds: np.ndarray
    whitening: IntegerWhitening | None = None
    following: "DescriptorConstants | None" = None

    def __post_init__(self) -> None:
        def check(what: str, value: int, low: int, high: int) -> None:
            if not low <= value <= high:
                raise InputError(f"descriptor constants: {what} = {value}; allowed: {low}..{high}")

        check("channels", self.channels, 1, DESCRIPTOR_CHANNELS_MAX)
        check("dimensions", self.dimensions, 1, DESCRIPTOR_CHANNELS_MAX)
        check("number of regions", len(self.regions), 1, DESCRIPTOR_REGIONS_MAX)
        check("low", self.low, -(1 << DESCRIPTOR_FRACTION), 1 << DESCRIPTOR_FRACTION)
        check("gain", self.gain, 1, (1 << 32) - 1)
        for n, region in enumerate(self.regions):
            for what, first, size, length in (
                ("rows", region.top, region.height, self.height),
                ("columns", region.left, region.width, self.width),
            ):
                if first < 0 or size < 1 or first + size > length:
                    raise InputError(
                        f"descriptor constants: region {n} has {what} {first}..{first + size - 1}; "
                        f"allowed: at least one, within 0..{length - 1}"
                    )
            check(f"pixels of region {n}", region.height * region.width, 1, DESCRIPTOR_PIXELS_MAX)
        if self.following is not None and self.dimensions % BYTE:
            raise InputError(
                f"descriptor constants: {self.dimensions} dimensions of a map before the last; "
                f"allowed: a multiple of {BYTE}"
            )
        if self.whitening is None:
            check("thresholds", self.dimensions, self.channels, self.channels)
            return
        shape = (self.whitening.rows_each * self.dimensions, self.channels)
        if self.whitening.matrix.shape != shape:
            raise InputError(
                f"descriptor constants: a matrix of {list(self.whitening.matrix.shape)}; "
                f"allowed: {list(shape)}"
            )

    @property
    def dimensions(self) -> int:
        """Of this map's part of the descriptor."""
        return len(self.thresholds)

    @property
    def maps(self) -> "tuple[DescriptorConstants, ...]":
        """Those of each map of a frame, in the order in which they come."""
        return (self, *(() if self.following is None else self.following.maps))


def region_squares(features: np.ndarray, region: GridRegion) -> np.ndarray:
    """SS, the sums of squares inside a region: int64 [C] for features uint8 [C, H, W]."""
    rows = slice(region.top, region.top + region.height)
    inside = features[:, rows, region.left : region.left + region.width].astype(np.int64)
    return (inside * inside).sum(axis=(1, 2))


def unit(squares: np.ndarray) -> np.ndarray:
    """sqrt(SS / T) with 16 fraction bits, int64 [C], for SS int64 [C], each below 2**32; zeros stay zeros."""
    total = int(squares.sum())
    if not total:
        return np.zeros_like(squares)
    place = total.bit_length() - 1
    reciprocal = ((1 << 48) - 1) // (total << ORIGIN >> place)
    ratios = (squares << ORIGIN >> place) * reciprocal >> DESCRIPTOR_FRACTION
    # Below 2**32 the root in float64 is off by less than one; the integer comparison decides.
    roots = np.sqrt(ratios.astype(np.float64)).astype(np.int64)
    roots -= roots * roots > ratios
    roots += (roots + 1) * (roots + 1) <= ratios
    return roots


def normalise(vector: np.ndarray) -> np.ndarray:
    """Normalises int64 [C], less than 2**32 in size, to unit length with 16 fraction bits, int64 [C]; zeros
    stay zeros."""
    sizes = np.abs(vector)
    amount = int(sizes.max()).bit_length() + DESCRIPTOR_FRACTION - 1
    upper = sizes << ORIGIN >> amount
    return np.sign(vector) * unit(upper * upper)


def whiten(sums: np.ndarray, summed: int, whitening: IntegerWhitening) -> np.ndarray:
    """Whitens int64 [C], the sum of ``summed`` vectors of unit length; gives int64 [D] of any length."""
    length = summed.bit_length()
    times = summed << SUMMED_BITS >> length
    means = sums << ORIGIN >> length + ORIGIN + DESCRIPTOR_FRACTION - DESCRIPTOR_MEAN_FRACTION - 1
    offsets = np.abs(whitening.offsets) * times >> SUMMED_BITS - 1
    rows = whitening.matrix.astype(np.int64) @ means - np.sign(whitening.offsets) * offsets
    sizes = (np.abs(rows) >> DESCRIPTOR_ROW_SHIFT) * whitening.scales >> DESCRIPTOR_SCALE_BITS
    return (np.sign(rows) * sizes).reshape(-1, whitening.rows_each).sum(axis=1)


class IntegerNip:
    """Follows what the descriptor unit does with one map of each frame. ``output`` is one of
    DESCRIPTOR_OUTPUT_*."""

    def __init__(self, constants: DescriptorConstants, output: int = DESCRIPTOR_OUTPUT_BYTES) -> None:
        self.constants = constants
        self.output = output
        self.sums = np.zeros(constants.channels, dtype=np.int64)
        self.best = np.zeros(0, dtype=np.int64)
        self.summed = 0

    def frame(
        self,
        features: np.ndarray,
        *,
        first_crop: bool = True,
        last_crop: bool = True,
        first_rotation: bool = True,
        last_rotation: bool = True,
    ) -> bytes:
        """Takes one map, uint8 [C, H, W], and returns the bytes that are sent: none before the last crop of
        the last rotation. Raises InputError if the map is not of the constants' size, or if there are too
        many regions."""
        constants = self.constants
        expected = (constants.channels, constants.height, constants.width)
        if features.shape != expected:
            raise InputError(f"map of {list(features.shape)}; allowed: {list(expected)}")
        if first_crop:
            self.sums = np.zeros_like(self.sums)
            self.summed = 0
        self.summed += len(constants.regions)
        if self.summed > DESCRIPTOR_SUMMED_MAX:
            raise InputError(f"{self.summed} regions of all crops; allowed: 1..{DESCRIPTOR_SUMMED_MAX}")
        for region in constants.regions:
            self.sums += unit(region_squares(features, region))
        if not last_crop:
            return b""
        vector = self.sums
        if constants.whitening is not None and self.output != DESCRIPTOR_OUTPUT_SUMS:
            vector = normalise(whiten(vector, self.summed, constants.whitening))
        self.best = vector.copy() if first_rotation else np.maximum(self.best, vector)
        if not last_rotation:
            return b""
        if self.output == DESCRIPTOR_OUTPUT_SUMS:
            return self.best.astype("<u4").tobytes()
        final = normalise(self.best)
        return codes(final, constants) if self.output == DESCRIPTOR_OUTPUT_BYTES else bits(final, constants)


def codes(vector: np.ndarray, constants: DescriptorConstants) -> bytes:
    """The byte for each dimension."""
    above = np.maximum(vector - constants.low, 0)
    return np.minimum(above * constants.gain >> DESCRIPTOR_GAIN_SHIFT, 255).astype(np.uint8).tobytes()


def bits(vector: np.ndarray, constants: DescriptorConstants) -> bytes:
    """The bit for each dimension, the first one in the lowest bit."""
    return np.packbits(vector > constants.thresholds, bitorder="little").tobytes()


def describe(
    rotations: Sequence[Sequence[np.ndarray]],
    constants: DescriptorConstants,
    output: int = DESCRIPTOR_OUTPUT_BYTES,
) -> bytes:
    """The descriptor, from the maps, uint8 [C, H, W], of the crops of each rotation; of several maps a frame,
    the part of the one that ``constants`` are for. Raises InputError."""
    unit_ = IntegerNip(constants, output)
    sent = b""
    for turn, crops in enumerate(rotations):
        for n, features in enumerate(crops):
            sent = unit_.frame(
                features,
                first_crop=n == 0,
                last_crop=n == len(crops) - 1,
                first_rotation=turn == 0,
                last_rotation=turn == len(rotations) - 1,
            )
    return sent


def vector_of(
    rotations: Sequence[np.ndarray], summed: int, constants: DescriptorConstants
) -> np.ndarray:
    """The rest of a map's chain, for sums of squares that are already known. Takes for each rotation int64
    [R, C], the regions of all its crops (``summed`` of them), and gives int64 [D] of unit length, before it
    is turned into bytes or bits."""
    best: np.ndarray | None = None
    for squares in rotations:
        vector = np.sum([unit(row) for row in squares], axis=0)
        if constants.whitening is not None:
            vector = normalise(whiten(vector, summed, constants.whitening))
        best = vector if best is None else np.maximum(best, vector)
    assert best is not None, "at least one rotation"
    return normalise(best)


def output_length(constants: DescriptorConstants, output: int) -> int:
    """The number of bytes of a descriptor, of all maps together."""
    if output == DESCRIPTOR_OUTPUT_SUMS:
        return sum(4 * part.channels for part in constants.maps)
    dimensions = sum(part.dimensions for part in constants.maps)
    return -(-dimensions // BYTE) if output == DESCRIPTOR_OUTPUT_BITS else dimensions
