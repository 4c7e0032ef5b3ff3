"""Pictures to a board, feature maps and descriptors from it."""

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.link import INFO_BYTES, PAYLOAD_MAX, Kind
from kestrel.hw.spec.registers import BY_NAME
from kestrel.sw.board.connection import Connection, LinkCounts, LinkError
from kestrel.sw.board.info import BoardInfo
from kestrel.sw.board.line import BAUD, LineLostError, open_line
from kestrel.sw.board.remote import RemoteBoard
from kestrel.sw.driver.chip import BoardFault, Kestrel, KestrelError, Output, Result
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.retrieval.describe.crops import CropSettings, cut_crops

Value = TypeVar("Value")

PATIENCE_SECONDS = 10.0
ATTEMPTS = 5
"""Times that a picture is begun: a board that was unplugged is another one when it comes back."""

PASSING = (Result.BUS_FAULT, Result.TIMEOUT, Result.NO_CHIP)
"""Results of the driver's calls that a line which was disturbed explains."""


class BoardError(InputError):
    """The board was found and did not do what it was asked for, however often."""


class BoardClient:
    """The board at a serial port; in a ``with`` block, or to be closed.

    ``patience``: seconds for which a silent board, or a port that has gone, is waited for. Every call begins
    the picture anew, with the board reset, where the line was lost in the middle of it. Raises InputError
    where there is no port, or no board of this version at it, and BoardError where a call has failed
    ATTEMPTS times, or for a cause that the chip has named.
    """

    def __init__(self, port: str, baud: int = BAUD, patience: float = PATIENCE_SECONDS) -> None:
        self._port, self._baud, self._patience = port, baud, patience
        self._connection: Connection | None = None
        self._past = LinkCounts()
        self._chip: Kestrel | None = None
        self.lost = 0  # times that the line was
        self.cycles = 0  # of the chip, for the last picture
        self._info = self._reliably(lambda _: self._read_info())

    @property
    def info(self) -> BoardInfo:
        return self._info

    @property
    def counts(self) -> LinkCounts:
        """Requests, answers and repetitions since the beginning."""
        now = LinkCounts() if self._connection is None else self._connection.counts
        past = self._past
        return LinkCounts(
            past.requests + now.requests, past.answers + now.answers, past.repeated + now.repeated
        )  # fmt: skip

    def features(self, rgb: np.ndarray) -> np.ndarray:
        """The last layer's map, uint8 [C, h, w], of a picture, uint8 RGB [H, W, 3] of the board's size."""
        info = self._info

        def frame(chip: Kestrel) -> bytes:
            self.cycles = 0
            return self._frame(chip, Output.FEATURES, rgb)

        data = self._reliably(frame)
        expected = info.rows * info.columns * info.channels
        if len(data) != expected:
            raise BoardError(f"{len(data)} bytes of a feature map; expected: {expected}")
        flat = np.frombuffer(data, np.uint8)
        return np.ascontiguousarray(flat.reshape(info.rows, info.columns, info.channels).transpose(2, 0, 1))

    def descriptor(self, rgb: np.ndarray, output: Output = Output.BYTES) -> bytes:
        """The descriptor of a picture, uint8 RGB [H, W, 3] of any size."""
        info = self._info
        settings = CropSettings(info.crops, info.height, info.width, 1, info.fit, info.filter)
        pictures = cut_crops(rgb, settings).pictures

        def all_crops(chip: Kestrel) -> bytes:
            data = b""
            self.cycles = 0
            for number, picture in enumerate(pictures):
                data = self._frame(chip, output, picture, number == 0, number == len(pictures) - 1)
            return data

        return self._reliably(all_crops)

    def close(self) -> None:
        """Closes the port."""
        if self._connection is not None:
            self._past = self.counts
            self._connection.close()
        self._connection = self._chip = None

    def __enter__(self) -> "BoardClient":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _frame(
        self, chip: Kestrel, output: Output, rgb: np.ndarray, first: bool = True, last: bool = True
    ) -> bytes:
        part = BY_NAME["part"].pack(first_crop=first, last_crop=last, first_rotation=1, last_rotation=1)
        pixels = find_preprocessing(self._info.preprocessing).pixels(rgb)
        chip.configure(output, part)
        gives = last or output is Output.FEATURES
        data = chip.frame(pixels.transpose(1, 2, 0).tobytes(), gives=gives)
        self.cycles += chip.cycles()
        return data

    def _reliably(self, call: Callable[[Kestrel], Value]) -> Value:
        """``call`` with the chip, opened anew as often as the line is lost."""
        why = ""
        for attempt in range(ATTEMPTS):
            try:
                return call(self._chip or self._open())
            except (LinkError, LineLostError, BoardFault) as error:
                why = str(error)
            except KestrelError as error:
                why = str(error)
                if error.result not in PASSING:
                    raise BoardError(f"port {self._port}: {why}") from None
            self.lost += 1
            self.close()
            if attempt < ATTEMPTS - 1:
                time.sleep(0.05)
        raise BoardError(f"port {self._port}: {why}, {ATTEMPTS} times")

    def _open(self) -> Kestrel:
        self._connection = Connection(open_line(self._port, self._baud, self._patience), self._patience)
        self._connection.synchronise()
        chip = Kestrel(RemoteBoard(self._connection))
        chip.open()
        self._chip = chip
        return chip

    def _read_info(self) -> BoardInfo:
        assert self._connection is not None, "open"
        data = b""
        while len(data) < INFO_BYTES and b"\0" not in data:
            data += self._connection.ask(Kind.INFO, len(data)).payload[:PAYLOAD_MAX]
        return BoardInfo.of(data)
