"""Model of a requantisation lane."""

from collections.abc import Sequence
from typing import Any

from kestrel.hw.spec.engine_config import ROW_GROUPS
from kestrel.hw.spec.widths import BIAS_FRACTION


def requantise(acc: int, bias: int, shift: int, maximum: int) -> int:
    """The output of one accumulator: bias, round half up, ReLU, saturation."""
    numerator = acc + bias * 2 ** (shift - BIAS_FRACTION) + 2 ** (shift - 1)
    return min(max(numerator // 2**shift, 0), maximum)


class RequantiseLane:
    """A bias with its shadow, and two cycles to the result. While an accumulator is on its way, shift and
    maximum must not change; otherwise its result is not determined."""

    def __init__(self) -> None:
        self.shadow: int | None = None
        self.bias: int | None = None
        self.pending: tuple[list[int], int, int, int] | None = None
        self.grouped = 0  # of the cycle before
        self.results: list[int | None] = [None] * ROW_GROUPS

    def step(
        self, *, load: int, bias: int, swap: int, acc: int, shift: int, maximum: int, grouped: int = 0,
        groups: Sequence[int] = (), rst: int = 0,
    ) -> dict[str, Any]:  # fmt: skip
        """One cycle. A reset changes nothing: these are data registers. ``groups`` have results in a lane for
        row groups, of which the first counts instead of ``acc`` when ``grouped``."""
        del rst
        outputs: dict[str, Any] = {"y": self.results[0]}
        if groups:
            outputs["others"] = self.results[1:]
        self.results = [None] * ROW_GROUPS
        if self.pending is not None and self.pending[2:] == (shift, maximum):
            self.results = [requantise(value, *self.pending[1:]) for value in self.pending[0]]
        values = [groups[0] if self.grouped else acc, *(groups[1:] or (0, 0))]
        self.grouped = grouped
        self.pending = None if self.bias is None else (values, self.bias, shift, maximum)
        if swap and self.shadow is not None:
            self.bias = self.shadow
        if load:
            self.shadow = bias
        return outputs
