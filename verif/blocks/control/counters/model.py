"""Model of the counters: a dictionary of counts, and the cycle of the last hand-over."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from kestrel.hw.spec.status import COUNTER_BASE, COUNTERS

_SETTLING = 2
"""Cycles after a frame's last until the count of its last record can be addressed."""


class Counters:
    def __init__(self) -> None:
        self._counts: Counter[str] | None = None  # None: never reset
        self._records: Counter[int] = Counter()
        self._cycle = 0
        self._handed_over: int | None = None
        self._quiet = 0  # cycles without a frame
        self._value: int | None = None

    def step(
        self, *, start: int, busy: int, go: int, done: int, record: int, events: Mapping[str, int], addr: int,
        rst: int = 0,
    ) -> Mapping[str, Any]:  # fmt: skip
        """One cycle. A record's count is determined while no frame runs."""
        outputs = {"value": self._value}
        self._quiet = 0 if busy or done or start or go else self._quiet + 1
        if rst:
            # What the records' memory says of one that streamed before is hidden, like any that did not.
            self._counts, self._records, self._handed_over = Counter(), Counter(), None
        elif self._counts is not None:
            self._count(self._counts, start, busy, go, done, record, events)
        self._value = self._read(addr)
        self._cycle += 1
        return outputs

    def _count(
        self, counts: Counter[str], start: int, busy: int, go: int, done: int, record: int,
        events: Mapping[str, int],
    ) -> None:  # fmt: skip
        if (go or done) and self._handed_over is not None:
            self._records[record] += self._cycle - self._handed_over - done  # done comes a cycle late
        if go:
            self._handed_over = self._cycle
        counts["busy"] += busy
        counts["control"] += busy and not any(events.values())
        for name, event in events.items():
            counts[name] += event
        if start:
            counts.clear()
            self._records.clear()
            self._handed_over = None

    def _read(self, addr: int) -> int | None:
        if self._counts is None:
            return None
        if addr >= COUNTER_BASE:
            number = addr - COUNTER_BASE
            return self._counts[COUNTERS[number]] if number < len(COUNTERS) else None
        return self._records[addr] if self._quiet > _SETTLING else None
