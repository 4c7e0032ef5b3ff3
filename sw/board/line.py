"""The serial line to a board."""

import time
from contextlib import suppress
from importlib.util import find_spec
from typing import Protocol

from kestrel.hw.spec.errors import InputError

BAUD = 3_000_000
"""Bits a second: what the USB serial adapters of FTDI reach at full speed."""


class LineLostError(Exception):
    """The line is gone: the adapter was unplugged, or was never there."""


class Line(Protocol):
    """Bytes to and from a board; both raise LineLostError."""

    def write(self, data: bytes) -> None: ...

    def read(self, seconds: float) -> bytes:
        """What has come in, after at most ``seconds``; empty if nothing did."""
        ...

    def close(self) -> None: ...


class SerialLine:
    """A serial port, with pyserial. Raises InputError where pyserial is missing or the rate impossible, and
    LineLostError where there is no such port."""

    def __init__(self, port: str, baud: int = BAUD) -> None:
        if find_spec("serial") is None:
            raise InputError("a board needs pyserial; allowed: after pip install 'kestrel-engine[board]'")
        import serial  # noqa: PLC0415 - of an extra

        self._errors = (serial.SerialException, OSError)
        try:
            # Exclusive: two hosts on one line would see each other's answers.
            self._port = serial.Serial(port, baud, timeout=0, write_timeout=10, exclusive=True)
        except ValueError as error:
            raise InputError(f"--baud {baud}: {error}; allowed: a rate that the port has") from None
        except self._errors as error:
            raise LineLostError(str(error)) from None

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except self._errors as error:
            raise LineLostError(str(error)) from None

    def read(self, seconds: float) -> bytes:
        try:
            self._port.timeout = seconds
            first = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""
        except (*self._errors, TypeError) as error:  # pyserial 3.5 reads from no file once it is closed
            raise LineLostError(str(error)) from None

    def close(self) -> None:
        with suppress(*self._errors):  # it may be gone already
            self._port.close()


def open_line(port: str, baud: int, seconds: float) -> SerialLine:
    """The port, for which ``seconds`` are waited. Raises InputError if it does not appear."""
    until = time.monotonic() + seconds
    while True:
        try:
            return SerialLine(port, baud)
        except LineLostError as error:
            if time.monotonic() >= until:
                raise InputError(f"port {port}: {error}; allowed: a serial port with a board") from None
            time.sleep(0.05)
