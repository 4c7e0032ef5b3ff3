"""Ranges of activations, measured on pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.progress import Progress, silent
from kestrel.sw.model.float_network import FloatModel, check_image_size, real_batch
from kestrel.sw.model.graph import scale_groups
from kestrel.sw.model.preprocessing import Preprocessing
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.images import generate_picture, load_image
from kestrel.sw.pictures.listing import find_pictures

GENERATED_PICTURES = 8
DEFAULT_PERCENTILE = 99.99

# A non-negative float32, read as an integer, grows with its value: its exponent and upper mantissa bits are
# the number of a histogram cell whose relative width is 2**-MANTISSA_BITS everywhere.
MANTISSA_BITS = 11
_DROPPED_BITS = 23 - MANTISSA_BITS
_CELLS = 1 << (8 + MANTISSA_BITS)
_MAGNITUDE = (1 << 31) - 1


@dataclass(frozen=True)
class CalibrationPictures:
    """What ranges are measured on. source: for the report; names: of the pictures; load: by position, gives
    uint8 RGB [height, width, 3]."""

    source: str
    height: int
    width: int
    names: tuple[str, ...]
    load: Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Ranges:
    """Measured ranges of each layer's activations (after ReLU, before pooling), in real units.

    percentile: the percentile asked for; cap: its value a layer, at most 2**-11 too high; maximum: the
    largest value; clipped: the share of values above the cap.
    """

    percentile: float
    cap: tuple[float, ...]
    maximum: tuple[float, ...]
    clipped: tuple[float, ...]


def folder_pictures(folder: str | Path, height: int, width: int) -> CalibrationPictures:
    """The images of a folder and its folders, stretched to one size. Raises InputError (from ``load``, for a
    bad image)."""
    found = find_pictures(folder)
    paths = found.paths
    return CalibrationPictures(str(folder), height, width, found.names,
                               lambda n: load_image(paths[n], height, width))


def generated_pictures(height: int, width: int, seed: int = 0,
                       count: int = GENERATED_PICTURES) -> CalibrationPictures:
    """Pictures made up from a seed: enough for random weights, no substitute for photographs."""
    return CalibrationPictures(f"{count} generated pictures (seed {seed})", height, width,
                               tuple(f"generated {n}" for n in range(count)),
                               lambda n: generate_picture(height, width, seed * count + n))


def check_percentile(percentile: float) -> None:
    """Raises InputError outside 50..100."""
    if not 50 <= percentile <= 100:
        raise InputError(f"percentile {percentile:g}; allowed: 50..100 (100 is the maximum)")


def measure_ranges(network: FloatNetwork, preprocessing: Preprocessing, pictures: CalibrationPictures,
                   percentile: float = DEFAULT_PERCENTILE, progress: Progress = silent) -> Ranges:
    """Runs the float network over the pictures and takes each layer's percentile over all values.

    Layers whose outputs must have one scale get the largest range among them.

    Counts are kept in histograms with cells of 1/2048 of the value, so memory does not grow with the
    pictures, and the last bits of a float sum (which differ between machines) seldom change a range.
    Raises InputError for a bad percentile, too small a size, or a layer that is zero everywhere.
    """
    check_percentile(percentile)
    check_image_size(network.shape, pictures.height, pictures.width)
    model = FloatModel(network)
    histograms = [RangeHistogram() for _ in network.shape.layers]
    with progress("calibrate", len(pictures.names)) as advance:
        for n in range(len(pictures.names)):
            x = real_batch([pictures.load(n)], preprocessing)
            for histogram, result in zip(histograms, model.layers(x), strict=True):
                histogram.add(result.relu)
            advance(1)
    picked = [histogram.range(percentile, layer.name, pictures.source)
              for histogram, layer in zip(histograms, network.shape.layers, strict=True)]
    groups = scale_groups(network.shape.layers)
    for number, (histogram, own) in enumerate(zip(histograms, picked, strict=True)):
        cap = max(p.cap for p, group in zip(picked, groups, strict=True) if group == groups[number])
        if cap > own.cap:
            picked[number] = Range(cap, own.maximum, histogram.share_above(cap))
    return Ranges(percentile, tuple(p.cap for p in picked), tuple(p.maximum for p in picked),
                  tuple(p.clipped for p in picked))


@dataclass(frozen=True)
class Range:
    """One layer's: see ``Ranges``."""

    cap: float
    maximum: float
    clipped: float


class RangeHistogram:
    """How often each activation of a layer occurs, in cells of 1/2048 of its value."""

    def __init__(self) -> None:
        self._counts = torch.zeros(_CELLS, dtype=torch.int64)
        self._maximum = 0.0

    def add(self, activations: torch.Tensor) -> None:
        """Counts activations, float32 of any shape, not negative."""
        values = activations.flatten()
        self._maximum = max(self._maximum, float(values.max()))
        # ReLU may leave -0.0, whose bits are those of a negative integer.
        cells = (values.view(torch.int32) & _MAGNITUDE) >> _DROPPED_BITS
        self._counts += torch.bincount(cells, minlength=_CELLS)

    def share_above(self, value: float) -> float:
        """The share of activations above the cell of ``value``."""
        cell = int(np.array([value], np.float32).view(np.int32)[0] & _MAGNITUDE) >> _DROPPED_BITS
        return float(self._counts[cell + 1 :].sum() / self._counts.sum())

    def range(self, percentile: float, layer: str, source: str) -> Range:
        """The range by ``percentile``. Raises InputError for a layer that is zero everywhere."""
        if not 0 < self._maximum < float("inf"):
            raise InputError(f"layer {layer}: largest activation {self._maximum:g} on {source}; "
                             "allowed: finite and above zero")
        cap, clipped = _pick(self._counts.numpy(), self._maximum, percentile)
        return Range(cap, self._maximum, clipped)


def _pick(histogram: np.ndarray, maximum: float, percentile: float) -> tuple[float, float]:
    """The percentile's value (upper edge of its cell, at most the maximum) and the share of values above."""
    total = int(histogram.sum())
    below = np.cumsum(histogram)
    cell = int(np.searchsorted(below, total * percentile / 100))
    edge = np.array([(cell + 1) << _DROPPED_BITS], dtype=np.int32).view(np.float32)[0]
    if cell == 0:  # nearly everything is zero: only the maximum is left to go by
        return maximum, 0.0
    return min(float(edge), maximum), 1 - int(below[cell]) / total
