"""Where two pictures agree: the regions behind their descriptors, compared pair by pair.

A descriptor is the average of the vectors of regions, so the inner product of two descriptors is the average
of the inner products of all pairs of regions, but for its length (and for the maximum over rotations, of
which only the first, the picture as it is, is looked at here). The pairs with the largest cosine are
therefore what speaks most for a match.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kestrel.sw.retrieval.describe.backends import MapsBackend
from kestrel.sw.retrieval.describe.crops import Inputs, crop_views, cut_crops, join_views
from kestrel.sw.retrieval.describe.extract import Describer
from kestrel.sw.retrieval.describe.whitening import MapWhitening
from kestrel.sw.retrieval.pooling.grid import GridRegion
from kestrel.sw.retrieval.pooling.nip import crop_vectors, normalise, placed_regions

LARGE_SHARE = 0.5
"""A region of more than this share of the picture points at nothing: passed over where there are others."""

OVERLAP_MAX = 0.3
"""Intersection over union of two regions of one picture that are both shown, at most."""

REGIONS_MAX = 2048
"""Of a map; of more, evenly spread ones are compared."""


@dataclass(frozen=True)
class Box:
    """A part of a picture. All four are shares, 0 to 1, of the picture's width and height."""

    left: float
    top: float
    width: float
    height: float

    @property
    def area(self) -> float:
        return self.width * self.height


@dataclass(frozen=True)
class MapRegions:
    """The regions of one map, of all crops. vectors: float32 [R, D], unit length."""

    boxes: tuple[Box, ...]
    vectors: np.ndarray


@dataclass(frozen=True)
class PictureRegions:
    """vector: the picture's descriptor, float32 [D]; maps: its regions, for each map that is pooled."""

    vector: np.ndarray
    maps: tuple[MapRegions, ...]


@dataclass(frozen=True)
class Agreement:
    """Two regions that are alike. cosine: of their vectors, whitened if the descriptors are."""

    cosine: float
    query: Box
    match: Box


def picture_regions(describer: Describer, rgb: np.ndarray) -> PictureRegions:
    """The descriptor of a picture, uint8 RGB [H, W, 3], as ``describer.describe_picture`` makes it, and its
    regions. Raises InputError."""
    inputs = cut_crops(rgb, describer.crops)
    maps = _features(describer, inputs.pictures)
    whitenings: Sequence[MapWhitening | None] = [None] * len(maps)
    if describer.whitening is not None:
        whitenings = describer.whitening.maps
    found = tuple(_of_map(describer, of_layer, inputs, rgb.shape[:2], whitening)
                  for of_layer, whitening in zip(maps, whitenings, strict=True))
    return PictureRegions(describer.describe_maps(maps, inputs), found)


def agreements(query: PictureRegions, match: PictureRegions, count: int) -> tuple[Agreement, ...]:
    """The ``count`` pairs of regions that agree most, best first, fewer where there are fewer. No two of them
    lie in nearly the same place of either picture."""
    pairs = [_alike(ours, theirs) for ours, theirs in zip(query.maps, match.maps, strict=True)]
    chosen: list[Agreement] = []
    for pair in heapq.merge(*pairs, key=lambda pair: -pair.cosine):
        if len(chosen) == count:
            break
        if all(_overlap(pair.query, other.query) <= OVERLAP_MAX
               and _overlap(pair.match, other.match) <= OVERLAP_MAX for other in chosen):
            chosen.append(pair)
    return tuple(chosen)


def _features(describer: Describer, pictures: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """For each map that is pooled those of the crops, [C, h, w] each."""
    backend, layers = describer.backend, describer.layers
    found: list[list[np.ndarray]] = [[np.zeros(0)] * len(pictures) for _ in layers or (None,)]
    sizes = dict.fromkeys(picture.shape for picture in pictures)
    for size in sizes:
        rows = [row for row, picture in enumerate(pictures) if picture.shape == size]
        at_once = backend.batch(size[0], size[1])
        for start in range(0, len(rows), at_once):
            part = rows[start:start + at_once]
            crops = [pictures[row] for row in part]
            if layers:
                assert isinstance(backend, MapsBackend), "checked by make_describer"
                maps = backend.maps(crops, layers)
            else:
                maps = [backend.features(crops)]
            for of_layer, values in zip(found, maps, strict=True):
                for row, value in zip(part, values, strict=True):
                    of_layer[row] = value
    return found


def _of_map(describer: Describer, maps: Sequence[np.ndarray], inputs: Inputs, size: tuple[int, ...],
            whitening: MapWhitening | None) -> MapRegions:
    """The regions of the picture as it is, the first of its rotations."""
    boxes: list[Box] = []
    vectors: list[np.ndarray] = []
    views = crop_views(describer.crops.crops, size[0], size[1])
    for view, features in zip(views, join_views(maps, inputs), strict=False):  # rotated ones follow
        of_view = crop_vectors(features, describer.chain, whitening)
        if whitening is not None and whitening.mode == "after":
            of_view = whitening.transform(of_view)
        vectors.append(normalise(of_view))
        height, width = features.shape[1:]
        around = _around(view.regions)
        boxes += [_box(region, (height, width), around, size)
                  for region in placed_regions(height, width, describer.chain)]
    return MapRegions(tuple(boxes), np.concatenate(vectors).astype(np.float32))


def _around(regions: Sequence[GridRegion]) -> GridRegion:
    """The rectangle that a view's tiles cover."""
    top, left = min(r.top for r in regions), min(r.left for r in regions)
    return GridRegion(top, left, max(r.top + r.height for r in regions) - top,
                      max(r.left + r.width for r in regions) - left)


def _box(region: GridRegion, of: tuple[int, int], view: GridRegion, size: tuple[int, ...]) -> Box:
    """A region of a map of ``of`` pixels that stands for the part ``view`` of a picture of ``size``; both
    sizes are heights and widths."""
    tall, wide = view.height / of[0] / size[0], view.width / of[1] / size[1]
    return Box(view.left / size[1] + region.left * wide, view.top / size[0] + region.top * tall,
               region.width * wide, region.height * tall)


def _alike(query: MapRegions, match: MapRegions) -> Iterator[Agreement]:
    """All pairs that are alike at all, best first."""
    ours, theirs = _pointing(query.boxes), _pointing(match.boxes)
    cosines = query.vectors[ours] @ match.vectors[theirs].T
    for place in np.argsort(-cosines, axis=None, kind="stable"):
        row, column = divmod(int(place), len(theirs))
        if cosines[row, column] <= 0:
            return
        yield Agreement(float(cosines[row, column]), query.boxes[ours[row]], match.boxes[theirs[column]])


def _pointing(boxes: Sequence[Box]) -> list[int]:
    """The regions that are small enough to point at something; all where none is."""
    small = [row for row, box in enumerate(boxes) if box.area <= LARGE_SHARE] or list(range(len(boxes)))
    return [small[n * len(small) // REGIONS_MAX] for n in range(REGIONS_MAX)] \
        if len(small) > REGIONS_MAX else small


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    shared = max(0.0, width) * max(0.0, height)
    return shared / (a.area + b.area - shared)
