"""Model of the input stream's side: a queue of two beats, and whether what comes out of it is thrown away."""

from collections import deque
from collections.abc import Mapping
from typing import Any

DEPTH = 2
"""Beats that the slice holds."""


class StreamInput:
    """A beat comes out one cycle after it went in, at the earliest."""

    def __init__(self) -> None:
        self.known = False  # there has been a reset
        self._forget()

    def _forget(self) -> None:
        self._beats: deque[tuple[int, int]] = deque()  # data and TLAST
        self._inside = False  # the core, or what throws away, is within a frame
        self._started = False  # the core has begun a frame and has been given nothing of it
        self._draining = False

    @property
    def takes(self) -> bool:
        """TREADY of the port."""
        return len(self._beats) < DEPTH

    def step(
        self, *, s_axis_tdata: int, s_axis_tvalid: int, s_axis_tlast: int, to_tready: int, start: int,
        abort: int, rst: int = 0,
    ) -> Mapping[str, Any]:  # fmt: skip
        """One cycle."""
        first = self._beats[0] if self._beats else None
        offers = first is not None and not self._draining
        outputs: dict[str, Any] = {
            "s_axis_tready": int(self.takes),
            "to_tvalid": int(offers), "waiting": int(offers),
            "to_tdata": first[0] if first and offers else None,
            "to_tlast": first[1] if first and offers else None,
            "draining": int(self._draining),
        }  # fmt: skip
        if not self.known:
            outputs = dict.fromkeys(outputs)
        if rst:
            self.known = True
            self._forget()
            return outputs
        takes = self.takes
        leaves = first is not None and bool(self._draining or to_tready)
        if leaves and first:
            self._beats.popleft()
            self._inside = not first[1]
        if takes and s_axis_tvalid:
            self._beats.append((s_axis_tdata, s_axis_tlast))
        if abort:
            # The rest of a frame is thrown away, or the whole of one that waits for a core that has begun.
            self._draining = self._inside or (self._started and first is not None and not leaves)
        elif self._draining and first and first[1]:
            self._draining = False
        if start:
            self._started = True
        elif abort or leaves:
            self._started = False
        return outputs
