"""Model of the descriptor unit's sums over the columns of the whitening matrix."""

from collections import deque
from collections.abc import Mapping
from typing import Any


class Rows:
    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.sums: list[int] | None = None
        self._coming: deque[tuple[int, int, list[int]] | None] = deque([None])

    def step(
        self, valid: int, first: int, mean: int, weights: list[int], shift: int, rst: int = 0
    ) -> Mapping[str, Any]:
        outputs = {"sum": None if self.sums is None else self.sums[0]}
        now = self._coming.popleft()
        self._coming.append((first, mean, weights) if valid and not rst else None)
        if now is not None:
            starts, factor, row = now
            before = [0] * self.rows if starts else self.sums
            self.sums = None if before is None else [b + factor * w for b, w in zip(before, row, strict=True)]
        elif shift and self.sums is not None:
            self.sums = [*self.sums[1:], 0]
        return outputs
