"""Requests to a board and their answers, over a line that may lose, double and change bytes."""

import secrets
import time
from collections import deque
from dataclasses import dataclass

from kestrel.hw.spec.link import OFFSETS, PAYLOAD_MAX, Answer, Kind, Request, Unescaper, escaped
from kestrel.sw.board.line import Line

FIRST_SECONDS = 0.3
"""For which the first answer is waited; then twice as long, and so on."""

LEAST_SECONDS = 0.05
SLACK = 4
"""An answer is given up after this many times what the line needed for as many bytes at first."""


class LinkError(Exception):
    """The board does not answer, or not as it should."""


@dataclass
class LinkCounts:
    """What happened on the line so far."""

    requests: int = 0
    answers: int = 0
    repeated: int = 0


class Connection:
    """One host's session with a board. ``patience``: seconds after which a silent board is given up.

    Requests are repeated until they are answered, which is safe: SYNC begins anew, READ, TAKE and INFO change
    nothing that a repetition needs, the board does not carry a WRITE out twice, and bytes of an image are
    numbered. ``accepted``, ``room``, ``produced`` and ``state`` are those of the last answer.
    """

    def __init__(self, line: Line, patience: float) -> None:
        self._line, self.patience = line, patience
        self._frames = Unescaper()
        self._tag = secrets.randbelow(256)
        self._answers: deque[Answer] = deque()
        self._second_per_byte = 0.0
        self.accepted = self.room = self.produced = self.state = 0
        self.counts = LinkCounts()

    def synchronise(self) -> None:
        """Resets bridge and chip, whatever state they and the line are in. Raises LinkError."""
        number = secrets.token_bytes(4)
        wanted = int.from_bytes(number, "little")
        self._second_per_byte = 0.0
        start = time.monotonic()
        seconds = FIRST_SECONDS
        while time.monotonic() - start < self.patience:
            begun = time.monotonic()
            request = self._send(Kind.SYNC, 0, number)
            while (answer := self._receive(begun + seconds)) is not None:
                if (answer.tag, answer.kind, answer.value) == (request.tag, Kind.SYNC, wanted):
                    self._take(answer)
                    # How long the line takes, a simulated one for instance, is seen from the answer.
                    bytes_on_line = len(request.content) + len(answer.content)
                    self._second_per_byte = (time.monotonic() - begun) / bytes_on_line
                    return
            self.counts.repeated += 1
            seconds *= 2
        raise LinkError(f"no answer within {self.patience:g} s")

    def ask(self, kind: Kind, where: int = 0, payload: bytes = b"") -> Answer:
        """The answer to a request, which is repeated until it comes. Raises LinkError."""
        self._tag = (self._tag + 1) % 256
        request = Request(self._tag, kind, where % OFFSETS, payload)
        start = time.monotonic()
        while True:
            self._write(request)
            until = time.monotonic() + self._seconds(len(request.content) + 2 * PAYLOAD_MAX)
            while (answer := self._receive(until)) is not None:
                self._take(answer)
                if (answer.tag, answer.kind) == (request.tag, kind):
                    return answer
            if time.monotonic() - start > self.patience:
                raise LinkError(f"no answer to {kind.name} within {self.patience:g} s")
            self.counts.repeated += 1

    def post(self, kind: Kind, where: int, payload: bytes) -> None:
        """Sends a request without waiting for its answer, which ``listen`` takes."""
        self._send(kind, where, payload)

    def listen(self, seconds: float) -> bool:
        """Takes the answers that are there, after at most ``seconds``; whether there were any."""
        answer = self._receive(time.monotonic() + seconds)
        heard = answer is not None
        while answer is not None:
            self._take(answer)
            answer = self._receive(0.0)
        return heard

    def seconds_for(self, in_flight: int) -> float:
        """How long to wait for the answer to ``in_flight`` bytes before they are repeated."""
        return self._seconds(in_flight + PAYLOAD_MAX)

    def close(self) -> None:
        self._line.close()

    def _seconds(self, count: int) -> float:
        return LEAST_SECONDS + SLACK * count * self._second_per_byte

    def _send(self, kind: Kind, where: int, payload: bytes) -> Request:
        self._tag = (self._tag + 1) % 256
        request = Request(self._tag, kind, where % OFFSETS, payload)
        self._write(request)
        return request

    def _write(self, request: Request) -> None:
        self.counts.requests += 1
        self._line.write(escaped(request.content))

    def _receive(self, until: float) -> Answer | None:
        """The next answer with a right CRC, None if there is none by then."""
        while not self._answers:
            data = self._line.read(max(0.0, until - time.monotonic()))
            found = [Answer.of(content) for content in self._frames.contents(data)]
            self._answers.extend(answer for answer in found if answer is not None)
            if not self._answers and time.monotonic() >= until:
                return None
        self.counts.answers += 1
        return self._answers.popleft()

    def _take(self, answer: Answer) -> None:
        self.accepted, self.room = answer.accepted, answer.room
        self.produced, self.state = answer.produced, answer.state
