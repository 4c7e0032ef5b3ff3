"""Compares the results of an engine with those of the reference, element by element."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kestrel.sw.model.blocks import blocks_of
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.reference import Reference
from kestrel.sw.pictures.images import round_pixels
from kestrel.verif.simulate.frame import FrameRun

OUTPUT = "output"
"""The name under which the output stream is reported."""


@dataclass(frozen=True)
class Mismatch:
    """An element that differs: its position, the value found and the value of the reference."""

    channel: int
    row: int
    column: int
    found: int
    expected: int

    def __str__(self) -> str:
        return (
            f"channel {self.channel}, row {self.row}, column {self.column}: {self.found}, not {self.expected}"
        )


@dataclass(frozen=True)
class LayerResult:
    """How a layer's map, or the output stream, compares with the reference.

    ``values_compared`` is the number of elements compared and ``mismatches`` the number that differ.
    ``first_mismatch`` is the first of them in the order channel, row, column.
    """

    name: str
    values_compared: int
    mismatches: int
    first_mismatch: Mismatch | None

    @property
    def equal(self) -> bool:
        """Whether something was compared and nothing differs."""
        return self.values_compared > 0 and self.mismatches == 0

    def __str__(self) -> str:
        text = f"{self.name}: {self.mismatches} of {self.values_compared} values differ"
        return text if self.first_mismatch is None else f"{text}, first {self.first_mismatch}"


def reference_maps(network: CompressedNetwork, pixels: np.ndarray, images: int = 1) -> list[np.ndarray]:
    """The expected maps of all layers, uint8 [C_l, H_l, W_l], for 8-bit pixels uint8 [C, H, W] as they enter
    the engine's image stream. Of a batch, pixels and maps hold ``images`` images one below the other, each of
    which the network sees alone."""
    apart = np.stack(np.split(round_pixels(pixels, network.activation_bits), images, axis=1))
    x = torch.from_numpy(apart)
    if network.blocks:
        x = blocks_of(x, torch.from_numpy(network.pad[: len(pixels)]))
    return [np.concatenate(y.numpy(), axis=1) for y in Reference(network).run(x)]


def compare_maps(
    found: Sequence[np.ndarray], expected: Sequence[np.ndarray], names: Sequence[str]
) -> list[LayerResult]:
    """Compares all elements map by map, each [C, H, W]. Raises ValueError if the numbers of maps and names or
    the shapes of the maps differ: those come from the plan, not from what the engine computed."""
    if not len(found) == len(expected) == len(names):
        raise ValueError(f"{len(found)} maps, {len(expected)} expected ones and {len(names)} names")
    return [_compare(*triple) for triple in zip(names, found, expected, strict=True)]


def compare_run(
    run: FrameRun, network: CompressedNetwork, expected: Sequence[np.ndarray]
) -> list[LayerResult]:
    """Compares a frame's layers, and last its output stream, with the maps of ``reference_maps``."""
    names = [layer.shape.name for layer in network.layers]
    return compare_maps(
        [*run.maps, *run.outputs],
        [*expected, *(expected[number] for number in run.inner), expected[-1]],
        [*names, *(f"{OUTPUT} {names[number]}" for number in run.inner), OUTPUT],
    )


def all_equal(results: Iterable[LayerResult]) -> bool:
    """Whether there is a result, every result compared something, and nothing differs."""
    results = list(results)
    return bool(results) and all(result.equal for result in results)


def _compare(name: str, found: np.ndarray, expected: np.ndarray) -> LayerResult:
    if found.shape != expected.shape:
        raise ValueError(f"{name}: a map of {found.shape}, not {expected.shape}")
    wrong = np.argwhere(found != expected)
    first = None
    if len(wrong):
        channel, row, column = (int(index) for index in wrong[0])
        at = channel, row, column
        first = Mismatch(channel, row, column, int(found[at]), int(expected[at]))
    return LayerResult(name, int(found.size), len(wrong), first)
