"""Models of requantisation: one lane, and all lanes with their pixels."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from hw.spec import BIAS_FRACTION, ROW_GROUPS
from verif.models.pixel import IDLE, Pixel


def requantise(acc: int, bias: int, shift: int, maximum: int) -> int:
    """The output of one accumulator: bias, round half up, ReLU, saturation."""
    numerator = acc + bias * 2 ** (shift - BIAS_FRACTION) + 2 ** (shift - 1)
    return min(max(numerator // 2**shift, 0), maximum)


class RequantiseLane:
    """A bias with its shadow, and two cycles to the result. While an accumulator is on its way, shift and
    maximum must stay; otherwise its result is not determined."""

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


class Requantise:
    """All lanes; those beyond the layer's last channel give 0."""

    def __init__(self, lanes: int, load_kernels: int) -> None:
        self.units = [RequantiseLane() for _ in range(lanes)]
        self.load_kernels = load_kernels
        self.pixels: deque[Pixel | None] = deque([None] * 3)

    def step(
        self, *, ahead: Pixel, acc: Sequence[int], load: Mapping[str, Any], shift: int, maximum: int,
        last_out_lanes: int, grouped: int = 0, groups: Sequence[Sequence[int]] = (), rst: int = 0,
    ) -> dict[str, Any]:  # fmt: skip
        """One cycle. ``ahead`` of the accumulators that come in the next."""
        result, following, _ = self.pixels
        swap = ahead.valid and ahead.first
        y: list[list[int | None]] = []  # lane by lane, of each row
        for n, unit in enumerate(self.units):
            block, place = divmod(n, self.load_kernels)
            found = unit.step(
                load=load["block"] >> block & 1, bias=load["biases"][place], swap=swap,
                acc=acc[n], shift=shift, maximum=maximum, grouped=grouped, groups=groups[n] if groups else (),
            )  # fmt: skip
            values: list[int | None] = [found["y"], *found.get("others", ())]
            if result is None:
                values = [None] * len(values)
            elif result.last_out and n >= last_out_lanes:
                values = [0] * len(values)
            y.append(values)
        first, *others = (list(row) for row in zip(*y, strict=True))
        outputs: dict[str, Any] = {"y": first, "y_ahead": None if following is None else following._asdict()}
        if groups:
            outputs["others"] = others
        self.pixels.popleft()
        self.pixels.append(ahead)
        if rst:
            self.pixels = deque([IDLE] * 3)
        return outputs
