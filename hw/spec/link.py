"""The link between a host and a board: bytes on a serial line, frames, requests and answers. Plain Python.

``docs/board.md`` is the description in words. Frames are delimited and escaped as in RFC 1662, section 4;
their check is the CRC-32 of zlib and Ethernet.
"""

import zlib
from dataclasses import dataclass
from enum import IntEnum

from kestrel.hw.spec.errors import InputError

LINK_VERSION = 1
"""Of the frames' contents; the answer to SYNC says it."""

FLAG = 0x7E
"""Begins and ends every frame, and occurs nowhere in it."""

ESCAPE = 0x7D
FLIP = 0x20
"""A byte FLAG or ESCAPE of a frame is sent as ESCAPE and the byte exclusive-or FLIP."""

CRC_BYTES = 4
HEADER_BYTES = 4
"""Of a request: tag, kind, and ``where``, 16 bits, the low byte first."""

VALUE_BYTES = 4
ANSWER_BYTES = 13
"""Of an answer before its payload, see ``Answer``."""

PAYLOAD_MAX = 256
FRAME_MAX = HEADER_BYTES + PAYLOAD_MAX + CRC_BYTES
"""Bytes of the longest request, unescaped and without flags."""

RING_BYTES = 2048
"""Of the image on its way to the chip, and entries of what comes out of it. A power of two."""

OFFSET_BITS = 16
"""Bytes of the image, and entries of the output, are numbered modulo two to this power since SYNC."""

OFFSETS = 1 << OFFSET_BITS
ANSWERED = 0x80
"""Set in the kind of an answer."""


class Kind(IntEnum):
    """What a request asks for."""

    SYNC = 1
    """Reset the chip and empty both rings. Payload: a number that the answer repeats in ``value``."""
    READ = 2
    """Read the register at ``where``."""
    WRITE = 3
    """Write the payload's four bytes to the register at ``where``. One with the tag of the last that was
    carried out is not carried out again: the answer is repeated."""
    IMAGE = 4
    """Bytes of an image, the first of them number ``where``. Taken only if that is the next one and all of
    them find room; the answer says what has been taken. Without payload it only asks for the state."""
    IMAGE_END = 5
    """The same; the payload's last byte ends the image. Refused while another image's end is on its way."""
    TAKE = 6
    """Entries of the output before number ``where`` have arrived and are forgotten; the answer holds those
    from there on, up to PAYLOAD_MAX or the end of a packet."""
    INFO = 7
    """PAYLOAD_MAX bytes of the information ROM from address ``where`` on."""


class State(IntEnum):
    """Bits of an answer's ``state``."""

    IRQ = 1
    """The chip's interrupt."""
    FAULT = 2
    """READ, WRITE: the bus answered with an error."""
    REFUSED = 4
    """TAKE: ``where`` is not among the entries that are there."""


class Mark(IntEnum):
    """The last byte of the answer to TAKE: what follows the entries that it holds."""

    NONE = 0
    GIVEN_UP = 1
    """A packet ended in a beat without bytes: the chip has given it up."""
    END = 3
    """A packet ended well. As GIVEN_UP it is itself an entry, and counted as one."""


@dataclass(frozen=True)
class LinkConfig:
    """Clock of the board's design and rate of its serial line, both in hertz.

    Raises InputError for fewer than LINK_CYCLES_MIN cycles a bit, with which bits could not be told apart,
    or more than LINK_CYCLES_MAX.
    """

    clock: int
    baud: int

    def __post_init__(self) -> None:
        if not LINK_CYCLES_MIN <= self.clock / self.baud <= LINK_CYCLES_MAX:
            raise InputError(
                f"serial line of {self.baud:,} bit/s at a clock of {self.clock:,} Hz; allowed: "
                f"{LINK_CYCLES_MIN} to {LINK_CYCLES_MAX:,} cycles a bit"
            )


LINK_CYCLES_MIN = 4
LINK_CYCLES_MAX = 65_536

INFO_BYTES = 2048
"""Of the information ROM: JSON text (``kestrel.sw.board.info``), then zeros."""


@dataclass(frozen=True)
class Request:
    """What the host sends. ``payload``: at most PAYLOAD_MAX bytes."""

    tag: int
    kind: Kind
    where: int = 0
    payload: bytes = b""

    @property
    def content(self) -> bytes:
        return bytes((self.tag, self.kind)) + self.where.to_bytes(2, "little") + self.payload


@dataclass(frozen=True)
class Answer:
    """What the board sends: to which request; bits of State; the number of the next byte of the image, and
    how many find room; the number of the next entry of the output; a register's value, for SYNC the
    request's number; and the payload, of TAKE and INFO only."""

    tag: int
    kind: Kind
    state: int
    accepted: int
    room: int
    produced: int
    value: int = 0
    payload: bytes = b""

    @property
    def content(self) -> bytes:
        """The bytes between the flags, the CRC aside."""
        head = bytes((self.tag, self.kind | ANSWERED, self.state))
        numbers = (self.accepted, self.room, self.produced)
        head += b"".join(number.to_bytes(2, "little") for number in numbers)
        return head + self.value.to_bytes(VALUE_BYTES, "little") + self.payload

    @classmethod
    def of(cls, content: bytes) -> "Answer | None":
        """The answer with this content, None if it is none."""
        kinds = {kind | ANSWERED for kind in Kind}
        if len(content) < ANSWER_BYTES or content[1] not in kinds:
            return None
        accepted, room, produced = (int.from_bytes(content[n : n + 2], "little") for n in (3, 5, 7))
        value = int.from_bytes(content[9:ANSWER_BYTES], "little")
        kind = Kind(content[1] & ~ANSWERED)
        return cls(content[0], kind, content[2], accepted, room, produced, value, content[ANSWER_BYTES:])


def with_crc(content: bytes) -> bytes:
    """The content and its CRC-32, the low byte first."""
    return content + zlib.crc32(content).to_bytes(CRC_BYTES, "little")


def escaped(content: bytes) -> bytes:
    """A whole frame: flag, content and CRC escaped, flag."""
    out = bytearray((FLAG,))
    for byte in with_crc(content):
        out += bytes((ESCAPE, byte ^ FLIP)) if byte in {FLAG, ESCAPE} else bytes((byte,))
    return bytes((*out, FLAG))


class Unescaper:
    """Finds frames in a stream of bytes, in pieces of any size."""

    def __init__(self, longest: int = 2 * FRAME_MAX) -> None:
        self._longest = longest
        self.reset()

    def reset(self) -> None:
        """Forget a frame that has begun; what comes up to the next flag is thrown away."""
        self._frame = bytearray()
        self._escape = False
        self._bad = True

    def contents(self, data: bytes) -> list[bytes]:
        """The contents of the frames that end in ``data`` and whose CRC is right, in order."""
        found: list[bytes] = []
        for byte in data:
            if byte == FLAG:
                frame = bytes(self._frame)
                good = not self._bad and not self._escape and len(frame) > CRC_BYTES
                if good and with_crc(frame[:-CRC_BYTES]) == frame:
                    found.append(frame[:-CRC_BYTES])
                self._frame.clear()
                self._escape = self._bad = False
            elif byte == ESCAPE and not self._escape:
                self._escape = True
            else:
                self._frame.append(byte ^ FLIP if self._escape else byte)
                self._escape = False
                if len(self._frame) > self._longest:
                    self._bad = True
                    self._frame.clear()
        return found
