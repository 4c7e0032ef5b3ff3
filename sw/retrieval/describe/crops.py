"""Crops of a picture (RNIP), each resized to the backend's input.

A specification is a list of terms, joined by commas:

    whole            the whole picture
    levels:1+2+3     the squares of those levels of the region grid (kestrel.sw.retrieval.pooling.grid), laid
                     on the picture: 2 + 6 + 12 crops of a picture of 4:3
    square:1+2       the same grid as on a square, stretched over the picture: always 1 + 4 crops, of the
                     picture's own proportions
    grid:3x3         rows x columns of equal tiles; grid:3x3~50 with neighbours overlapping by 50 per cent
    mosaic:2x3       2 x 3 equal tiles, the 3 along the picture's longer side, whose feature maps are joined
                     again and pooled as one: nearly what a backend with so much larger an input would give

and any term may end in ``*WEIGHT``, the weight of its crops in the average. The same crop is taken once.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.sizes import SIDE_MAX
from kestrel.sw.retrieval.pooling.grid import GridRegion, roi_grid
from kestrel.sw.retrieval.pooling.nip import LEVEL_MAX

PRESETS = {
    "nip": "whole",
    "rnip5x": "square:1+2",
    "rnip9x": "whole,levels:1+2",
    "rnip14x": "square:1+2+3",
    "rnip3x3": "grid:3x3",
    "rnip18m": "mosaic:2x3,mosaic:3x4",
}
"""Names of specifications."""

ROTATIONS = {1: (0,), 2: (0, 2), 4: (0, 1, 2, 3)}
"""Quarter turns for each number of rotations."""

FITS = ("stretch", "keep")
"""A crop fills the backend's input; or it keeps its proportions and just fits into the input (turned, for an
upright crop), which is then smaller on one side."""

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
"""All of them widen with the reduction (antialiased)."""

CROPS_MAX = 1024

_ALLOWED = ("a preset, or terms such as whole, levels:1+2, square:1+2+3, grid:3x3~50, mosaic:2x3, each with "
            "*WEIGHT if wanted, joined by commas")
_TERM = re.compile(
    r"(?:(?P<whole>whole)|(?P<kind>levels|square):(?P<levels>[0-9]{1,2}(?:\+[0-9]{1,2})*)"
    r"|grid:(?P<rows>[0-9]{1,2})x(?P<columns>[0-9]{1,2})(?:~(?P<overlap>[0-9]{1,2}))?"
    r"|mosaic:(?P<short>[0-9]{1,2})x(?P<long>[0-9]{1,2}))"
    r"(?:\*(?P<weight>[0-9]+(?:\.[0-9]+)?))?"
)


@dataclass(frozen=True)
class Crop:
    """A rectangle of the picture and its weight."""

    region: GridRegion
    weight: float


@dataclass(frozen=True)
class View:
    """What is pooled as one map: rows x columns of neighbouring regions, row by row; mostly a single one."""

    rows: int
    columns: int
    regions: tuple[GridRegion, ...]
    weight: float


@dataclass(frozen=True)
class _Term:
    """A mosaic has its ``rows`` of tiles along the shorter side, its ``columns`` along the longer."""

    kind: str
    levels: tuple[int, ...] = ()
    rows: int = 1
    columns: int = 1
    overlap: int = 0
    weight: float = 1.0


@dataclass(frozen=True)
class CropSettings:
    """How pictures become the backend's inputs. Raises InputError.

    crops: specification; height, width: the backend's input; rotations: 1, 2 or 4; fit, filter: of the
    resizing; least: shortest side that the network takes.
    """

    crops: str = "whole"
    height: int = 224
    width: int = 224
    rotations: int = 1
    fit: str = "stretch"
    filter: str = "bicubic"
    least: int = 1

    def __post_init__(self) -> None:
        parse_crops(self.crops)
        if self.rotations not in ROTATIONS:
            raise InputError(f"rotations {self.rotations}; allowed: {', '.join(map(str, ROTATIONS))}")
        if self.fit not in FITS:
            raise InputError(f"fit {self.fit!r}; allowed: {', '.join(FITS)}")
        if self.fit != "stretch" and self.joins:
            raise InputError(f"fit {self.fit!r} with crops {self.crops!r}; allowed: stretch, so that the "
                             "maps of a mosaic are of one size")
        if self.filter not in FILTERS:
            raise InputError(f"filter {self.filter!r}; allowed: {', '.join(FILTERS)}")
        for what, side in (("height", self.height), ("width", self.width)):
            if not self.least <= side <= SIDE_MAX:
                raise InputError(f"{what} {side}; allowed: {self.least}..{SIDE_MAX}")

    @property
    def joins(self) -> bool:
        """Whether maps of several crops are pooled as one."""
        return any(term.kind == "mosaic" for term in parse_crops(self.crops))

    @property
    def resize_text(self) -> str:
        return f"{self.fit}, {self.filter}"

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the backend's input for a crop of ``height`` x ``width``."""
        if self.fit == "stretch":
            return self.height, self.width
        box = (self.height, self.width)
        if (height > width) != (box[0] > box[1]) and height != width:
            box = (box[1], box[0])
        # Rounded half up in integers; the side that fits exactly comes out as the box's.
        if height * box[1] >= width * box[0]:
            fitted = (box[0], (2 * width * box[0] + height) // (2 * height))
        else:
            fitted = ((2 * height * box[1] + width) // (2 * width), box[1])
        return max(self.least, fitted[0]), max(self.least, fitted[1])


def parse_crops(text: str) -> tuple[_Term, ...]:
    """The terms of a specification or a preset's name. Raises InputError."""
    terms: list[_Term] = []
    for part in PRESETS.get(text, text).split(","):
        match = _TERM.fullmatch(part)
        if match is None:
            raise InputError(f"crops {text!r}: {part!r}; allowed: {_ALLOWED}")
        weight = float(match["weight"] or 1)
        levels = tuple(int(level) for level in (match["levels"] or "").split("+") if level)
        rows = int(match["rows"] or match["short"] or 1)
        columns = int(match["columns"] or match["long"] or 1)
        overlap = int(match["overlap"] or 0)
        if not all(1 <= level <= LEVEL_MAX for level in levels):
            raise InputError(f"crops {text!r}: {part!r}; allowed: levels 1..{LEVEL_MAX}")
        if not (1 <= rows <= 32 and 1 <= columns <= 32) or weight <= 0:
            raise InputError(f"crops {text!r}: {part!r}; allowed: 1..32 rows and columns, weights above 0")
        kind = match["whole"] or match["kind"] or ("mosaic" if match["short"] else "grid")
        terms.append(_Term(kind, levels, rows, columns, overlap, weight))
    return tuple(terms)


def crop_views(text: str, height: int, width: int) -> tuple[View, ...]:
    """The views of a picture of ``height`` x ``width``, each once. Raises InputError."""
    found: dict[tuple[GridRegion, ...], View] = {}
    for term in parse_crops(text):
        regions = tuple(_regions(term, height, width))
        if term.kind == "mosaic":
            rows, columns = _along(term, height, width)
            found.setdefault(regions, View(rows, columns, regions, term.weight))
            continue
        for region in regions:
            found.setdefault((region,), View(1, 1, (region,), term.weight))
    count = sum(len(view.regions) for view in found.values())
    if count > CROPS_MAX:
        raise InputError(f"crops {text!r}: {count} of a picture; allowed: at most {CROPS_MAX}")
    return tuple(found.values())


def crop_grid(text: str, height: int, width: int) -> tuple[Crop, ...]:
    """The crops of a specification without mosaics, each region once. Raises InputError."""
    views = crop_views(text, height, width)
    if any(len(view.regions) > 1 for view in views):
        raise InputError(f"crops {text!r}; allowed here: no mosaic")
    return tuple(Crop(view.regions[0], view.weight) for view in views)


def _regions(term: _Term, height: int, width: int) -> Iterator[GridRegion]:
    if term.kind == "whole":
        yield GridRegion(0, 0, height, width)
    elif term.kind == "levels":
        yield from roi_grid(height, width, term.levels)
    elif term.kind == "square":
        for level in term.levels:
            rows, columns = _stretched(height, level), _stretched(width, level)
            yield from (GridRegion(y, x, h, w) for y, h in rows for x, w in columns)
    else:
        down, across = _along(term, height, width)
        rows, columns = _tiles(height, down, term.overlap), _tiles(width, across, term.overlap)
        yield from (GridRegion(y, x, h, w) for y, h in rows for x, w in columns)


def _along(term: _Term, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of a grid or a mosaic on a picture."""
    if term.kind == "mosaic" and height > width:
        return term.columns, term.rows
    return term.rows, term.columns


def _stretched(length: int, level: int) -> list[tuple[int, int]]:
    """(first, length) of one level's regions along a side, as roi_grid has them on a square."""
    side = max(1, 2 * length // (level + 1))
    return [(i * (length - side) // max(level - 1, 1), side) for i in range(level)]


def _tiles(length: int, count: int, overlap: int) -> list[tuple[int, int]]:
    """(first, length) of ``count`` equal tiles that overlap by ``overlap`` per cent of a tile."""
    # count tiles of side s advance by (1 - overlap) * s: s * (count - (count - 1) * overlap) = length
    side = min(length, max(1, -(-100 * length // (100 * count - (count - 1) * overlap))))
    return [(i * (length - side) // max(count - 1, 1), side) for i in range(count)]


@dataclass(frozen=True)
class Inputs:
    """A picture's crops, ready for the backend.

    pictures: uint8 RGB [h, w, 3], for each rotation the crops of all views; layouts: likewise, the rows and
    columns of each view; weights: one a view; rotations: their number; remarks: of
    the file's reading (kestrel.sw.pictures.decode).
    """

    pictures: tuple[np.ndarray, ...]
    layouts: tuple[tuple[int, int], ...]
    weights: tuple[float, ...]
    rotations: int
    remarks: tuple[str, ...] = ()


def cut_crops(rgb: np.ndarray, settings: CropSettings) -> Inputs:
    """The backend's inputs for a picture, uint8 [H, W, 3]: each crop is cut from the picture, turned, and
    only then resized, so that nothing outside a crop shows in it. Raises InputError."""
    views = crop_views(settings.crops, *rgb.shape[:2])
    pictures: list[np.ndarray] = []
    layouts: list[tuple[int, int]] = []
    for turns in ROTATIONS[settings.rotations]:
        for view in views:
            order = np.rot90(np.arange(len(view.regions)).reshape(view.rows, view.columns), turns)
            layouts.append((order.shape[0], order.shape[1]))
            pictures += [_cut(rgb, view.regions[n], turns, settings) for n in order.ravel()]
    return Inputs(tuple(pictures), tuple(layouts), tuple(view.weight for view in views), settings.rotations)


def _cut(rgb: np.ndarray, r: GridRegion, turns: int, settings: CropSettings) -> np.ndarray:
    part = np.rot90(rgb[r.top : r.top + r.height, r.left : r.left + r.width], turns)
    height, width = settings.input_size(*part.shape[:2])
    image = Image.fromarray(np.ascontiguousarray(part))
    if image.size != (width, height):
        image = image.resize((width, height), FILTERS[settings.filter])
    return np.array(image, dtype=np.uint8)


def join_views(maps: Sequence[np.ndarray], inputs: Inputs) -> Iterator[np.ndarray]:
    """Feature maps of the crops, each [C, h, w] -> of the views, [C, rows * h, columns * w]."""
    first = 0
    for rows, columns in inputs.layouts:
        tiles = maps[first : first + rows * columns]
        first += rows * columns
        across = [np.concatenate(tiles[row * columns : (row + 1) * columns], axis=2) for row in range(rows)]
        yield np.concatenate(across, axis=1) if len(across) > 1 else across[0]
