"""Model of the sequencer: the cycles in which it hands over, loads and ends, whatever its neighbours do."""

from collections.abc import Iterator, Sequence
from typing import Any

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.table import HEADER_WORDS_USED
from kestrel.hw.spec.timing import drain_cycles, layer_fetch, start_cycles, visit_fetch
from kestrel.verif.blocks.control.sequencer.handovers import HandOver

CHECK_CYCLES = HEADER_WORDS_USED + 3
"""Cycles from start to the first one in which a refused table shows."""


class SequencerModel:
    """``begin`` a frame's hand-overs, then ``step`` cycle by cycle.

    It holds the next hand-over and the cycles until that can be prepared; no states, no table.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.drain = drain_cycles(config)
        self.quiet = self.drain  # cycles since a block was at work
        self.active = False  # a block is at work
        self.error = 0
        self.done = False
        self.layer: dict[str, int] | None = None
        self.frame: Sequence[HandOver] = ()
        self.cause = 0
        self._stop()

    def _stop(self) -> None:
        self.busy = False
        self.left = -1  # cycles until the next pass is prepared; then -1
        self.refusal = -1  # cycles until the table is refused
        self.adopted = False
        self.coming: Iterator[HandOver] = iter(())
        self.next: HandOver | None = None

    def begin(self, frame: Sequence[HandOver], cause: int = 0) -> None:
        """What the next start leads to: these hand-overs, or the refusal of the table with ``cause``."""
        self.frame, self.cause = frame, cause

    def reset(self) -> None:
        """What a cycle of reset leaves behind."""
        self._stop()
        self.error, self.done, self.quiet, self.layer, self.active = 0, False, self.drain, None, False

    def step(self, *, start: int, ending: int, input_error: int, loaded: int) -> dict[str, Any]:
        """The outputs in this cycle, None where not determined; then the clock edge."""
        active = self.active
        self.quiet = 0 if active else self.quiet + 1
        drained = self.quiet >= self.drain
        free = not active or bool(ending)
        out: dict[str, Any] = {
            "busy": int(self.busy), "done": int(self.done), "error": self.error, "go": 0, "adopt": 0,
            "starved": 0, "load_start": 0, "load_rebase": None, "load_rewind": None, "visit": None,
            "tile": None, "layer": self.layer, "load_layer": None,
            "table_en": None if self.left > 0 or self.refusal > 0 else 0,
        }  # fmt: skip
        self.done = False
        following = self.next
        if not self.busy:
            if start:
                self._start()
        elif input_error:
            # What is being prepared is of no interest any more.
            out["load_start"] = None if self.left == 0 else 0
            out["starved"] = None
            self._stop()
            self.error = input_error
        elif self.refusal > 0:
            self.refusal -= 1
            if self.refusal == 0:
                self._stop()
                self.error = self.cause
        elif self.left > 0:
            self.left -= 1
        elif following is None:  # the end of the table has been read
            if free:
                self._stop()
                self.done = True
        elif self.left == 0:
            self._prepare(out, following)
        elif self.adopted:
            self._hand_over(out, following)
        else:
            self._wait(out, following, bool(loaded), drained, free, active)
        self.active = bool(out["go"]) or (active and not ending and not input_error)
        return out

    def _start(self) -> None:
        self.busy, self.error = True, 0
        if self.cause:
            self.refusal = CHECK_CYCLES - 1
        else:
            self.coming = iter(self.frame)
            self.next = next(self.coming)
            # The first hand-over is two cycles after its preparation: adopt, go.
            self.left = start_cycles(self.config) - 3

    def _prepare(self, out: dict[str, Any], following: HandOver) -> None:
        self.left = -1
        if following.is_conv:
            self._load(out, following)
        out["visit"] = following.visit

    def _load(self, out: dict[str, Any], following: HandOver) -> None:
        out["load_start"] = 1
        out["load_rebase"] = int(following.first_of_visit)
        out["load_rewind"] = int(following.rewind)
        out["load_layer"] = following.layer

    def _wait(
        self, out: dict[str, Any], following: HandOver, loaded: bool, drained: bool, free: bool, active: bool
    ) -> None:
        ready = loaded or not following.is_conv
        out["visit"], out["tile"] = following.visit, following.tile or None
        out["load_layer"] = following.layer if following.is_conv else None
        missing = not ready and not active and (drained or not (following.new_layer or following.waits))
        out["starved"] = int(missing)
        if following.new_layer:
            if ready and drained:
                out["adopt"], self.adopted = 1, True
        elif ready and (drained if following.waits else free):
            self._hand_over(out, following)

    def _hand_over(self, out: dict[str, Any], now: HandOver) -> None:
        out |= {"go": 1, "visit": now.visit, "tile": now.tile or None}
        out["layer"] = self.layer = now.layer
        self.adopted = False
        self.next = following = next(self.coming, None)
        if not now.last_of_visit:
            assert following is not None
            self._load(out, following)
        else:
            self.left = visit_fetch(self.config) - 1
            if following is None:
                self.left += 1
            elif following.new_layer:
                self.left += layer_fetch(self.config)
