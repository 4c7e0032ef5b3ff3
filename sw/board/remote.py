"""A board at the other end of a line, as the chip's driver wants it (``kestrel.sw.driver.chip.Board``)."""

import time
from collections import deque
from collections.abc import Callable

from kestrel.hw.spec.link import (
    HEADER_BYTES,
    OFFSETS,
    PAYLOAD_MAX,
    RING_BYTES,
    VALUE_BYTES,
    Answer,
    Kind,
    Mark,
    State,
)
from kestrel.sw.board.connection import Connection, LinkError
from kestrel.sw.board.line import LineLostError
from kestrel.sw.driver.chip import BoardFault

POLL_SECONDS = 0.001
"""Between two questions whether the chip is done."""


class RemoteBoard:
    """The chip's registers and streams over ``connection``, which is synchronised. Every call raises
    BoardFault when the line does not give it; the connection must then be synchronised anew.

    ``wait`` gives up when neither the image nor what comes out has moved, and no interrupt come, for
    ``connection.patience`` seconds.
    """

    def __init__(self, connection: Connection) -> None:
        self._link = connection
        self._image = b""
        self._begins = 0  # number of the image's first byte
        self._sent = 0  # bytes of it
        self._taken = 0  # number of the next entry of the output
        self._packet = bytearray()
        self._packets: deque[bytes] = deque()

    def read(self, address: int) -> int:
        answer = self._ask(Kind.READ, address)
        if answer.state & State.FAULT:
            raise BoardFault(f"read of {address:#x}: the bus answered with an error")
        return answer.value

    def write(self, address: int, value: int) -> None:
        answer = self._ask(Kind.WRITE, address, value.to_bytes(VALUE_BYTES, "little"))
        if answer.state & State.FAULT:
            raise BoardFault(f"write of {address:#x}: the bus answered with an error")

    def wait(self) -> None:
        # The answers so far may be older than what the driver has written since.
        self._ask(Kind.IMAGE, self._link.accepted)
        self._until(lambda: bool(self._link.state & State.IRQ))

    def send(self, image: bytes) -> None:
        self._finish_sending()  # the rest of an image that the chip has given up
        self._image, self._begins, self._sent = image, self._link.accepted, 0

    def receive(self) -> bytes:
        self._until(lambda: bool(self._packets))
        return self._packets.popleft()

    def cancel(self) -> None:
        """Throws away what has come out and was not received."""
        self._ask(Kind.IMAGE, self._link.accepted)
        while self._taken != self._link.produced:
            self._take_output()
        self._packet.clear()
        self._packets.clear()

    # --- moving the image and the output --------------------------------------------------------------------

    @property
    def _done(self) -> int:
        """Bytes of the image that the board has accepted."""
        return (self._link.accepted - self._begins) % OFFSETS + self._wraps * OFFSETS

    @property
    def _wraps(self) -> int:
        # What is in flight is far less than OFFSETS, so the bytes sent say how often the number has wrapped.
        low = (self._link.accepted - self._begins) % OFFSETS
        return (self._sent - low) // OFFSETS

    def _finish_sending(self) -> None:
        self._until(lambda: self._done >= len(self._image))

    def _until(self, reached: Callable[[], bool]) -> None:
        """Sends what finds room and takes what has come out, until ``reached``. Raises BoardFault when
        nothing has moved for too long."""
        start, before = time.monotonic(), (-1, -1)
        while not reached():
            position = self._done, self._taken
            if position != before:
                start, before = time.monotonic(), position
            elif time.monotonic() - start > self._link.patience:
                raise BoardFault(f"nothing has moved for {self._link.patience:g} s")
            try:
                self._send_image()
                if self._taken != self._link.produced:
                    self._take_output()
            except (LinkError, LineLostError) as error:
                raise BoardFault(str(error)) from None

    def _send_image(self) -> None:
        """Sends pieces as long as there is room, or asks for the state where there is nothing to send."""
        link = self._link
        posted = False
        while self._sent < len(self._image):
            size = min(PAYLOAD_MAX, len(self._image) - self._sent)
            if self._sent - self._done + size > link.room:
                break
            kind = Kind.IMAGE_END if self._sent + size == len(self._image) else Kind.IMAGE
            link.post(kind, self._begins + self._sent, self._image[self._sent : self._sent + size])
            self._sent += size
            posted = True
        if self._sent > self._done:
            done = self._done
            if not link.listen(link.seconds_for(self._sent - done + HEADER_BYTES)) or (
                not posted and self._done == done
            ):
                # Lost, or refused as something before it was: what is not accepted is sent again.
                link.counts.repeated += 1
                link.ask(Kind.IMAGE, link.accepted)
                self._sent = self._done
        elif not posted:
            time.sleep(POLL_SECONDS)
            link.ask(Kind.IMAGE, link.accepted)

    def _take_output(self) -> None:
        answer = self._ask(Kind.TAKE, self._taken)
        if answer.state & State.REFUSED or not answer.payload:
            raise BoardFault("the output is not where it was")
        found, mark = answer.payload[:-1], answer.payload[-1]
        self._packet += found
        self._taken = (self._taken + len(found) + (mark != Mark.NONE)) % OFFSETS
        if mark == Mark.END:
            self._packets.append(bytes(self._packet))
        if mark != Mark.NONE:
            self._packet.clear()

    def _ask(self, kind: Kind, where: int, payload: bytes = b"") -> Answer:
        try:
            answer = self._link.ask(kind, where, payload)
            if kind != Kind.TAKE and (answer.produced - self._taken) % OFFSETS >= RING_BYTES // 2:
                self._take_output()  # a chip that ends what it began must find room for it
            return answer
        except (LinkError, LineLostError) as error:
            raise BoardFault(str(error)) from None
