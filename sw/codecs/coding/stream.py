"""The frame that every coded array has: what coded it, its shape, the body, and a checksum of them.

    "KC" | family, 1 byte | dimensions, 1 byte | each dimension, 4 bytes | body | CRC-32, 4 bytes

All integers are little-endian. A stream that was cut or changed fails its checksum and is refused in one
line; one whose checksum is right but whose body does not fit its shape is refused too. """

import struct
import zlib
from collections.abc import Sequence
from math import prod

import numpy as np

from kestrel.hw.spec.errors import InputError

MAGIC = b"KC"
FAMILIES = ("scalar", "vector", "binary", "product", "residual", "svd", "pruned", "batch-norm", "masks",
            "raw", "engine")
"""The families by their number in the frame."""

CRC_BYTES = 4
DIMENSIONS_MAX = 8
SIZE_MAX = 1 << 31
"""Elements of an array: above it a shape is taken for damage rather than memory asked for."""


def frame_bytes(dimensions: int) -> int:
    """Bytes of a frame around its body, for an array of so many dimensions."""
    return len(MAGIC) + 2 + 4 * dimensions + CRC_BYTES


def seal(family: str, shape: Sequence[int], body: bytes) -> bytes:
    """The stream of an array of ``shape`` that ``family`` coded as ``body``."""
    head = MAGIC + bytes((FAMILIES.index(family), len(shape))) + struct.pack(f"<{len(shape)}I", *shape)
    return head + body + struct.pack("<I", zlib.crc32(head + body))


def unseal(stream: bytes, family: str) -> tuple[tuple[int, ...], "Reader"]:
    """Shape and body of a stream of ``family``. Raises InputError for anything that ``seal`` did not make."""
    if len(stream) < frame_bytes(0) or stream[:2] != MAGIC:
        raise _refused(f"{len(stream)} bytes that do not begin as one")
    if zlib.crc32(stream[:-CRC_BYTES]) != int.from_bytes(stream[-CRC_BYTES:], "little"):
        raise _refused(f"checksum of {len(stream)} bytes differs, so it was cut or changed")
    number, dimensions = stream[2], stream[3]
    found = FAMILIES[number] if number < len(FAMILIES) else f"number {number}"
    if found != family:
        raise InputError(f"coded weights of family {found}; allowed here: {family}")
    if dimensions > DIMENSIONS_MAX:
        raise _refused(f"{dimensions} dimensions")
    reader = Reader(stream[4:-CRC_BYTES])
    shape = tuple(int(size) for size in reader.array("<u4", dimensions))
    if prod(shape) > SIZE_MAX:
        raise _refused(f"shape {shape}")
    return shape, reader


def family_of(stream: bytes) -> str:
    """The family named in a stream's frame. Raises InputError where there is none."""
    if len(stream) < frame_bytes(0) or stream[:2] != MAGIC or stream[2] >= len(FAMILIES):
        raise _refused(f"{len(stream)} bytes that do not begin as one")
    return FAMILIES[stream[2]]


class Reader:
    """Takes the parts of a body one after another. Raises InputError where it is too short."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        if count < 0 or self._at + count > len(self._body):
            raise _refused(f"body of {len(self._body)} bytes, of which {self._at + count} were to be read")
        part = self._body[self._at : self._at + count]
        self._at += count
        return part

    def number(self, size: int = 1) -> int:
        """The next integer, of ``size`` bytes, not signed."""
        return int.from_bytes(self.take(size), "little")

    def array(self, dtype: str, count: int) -> np.ndarray:
        """The next ``count`` numbers of ``dtype``, [count]."""
        return np.frombuffer(self.take(np.dtype(dtype).itemsize * count), dtype)

    def floats(self, count: int) -> np.ndarray:
        """The next ``count`` float32, [count]. Raises InputError where one is not finite."""
        values = self.array("<f4", count).astype(np.float32)
        if not np.isfinite(values).all():
            raise _refused("a number that is not finite")
        return values

    def end(self) -> None:
        """Raises InputError unless everything has been taken."""
        if self._at != len(self._body):
            raise _refused(f"{len(self._body) - self._at} bytes more than its shape needs")


def check(condition: bool, what: str) -> None:
    """Raises InputError saying ``what`` is wrong with a stream, unless ``condition``."""
    if not condition:
        raise _refused(what)


def _refused(what: str) -> InputError:
    return InputError(f"coded weights: {what}; allowed: a whole stream that an encoder wrote")
