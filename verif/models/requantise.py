"""Models of requantisation: one lane, and all lanes with their pixels."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from hw.spec import BIAS_FRACTION
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
        self.pending: tuple[int, int, int, int] | None = None
        self.y: int | None = None

    def step(
        self, *, load: int, bias: int, swap: int, acc: int, shift: int, maximum: int, rst: int = 0
    ) -> dict[str, int | None]:
        """One cycle. A reset changes nothing: these are data registers."""
        del rst
        outputs = {"y": self.y}
        stays = self.pending is not None and self.pending[2:] == (shift, maximum)
        self.y = requantise(*self.pending) if stays and self.pending else None
        self.pending = None if self.bias is None else (acc, self.bias, shift, maximum)
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
        last_out_lanes: int, rst: int = 0,
    ) -> dict[str, Any]:  # fmt: skip
        """One cycle. ``ahead`` of the accumulators that come in the next."""
        result, following, _ = self.pixels
        swap = ahead.valid and ahead.first
        y: list[int | None] = []
        for n, unit in enumerate(self.units):
            block, place = divmod(n, self.load_kernels)
            value = unit.step(
                load=load["block"] >> block & 1, bias=load["biases"][place], swap=swap,
                acc=acc[n], shift=shift, maximum=maximum,
            )["y"]  # fmt: skip
            if result is None:
                value = None
            elif result.last_out and n >= last_out_lanes:
                value = 0
            y.append(value)
        outputs = {"y": y, "y_ahead": None if following is None else following._asdict()}
        self.pixels.popleft()
        self.pixels.append(ahead)
        if rst:
            self.pixels = deque([IDLE] * 3)
        return outputs
