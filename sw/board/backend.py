"""A board at a serial port as a retrieval backend, whose features come from its chip."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.board.client import PATIENCE_SECONDS, BoardClient
from kestrel.sw.board.line import BAUD
from kestrel.sw.model.digest import network_digest
from kestrel.sw.retrieval.describe.backends import BackendRequest, check_no_weights, check_options

OPTIONS = ("port", "baud", "patience")


class BoardBackend:
    """The options are ``port``, the serial port; ``baud``, the line's rate; ``patience``, the seconds for
    which a silent board or a port that has gone is waited for. Raises InputError without a port, without a
    board at it, and for a board with another network or image size.

    ``frames`` and ``cycles`` count all frames so far and the cycles of the chip.
    """

    arithmetic = "integer"

    def __init__(self, request: BackendRequest) -> None:
        check_options(request, "board", OPTIONS)
        check_no_weights(request, "board")
        options = request.options
        if "port" not in options:
            raise InputError("backend board needs its serial port; allowed: with --backend-set "
                             "port=/dev/ttyUSB0")
        self.digest = network_digest(request.network)
        patience = _number(options, "patience", PATIENCE_SECONDS)
        self._client = BoardClient(options["port"], round(_number(options, "baud", BAUD)), patience)
        info = self._client.info
        wanted = (self.digest, request.height, request.width)
        if (info.digest, info.height, info.width) != wanted:
            self._client.close()
            other = "" if info.digest == self.digest else ", with other weights"
            raise InputError(
                f"the board at {options['port']} has network {info.network} at {info.height} x {info.width}"
                f"{other}; wanted: {request.network.name} at {request.height} x {request.width}"
            )
        self.frames = 0
        self.cycles = 0

    def batch(self, height: int, width: int) -> int:  # noqa: ARG002
        return 1

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([self._picture(rgb) for rgb in pictures])

    def _picture(self, rgb: np.ndarray) -> np.ndarray:
        found = self._client.features(rgb)
        self.frames += 1
        self.cycles += self._client.cycles
        return found

    def __del__(self) -> None:
        with suppress(AttributeError):  # not made
            self._client.close()


def _number(options: Mapping[str, str], name: str, default: float) -> float:
    text = options.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise InputError(f"{name} {text!r}; allowed: a number above 0")
    return number
