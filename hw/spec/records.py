"""Records of the schedule table and of the descriptor ROM, and the bit fields of their words."""

from dataclasses import dataclass

TABLE_WORD_BITS = 32
"""Width of a word of the schedule table."""

RECORD_WORDS = 16
"""Words of the header and of each layer record; record r starts at word r * RECORD_WORDS."""

VISIT_WORDS = 4
"""Words of a visit record, but in an engine for residual networks or batches."""

VISIT_WORDS_LONG = 8
"""Words of a visit record in an engine for residual networks or batches; five or six are used."""


@dataclass(frozen=True)
class Field:
    """A bit field of a record: ``width`` bits from bit ``lsb`` of word ``word``."""

    name: str
    word: int
    lsb: int
    width: int

    @property
    def max(self) -> int:
        """The largest value that the field can hold."""
        return (1 << self.width) - 1


def pack_record(layout: tuple[Field, ...], words: int, values: dict[str, int]) -> list[int]:
    """The words of a record. ``values`` has one value for each field of ``layout``.

    Raises ValueError for a value that does not fit its field, and KeyError for a missing one.
    """
    record = [0] * words
    for field in layout:
        value = values[field.name]
        if not 0 <= value <= field.max:
            raise ValueError(f"{field.name} = {value} does not fit {field.width} bits (0..{field.max})")
        record[field.word] |= value << field.lsb
    return record


def unpack_record(layout: tuple[Field, ...], record: list[int]) -> dict[str, int]:
    """The values of a record's fields, by name."""
    return {f.name: (record[f.word] >> f.lsb) & f.max for f in layout}
