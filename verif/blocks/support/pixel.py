"""What travels with every pixel, as a plain record."""

from typing import NamedTuple


class Pixel(NamedTuple):
    """A pixel of a pass; with ``valid`` 0 the rest means nothing. ``rows`` is None in an engine without row
    groups, whose pixels do not have it, and ``top``, ``bottom`` and ``odd`` in one without ``residual``."""

    valid: int = 0
    first: int = 0
    last: int = 0
    row_end: int = 0
    fresh: int = 0
    emit: int = 0
    digit: int = 0
    last_out: int = 0
    top: int | None = None
    bottom: int | None = None
    odd: int | None = None
    rows: int | None = None

    def fields(self) -> dict[str, int]:
        """The fields that the engine's pixels have, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def cleared(self) -> "Pixel":
        """A pixel of the same engine with 0 in every field: what a reset leaves in a register."""
        return Pixel(**dict.fromkeys(self.fields(), 0))
