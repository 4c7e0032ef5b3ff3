"""What the reader presents for the passes of a strip, from where the rows of a map lie."""

from collections.abc import Iterator
from dataclasses import dataclass

from sw.geometry import BANKS, Region


@dataclass(frozen=True)
class Strip:
    """Rows first_row .. first_row + rows - 1 of a map of ``height`` rows that lies in ``region``."""

    region: Region
    height: int
    first_row: int
    rows: int

    @property
    def pixels(self) -> int:
        return self.rows * self.region.width


@dataclass(frozen=True)
class Column:
    """One cycle. addresses: of each bank, None where the bank's row is outside the map."""

    row: int
    column: int
    addresses: list[int | None]
    top_bank: int
    edges: dict[str, int]
    first: bool
    last: bool
    row_end: bool


def columns(strip: Strip, group_offset: int) -> Iterator[Column]:
    """The columns of a pass in order."""
    region = strip.region
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
