"""ROM images that a test reads, changes and writes back."""

from collections.abc import Sequence
from pathlib import Path

from kestrel.export.formats.files import read_words, write_words
from kestrel.export.formats.words import Words


def read_rom(path: Path, word_bits: int) -> list[int]:
    """The words of a ``.mem`` file of any length, ``word_bits`` bits each. Raises InputError."""
    return read_words(path, word_bits, path.read_bytes().count(b"\n")).to_ints()


def write_rom(path: Path, word_bits: int, values: Sequence[int]) -> None:
    """Writes words of ``word_bits`` bits, one a line. Raises OverflowError for a value that does not fit."""
    write_words(Words.from_ints(word_bits, values), path)
