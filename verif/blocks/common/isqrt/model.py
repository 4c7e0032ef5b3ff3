"""Model of the square root: any number, its root DESCRIPTOR_ROOT_LATENCY cycles later."""

from collections import deque
from collections.abc import Mapping
from math import isqrt
from typing import Any

from kestrel.hw.spec.descriptor import DESCRIPTOR_ROOT_LATENCY


class Isqrt:
    def __init__(self) -> None:
        self._coming: deque[int | None] = deque([None] * DESCRIPTOR_ROOT_LATENCY)

    def step(self, square: int, rst: int = 0) -> Mapping[str, Any]:
        del rst  # nothing is reset
        self._coming.append(isqrt(square))
        return {"root": self._coming.popleft()}
