"""What the reader presents for the passes of a strip, from where the rows of a map lie."""

from collections.abc import Iterator
from dataclasses import dataclass

from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS
from kestrel.sw.planning.geometry import Region, group_count


@dataclass(frozen=True)
class Strip:
    """Rows first_row .. first_row + rows - 1 of a map of ``height`` rows that lies in ``region``. With
    ``grouped`` the region has virtual rows, and first_row is the first of a triple."""

    region: Region
    height: int
    first_row: int
    rows: int
    grouped: bool = False

    @property
    def steps(self) -> int:
        """Rows that a pass streams."""
        return group_count(self.rows, ROW_GROUPS) if self.grouped else self.rows

    @property
    def pixels(self) -> int:
        return self.steps * self.region.width

    @property
    def last_rows(self) -> int:
        """Rows of the map's last triple; 0 if it has none."""
        return self.height - (group_count(self.height, ROW_GROUPS) - 1) * ROW_GROUPS if self.grouped else 0


@dataclass(frozen=True)
class Column:
    """One cycle. row: of the pixel, in row groups of the first of three; addresses: of each bank, None where
    the bank's row is outside the map; rows: in row groups how many of the three exist, otherwise None."""

    row: int
    column: int
    addresses: list[int | None]
    top_bank: int
    edges: dict[str, int]
    first: bool
    last: bool
    row_end: bool
    rows: int | None = None


def columns(strip: Strip, group_offset: int) -> Iterator[Column]:
    """The columns of a pass in order."""
    region = strip.region
    if strip.grouped:
        yield from _triples(strip, group_offset)
        return
    for n in range(strip.pixels):
        row, column = strip.first_row + n // region.width, n % region.width
        addresses: list[int | None] = [None] * BANKS
        for r in (row - 1, row, row + 1):
            if 0 <= r < strip.height:
                addresses[r % BANKS] = region.slot(r) + group_offset + column
        yield Column(
            row=row,
            column=column,
            addresses=addresses,
            top_bank=(row - 1) % BANKS,
            edges={
                "left": int(column == 0),
                "right": int(column == region.width - 1),
                "top": int(row == 0),
                "bottom": int(row == strip.height - 1),
            },
            first=n == 0,
            last=n == strip.pixels - 1,
            row_end=column == region.width - 1,
        )


def _triples(strip: Strip, group_offset: int) -> Iterator[Column]:
    """The same in row groups: three virtual rows, one in each bank, of which nothing is used twice."""
    region = strip.region
    for n in range(strip.pixels):
        row, column = strip.first_row + n // region.width * ROW_GROUPS, n % region.width
        yield Column(
            row=row,
            column=column,
            addresses=[region.slot(row) + group_offset + column] * BANKS,
            top_bank=0,
            edges={
                "left": int(column == 0),
                "right": int(column == region.width - 1),
                "top": int(row == 0),
                "bottom": int(row + ROW_GROUPS >= strip.height),
            },
            first=n == 0,
            last=n == strip.pixels - 1,
            row_end=column == region.width - 1,
            rows=min(ROW_GROUPS, strip.height - row),
        )
