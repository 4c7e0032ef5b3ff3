"""Model of pooling: strips of pixels."""

from collections.abc import Sequence
from typing import Any

from kestrel.verif.blocks.support.pixel import Pixel

NOTHING = {"valid": 0, "row_end": 0, "last": 0, "last_out": 0}


class Map:
    """An output group's rows of a layer that pools 3x3, as far as they have come."""

    def __init__(self) -> None:
        self.rows: list[list[list[int]]] = [[]]

    def window(self, row: int, column: int) -> list[int]:
        """The maximum of each lane around row ``row`` and column ``column``, of what exists."""
        rows = self.rows[max(0, row - 1) : row + 2]
        pixels = [pixel for row in rows for pixel in row[max(0, column - 1) : column + 2]]
        return [max(lane) for lane in zip(*pixels, strict=True)]


class Pool:
    """A strip's pixels by row and column. Pixels of a pass that pools must come without gaps.

    ``row_groups``: of an engine with row groups. Where they are used (``grouped``) results do not wait.
    """

    def __init__(self, row_groups: bool = False) -> None:
        self.row_groups = row_groups
        self.pixel: Pixel | None = None
        self.row = 0
        self.column = 0
        self.strip: dict[tuple[int, int], list[int]] = {}
        self.group = 0
        self.maps: dict[int, Map] = {}  # by output group
        self.result: dict[str, int | None] | None = None
        self.data: list[int] | None = None

    def step(
        self, *, ahead: Pixel, y: Sequence[int], pool: int, pool_3x3: int = 0, grouped: int = 0, rst: int = 0
    ) -> dict[str, Any]:
        """One cycle: ``y`` belongs to the pixel that came with ``ahead`` in the cycle before."""
        outputs: dict[str, Any] = {"result": self.result, "data": self.data}
        pixel = self.pixel
        if self.row_groups and self.result is not None:
            outputs["result"] = self.result | {"rows": None}
        if grouped:
            outputs = {"result": None, "data": None}
            if pixel is not None:
                outputs = self._at_once(pixel, list(y))
        self.result = self.data = None
        if pixel is not None:
            if pool and pool_3x3 and pixel.valid:
                self._take_3x3(pixel, list(y))
            else:
                self._take(pixel, list(y), pool)
        self.pixel = ahead
        if rst:
            self.pixel, self.row, self.column = ahead.cleared(), 0, 0
            self.group = 0
            self.maps.clear()
            self.result, self.data = dict(NOTHING), None
        return outputs

    @staticmethod
    def _at_once(pixel: Pixel, y: list[int]) -> dict[str, Any]:
        if not pixel.valid:
            return {"result": NOTHING | {"last_out": None, "rows": None}, "data": None}
        result = {
            "valid": 1, "row_end": pixel.row_end, "last": pixel.last, "last_out": pixel.last_out,
            "rows": pixel.rows,
        }  # fmt: skip
        return {"result": result, "data": y}

    def _take(self, pixel: Pixel, y: list[int], pool: int) -> None:
        if not pixel.valid:
            self.result = {**NOTHING, "last_out": None}
            return
        row, column = self.row, self.column
        self.strip[row, column] = y
        odd_row, odd_column = row % 2 == 1, column % 2 == 1
        if not pool:
            self.data = y
        elif odd_row and odd_column:
            square = [self.strip[row - i, column - j] for i in (0, 1) for j in (0, 1)]
            self.data = [max(lane) for lane in zip(*square, strict=True)]
        row_end = pixel.row_end and (odd_row or not pool)
        self.result = {
            "valid": int(self.data is not None),
            "row_end": int(row_end),
            "last": pixel.last,
            "last_out": pixel.last_out if self.data is not None or row_end or pixel.last else None,
        }
        self.column = 0 if pixel.row_end else column + 1
        if pixel.last:
            self.row = 0
            self.strip.clear()
        elif pixel.row_end:
            self.row = row + 1

    def _take_3x3(self, pixel: Pixel, y: list[int]) -> None:
        """A pixel of a layer with windows of 3x3: rows go on from strip to strip."""
        rows = self.maps.setdefault(self.group, Map()).rows
        if pixel.top and self.column == 0:
            rows[:] = [[]]
        rows[-1].append(y)
        row, column = len(rows) - 1, self.column
        assert row % 2 == pixel.odd
        emits = row % 2 == 1 or pixel.bottom == 1
        if emits and (column % 2 == 1 or pixel.row_end):
            self.data = self.maps[self.group].window(row - row % 2, column - column % 2)
        row_end = pixel.row_end and emits
        self.result = {
            "valid": int(self.data is not None),
            "row_end": int(row_end),
            "last": pixel.last,
            "last_out": pixel.last_out if self.data is not None or row_end or pixel.last else None,
        }
        self.column = 0 if pixel.row_end else column + 1
        if pixel.row_end:
            rows.append([])
        if pixel.last:
            self.group = 0 if pixel.last_out else self.group + 1
