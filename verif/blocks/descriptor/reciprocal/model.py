"""Model of the descriptor unit's total and its reciprocal."""

from collections.abc import Mapping
from typing import Any

from kestrel.hw.spec.descriptor import DESCRIPTOR_RECIPROCAL_BITS, DESCRIPTOR_TOTAL_BITS


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
