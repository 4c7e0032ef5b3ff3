"""Model of the bridge: what it answers to each frame, when nothing else is under way."""

from dataclasses import dataclass, field

from kestrel.hw.spec.link import (
    FRAME_MAX,
    HEADER_BYTES,
    OFFSETS,
    PAYLOAD_MAX,
    RING_BYTES,
    VALUE_BYTES,
    Answer,
    Kind,
    Mark,
    State,
    Unescaper,
)
from kestrel.hw.spec.registers import ADDRESS_BITS

END = -1
GIVEN_UP = -2
"""Entries that are no bytes."""


@dataclass
class HostBridge:
    """``registers``: what was written; ``faulty``: the address from which on the bus answers with errors.
    ``image``: bytes that were accepted, with END behind an image's last one; ``consumed``: how many of them
    the chip has taken, as the bench says; ``entries``: what came out of the chip, bytes, END and GIVEN_UP."""

    info: bytes
    faulty: int
    registers: dict[int, int] = field(default_factory=dict)
    image: list[int] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    accepted: int = 0
    consumed: int = 0
    released: int = 0
    ending: bool = False
    irq: int = 0
    resets: int = 0
    last_write: tuple[int, bool] | None = None
    frames: Unescaper = field(default_factory=lambda: Unescaper(FRAME_MAX))

    @property
    def room(self) -> int:
        return 0 if self.ending else RING_BYTES - (self.accepted - self.consumed)

    def took(self) -> int:
        """The chip takes a byte of the image: the byte, or END and the byte as END - byte - 1."""
        byte = self.image[self.consumed]
        self.consumed += 1
        if byte < 0:
            self.ending = False
        return byte

    def hears(self, data: bytes) -> list[Answer]:
        """The answers to what has come over the line."""
        answers = (self.answer(content) for content in self.frames.contents(data))
        return [answer for answer in answers if answer is not None]

    def answer(self, content: bytes) -> Answer | None:
        """The answer to a frame with a right CRC."""
        if len(content) < HEADER_BYTES or content[1] not in set(Kind):
            return None
        tag, kind = content[0], Kind(content[1])
        where, payload = int.from_bytes(content[2:HEADER_BYTES], "little"), content[HEADER_BYTES:]
        with_value = kind in {Kind.SYNC, Kind.WRITE}
        if kind not in {Kind.IMAGE, Kind.IMAGE_END} and len(payload) != (VALUE_BYTES if with_value else 0):
            return None
        number = int.from_bytes(payload, "little") if with_value else 0
        state, value, out = 0, 0, b""
        if kind is Kind.SYNC:
            self._synchronise()
            value = number
        elif kind is Kind.READ:
            beyond = where >= self.faulty
            state = State.FAULT if beyond else 0
            value = 0 if where >> ADDRESS_BITS else self.registers.get(where, where * 3)
        elif kind is Kind.WRITE:
            state = State.FAULT if self._write(tag, where, number) else 0
        elif kind in {Kind.IMAGE, Kind.IMAGE_END}:
            self._accept(where, payload, kind is Kind.IMAGE_END)
        elif kind is Kind.TAKE:
            known = (where - self.released) % OFFSETS <= len(self.entries) - self.released
            if known:
                self.released += (where - self.released) % OFFSETS
            state = 0 if known else State.REFUSED
            out = self._taken() if known else bytes((Mark.NONE,))
        else:
            out = bytes(self.info[(where + n) % len(self.info)] for n in range(PAYLOAD_MAX))
        produced = len(self.entries) % OFFSETS
        return Answer(tag, kind, state | self.irq, self.accepted % OFFSETS, self.room, produced, value, out)

    def _synchronise(self) -> None:
        self.registers.clear()
        self.image.clear()
        self.entries.clear()
        self.accepted = self.consumed = self.released = 0
        self.ending = False
        self.last_write = None
        self.resets += 1

    def _write(self, tag: int, where: int, number: int) -> bool:
        if self.last_write is not None and self.last_write[0] == tag:
            return self.last_write[1]
        if where >> ADDRESS_BITS:
            return True
        fault = where >= self.faulty
        if not fault:
            self.registers[where] = number
        self.last_write = tag, fault
        return fault

    def _accept(self, where: int, payload: bytes, ends: bool) -> None:
        if not payload or where != self.accepted % OFFSETS or len(payload) > self.room:
            return
        self.image += payload
        if ends:
            self.image[-1] = END - payload[-1]
        self.accepted += len(payload)
        self.ending = ends

    def _taken(self) -> bytes:
        found = bytearray()
        for entry in self.entries[self.released : self.released + PAYLOAD_MAX]:
            if entry < 0:
                return bytes(found) + bytes((Mark.END if entry == END else Mark.GIVEN_UP,))
            found.append(entry)
        return bytes(found) + bytes((Mark.NONE,))
