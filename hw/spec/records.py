"""Records: what the schedule table and the descriptor ROM are made of, and the bit fields of their words."""

from dataclasses import dataclass

TABLE_WORD_BITS = 32

RECORD_WORDS = 16
"""Words of the header and of each layer record; record r starts at word r * RECORD_WORDS."""

VISIT_WORDS = 4


@dataclass(frozen=True)
class Field:
    """A bit field of a record: ``width`` bits from bit ``lsb`` of word ``word``."""

    name: str
    word: int
    lsb: int
    width: int

    @property
    def max(self) -> int:
        return (1 << self.width) - 1


def pack_record(layout: tuple[Field, ...], words: int, values: dict[str, int]) -> list[int]:
    """Words of a record. Raises ValueError for a value that does not fit its field or a missing name."""
    record = [0] * words
    for field in layout:
        value = values[field.name]
        if not 0 <= value <= field.max:
            raise ValueError(f"{field.name} = {value} does not fit {field.width} bits (0..{field.max})")
        record[field.word] |= value << field.lsb
    return record


def unpack_record(layout: tuple[Field, ...], record: list[int]) -> dict[str, int]:
    """Field values of a record's words."""
    return {f.name: (record[f.word] >> f.lsb) & f.max for f in layout}
