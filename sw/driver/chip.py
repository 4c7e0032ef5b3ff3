"""Python driver of the chip, call for call that of ``kestrel_driver.h``."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, IntEnum
from typing import Protocol, runtime_checkable

from kestrel.hw.spec.registers import BY_NAME, CAUSES, IDENTIFICATION, VERSION, error_names
from kestrel.hw.spec.status import COUNTERS

INTERRUPTS = BY_NAME["irq_status"].mask
POLLS = 1_000_000


class BoardFault(Exception):
    """The bus or a stream did not answer well (SLVERR, for one)."""


class Result(Enum):
    """As ``enum kestrel_result``."""

    BUS_FAULT = "bus fault"
    NO_CHIP = "no chip"
    OTHER_NETWORK = "other network"
    IS_BUSY = "busy"
    TIMEOUT = "timeout"
    FAILED = "failed"


class KestrelError(Exception):
    """A call did not go well; ``causes`` are names of bits of ERROR, with FAILED."""

    def __init__(self, result: Result, causes: Iterable[str] = ()) -> None:
        self.result = result
        self.causes = tuple(causes)
        super().__init__(f"{result.value}{': ' if self.causes else ''}{', '.join(self.causes)}")


class Output(IntEnum):
    """What OUTPUT.select may be."""

    FEATURES = 0
    BYTES = 1
    BITS = 2
    SUMS = 3


WHOLE = BY_NAME["part"].reset
"""Register part of a descriptor of one frame."""


class Board(Protocol):
    """What the driver needs of a board; each raises BoardFault.

    Something must take beats while ``wait`` waits: the interrupt comes when at most the last two of a packet
    have still to be taken. A board that is nothing more than this has a queue which holds the largest packet
    and drops one whose last beat has TKEEP 0, which is what the chip has given up.
    """

    def read(self, address: int) -> int: ...

    def write(self, address: int, value: int) -> None: ...

    def wait(self) -> None:
        """Until irq is high; raises BoardFault after long enough."""
        ...

    def send(self, image: bytes) -> None:
        """Begin to send an image, with TLAST at its end; returns at once."""
        ...

    def receive(self) -> bytes:
        """The packet that came out, when it has ended."""
        ...


@runtime_checkable
class CancellingBoard(Board, Protocol):
    """A board that can also throw away what came out: its queue need not look at TKEEP."""

    def cancel(self) -> None:
        """Throw away what has come out and was not received."""
        ...


@runtime_checkable
class PreparingBoard(CancellingBoard, Protocol):
    """A board that takes nothing unless told to, as a DMA does."""

    def prepare(self) -> None:
        """From now on take the next packet; returns at once."""
        ...


class Kestrel:
    """A chip on a board. Every call raises KestrelError when it does not go well."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.network_crc = 0
        self.height = 0
        self.width = 0

    def open(self) -> None:
        """Find the chip, wait until it has read its table, clear what is pending."""
        if self._get("id") != IDENTIFICATION:
            raise KestrelError(Result.NO_CHIP)
        if BY_NAME["version"].unpack(self._get("version"))["major"] != VERSION[0]:
            raise KestrelError(Result.NO_CHIP)
        self._settle()
        self.network_crc = self._get("network_crc")
        size = BY_NAME["table_size"].unpack(self._get("table_size"))
        self.height, self.width = size["height"], size["width"]
        causes = self._take_causes()
        self._put("irq_enable", INTERRUPTS)
        if causes:
            raise KestrelError(Result.FAILED, causes)

    def expect_network(self, network_crc: int, height: int, width: int) -> None:
        """Hold the chip to a network and its image size."""
        if (self.network_crc, self.height, self.width) != (network_crc, height, width):
            raise KestrelError(Result.OTHER_NETWORK)
        self._request("image", BY_NAME["image"].pack(height=height, width=width))

    def check(self) -> None:
        """Self-check of all ROMs; returns when it has ended."""
        self._request("control", BY_NAME["control"].pack(check=1))
        self.wait()

    def configure(self, output: Output, part: int = WHOLE) -> None:
        """What the next frames give, and what part of a descriptor they are."""
        self._request("output", BY_NAME["output"].pack(select=int(output)))
        self._request("part", part)

    def start(self) -> None:
        """Begin a frame."""
        self._request("control", BY_NAME["control"].pack(start=1))

    def wait(self) -> None:
        """Until the frame or self-check has ended."""
        try:
            self.board.wait()
        except BoardFault:
            raise KestrelError(Result.TIMEOUT) from None
        causes = self._take_causes()
        if causes:
            raise KestrelError(Result.FAILED, causes)

    def frame(self, image: bytes, *, gives: bool = True) -> bytes:
        """The whole: prepare, start, send, wait, receive. Without ``gives`` nothing is expected to come out.

        A frame that does not end well is given up, and what came out of it thrown away. After an image size
        or a failed self-check that keeps the frame from starting no image was sent.
        """
        try:
            self._prepare(gives)
            self.start()
        except KestrelError:
            self._cancel()
            raise
        try:
            self._check_started()
            self._send(image)
            self.wait()
            return self._receive() if gives else b""
        except KestrelError:
            self._give_up(gives)
            raise

    def abort(self) -> None:
        """End what is under way; the cause that this sets is cleared. Returns when what was offered has been
        taken."""
        self._put("control", BY_NAME["control"].pack(abort=1))
        self._settle()
        self._take_causes()

    def soft_reset(self) -> None:
        self._put("control", BY_NAME["control"].pack(soft_reset=1))
        self.open()

    def frames(self) -> int:
        """Frames that ended well."""
        return self._get("frames")

    def cycles(self) -> int:
        """Of the last frame."""
        return self._get("cycles")

    def counter(self, index: int) -> int:
        """One of ``kestrel.hw.spec.COUNTERS``, of the last frame."""
        if not 0 <= index < len(COUNTERS):
            raise KestrelError(Result.BUS_FAULT)
        return self._get("counters", index)

    # --- parts of a frame ---------------------------------------------------------------------------------

    def _prepare(self, gives: bool) -> None:
        if gives and isinstance(self.board, PreparingBoard):
            with _bus_faults():
                self.board.prepare()

    def _cancel(self) -> None:
        if isinstance(self.board, CancellingBoard):
            with suppress(BoardFault):
                self.board.cancel()

    def _send(self, image: bytes) -> None:
        with _bus_faults():
            self.board.send(image)

    def _receive(self) -> bytes:
        with _bus_faults():
            return self.board.receive()

    def _check_started(self) -> None:
        """Raises KestrelError if the chip has refused a start for a cause of its own: an image would wait in
        the stream and be taken for the next frame's."""
        if not {"not_checked", "image_size"}.isdisjoint(error_names(self._get("error"))):
            raise KestrelError(Result.FAILED, self._take_causes())

    def _give_up(self, gives: bool) -> None:
        """End a frame that did not end well. An aborted chip is busy until its last beat has been taken: room
        is made for that first, as the packet may have filled what there was."""
        with suppress(KestrelError):
            self._put("control", BY_NAME["control"].pack(abort=1))
            self._cancel()
            self._prepare(gives)
            self.abort()
        self._cancel()

    # --- registers ---------------------------------------------------------------------------------------

    def _get(self, name: str, index: int = 0) -> int:
        with _bus_faults():
            return self.board.read(BY_NAME[name].address + 4 * index)

    def _put(self, name: str, word: int) -> None:
        with _bus_faults():
            self.board.write(BY_NAME[name].address, word)

    def _request(self, name: str, word: int) -> None:
        """A write that a busy chip refuses."""
        try:
            self._put(name, word)
        except KestrelError:
            if "write_busy" not in error_names(self._get("error")):
                raise
            self._put("error", BY_NAME["error"].pack(write_busy=1))
            raise KestrelError(Result.IS_BUSY) from None

    def _take_causes(self) -> tuple[str, ...]:
        """The causes that are set, which are then cleared, and the interrupts with them."""
        word = self._get("error")
        self._put("error", word)
        self._put("irq_status", INTERRUPTS)
        return tuple(error_names(word))

    def _settle(self) -> None:
        for _ in range(POLLS):
            if not BY_NAME["status"].unpack(self._get("status"))["busy"]:
                return
        raise KestrelError(Result.TIMEOUT)


@contextmanager
def _bus_faults() -> Iterator[None]:
    """What the board could not do, as the driver's error."""
    try:
        yield
    except BoardFault:
        raise KestrelError(Result.BUS_FAULT) from None


def cause_text(name: str) -> str:
    """The text of a cause."""
    return next(cause.text for cause in CAUSES if cause.name == name)
