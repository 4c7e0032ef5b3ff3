"""Models of the descriptor unit's small blocks, cycle by cycle."""

from collections import deque
from collections.abc import Mapping
from math import isqrt
from typing import Any

from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_RECIPROCAL_BITS,
    DESCRIPTOR_ROOT_LATENCY,
    DESCRIPTOR_TOTAL_BITS,
)

WORD = (1 << 32) - 1


class Isqrt:
    def __init__(self) -> None:
        self._coming: deque[int | None] = deque([None] * DESCRIPTOR_ROOT_LATENCY)

    def step(self, square: int, rst: int = 0) -> Mapping[str, Any]:
        del rst  # nothing is reset
        self._coming.append(isqrt(square))
        return {"root": self._coming.popleft()}


class Multiply:
    """Also what stands for the multiplier in the benches of its users."""

    def __init__(self) -> None:
        self.shifted: int | None = None
        self._products: deque[int | None] = deque([None, None])

    @property
    def product(self) -> int | None:
        """In the coming cycle."""
        return self._products[0]

    def step(self, x: int, amount: int, y: int, rst: int = 0) -> Mapping[str, Any]:
        del rst
        shifted = self.shifted
        self._products.append(None if shifted is None else shifted * y)
        self.shifted = (x << 31 >> amount) & WORD
        return {"shifted": shifted, "product": self._products.popleft()}


class Reciprocal:
    """``go`` comes with the last ``add`` at the earliest."""

    def __init__(self) -> None:
        self.total = 0
        self.left = 0
        self.done = 0
        self.known = False

    def step(self, clear: int, add: int, value: int, go: int, rst: int = 0) -> Mapping[str, Any]:
        outputs: dict[str, Any] = {"done": self.done}
        if self.known and self.left == 0:
            place = max(self.total.bit_length() - 1, 0)
            outputs["amount"] = place
            if self.total:
                outputs["reciprocal"] = ((1 << 48) - 1) // (self.total << 31 >> place)
        self.done = int(self.left == 1)
        self.left = max(self.left - 1, 0)
        if add:
            self.total += value
            self.known = False
        if clear:
            self.total = 0
            self.known = False
        if go:
            self.left = DESCRIPTOR_TOTAL_BITS - 1 + DESCRIPTOR_RECIPROCAL_BITS
            self.known = True
        if rst:
            self.left = self.done = 0
            self.known = False
        return outputs


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
