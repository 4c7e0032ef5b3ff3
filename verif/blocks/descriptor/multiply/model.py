"""Model of the descriptor unit's shifter and multiplier."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from kestrel.hw.spec.descriptor import DESCRIPTOR_SQUARES_BITS

WORD = (1 << DESCRIPTOR_SQUARES_BITS) - 1


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
