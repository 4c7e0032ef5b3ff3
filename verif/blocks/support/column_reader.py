"""What the reader presents for the passes of a strip, from where the rows of a map lie."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS
from kestrel.sw.planning.geometry import Region, group_count


@dataclass(frozen=True)
class Strip:
    """Rows first_row .. first_row + rows - 1 of what a layer computes of a map of ``height`` rows that lies
    in ``region``. With ``grouped`` the region has virtual rows, and first_row is the first of a triple.
    ``stride``: row y is computed from row y * stride of the map and its neighbours. ``centre``: without the
    neighbours, because only the centre tap counts. ``image_rows``: the map consists of images of ``height``
    rows, one below the other, of each of which so many rows are computed; 0: of one."""

    region: Region
    height: int
    first_row: int
    rows: int
    grouped: bool = False
    stride: int = 1
    centre: bool = False
    image_rows: int = 0

    def place(self, row: int) -> tuple[int, int]:
        """For a row that is computed: the row of the map in which its image begins, and the row of the image
        in the middle of its windows."""
        image, within = divmod(row, self.image_rows) if self.image_rows else (0, row)
        return image * self.height, within * self.stride

    @property
    def gap(self) -> int:
        """Rows of an image below the last one in the middle of a window."""
        return self.height - 1 - (self.image_rows - 1) * self.stride

    @property
    def steps(self) -> int:
        """Rows that a pass streams."""
        return group_count(self.rows, ROW_GROUPS) if self.grouped else self.rows

    @property
    def columns(self) -> range:
        """The columns of a row that a pass takes: those that are not needed can be passed over only where no
        window needs them as neighbours."""
        return range(0, self.region.width, self.stride if self.centre else 1)

    @property
    def cycles(self) -> int:
        """Cycles of a pass."""
        return self.steps * len(self.columns)

    @property
    def row_above(self) -> int:
        """The row above that of the pass's first pixel; in row groups the first of the triple."""
        return self.first_row if self.grouped else sum(self.place(self.first_row)) - 1

    @property
    def last_rows(self) -> int:
        """Rows of the map's last triple; 0 if it has none."""
        return self.height - (group_count(self.height, ROW_GROUPS) - 1) * ROW_GROUPS if self.grouped else 0


@dataclass(frozen=True)
class Column:
    """One cycle. row: of the pixel in its image, in row groups of the first of three; addresses: of each
    bank, None where the bank's row is outside the map or not needed; edges: None where they do not matter;
    valid: the column is that of a pixel, not only of a pixel's neighbours; ending: the pass's last column,
    which may come after its ``last`` pixel; rows: in row groups how many of the three exist, otherwise None.
    """

    row: int
    column: int
    addresses: list[int | None]
    top_bank: int
    edges: dict[str, int] | None
    first: bool
    last: bool
    row_end: bool
    ending: bool
    valid: bool = True
    rows: int | None = None


def columns(strip: Strip, group_offset: int) -> Iterator[Column]:
    """The columns of a pass in order."""
    region = strip.region
    if strip.grouped:
        yield from _triples(strip, group_offset)
        return
    end = strip.columns[-1]
    last_pixel = (region.width - 1) // strip.stride * strip.stride
    for n, column in product(range(strip.rows), strip.columns):
        above, row = strip.place(strip.first_row + n)
        addresses: list[int | None] = [None] * BANKS
        for r in (row,) if strip.centre else (row - 1, row, row + 1):
            if 0 <= r < strip.height:
                addresses[(above + r) % BANKS] = region.slot(above + r) + group_offset + column
        edges = {
            "left": int(column == 0),
            "right": int(column == end),
            "top": int(row == 0),
            "bottom": int(row == strip.height - 1),
        }
        ends_strip = n == strip.rows - 1
        yield Column(
            row=row,
            column=column,
            addresses=addresses,
            top_bank=(above + row - 1) % BANKS,
            edges=None if strip.centre else edges,
            first=n == column == 0,
            last=ends_strip and column == last_pixel,
            row_end=column == last_pixel,
            ending=ends_strip and column == end,
            valid=column % strip.stride == 0,
        )


def _triples(strip: Strip, group_offset: int) -> Iterator[Column]:
    """The same in row groups: three virtual rows, one in each bank, of which nothing is used twice."""
    region = strip.region
    for n in range(strip.cycles):
        row, column = strip.first_row + n // region.width * ROW_GROUPS, n % region.width
        last = n == strip.cycles - 1
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
            last=last,
            row_end=column == region.width - 1,
            ending=last,
            rows=min(ROW_GROUPS, strip.height - row),
        )
