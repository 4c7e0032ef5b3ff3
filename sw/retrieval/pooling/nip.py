"""Nested invariance pooling: a feature map becomes one vector that hardly changes when the picture is
shifted, scaled or rotated (Morere et al. 2017; Lin et al. 2017).

    inside each region a moment -> L2 -> [whitening -> L2] -> average over regions and crops
        -> [whitening -> L2] -> maximum over rotations -> L2

Integer features give exact sums: squares of 8-bit activations add up to integers far below 2**53, which
float64 holds in any order of summation. Everything after that is done picture by picture in a fixed order, so
a descriptor does not depend on its batch, and is the same whichever backend computed the features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.pooling.grid import GridRegion, roi_grid

LEVELS = (1, 2, 3)
LEVEL_MAX = 16
BORDER_MAX = 64

MOMENTS = ("sqrt", "sqrt-sum", "std", "mean", "max")
"""The moments inside a region, for each channel: root of the mean square; root of the sum of squares;
standard deviation; mean; maximum (R-MAC)."""

ACROSS = ("mean", "std")
"""Over the regions, for each dimension: average, or standard deviation (the A-S-M order of moments)."""

DOUBTFUL = 2.0**-30
"""If the sum inside a region is below this share of the channel's sum over the map, it may be a rounding
error, since it is a difference of sums."""


@dataclass(frozen=True)
class NipSettings:
    """The chain. Raises InputError.

    ``moment`` is one of MOMENTS. ``levels`` are those of the grid of regions, () for one region, the whole
    map. ``region_norm`` applies L2 normalisation to every region's vector. ``across`` is one of ACROSS.
    ``border`` is the number of rows and columns left out on every side of the map, where the padding of a
    crop shows; fewer are left out of a small map, so that at least a pixel remains.
    """

    moment: str = "sqrt"
    levels: tuple[int, ...] = LEVELS
    region_norm: bool = True
    across: str = "mean"
    border: int = 0

    def __post_init__(self) -> None:
        if self.moment not in MOMENTS:
            raise InputError(f"moment {self.moment!r}; allowed: {', '.join(MOMENTS)}")
        if self.across not in ACROSS:
            raise InputError(f"moment over regions {self.across!r}; allowed: {', '.join(ACROSS)}")
        if not all(1 <= level <= LEVEL_MAX for level in self.levels):
            raise InputError(f"levels {'+'.join(map(str, self.levels))}; allowed: each 1..{LEVEL_MAX}")
        if not 0 <= self.border <= BORDER_MAX:
            raise InputError(f"border {self.border}; allowed: 0..{BORDER_MAX}")

    @property
    def text(self) -> str:
        """All settings in one line, for the descriptor file."""
        where = f"levels {'+'.join(map(str, self.levels))}" if self.levels else "the whole map"
        norm = "L2" if self.region_norm else "no L2"
        border = f", without a border of {self.border}" if self.border else ""
        return f"{self.moment} over {where}{border}, {norm}, {self.across}"


class Projection(Protocol):
    """A whitening: ``mode`` is "roi" or "after"; ``transform`` takes float64 [R, D] to [R, D2]."""

    @property
    def mode(self) -> str: ...

    def transform(self, vectors: np.ndarray) -> np.ndarray: ...


def normalise(vectors: np.ndarray) -> np.ndarray:
    """Divides the rows of float64 [R, D] by their L2 norms; rows of zeros stay zeros."""
    norms = np.sqrt(np.sum(vectors * vectors, axis=1, keepdims=True))
    return vectors / np.where(norms > 0, norms, 1.0)


def region_vectors(features: np.ndarray, settings: NipSettings) -> np.ndarray:
    """The moments of one map: float64 [R, C] for features [C, H, W], uint8 or float. They are normalised if
    the settings say so; scale does not matter then, so integers need not be turned into real values."""
    height, width = features.shape[1:]
    border = _border(height, width, settings)
    if border:
        features = features[:, border:-border, border:-border]
    regions = map_regions(height - 2 * border, width - 2 * border, settings)
    if settings.moment == "max":
        rows = [_inside(features, region).max(axis=(1, 2)) for region in regions]
        vectors = np.array(rows, dtype=np.float64)
    else:
        vectors = _moments(features.astype(np.float64), regions, settings.moment)
    return normalise(vectors) if settings.region_norm else vectors


def map_regions(height: int, width: int, settings: NipSettings) -> tuple[GridRegion, ...]:
    """The regions of a map of ``height`` x ``width``."""
    return roi_grid(height, width, settings.levels) if settings.levels else (GridRegion(0, 0, height, width),)


def placed_regions(height: int, width: int, settings: NipSettings) -> tuple[GridRegion, ...]:
    """The regions of the vectors of ``region_vectors``, in their order, as they lie on the whole map of
    ``height`` x ``width``: inside the border that is left out."""
    border = _border(height, width, settings)
    inner = map_regions(height - 2 * border, width - 2 * border, settings)
    return tuple(GridRegion(r.top + border, r.left + border, r.height, r.width) for r in inner)


def _border(height: int, width: int, settings: NipSettings) -> int:
    return min(settings.border, (min(height, width) - 1) // 2)


def _moments(features: np.ndarray, regions: Sequence[GridRegion], moment: str) -> np.ndarray:
    areas = np.array([[region.height * region.width] for region in regions], dtype=np.float64)
    if moment == "mean":
        return _region_sums(features, regions) / areas
    squares = _region_sums(features * features, regions)
    if moment == "sqrt-sum":
        return np.sqrt(squares)
    if moment == "sqrt":
        return np.sqrt(squares / areas)
    # n * sum(x^2) - sum(x)^2 is an integer for integer features, so that a flat region has exactly 0.
    sums = _region_sums(features, regions)
    return np.sqrt(np.maximum(areas * squares - sums * sums, 0.0)) / areas


def _region_sums(values: np.ndarray, regions: Sequence[GridRegion]) -> np.ndarray:
    """Sums inside each region, [R, C], of float64 [C, H, W], by a summed-area table."""
    channels, height, width = values.shape
    table = np.zeros((channels, height + 1, width + 1))
    np.cumsum(values, axis=2, out=table[:, 1:, 1:])
    np.cumsum(table[:, 1:, :], axis=1, out=table[:, 1:, :])
    sums = np.empty((len(regions), channels))
    for row, region in zip(sums, regions, strict=True):
        bottom, right = region.top + region.height, region.left + region.width
        row[:] = (table[:, bottom, right] - table[:, region.top, right]
                  - table[:, bottom, region.left] + table[:, region.top, region.left])
    # Rounding of floats may leave a remainder where all values are zero, which would then be normalised. Sums
    # far below the map's are therefore computed again. Integers are exact.
    for number, channel in np.argwhere((sums != 0) & (np.abs(sums) < DOUBTFUL * table[:, -1, -1])):
        sums[number, channel] = _inside(values[channel : channel + 1], regions[number]).sum()
    return np.maximum(sums, 0.0)


def _inside(features: np.ndarray, region: GridRegion) -> np.ndarray:
    return features[:, region.top : region.top + region.height, region.left : region.left + region.width]


def crop_vectors(features: np.ndarray, settings: NipSettings, whitening: Projection | None) -> np.ndarray:
    """The part of the chain for one crop: the vectors of its regions, float64 [R, D], from features
    [C, H, W]. They are whitened if whitening is done by region."""
    vectors = region_vectors(features, settings)
    if whitening is not None and whitening.mode == "roi":
        vectors = normalise(whitening.transform(vectors))
    return vectors


def combine(
    rotations: Sequence[Sequence[np.ndarray]],
    weights: Sequence[float],
    settings: NipSettings,
    whitening: Projection | None,
) -> np.ndarray:
    """The rest of the chain: takes for each rotation the vectors of the crops, each [R, D], and one weight
    for each crop; gives the descriptor, float32 [D], of unit length (or zero if every feature is zero)."""
    best: np.ndarray | None = None
    for crops in rotations:
        shares = np.concatenate([np.full(len(c), w) for c, w in zip(crops, weights, strict=True)])
        vector = _across(np.concatenate(list(crops)), shares[:, None], settings.across)[None]
        if whitening is not None and whitening.mode == "after":
            vector = normalise(whitening.transform(vector))
        best = vector if best is None else np.maximum(best, vector)
    assert best is not None, "at least one rotation"
    return normalise(best)[0].astype(np.float32)


def join(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One descriptor of those of several maps, float32 [D] each: side by side, of unit length together."""
    return normalise(np.concatenate([part.astype(np.float64) for part in parts])[None])[0].astype(np.float32)


def _across(vectors: np.ndarray, shares: np.ndarray, how: str) -> np.ndarray:
    """Combines [R, D] to [D]. The sums run over the first axis, one row after the other."""
    total = shares.sum()
    mean = (vectors * shares).sum(axis=0) / total
    if how == "mean":
        return mean
    return np.sqrt((shares * (vectors - mean) ** 2).sum(axis=0) / total)
