"""A memory image: words of one width in address order, the common currency of the formats."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Words:
    """Words of ``word_bits`` bits (a multiple of 8), each stored as little-endian bytes in ``data``.

    ``len()`` counts words. Raises ValueError if ``data`` is not a whole number of words.
    """

    word_bits: int
    data: bytes

    def __post_init__(self) -> None:
        if self.word_bits <= 0 or self.word_bits % 8:
            raise ValueError(f"word_bits = {self.word_bits}; allowed: a multiple of 8")
        if len(self.data) % self.word_bytes:
            raise ValueError(f"{len(self.data)} bytes are not whole words of {self.word_bytes} bytes")

    @classmethod
    def from_ints(cls, word_bits: int, values: Iterable[int]) -> "Words":
        """Words of the given values. Raises OverflowError for a value that does not fit."""
        return cls(word_bits, b"".join(v.to_bytes(word_bits // 8, "little") for v in values))

    @property
    def word_bytes(self) -> int:
        return self.word_bits // 8

    def __len__(self) -> int:
        return len(self.data) // self.word_bytes

    def to_ints(self) -> list[int]:
        size = self.word_bytes
        return [int.from_bytes(self.data[k : k + size], "little") for k in range(0, len(self.data), size)]

    def to_hex(self) -> list[str]:
        """Each word as hexadecimal digits, the most significant first, with leading zeros."""
        rows = np.frombuffer(self.data, dtype=np.uint8).reshape(-1, self.word_bytes)
        digits = rows[:, ::-1].tobytes().hex()
        size = 2 * self.word_bytes
        return [digits[k : k + size] for k in range(0, len(digits), size)]

    @classmethod
    def from_hex(cls, word_bits: int, words: Iterable[str]) -> "Words":
        """Inverse of ``to_hex``. Raises ValueError for text that is not digits in the right number."""
        big = np.frombuffer(bytes.fromhex("".join(words)), dtype=np.uint8).reshape(-1, word_bits // 8)
        return cls(word_bits, big[:, ::-1].tobytes())

    @property
    def crc32(self) -> int:
        """CRC-32 (the one of zlib and Ethernet) over the little-endian bytes in address order."""
        return zlib.crc32(self.data)
