"""Model of the output stream's side: a queue of two beats, and the beat that closes a packet cut short."""

from collections import deque
from collections.abc import Mapping
from typing import Any

DEPTH = 2
"""Beats that the slice holds."""

Beat = tuple[int, int, int]
"""Data, TKEEP and TLAST."""

CLOSING: Beat = (0, 0, 1)


class StreamOutput:
    """A beat comes out one cycle after it went in, at the earliest; one that is on offer stays."""

    def __init__(self) -> None:
        self.known = False  # there has been a reset
        self._forget()

    def _forget(self) -> None:
        self._beats: deque[Beat] = deque()
        self._inside = False  # what went in last was not a packet's end
        self._to_close = False
        self._closing = False

    @property
    def takes(self) -> bool:
        """TREADY for the core."""
        return len(self._beats) < DEPTH and not self._to_close

    def step(
        self, *, from_tdata: int, from_tkeep: int, from_tlast: int, from_tvalid: int, m_axis_tready: int,
        abort: int, rst: int = 0,
    ) -> Mapping[str, Any]:  # fmt: skip
        """One cycle."""
        data, keep, last = self._beats[0] if self._beats else (None, None, None)
        outputs: dict[str, Any] = {
            "from_tready": int(self.takes), "closing": int(self._closing),
            "m_axis_tvalid": int(bool(self._beats)),
            "m_axis_tdata": data, "m_axis_tkeep": keep, "m_axis_tlast": last,
        }  # fmt: skip
        if not self.known:
            outputs = dict.fromkeys(outputs)
        if rst:
            self.known = True
            self._forget()
            return outputs
        empty = not self._beats
        room = len(self._beats) < DEPTH
        closes = self._to_close
        enters = CLOSING if closes else (from_tdata, from_tkeep, from_tlast) if from_tvalid else None
        if self._beats and m_axis_tready:
            self._beats.popleft()
        if enters and room:
            self._beats.append(enters)
            self._inside = not enters[2]
        if abort or closes:
            self._to_close = self._inside
        if abort:
            self._closing = True
        elif not closes and empty:
            self._closing = False
        return outputs
