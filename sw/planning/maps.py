"""Which maps the layers read, and in which part of the feature memory they lie.

Map m is the one that record m of a plan writes: map 0 is the image, map k + 1 the output of layer k.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kestrel.sw.model.network import source_of
from kestrel.sw.planning.geometry import LayerRows, PlanLayer


@dataclass(frozen=True)
class Reading:
    """The maps that a layer reads. ``shortcut`` is None without one."""

    source: int
    shortcut: int | None


def readings(layers: Sequence[PlanLayer]) -> tuple[Reading, ...]:
    """The maps that each layer reads."""
    shapes = [layer.shape for layer in layers]
    return tuple(
        Reading(source_of(shapes, n) + 1, None if s.shortcut is None else s.shortcut.source + 1)
        for n, s in enumerate(shapes)
    )


def layer_rows(
    layers: Sequence[PlanLayer], heights: Sequence[int], images: int
) -> tuple[LayerRows, ...]:
    """How the rows of each layer relate to those of its maps. ``heights`` are the rows of an image in every
    map, of which each map holds ``images``."""
    return tuple(
        LayerRows(
            layer, heights[reading.source],
            0 if reading.shortcut is None else heights[reading.shortcut], images,
        )
        for layer, reading in zip(layers, readings(layers), strict=True)
    )  # fmt: skip


def map_parts(layers: Sequence[PlanLayer]) -> list[int]:
    """The part of the feature memory in which each map lies: not that of the map from which it is made."""
    parts = [0]
    for reading in readings(layers):
        parts.append(1 - parts[reading.source])
    return parts


def waits_for_shortcut(reading: Reading, parts: Sequence[int]) -> bool:
    """Whether the part of a shortcut's map is the one that its layer writes: then every output group must be
    written before the shortcut's passes of the next one read."""
    return reading.shortcut is not None and parts[reading.shortcut] != parts[reading.source]
